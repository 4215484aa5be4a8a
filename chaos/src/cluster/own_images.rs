//! This project's own images, written as OCI archives.
//!
//! ```text
//! packages, wheels, remove --lay-out--> root-NAME-KEY.tar --+
//! Containerfile -------------parse----> files, configuration +--> NAME-KEY.tar
//! ```
//!
//! Both are kept in the cache under the hash of what they were made from; only the newest of each name stays.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::command::Run;
use super::containerfile::{self, Recipe};
use super::image::{Archive, Layer, write_archive};
use super::layout::{Cache, create_dir};
use super::lock::Lock;
use super::progress::Progress;
use super::recipe::hex;
use super::{Error, host};

/// An image of this project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnImage {
    /// Its folder in `deploy/images`.
    pub directory: &'static str,
    /// The name by which manifests call it.
    pub name: &'static str,
}

/// Every image of this project.
pub const OWN_IMAGES: &[OwnImage] = &[
    OwnImage {
        directory: "controller",
        name: "localhost/pgsteer/controller:dev",
    },
    OwnImage {
        directory: "client",
        name: "localhost/pgsteer/client:dev",
    },
    OwnImage {
        directory: "postgres",
        name: "localhost/pgsteer/postgres:15",
    },
    OwnImage {
        directory: "promoters",
        name: "localhost/pgsteer/promoters:15",
    },
];

/// `HAProxy`, a rival in the benchmarks.
pub const HAPROXY: OwnImage = OwnImage {
    directory: "haproxy",
    name: "localhost/pgsteer/haproxy:2.6",
};

/// The controller with libfaketime beside it: a scenario with a wrong clock runs it, and nobody installs it.
pub const WRONG_CLOCK: OwnImage = OwnImage {
    directory: "controller-faketime",
    name: "localhost/pgsteer/controller-faketime:dev",
};

/// The controller without the preconditions of its writes: shows that a proof can fail, and nobody installs it.
pub const UNCONDITIONAL: OwnImage = OwnImage {
    directory: "controller-unconditional",
    name: "localhost/pgsteer/controller-unconditional:dev",
};

impl OwnImage {
    /// The image whose folder is called so.
    pub fn find(directory: &str) -> Option<Self> {
        OWN_IMAGES.iter().copied().find(|image| image.directory == directory)
    }

    /// The same for a command line: the error names those that there are.
    pub fn parse(directory: &str) -> Result<Self, String> {
        let known: Vec<&str> = OWN_IMAGES.iter().map(|image| image.directory).collect();
        Self::find(directory).ok_or_else(|| format!("no such image; there are {}", known.join(", ")))
    }
}

/// Downloading PostgreSQL's packages and unpacking them took 13 s on two cores; the network may be slower.
const LAY_OUT_ESTIMATE: Duration = Duration::from_secs(13);
const LAY_OUT_LIMIT: Duration = Duration::from_mins(15);
/// 64 bits tell the versions of one image apart.
const KEY_BYTES: usize = 8;

/// Writes the archives of `images` that the cache does not hold yet. `project` is this project's folder; the programs that go into an
/// image have been built before, where its Containerfile takes them from.
///
/// [`Error::NoSuch`] names a program that was not built and the command that builds it.
pub async fn write_own_images(
    cache: &Cache,
    project: &Path,
    images: &[OwnImage],
    progress: Progress,
) -> Result<Vec<Archive>, Error> {
    if host::find("mmdebstrap").is_none() {
        host::ensure_packages(progress).await?;
    }
    let _lock = Lock::take(&cache.images().join("lock"))?;
    let mut archives = Vec::new();
    for image in images {
        archives.push(write_one(&cache.images(), project, *image, progress).await?);
    }
    Ok(archives)
}

async fn write_one(store: &Path, project: &Path, image: OwnImage, progress: Progress) -> Result<Archive, Error> {
    let path = project
        .join("deploy/images")
        .join(image.directory)
        .join("Containerfile");
    let text = read(&path)?;
    let recipe = containerfile::parse(&String::from_utf8_lossy(&text)).map_err(|wrong| Error::Malformed {
        path: path.clone(),
        wrong,
    })?;
    let root = lay_out(store, project, &recipe.root, progress).await?;
    let mut key = Key::new();
    key.feed(image.name.as_bytes());
    key.feed(&text);
    key.feed(root.file_name().unwrap_or_default().as_encoded_bytes());
    for copy in &recipe.copies {
        key.feed(&read_copied(project, &copy.from)?);
    }
    let archive = store.join(format!("{}-{}.tar", image.directory, key.end()));
    if archive.is_file() {
        return Archive::open(&archive);
    }
    let written = assemble(&archive, project, image, &recipe, &root)?;
    remove_older(store, image.directory, &archive)?;
    progress.tell(&format!("{}: {}", image.name, archive.display()));
    Ok(written)
}

fn assemble(archive: &Path, project: &Path, image: OwnImage, recipe: &Recipe, root: &Path) -> Result<Archive, Error> {
    let sources: Vec<PathBuf> = recipe.copies.iter().map(|copy| project.join(&copy.from)).collect();
    let files: Vec<(&str, &Path, u32)> = recipe
        .copies
        .iter()
        .zip(&sources)
        .map(|(copy, source)| (copy.to.as_str(), source.as_path(), copy.mode))
        .collect();
    let added = archive.with_extension("added");
    let layers = [Layer::from_tar(root)?, Layer::from_files(&added, &files)?];
    let written = write_archive(archive, image.name, &layers, &recipe.config)?;
    std::fs::remove_file(&added).map_err(Error::io("remove", &added))?;
    Ok(written)
}

/// The laid-out root of a folder of `deploy/images`, made where it is missing.
async fn lay_out(store: &Path, project: &Path, name: &str, progress: Progress) -> Result<PathBuf, Error> {
    let images = project.join("deploy/images");
    let (script, folder) = (images.join("lay-out"), images.join(name));
    let mut key = Key::new();
    for part in [script.clone(), folder.join("packages"), folder.join("remove")] {
        key.feed(&read(&part)?);
    }
    let wheels = folder.join("wheels");
    if wheels.is_file() {
        key.feed(&read(&wheels)?);
    }
    let root = store.join(format!("root-{name}-{}.tar", key.end()));
    if !root.is_file() {
        create_dir(store)?;
        let step = progress.step(format!("lay out the root of {name}"), LAY_OUT_ESTIMATE);
        Run::new(&script)
            .arg(&folder)
            .arg(&root)
            .limit(LAY_OUT_LIMIT)
            .run()
            .await?;
        remove_older(store, &format!("root-{name}"), &root)?;
        step.done();
    }
    Ok(root)
}

/// Removes the earlier versions of what `kept` is the newest of: files called `<name>-<key>.tar`.
fn remove_older(store: &Path, name: &str, kept: &Path) -> Result<(), Error> {
    let entries = std::fs::read_dir(store).map_err(Error::io("read", store))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path != kept && is_version_of(&path, name) {
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

fn is_version_of(path: &Path, name: &str) -> bool {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let key = file
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.strip_suffix(".tar"));
    key.is_some_and(|key| key.len() == 2 * KEY_BYTES && key.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(Error::io("read", path))
}

fn read_copied(project: &Path, from: &str) -> Result<Vec<u8>, Error> {
    let path = project.join(from);
    if from.starts_with("target/") && !path.is_file() {
        return Err(Error::NoSuch {
            what: path.display().to_string(),
            hint: "`cargo build --release --locked` builds it; what is for tests alone says in its Containerfile how it is built".to_owned(),
        });
    }
    read(&path)
}

/// A hash over parts; each part's length goes first, so that two lists of parts never read the same.
struct Key(Sha256);

impl Key {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn feed(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn end(self) -> String {
        hex(&self.0.finalize()[..KEY_BYTES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::example::EXAMPLES;

    fn project() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn every_containerfile_of_the_project_is_understood() {
        for image in OWN_IMAGES.iter().chain([&HAPROXY, &WRONG_CLOCK, &UNCONDITIONAL]) {
            let folder = project().join("deploy/images").join(image.directory);
            let text = std::fs::read_to_string(folder.join("Containerfile")).expect("it is there");
            let recipe = containerfile::parse(&text).unwrap_or_else(|wrong| panic!("{}: {wrong}", image.directory));
            assert!(
                project()
                    .join("deploy/images")
                    .join(&recipe.root)
                    .join("packages")
                    .is_file()
            );
            assert!(!recipe.config.user.is_empty(), "{} would run as root", image.directory);
        }
    }

    #[test]
    fn the_manifests_call_the_images_by_these_names() {
        let calls = |path: &str, image: &str| {
            let text = std::fs::read_to_string(project().join(path)).expect("it is there");
            let name = OwnImage::find(image).expect("known").name;
            assert!(text.contains(&format!("image: {name}\n")), "{path} has no {name}");
        };
        calls("deploy/install.yaml", "controller");
        for example in EXAMPLES {
            calls(&format!("{}/5-nodes.yaml", example.path()), example.image);
        }
    }

    #[test]
    fn only_versions_of_the_same_name_are_removed() {
        assert!(is_version_of(Path::new("/s/postgres-0123456789abcdef.tar"), "postgres"));
        assert!(!is_version_of(
            Path::new("/s/root-postgres-0123456789abcdef.tar"),
            "postgres"
        ));
        assert!(!is_version_of(
            Path::new("/s/postgres-client-0123456789abcdef.tar"),
            "postgres"
        ));
        assert!(!is_version_of(
            Path::new("/s/postgres-0123456789abcdef.added"),
            "postgres"
        ));
    }
}
