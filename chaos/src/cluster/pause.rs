//! The image of the container that holds a pod's namespaces, made once a version of its source.

use super::Error;
use super::build::Programs;
use super::containerd::PAUSE_IMAGE;
use super::image::{Archive, ImageConfig, Layer, write_archive};
use super::layout::{Cache, create_dir};

/// The image's archive in the cache.
pub(crate) fn image(cache: &Cache, programs: &Programs) -> Result<Archive, Error> {
    let program = programs.path("pause");
    // The program lies in a directory that is named after the hash of its source.
    let version = program.parent().and_then(|directory| directory.file_name());
    let version = version.unwrap_or_default().to_string_lossy();
    let directory = cache.images();
    let path = directory.join(format!("{version}.tar"));
    if path.is_file() {
        return Archive::open(&path);
    }
    create_dir(&directory)?;
    let layer = directory.join(format!("{version}-layer.tar"));
    let layer = Layer::from_files(&layer, &[("pause", program, 0o755)])?;
    let entrypoint = vec!["/pause".to_owned()];
    let config = ImageConfig {
        entrypoint,
        ..ImageConfig::default()
    };
    write_archive(&path, PAUSE_IMAGE, &[layer], &config)
}
