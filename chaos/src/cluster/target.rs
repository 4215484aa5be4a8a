//! Which cluster a command works on: the embedded one, or one of the user's own, and then only when it is named in full and agreed to.
//!
//! A kubeconfig that happens to be in the environment is never used: chaos kills things.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use kube::config::Kubeconfig;

use super::Error;

/// The options that name a cluster of the user's own.
#[derive(Debug, Clone, Default, Args)]
pub struct TargetArgs {
    /// Kubeconfig file of a cluster of your own. KUBECONFIG in the environment is never used.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context in that file.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Registry that your nodes pull images from, and that this host can push to.
    #[arg(long, value_name = "HOST[:PORT][/PATH]")]
    pub registry: Option<String>,
    /// Really work on that cluster. Only namespaces that chaos creates are touched.
    #[arg(long)]
    pub yes: bool,
}

/// The cluster that a command works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one that `chaos up` boots. Every fault can be played on it.
    Embedded,
    /// One of the user's own. Faults of the kernel and of nodes are skipped by name.
    Yours(Yours),
}

/// A cluster of the user's own, agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Yours {
    /// The kubeconfig file.
    pub kubeconfig: PathBuf,
    /// The context in it.
    pub context: String,
    /// Where images are pushed.
    pub registry: String,
    /// The API server, as the kubeconfig has it.
    pub server: String,
}

/// The options do not name a cluster that may be worked on: a usage error.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// One of the three was given, but not all.
    #[error("a cluster of your own needs --kubeconfig, --context and --registry; missing: {}", missing.join(", "))]
    Incomplete {
        /// The missing options.
        missing: Vec<&'static str>,
    },
    /// `--yes` without a cluster of the user's own.
    #[error("--yes is for a cluster of your own; the embedded one needs no agreement")]
    NothingToAgreeTo,
    /// The user has not agreed.
    #[error("this would work on {server} (context {context}), in namespaces of its own; add --yes to agree")]
    NotAgreed {
        /// The API server.
        server: String,
        /// The context.
        context: String,
    },
    /// The kubeconfig cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Error),
    /// The kubeconfig has no such context, or the context names no server.
    #[error("context {context} in {} names no cluster with a server; it has: {}", kubeconfig.display(), known.join(", "))]
    NoSuchContext {
        /// The file.
        kubeconfig: PathBuf,
        /// What was asked for.
        context: String,
        /// The contexts that are there.
        known: Vec<String>,
    },
}

impl TargetArgs {
    /// Decides which cluster is meant. Reads the kubeconfig file, talks to nobody.
    pub fn resolve(self) -> Result<Target, Refusal> {
        let Self {
            kubeconfig,
            context,
            registry,
            yes,
        } = self;
        match (kubeconfig, context, registry) {
            (None, None, None) if yes => Err(Refusal::NothingToAgreeTo),
            (None, None, None) => Ok(Target::Embedded),
            (Some(kubeconfig), Some(context), Some(registry)) => {
                let server = server(&kubeconfig, &context)?;
                if yes {
                    Ok(Target::Yours(Yours {
                        kubeconfig,
                        context,
                        registry,
                        server,
                    }))
                } else {
                    Err(Refusal::NotAgreed { server, context })
                }
            }
            (kubeconfig, context, registry) => {
                let given = [kubeconfig.is_some(), context.is_some(), registry.is_some()];
                let options = ["--kubeconfig", "--context", "--registry"].into_iter().zip(given);
                Err(Refusal::Incomplete {
                    missing: options.filter(|(_, given)| !given).map(|(option, _)| option).collect(),
                })
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("the embedded cluster"),
            Self::Yours(Yours { server, context, .. }) => write!(f, "{server} (context {context})"),
        }
    }
}

fn server(kubeconfig: &Path, context: &str) -> Result<String, Refusal> {
    let unreadable = |source| Error::Kubeconfig {
        path: kubeconfig.to_owned(),
        source: Box::new(source),
    };
    let file = Kubeconfig::read_from(kubeconfig).map_err(unreadable)?;
    let cluster = file
        .contexts
        .iter()
        .find(|one| one.name == context)
        .and_then(|one| one.context.as_ref());
    let cluster = cluster.and_then(|context| file.clusters.iter().find(|one| one.name == context.cluster));
    let server = cluster
        .and_then(|named| named.cluster.as_ref())
        .and_then(|cluster| cluster.server.clone());
    server.ok_or_else(|| Refusal::NoSuchContext {
        kubeconfig: kubeconfig.to_owned(),
        context: context.to_owned(),
        known: file.contexts.into_iter().map(|one| one.name).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let content = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://db.example:6443'}}]\n\
            users: [{name: u, user: {}}]\ncontexts: [{name: prod, context: {cluster: c, user: u}}]\n";
        std::fs::write(file.path(), content).expect("written");
        file
    }

    fn args(kubeconfig: &tempfile::NamedTempFile, context: &str, yes: bool) -> TargetArgs {
        let registry = Some("registry.example".to_owned());
        TargetArgs {
            kubeconfig: Some(kubeconfig.path().to_owned()),
            context: Some(context.to_owned()),
            registry,
            yes,
        }
    }

    #[test]
    fn without_options_the_embedded_cluster_is_meant() {
        assert_eq!(
            TargetArgs::default().resolve().expect("no options are fine"),
            Target::Embedded
        );
    }

    #[test]
    fn a_cluster_named_by_half_is_refused_with_what_is_missing() {
        let half = TargetArgs {
            context: Some("prod".to_owned()),
            yes: true,
            ..TargetArgs::default()
        };
        let refusal = half.resolve().expect_err("two options are missing").to_string();
        assert!(refusal.contains("missing: --kubeconfig, --registry"), "{refusal}");
    }

    #[test]
    fn nobodys_cluster_is_touched_before_they_agree_and_the_server_is_named() {
        let file = kubeconfig();
        let refusal = args(&file, "prod", false)
            .resolve()
            .expect_err("not agreed")
            .to_string();
        assert!(
            refusal.contains("https://db.example:6443") && refusal.contains("--yes"),
            "{refusal}"
        );
        let Target::Yours(yours) = args(&file, "prod", true).resolve().expect("agreed") else {
            panic!("it is not embedded")
        };
        assert_eq!(yours.server, "https://db.example:6443");
    }

    #[test]
    fn a_context_that_is_not_there_is_told_with_those_that_are() {
        let refusal = args(&kubeconfig(), "staging", true)
            .resolve()
            .expect_err("no such context")
            .to_string();
        assert!(
            refusal.contains("staging") && refusal.contains("it has: prod"),
            "{refusal}"
        );
    }
}
