//! Makes volumes fit for use again whose claim has gone: a scenario leaves its data behind, and the next one starts on an empty disk.

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::volume::{STORAGE_CLASS, Volume};
use super::{Cluster, Error};

impl Cluster {
    /// Empties every volume of this cluster that was released by its claim, and offers it again. Returns their names.
    ///
    /// A claim's end reaches its volume a moment later: wait until the volumes are `Released`, or call again.
    pub async fn recycle_volumes(&self) -> Result<Vec<String>, Error> {
        let api = Api::<PersistentVolume>::all(self.client());
        let listed = api
            .list(&ListParams::default())
            .await
            .map_err(Error::api("list the volumes"))?;
        let released: Vec<String> = listed
            .iter()
            .filter(|volume| is_released(volume))
            .map(ResourceExt::name_any)
            .collect();
        for volume in self.volumes().iter().filter(|volume| released.contains(&volume.name)) {
            let mount = volume.mount.to_string_lossy();
            self.node_exec(&volume.node, &["find", &mount, "-mindepth", "1", "-delete"])
                .await?;
            offer(&api, volume).await?;
        }
        Ok(released)
    }

    /// Whether no volume of this cluster is held for a claim of this namespace; which one is, in words.
    pub async fn volumes_are_free(&self, namespace: &str) -> Result<(), String> {
        let api = Api::<PersistentVolume>::all(self.client());
        let listed = api
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let taken: Vec<String> = listed
            .iter()
            .filter(|volume| claimed_by(volume) == Some(namespace))
            .map(|volume| format!("{} is {}", volume.name_any(), phase(volume).unwrap_or("of no phase")))
            .collect();
        if taken.is_empty() {
            Ok(())
        } else {
            Err(taken.join(", "))
        }
    }
}

fn claimed_by(volume: &PersistentVolume) -> Option<&str> {
    volume.spec.as_ref()?.claim_ref.as_ref()?.namespace.as_deref()
}

fn phase(volume: &PersistentVolume) -> Option<&str> {
    volume.status.as_ref().and_then(|status| status.phase.as_deref())
}

/// A volume without a claim can be claimed.
#[expect(
    clippy::disallowed_methods,
    reason = "chaos's own volumes; the controller knows nothing of them"
)]
async fn offer(api: &Api<PersistentVolume>, volume: &Volume) -> Result<(), Error> {
    let free = Patch::Merge(json!({"spec": {"claimRef": null}}));
    let patched = api.patch(&volume.name, &PatchParams::default(), &free).await;
    patched
        .map(drop)
        .map_err(Error::api(format!("offer the volume {} again", volume.name)))
}

/// The pods of its claim have ended, and the claim has gone.
fn is_released(volume: &PersistentVolume) -> bool {
    let class = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    phase(volume) == Some("Released") && class == Some(STORAGE_CLASS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(class: &str, phase: &str) -> PersistentVolume {
        let volume = json!({"spec": {"storageClassName": class}, "status": {"phase": phase}});
        serde_json::from_value(volume).expect("a volume")
    }

    #[test]
    fn only_our_own_volumes_that_nobody_claims_are_emptied() {
        assert!(is_released(&volume(STORAGE_CLASS, "Released")));
        assert!(!is_released(&volume(STORAGE_CLASS, "Bound")));
        assert!(!is_released(&volume("fast-ssd", "Released")));
    }
}
