//! The controllers in another image for a while.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Error, OwnImage, UNCONDITIONAL, WRONG_CLOCK, write_own_images};
use crate::install::{CONTROLLER, Installation, SYSTEM};

/// Three replicas are replaced one after the other, each ready within five seconds.
const ROLLED_WITHIN: Duration = Duration::from_mins(3);

/// Lets the controllers run without the preconditions of their writes, and without the admission policy that is the second belt.
pub(super) async fn without_preconditions(installation: &Installation<'_>, cluster: &Cluster) -> Result<(), Error> {
    load(installation, cluster, UNCONDITIONAL).await?;
    let kubectl = installation.ground.kubectl();
    let binding = "validatingadmissionpolicybinding/pgsteer-fence";
    kubectl.run(&["delete", binding, "--ignore-not-found"], None).await?;
    let image = format!("{CONTROLLER}={}", UNCONDITIONAL.name);
    let object = format!("deployment/{CONTROLLER}");
    kubectl
        .run(&["-n", SYSTEM, "set", "image", &object, &image], None)
        .await?;
    rolled(installation).await
}

/// Puts an image that nobody installs on the nodes.
async fn load(installation: &Installation<'_>, cluster: &Cluster, image: OwnImage) -> Result<(), Error> {
    let images = [image];
    let archives = write_own_images(installation.cache, installation.project, &images, installation.progress).await?;
    let paths: Vec<PathBuf> = archives.into_iter().map(|archive| archive.path).collect();
    cluster.load(&paths).await.map(drop)
}

/// Lets the controllers run on an image in which a scenario can set the wall clock wrong.
pub(super) async fn with_settable_clocks(installation: &Installation<'_>, cluster: &Cluster) -> Result<(), Error> {
    load(installation, cluster, WRONG_CLOCK).await?;
    let env: Vec<Value> = ENVIRONMENT
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let patch = json!({"spec": {"template": {"spec": {
        "containers": [{
            "name": CONTROLLER,
            "image": WRONG_CLOCK.name,
            "env": env,
            "volumeMounts": [{"name": "faketime", "mountPath": "/run/faketime"}],
        }],
        "volumes": [{"name": "faketime", "emptyDir": {}}],
    }}}});
    let words = [
        "-n",
        SYSTEM,
        "patch",
        "deployment",
        CONTROLLER,
        "-p",
        &patch.to_string(),
    ];
    installation.ground.kubectl().run(&words, None).await?;
    rolled(installation).await
}

/// The wall clock alone is wrong, by what the file says, which is read again every second. `$LIB` is the loader's own word for where the
/// libraries are.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1"),
    ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ("FAKETIME_CACHE_DURATION", "1"),
    ("FAKETIME_TIMESTAMP_FILE", "/run/faketime/offset"),
];

/// Back to what users install.
pub(super) async fn as_installed(installation: &Installation<'_>) -> Result<(), Error> {
    let object = format!("deployment/{CONTROLLER}");
    let words = ["-n", SYSTEM, "rollout", "undo", &object];
    installation.ground.kubectl().run(&words, None).await?;
    rolled(installation).await
}

async fn rolled(installation: &Installation<'_>) -> Result<(), Error> {
    let object = format!("deployment/{CONTROLLER}");
    let limit = format!("--timeout={}s", ROLLED_WITHIN.as_secs());
    let words = ["-n", SYSTEM, "rollout", "status", &object, &limit];
    installation.ground.kubectl().run(&words, None).await.map(drop)
}
