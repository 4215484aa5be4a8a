//! Names that several parts, or people, must agree on.

/// The API group of both kinds.
pub const GROUP: &str = "pgsteer.io";

/// The label that carries the role, unless the route names another.
pub const ROLE_LABEL: &str = "pgsteer.io/role";

/// Annotation on everything that the controller writes: `<term>.<n>.<8 hex of the holder>`. See docs/architecture.md, the fence.
pub const STAMP: &str = "pgsteer.io/stamp";

/// Annotation of a pod, set by a person: it gets no role, whatever it says.
pub const EXCLUDE: &str = "pgsteer.io/exclude";

/// Annotation of a route, set by a person to `"true"`: no role and no mark changes.
pub const PAUSED: &str = "pgsteer.io/paused";

/// Annotation of a route, set by a person to a pod's uid: this server's data is the truth from now on. The leader removes it once done.
pub const ACCEPT: &str = "pgsteer.io/accept";

/// Annotation of an EndpointSlice that the controller has made: the route that it serves.
pub const ROUTE: &str = "pgsteer.io/route";

/// The label by which an EndpointSlice names its Service; Kubernetes' own.
pub const SLICE_SERVICE: &str = "kubernetes.io/service-name";

/// The label by which an EndpointSlice names who writes it; Kubernetes' own. Ours say [`GROUP`].
pub const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// The Lease that the replicas contend for.
pub const LEASE: &str = "pgsteer";

/// Who writes, as the API server records it in `managedFields` and Events.
pub const FIELD_MANAGER: &str = "pgsteer";

/// The port of every replica's endpoint, unless `--admin-address` names another.
pub const ADMIN_PORT: u16 = 8080;

/// Where the chart's documentation installs the controller: where its Lease is looked for by who may not look everywhere.
pub const SYSTEM_NAMESPACE: &str = "pgsteer-system";
