//! What users of Chaos Mesh apply, against a real API server that knows Chaos Mesh's own kinds; where its controller would be, the test
//! writes the status.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use chaos::cluster::{CHAOS_MESH_CRDS, ControlPlane, Part, Programs, from_environment};
use chaos::mesh::{Error, Experiment, Stage};
use chaos::wait::wait_for;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition,
};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

/// Everything here takes milliseconds; the rest is a busy host.
const LIMIT: Duration = Duration::from_secs(30);

/// The kinds that the files use, and those of the definitions.
const KINDS: &[&str] = &[
    "podchaos",
    "networkchaos",
    "stresschaos",
    "timechaos",
    "iochaos",
    "workflows",
    "schedules",
];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

async fn programs() -> Programs {
    Programs::find(&from_environment().0, Part::ControlPlane)
        .await
        .expect("`chaos build --control-plane` has built them")
}

async fn kubectl(control_plane: &ControlPlane, args: &[&str]) -> String {
    let mut command = Command::new(programs().await.path("kubectl"));
    let command = command.arg("--kubeconfig").arg(control_plane.kubeconfig()).args(args);
    let output = command.output().expect("kubectl runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An API server with kinds of Chaos Mesh and the two namespaces.
async fn with_chaos_mesh(directory: &Path, kinds: &[&str]) -> ControlPlane {
    let control_plane = ControlPlane::start(directory).await.expect("an API server");
    for namespace in ["pg", "pgsteer-system"] {
        kubectl(&control_plane, &["create", "namespace", namespace]).await;
    }
    let folder = programs().await.path(CHAOS_MESH_CRDS).to_owned();
    let definitions: Api<CustomResourceDefinition> = Api::all(control_plane.client());
    for kind in kinds {
        let file = folder.join(format!("chaos-mesh.org_{kind}.yaml"));
        // The largest does not fit into the annotation that a client-side apply leaves.
        kubectl(
            &control_plane,
            &["apply", "--server-side", "-f", &file.to_string_lossy()],
        )
        .await;
        let name = format!("{kind}.chaos-mesh.org");
        let established = wait_for(&name, LIMIT, || async {
            let found = definitions.get(&name).await.map_err(|error| error.to_string())?;
            let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
            let is = |condition: &&CustomResourceDefinitionCondition| {
                condition.type_ == "Established" && condition.status == "True"
            };
            conditions
                .iter()
                .find(is)
                .map(drop)
                .ok_or_else(|| "not established".to_owned())
        });
        established.await.expect("the kind is served");
    }
    control_plane
}

#[tokio::test]
async fn chaos_mesh_takes_every_file_as_it_is() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let control_plane = with_chaos_mesh(directory.path(), KINDS).await;
    let folder = project().join("deploy/chaos-mesh");
    let args = [
        "apply",
        "--recursive",
        "--validate=strict",
        "-f",
        &folder.to_string_lossy(),
    ];
    kubectl(&control_plane, &args).await;

    for kind in KINDS {
        let listed = kubectl(&control_plane, &["get", kind, "-A", "-o", "json"]).await;
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        let items = listed["items"].as_array().expect("a list");
        assert!(!items.is_empty(), "no file has the kind {kind}");
        for item in items {
            selects_what_the_example_has(item);
            if *kind == "workflows" {
                every_template_is_there(&item["spec"]);
            }
        }
    }
}

/// A selector with a label that nothing carries strikes nobody, and no API server would say so.
fn selects_what_the_example_has(value: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(selector) = fields.get("selector") {
                let known = json!({
                    "pg": {"deployment_name": ["pg_ha"], "role": ["primary", "replica"]},
                    "pgsteer-system": {"app.kubernetes.io/name": ["pgsteer"]},
                });
                let namespace = selector["namespaces"][0].as_str().expect("a namespace");
                let labels = selector["labelSelectors"].as_object().expect("labels");
                assert!(!labels.is_empty(), "{value}");
                for (key, label) in labels {
                    let values = known[namespace][key].as_array();
                    let is_known = values.is_some_and(|values| values.contains(label));
                    assert!(is_known, "nothing in {namespace} has {key}: {label}");
                }
            }
            fields.values().for_each(selects_what_the_example_has);
        }
        Value::Array(items) => items.iter().for_each(selects_what_the_example_has),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn every_template_is_there(spec: &Value) {
    let templates = spec["templates"].as_array().expect("templates");
    let is_there = |name: &Value| assert!(templates.iter().any(|template| template["name"] == *name), "{name}");
    is_there(&spec["entry"]);
    for template in templates {
        let children = template["children"].as_array().into_iter().flatten();
        let branches = template["conditionalBranches"].as_array().into_iter().flatten();
        children.for_each(is_there);
        branches.map(|branch| &branch["target"]).for_each(is_there);
    }
}

#[tokio::test]
async fn a_cluster_without_chaos_mesh_is_told_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let control_plane = ControlPlane::start(directory.path()).await.expect("an API server");
    let experiment = Experiment::find(&project(), "pair-partitioned").expect("it is there");
    let refused = experiment.run(&control_plane.client(), |_| {}).await;
    let refused = refused.expect_err("there is no Chaos Mesh");
    assert!(matches!(refused, Error::NotInstalled { .. }), "{refused}");
    assert!(refused.to_string().contains("networkchaos.chaos-mesh.org"), "{refused}");
    assert!(
        matches!(
            experiment.targets(&control_plane.client()).await,
            Err(Error::NobodySelected { .. })
        ),
        "there are no pods either"
    );
}

/// Chaos Mesh's controller, as far as an experiment's follower sees it.
struct Controller {
    api: Api<DynamicObject>,
    name: &'static str,
}

impl Controller {
    fn of(client: Client, kind: &str, name: &'static str) -> Self {
        let gvk = GroupVersionKind::gvk("chaos-mesh.org", "v1alpha1", kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, &kind.to_lowercase());
        Self {
            api: Api::namespaced_with(client, "pg", &resource),
            name,
        }
    }

    async fn is_there(&self) {
        let there = wait_for("the experiment", LIMIT, || async {
            self.api.get(self.name).await.map_err(|error| error.to_string())
        });
        let object = there.await.expect("it is created");
        assert_eq!(object.name_any(), self.name);
    }

    async fn says(&self, phase: &str, selected: &str, injected: &str, recovered: &str) {
        let condition = |name: &str, status: &str| json!({"type": name, "status": status});
        let status = json!({
            "conditions": [condition("Selected", selected), condition("AllInjected", injected), condition("AllRecovered", recovered)],
            "experiment": {"desiredPhase": phase},
        });
        // With the status as a part of the object (PodChaos) or beside it (the others).
        let patch = Patch::Merge(json!({"status": status}));
        #[expect(clippy::disallowed_methods, reason = "the test plays Chaos Mesh's controller")]
        if self
            .api
            .patch_status(self.name, &PatchParams::default(), &patch)
            .await
            .is_err()
        {
            let patched = self.api.patch(self.name, &PatchParams::default(), &patch).await;
            patched.expect("a status");
        }
    }
}

#[tokio::test]
async fn an_experiment_is_followed_from_injected_to_recovered_and_removed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let control_plane = with_chaos_mesh(directory.path(), &["networkchaos"]).await;
    let client = control_plane.client();
    let experiment = Experiment::find(&project(), "pair-partitioned").expect("it is there");
    let controller = Controller::of(client.clone(), "NetworkChaos", "pair-partitioned");
    let stages: Mutex<Vec<Stage>> = Mutex::default();
    let seen = || stages.lock().expect("not poisoned").clone();
    let play = async {
        controller.is_there().await;
        // Before anything is injected nothing is left to recover.
        controller.says("Run", "True", "False", "True").await;
        assert_eq!(seen(), []);
        controller.says("Run", "True", "True", "False").await;
        let injected = wait_for("the fault to be told", LIMIT, || async {
            if seen() == [Stage::Injected] {
                Ok(())
            } else {
                Err(format!("{:?}", seen()))
            }
        });
        injected.await.expect("told once it is injected");
        controller.says("Stop", "True", "False", "True").await;
    };
    let run = experiment.run(&client, |stage| stages.lock().expect("not poisoned").push(stage));
    let (ended, ()) = tokio::join!(run, play);
    ended.unwrap_or_else(|error| panic!("{:#}", anyhow::Error::from(error)));
    assert_eq!(seen(), [Stage::Injected, Stage::Recovered]);
    assert!(controller.api.get(controller.name).await.is_err(), "it is removed");
}

#[tokio::test]
async fn a_kill_is_recovered_as_soon_as_it_is_injected() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let control_plane = with_chaos_mesh(directory.path(), &["podchaos"]).await;
    let client = control_plane.client();
    let experiment = Experiment::find(&project(), "primary-pod-killed").expect("it is there");
    let controller = Controller::of(client.clone(), "PodChaos", "primary-pod-killed");
    let mut stages = Vec::new();
    let play = async {
        controller.is_there().await;
        controller.says("Run", "True", "True", "False").await;
    };
    let run = experiment.run(&client, |stage| stages.push(stage));
    let (ended, ()) = tokio::join!(run, play);
    ended.unwrap_or_else(|error| panic!("{:#}", anyhow::Error::from(error)));
    assert_eq!(stages, [Stage::Injected, Stage::Recovered]);
}
