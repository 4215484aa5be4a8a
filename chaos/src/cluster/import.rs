//! Gives images to a node's containerd. An image that is there already, by its digest, is not sent again.

use std::path::Path;

use super::Error;
use super::component::Room;
use super::containerd::KUBERNETES;
use super::image::Archive;
use super::node::in_room;

/// Imports one archive into the node whose room this is.
pub(crate) async fn import(room: &Room, ctr: &Path, archive: &Archive) -> Result<(), Error> {
    let ctr = || in_room(room, ctr).args(["-n", KUBERNETES, "images"]);
    let listed = ctr().args(["ls", &format!("name=={}", archive.name)]).run().await?;
    if holds(&listed.out, archive) {
        return Ok(());
    }
    ctr().arg("import").arg(&archive.path).run().await.map(drop)
}

/// Whether a listing (`REF TYPE DIGEST …`) shows this very image.
fn holds(listing: &str, archive: &Archive) -> bool {
    listing.lines().any(|line| {
        let mut columns = line.split_whitespace();
        columns.next() == Some(archive.name.as_str()) && columns.nth(1) == Some(archive.digest.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_under_the_same_name_with_other_content_is_sent_again() {
        let listing = "REF               TYPE                                       DIGEST      SIZE    PLATFORMS   LABELS\n\
                       localhost/a:1     application/vnd.oci.image.manifest.v1+json sha256:aaaa 1.1 MiB linux/amd64 -\n";
        let archive = |name: &str, digest: &str| Archive {
            path: "a.tar".into(),
            name: name.to_owned(),
            digest: digest.to_owned(),
        };
        assert!(holds(listing, &archive("localhost/a:1", "sha256:aaaa")));
        assert!(!holds(listing, &archive("localhost/a:1", "sha256:bbbb")));
        assert!(!holds(listing, &archive("localhost/b:1", "sha256:aaaa")));
    }
}
