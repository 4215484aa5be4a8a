//! Container images as OCI archives, written without any image tool: layers are tar files, and an archive is their list with a
//! configuration. Equal inputs give equal bytes, so an image's digest says whether it has changed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Error;
use super::layout::create_dir;
use super::recipe::hex;

#[cfg(test)]
mod tests;

/// One layer: an uncompressed tar file. Images that share a layer share it on a node's disk too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    path: PathBuf,
    digest: String,
    bytes: u64,
}

/// How an image is run; empty fields are left out.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageConfig {
    /// The program and its first arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments that a pod may replace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// `uid:gid` or a user's name; empty for root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
}

/// An OCI archive on disk that holds one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The file.
    pub path: PathBuf,
    /// The image's full name, such as `localhost/pgsteer:dev`.
    pub name: String,
    /// The digest of its manifest: two archives with the same one hold the same image.
    pub digest: String,
}

impl Layer {
    /// Reads a tar file to know its digest.
    pub fn from_tar(path: &Path) -> Result<Self, Error> {
        let failed = || Error::io("read the layer", path);
        let mut file = File::open(path).map_err(failed())?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; COPY_BYTES];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut buffer).map_err(failed())?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            bytes += read as u64;
        }
        Ok(Self {
            path: path.to_owned(),
            digest: format!("sha256:{}", hex(&hash.finalize())),
            bytes,
        })
    }

    /// Writes a layer of single files, each with its path in the image, where it comes from and its mode.
    pub fn from_files(path: &Path, files: &[(&str, &Path, u32)]) -> Result<Self, Error> {
        let write = || -> io::Result<()> {
            let mut tar = tar::Builder::new(File::create(path)?);
            for (name, source, mode) in files {
                let mut file = File::open(source)?;
                let length = file.metadata()?.len();
                tar.append_data(&mut header(length, *mode), name, &mut file)?;
            }
            tar.into_inner()?.flush()
        };
        write().map_err(Error::io("write the layer", path))?;
        Self::from_tar(path)
    }
}

/// Layers are read in pieces of a size that the disk likes.
const COPY_BYTES: usize = 1 << 20;

/// A tar header with nothing in it that differs from run to run.
fn header(length: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

/// Writes an archive of these layers, lowest first. It appears under its name only when it is whole.
pub fn write_archive(path: &Path, name: &str, layers: &[Layer], config: &ImageConfig) -> Result<Archive, Error> {
    let config = to_bytes(&json!({
        "architecture": architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| &layer.digest).collect::<Vec<_>>()},
    }));
    let describe = |layer: &Layer| json!({"mediaType": LAYER_TYPE, "digest": layer.digest, "size": layer.bytes});
    let manifest = to_bytes(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest(&config), "size": config.len()},
        "layers": layers.iter().map(describe).collect::<Vec<_>>(),
    }));
    let index = to_bytes(&index(name, &manifest));
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    let partial = path.with_extension("partial");
    let write = || -> io::Result<()> {
        let mut tar = tar::Builder::new(File::create(&partial)?);
        let mut add =
            |name: &str, content: &[u8]| tar.append_data(&mut header(content.len() as u64, FILE_MODE), name, content);
        add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add(INDEX, &index)?;
        add(&blob(&digest(&manifest)), &manifest)?;
        add(&blob(&digest(&config)), &config)?;
        for layer in layers {
            tar.append_data(
                &mut header(layer.bytes, FILE_MODE),
                blob(&layer.digest),
                &mut File::open(&layer.path)?,
            )?;
        }
        tar.into_inner()?.flush()
    };
    write().map_err(Error::io("write the archive", &partial))?;
    std::fs::rename(&partial, path).map_err(Error::io("put in place", path))?;
    Ok(Archive {
        path: path.to_owned(),
        name: name.to_owned(),
        digest: digest(&manifest),
    })
}

impl Archive {
    /// Reads which image an archive holds.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let malformed = |wrong: &str| Error::Malformed {
            path: path.to_owned(),
            wrong: wrong.to_owned(),
        };
        let read = || -> io::Result<Option<Vec<u8>>> {
            let mut tar = tar::Archive::new(File::open(path)?);
            for entry in tar.entries_with_seek()? {
                let mut entry = entry?;
                if entry.path()?.as_ref() == Path::new(INDEX) {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content)?;
                    return Ok(Some(content));
                }
            }
            Ok(None)
        };
        let index = read()
            .map_err(Error::io("read the archive", path))?
            .ok_or_else(|| malformed("an OCI archive has an index.json"))?;
        let index: Value = serde_json::from_slice(&index).map_err(|error| malformed(&error.to_string()))?;
        let manifest = &index["manifests"][0];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let name = text(&manifest["annotations"][NAME_ANNOTATION]).ok_or_else(|| malformed("its image has no name"))?;
        let digest = text(&manifest["digest"]).ok_or_else(|| malformed("its image has no digest"))?;
        Ok(Self {
            path: path.to_owned(),
            name,
            digest,
        })
    }
}

const INDEX: &str = "index.json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
/// The annotation from which containerd takes an image's full name.
const NAME_ANNOTATION: &str = "io.containerd.image.name";
const FILE_MODE: u32 = 0o644;

fn index(name: &str, manifest: &[u8]) -> Value {
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": MANIFEST_TYPE,
            "digest": digest(manifest),
            "size": manifest.len(),
            "annotations": {NAME_ANNOTATION: name, "org.opencontainers.image.ref.name": tag},
            "platform": {"architecture": architecture(), "os": "linux"},
        }],
    })
}

/// Go's name for this host's processor, which is what images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(content)))
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
