//! Builds the pinned Go programs into the cache, and finds them there.
//!
//! A program is built once a key (see [`super::recipe`]): it appears under its name only when it is whole, so a build that was
//! interrupted leaves nothing that could be taken for a program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::Run;
use super::layout::{Cache, create_dir, write};
use super::lock::Lock;
use super::progress::Progress;
use super::recipe::{MODULES, Module, Program};
use super::{Error, host};

/// What to build, and what a caller needs to be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// etcd, the API server, kubectl, helm and Chaos Mesh's resource definitions: enough for `--nodes 0` and the tests against a real API server.
    ControlPlane,
    /// All that a cluster with nodes needs.
    All,
    /// Jaeger, for the test that reads traces back.
    Jaeger,
}

impl Part {
    fn holds(self, program: &Program) -> bool {
        match self {
            Self::ControlPlane | Self::Jaeger => program.part == self,
            Self::All => program.part != Self::Jaeger,
        }
    }

    /// The command that builds it, as one types it in the project's folder.
    fn command(self) -> String {
        let build = "cargo run --locked -p pgsteer-chaos -- build";
        match self {
            Self::ControlPlane => format!("{build} --control-plane"),
            Self::All => build.to_owned(),
            Self::Jaeger => format!("{build} --jaeger"),
        }
    }

    fn programs(self) -> impl Iterator<Item = (&'static Module, &'static Program)> {
        let all = MODULES
            .iter()
            .flat_map(|module| module.programs.iter().map(move |program| (module, program)));
        all.filter(move |(_, program)| self.holds(program))
    }
}

/// The built programs, by name.
#[derive(Debug, Clone)]
pub struct Programs(BTreeMap<&'static str, PathBuf>);

impl Programs {
    /// Finds the programs of `part` in the cache. [`Error::NotBuilt`] names those that are missing and the command to run.
    pub async fn find(cache: &Cache, part: Part) -> Result<Self, Error> {
        let version = host::go_version().await?;
        let paths = part
            .programs()
            .map(|(module, program)| (program.name, path(cache, module, program, &version)));
        let (found, missing): (BTreeMap<_, _>, BTreeMap<_, _>) = paths.partition(|(_, path)| path.exists());
        if missing.is_empty() {
            return Ok(Self(found));
        }
        Err(Error::NotBuilt {
            missing: missing.into_keys().map(str::to_owned).collect(),
            command: part.command(),
        })
    }

    /// Where a program of the part that was found is.
    ///
    /// # Panics
    /// When `name` is not a program of that part: a defect of the caller.
    pub fn path(&self, name: &str) -> &Path {
        self.0
            .get(name)
            .expect("callers name a program of the part that they asked for")
    }

    /// The directories that hold them, for a PATH.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let mut directories: Vec<_> = self
            .0
            .values()
            .filter_map(|path| path.parent())
            .map(Path::to_owned)
            .collect();
        directories.sort();
        directories.dedup();
        directories
    }
}

fn path(cache: &Cache, module: &Module, program: &Program, go_version: &str) -> PathBuf {
    cache.programs(module.name, &module.key(go_version)).join(program.name)
}

/// The largest program takes 3 minutes on two cores of its own; a slow or shared host gets ten times that before a build that
/// hangs (a module proxy that never answers) is ended.
const BUILD_LIMIT: Duration = Duration::from_mins(30);

/// Builds what is missing of `part`. Nothing to do takes milliseconds.
pub async fn build(cache: &Cache, part: Part, progress: Progress) -> Result<Programs, Error> {
    let version = host::go_version().await?;
    let _lock = Lock::take(&cache.lock())?;
    let missing = part
        .programs()
        .filter(|(module, program)| !path(cache, module, program, &version).exists());
    for (module, program) in missing {
        let estimate = Duration::from_secs(program.cold_seconds.into());
        let step = progress.step(format!("build {}", program.name), estimate);
        build_one(module, program, &path(cache, module, program, &version)).await?;
        step.done();
    }
    Programs::find(cache, part).await
}

async fn build_one(module: &Module, program: &Program, output: &Path) -> Result<(), Error> {
    let directory = output.parent().unwrap_or(Path::new("/")).join("src");
    create_dir(&directory)?;
    for (name, content) in module.files {
        write(&directory.join(name), content)?;
    }
    let partial = output.with_extension("partial");
    if partial.is_dir() {
        std::fs::remove_dir_all(&partial).map_err(Error::io("remove", &partial))?;
    }
    // The user's own Go settings must not change what is built: the key does not know them.
    Run::new(host::go())
        .args(module.build_args(program, &partial.to_string_lossy()))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .env("GOTOOLCHAIN", "local")
        .directory(&directory)
        .limit(BUILD_LIMIT)
        .run()
        .await?;
    std::fs::rename(&partial, output).map_err(Error::io("put in place", output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_built_is_named_with_the_command_that_builds_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::choose(Some(directory.path().to_owned()), None, None);
        let error = Programs::find(&cache, Part::ControlPlane)
            .await
            .expect_err("an empty cache");
        let told = error.to_string();
        assert!(
            told.contains("etcd") && told.contains("kube-apiserver") && !told.contains("kubelet"),
            "{told}"
        );
        assert!(told.contains("pgsteer-chaos -- build --control-plane"), "{told}");
    }
}
