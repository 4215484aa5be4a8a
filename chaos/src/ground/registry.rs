//! Puts images where a cluster of the user's own pulls them from, with skopeo: it needs no daemon and no root, and it knows the
//! credentials that `podman login`, `buildah login` or `docker login` left.

use std::net::IpAddr;
use std::time::Duration;

use crate::cluster::image::Archive;
use crate::cluster::{Error, OwnImage, Run};

/// The largest image has 100 MB, and a registry may be far away.
const PUSH_LIMIT: Duration = Duration::from_mins(15);
/// So much of a digest tells the versions of one image apart.
const TAG_DIGITS: usize = 12;

/// Pushes an archive where the registry does not have it yet, and returns the name to pull it by. The tag is of the content: nodes that
/// hold an older version under the same name would not pull again.
pub(super) async fn push(registry: &str, image: OwnImage, archive: &Archive) -> Result<String, Error> {
    let name = name(registry, image, archive);
    let reference = format!("docker://{name}");
    let verify = format!("tls-verify={}", !is_loopback(registry));
    let is_there = Run::new("skopeo")
        .args(["inspect", "--raw", &format!("--{verify}"), &reference])
        .run()
        .await;
    match is_there {
        Ok(_) => return Ok(name),
        Err(Error::NoSuchProgram { .. }) => {
            return Err(Error::MissingPackages {
                command: "sudo apt-get install --no-install-recommends skopeo".to_owned(),
            });
        }
        // What is wrong with a registry that does not answer is told by the push.
        Err(_) => {}
    }
    let source = format!("oci-archive:{}", archive.path.display());
    Run::new("skopeo")
        .args([
            "copy",
            "--quiet",
            "--insecure-policy",
            &format!("--dest-{verify}"),
            &source,
            &reference,
        ])
        .limit(PUSH_LIMIT)
        .run()
        .await?;
    Ok(name)
}

fn name(registry: &str, image: OwnImage, archive: &Archive) -> String {
    let digest = archive.digest.trim_start_matches("sha256:");
    let version = digest.get(..TAG_DIGITS).unwrap_or(digest);
    format!(
        "{}/pgsteer/{}:{version}",
        registry.trim_end_matches('/'),
        image.directory
    )
}

/// A registry on loopback may speak plain HTTP, as containerd and docker have it too; any other has to show a certificate.
fn is_loopback(registry: &str) -> bool {
    let authority = registry.split('/').next().unwrap_or(registry);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_registry_on_loopback_may_do_without_tls() {
        for loopback in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000/team",
            "[::1]:5000",
            "[::1]",
        ] {
            assert!(is_loopback(loopback), "{loopback}");
        }
        for other in [
            "registry.example",
            "localhost.example:5000",
            "10.0.0.1:5000",
            "registry.example/localhost",
            "[fd00::1]:5000",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn another_content_has_another_name() {
        let image = OwnImage::find("client").expect("one of the images");
        let archive = |digest: &str| Archive {
            path: "a.tar".into(),
            name: "a".to_owned(),
            digest: digest.to_owned(),
        };
        let one = name("registry.example/team/", image, &archive("sha256:0123456789abcdef"));
        assert_eq!(one, "registry.example/team/pgsteer/client:0123456789ab");
        assert_ne!(
            one,
            name("registry.example/team/", image, &archive("sha256:1123456789abcdef"))
        );
    }
}
