//! The PostgreSQL clusters of `deploy/examples`, as users install them.
//!
//! They have the same names for everything (Services, Secrets, labels, the route), each in a namespace of its own, so that what looks at
//! one of them looks at any.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// Its folder in `deploy/examples`.
    pub directory: &'static str,
    /// Where it lives.
    pub namespace: &'static str,
    /// The folder in `deploy/images` of the image that its servers run.
    pub image: &'static str,
}

/// The pair that nobody promotes: a scenario does so itself, for exact timings.
pub const TWO_DEPLOYMENTS: Example = Example {
    directory: "two-deployments",
    namespace: super::NAMESPACE,
    image: "postgres",
};

/// A pair under Patroni.
pub const PATRONI: Example = Example {
    directory: "patroni",
    namespace: "patroni",
    image: "promoters",
};

/// A pair and a witness under repmgr.
pub const REPMGR: Example = Example {
    directory: "repmgr",
    namespace: "repmgr",
    image: "promoters",
};

/// A pair and a monitor under `pg_auto_failover`.
pub const PG_AUTO_FAILOVER: Example = Example {
    directory: "pg-auto-failover",
    namespace: "pg-auto-failover",
    image: "promoters",
};

/// Every example.
pub const EXAMPLES: &[Example] = &[TWO_DEPLOYMENTS, PATRONI, REPMGR, PG_AUTO_FAILOVER];

impl Example {
    /// The example whose folder is called so.
    pub fn find(directory: &str) -> Option<Self> {
        EXAMPLES.iter().copied().find(|example| example.directory == directory)
    }

    /// Its folder, relative to the project's.
    pub fn path(&self) -> String {
        format!("deploy/examples/{}", self.directory)
    }
}
