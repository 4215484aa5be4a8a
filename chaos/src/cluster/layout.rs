//! Where things lie: what was built (the cache, keyed by the hash of its sources, kept) and what runs (the state, thrown away).
//!
//! ```text
//! CACHE/bin/<module>-<key>/<program>      CACHE/image/…       CACHE/lock
//! STATE/lock  STATE/run/cluster.json
//! STATE/run/{pid,log,pki,kubeconfig,etcd,audit,etc}/…
//! STATE/run/nodes/n1/…                    everything of one node
//! ```

use std::path::{Path, PathBuf};

use super::Error;

/// Where built things are kept between runs: `PGSTEER_CACHE`, else `pgsteer` in the user's cache directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache(PathBuf);

/// Where the running cluster lives: `PGSTEER_STATE`, else `state` in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State(PathBuf);

/// The directories that the environment names. The `chaos` program and the tests agree through it on what is built already.
#[expect(
    clippy::disallowed_methods,
    reason = "tests have no command line; this is the one place that reads the environment for them"
)]
pub fn from_environment() -> (Cache, State) {
    let named = |name| {
        std::env::var(name)
            .ok()
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = Cache::choose(named("PGSTEER_CACHE"), named("XDG_CACHE_HOME"), named("HOME"));
    let state = State::choose(named("PGSTEER_STATE"), &cache);
    (cache, state)
}

impl Cache {
    /// `given`, else `pgsteer` in `xdg_cache_home`, else in `home`'s `.cache`, else in `/var/cache` (a service has no home).
    pub fn choose(given: Option<PathBuf>, xdg_cache_home: Option<PathBuf>, home: Option<PathBuf>) -> Self {
        let default = || {
            let user = xdg_cache_home.or_else(|| home.map(|home| home.join(".cache")));
            user.unwrap_or_else(|| PathBuf::from("/var/cache")).join("pgsteer")
        };
        Self(given.unwrap_or_else(default))
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The programs built from one version of one module's sources.
    pub(crate) fn programs(&self, module: &str, key: &str) -> PathBuf {
        self.0.join("bin").join(format!("{module}-{key}"))
    }

    /// Where OCI archives that depend on nothing but this project's sources are kept.
    pub fn images(&self) -> PathBuf {
        self.0.join("image")
    }

    /// Held while something is built into the cache.
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
}

impl State {
    /// `given`, else `state` in the cache.
    pub fn choose(given: Option<PathBuf>, cache: &Cache) -> Self {
        Self(given.unwrap_or_else(|| cache.root().join("state")))
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Held while `up` or `down` is at work.
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Everything of the running cluster.
    pub fn layout(&self) -> Layout {
        Layout(self.0.join("run"))
    }
}

/// The files of one running cluster, all under one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(PathBuf);

impl Layout {
    /// A cluster whose files all lie under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// What `up` wrote down about the cluster before it made anything.
    pub(crate) fn record(&self) -> PathBuf {
        self.0.join("cluster.json")
    }

    /// One process record a component.
    pub(crate) fn processes(&self) -> PathBuf {
        self.0.join("pid")
    }

    /// How a component is started.
    pub(crate) fn plan(&self, component: &str) -> PathBuf {
        self.0.join("plan").join(format!("{component}.json"))
    }

    /// What was injected and not healed yet: one file a fault.
    pub(crate) fn faults(&self) -> PathBuf {
        self.0.join("fault")
    }

    /// The log of a component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.0.join("log").join(format!("{component}.log"))
    }

    /// A certificate or key, such as `ca.crt`.
    pub fn pki(&self, file: &str) -> PathBuf {
        self.0.join("pki").join(file)
    }

    /// The kubeconfig of a user, such as `admin`.
    pub fn kubeconfig(&self, who: &str) -> PathBuf {
        self.0.join("kubeconfig").join(who)
    }

    /// etcd's data.
    pub(crate) fn etcd(&self) -> PathBuf {
        self.0.join("etcd")
    }

    /// The API server's audit log: one JSON event a line.
    pub fn audit_log(&self) -> PathBuf {
        self.0.join("audit").join("audit.jsonl")
    }

    /// A configuration file of a component.
    pub(crate) fn etc(&self, file: &str) -> PathBuf {
        self.0.join("etc").join(file)
    }

    /// Everything of one node.
    pub(crate) fn node(&self, name: &str) -> PathBuf {
        self.0.join("nodes").join(name)
    }

    /// Makes the directories.
    pub(crate) fn create(&self) -> Result<(), Error> {
        for directory in ["pid", "log", "pki", "kubeconfig", "audit", "etc", "nodes"] {
            create_dir(&self.0.join(directory))?;
        }
        Ok(())
    }
}

/// Makes a directory and its parents.
pub(crate) fn create_dir(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(Error::io("make the directory", path))
}

/// Writes a file, making its directory.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    std::fs::write(path, content).map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_the_one_given_else_the_users() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(
            Cache::choose(path("/c"), path("/x"), path("/h")).root(),
            Path::new("/c")
        );
        assert_eq!(
            Cache::choose(None, path("/x"), path("/h")).root(),
            Path::new("/x/pgsteer")
        );
        assert_eq!(
            Cache::choose(None, None, path("/h")).root(),
            Path::new("/h/.cache/pgsteer")
        );
        assert_eq!(Cache::choose(None, None, None).root(), Path::new("/var/cache/pgsteer"));
    }
}
