//! The PostgreSQL clusters of `deploy/examples`, as users install them.
//!
//! They have the same names for everything (Services, Secrets, labels, the route), each in a namespace of its own, so that what looks at
//! one of them looks at any.

use std::path::Path;

use clap::Args;
use shared::route::Routing;

use crate::cluster::Target;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// Its folder in `deploy/examples`.
    pub directory: &'static str,
    /// Where it lives.
    pub namespace: &'static str,
    /// The folder in `deploy/images` of the image that its servers run.
    pub image: &'static str,
    /// What it is known by where it is installed, as `kubectl -o name` calls it.
    pub(super) known_by: &'static str,
    /// A folder beside its own whose files take the place of those of the same name.
    pub variant: Option<&'static str>,
}

/// Which of them to install, and where.
#[derive(Debug, Clone, Copy, Args)]
pub struct ExampleArgs {
    /// Which folder of deploy/examples; the others than the default need the embedded cluster.
    #[arg(long, default_value = TWO_DEPLOYMENTS.directory, value_parser = Example::parse)]
    example: Example,
    /// In the namespace of the default one, and in its place: there the recorder and the judge look. What is there goes, with its data.
    #[arg(long)]
    in_place: bool,
    #[command(flatten)]
    routing: RoutingArgs,
}

/// How the Services of the pair of two Deployments are made to follow.
#[derive(Debug, Clone, Copy, Args)]
pub struct RoutingArgs {
    /// spec.routing of the pair of two Deployments: Labels or EndpointSlices. On a cluster where it is installed already, the same as before
    #[arg(long, default_value = LABELS, value_parser = routing)]
    routing: Routing,
}

impl RoutingArgs {
    /// The pair of two Deployments, so routed.
    pub const fn pair(self) -> Example {
        TWO_DEPLOYMENTS.routed(self.routing)
    }
}

const LABELS: &str = "Labels";

fn routing(text: &str) -> Result<Routing, String> {
    serde_json::from_value(text.into()).map_err(|_unknown| "there are Labels and EndpointSlices".to_owned())
}

impl ExampleArgs {
    /// What was asked for.
    pub fn chosen(self) -> Example {
        let Self {
            example,
            in_place,
            routing,
        } = self;
        let example = if example == TWO_DEPLOYMENTS {
            routing.pair()
        } else {
            example
        };
        if in_place { example.in_place() } else { example }
    }
}

/// The pair that nobody promotes: a scenario does so itself, for exact timings.
pub const TWO_DEPLOYMENTS: Example = Example {
    directory: "two-deployments",
    namespace: super::NAMESPACE,
    image: "postgres",
    known_by: "deployment.apps/pg-node1",
    variant: None,
};

/// A pair under Patroni.
pub const PATRONI: Example = Example {
    directory: "patroni",
    namespace: "patroni",
    image: "promoters",
    known_by: "statefulset.apps/patroni",
    variant: None,
};

/// A pair and a witness under repmgr.
pub const REPMGR: Example = Example {
    directory: "repmgr",
    namespace: "repmgr",
    image: "promoters",
    known_by: "statefulset.apps/repmgr",
    variant: None,
};

/// A pair and a monitor under `pg_auto_failover`.
pub const PG_AUTO_FAILOVER: Example = Example {
    directory: "pg-auto-failover",
    namespace: "pg-auto-failover",
    image: "promoters",
    known_by: "statefulset.apps/pgaf",
    variant: None,
};

/// Every example.
pub const EXAMPLES: &[Example] = &[TWO_DEPLOYMENTS, PATRONI, REPMGR, PG_AUTO_FAILOVER];

impl Example {
    /// The example whose folder is called so.
    pub fn find(directory: &str) -> Option<Self> {
        EXAMPLES.iter().copied().find(|example| example.directory == directory)
    }

    /// The same for a command line: the error names those that there are.
    pub fn parse(directory: &str) -> Result<Self, String> {
        let known: Vec<&str> = EXAMPLES.iter().map(|example| example.directory).collect();
        Self::find(directory).ok_or_else(|| format!("no such example; there are {}", known.join(", ")))
    }

    /// The same, in the namespace of the default one: there the recorder and the judge look.
    #[must_use]
    pub fn in_place(self) -> Self {
        Self {
            namespace: super::NAMESPACE,
            ..self
        }
    }

    /// The same in a namespace of its own, beside others.
    #[must_use]
    pub const fn within(self, namespace: &'static str) -> Self {
        Self { namespace, ..self }
    }

    /// The same with this `spec.routing`; the variant is of the pair of two Deployments.
    #[must_use]
    pub const fn routed(self, routing: Routing) -> Self {
        let variant = match routing {
            Routing::Labels => None,
            Routing::EndpointSlices => Some("endpoint-slices"),
        };
        Self { variant, ..self }
    }

    /// Where one of its files is, relative to the project's folder.
    pub fn file(&self, project: &Path, name: &str) -> String {
        let own = format!("{}/{name}", self.path());
        let variant = self.variant.map(|variant| format!("deploy/examples/{variant}/{name}"));
        variant.filter(|path| project.join(path).is_file()).unwrap_or(own)
    }

    /// One of its files, as it reads when it lives in this namespace.
    pub fn put_into(&self, manifest: &str) -> String {
        let written = Self::find(self.directory).map_or(self.namespace, |example| example.namespace);
        if written == self.namespace {
            return manifest.to_owned();
        }
        let is_namespace = manifest.contains("\nkind: Namespace\n");
        let name = |namespace| format!("{}: {namespace}\n", if is_namespace { "  name" } else { "namespace" });
        manifest
            .replace(&name(written), &name(self.namespace))
            .replace(&format!(".{written}.svc"), &format!(".{}.svc", self.namespace))
    }

    /// Its folder, relative to the project's.
    pub fn path(&self) -> String {
        format!("deploy/examples/{}", self.directory)
    }
}

/// As a guest `chaos` has two namespaces, its own and that of the pair.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{} is installed into the embedded cluster alone; on a cluster of your own follow {}/README.md", .0.directory, .0.path())]
pub struct OtherExample(Example);

/// What a person is told once an example is installed. Some cannot be, as a guest.
pub fn what_next(example: Example, target: &Target) -> Result<String, OtherExample> {
    match target {
        Target::Yours(_) if example.directory != TWO_DEPLOYMENTS.directory => Err(OtherExample(example)),
        Target::Yours(_) => {
            Ok("everything is installed; `chaos uninstall` with the same options removes it".to_owned())
        }
        Target::Embedded if example.directory == TWO_DEPLOYMENTS.directory => Ok(TO_PLAY_WITH.to_owned()),
        Target::Embedded => Ok(format!(
            "everything is installed; {}/README.md says what to play with it",
            example.path()
        )),
    }
}

/// What to do with a cluster in which everything is installed.
const TO_PLAY_WITH: &str = "
everything is installed; to play with it, in a shell inside the cluster's network (target/release/chaos exec -- bash):
  kubectl -n pg get pgroute,pgledger                          # what pgsteer makes of it
  kubectl -n pg get pods -L role -w                           # labels as they change
  kubectl -n pg get endpointslices -w                         # and what follows from them
  kubectl -n pgsteer-system get lease pgsteer -w              # who leads
  kubectl -n pgsteer-system logs -f -l app.kubernetes.io/name=pgsteer
  kubectl -n pg exec deploy/pg-node1 -- sh -c 'PGPASSWORD=$(cat /etc/postgres/secrets/app) \\
    psql \"host=pg-service-primary.pg.svc port=6432 user=app dbname=app sslmode=verify-full sslrootcert=/etc/postgres/secrets/ca.crt\" \\
    -c \"SELECT pg_is_in_recovery(), inet_server_addr()\"'       # where the name leads
  kubectl -n pg exec deploy/pg-node1 -- bash -c 'kill -KILL $(head -n 1 /var/lib/postgresql/data/postmaster.pid)'   # kill a server
  kubectl -n pg exec deploy/pg-node2 -- psql -c 'SELECT pg_promote()'  # promote a standby; the other one comes back by itself
  kubectl -n pg label pod -l node_name=pg_node1 role-         # take a label off by hand
  kubectl -n pgsteer-system delete pod -l app.kubernetes.io/name=pgsteer
`make down` ends it.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_the_namespace_that_its_example_is_put_into() {
        let moved = Example {
            namespace: "pg",
            ..PATRONI
        };
        let written = "kind: Role\n  name: patroni\n  namespace: patroni\nserverName: pg.patroni.svc\n";
        assert_eq!(PATRONI.put_into(written), written);
        assert_eq!(
            moved.put_into(written),
            "kind: Role\n  name: patroni\n  namespace: pg\nserverName: pg.pg.svc\n"
        );
        let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: patroni\n";
        assert!(moved.put_into(namespace).ends_with("  name: pg\n"));
    }
}
