//! What users install, against a real API server: the rendered file is the chart's, the rights are those that are listed here and no
//! more, and the fence refuses a write of an older term.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chaos::cluster::{ControlPlane, Part, Programs, from_environment};
use chaos::install::example::EXAMPLES;
use chaos::wait::wait_for;
use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

const ACCOUNT: &str = "system:serviceaccount:pgsteer-system:pgsteer";
const STAMP: &str = "pgsteer.io/stamp";
/// A new policy or role is in force within a second; the rest is a busy host.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// Runs a command and answers its standard output.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("a program of the cache or of every host");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn programs() -> Programs {
    Programs::find(&from_environment().0, Part::ControlPlane)
        .await
        .expect("`chaos build --control-plane` has built them")
}

/// An API server with `install.yaml` applied as users apply it.
async fn installed(directory: &Path) -> ControlPlane {
    let control_plane = ControlPlane::start(directory).await.expect("an API server");
    apply(&control_plane, &deploy("install.yaml")).await;
    control_plane
}

/// What users do with a file or a folder of ours; a field that the API server does not know is an error.
async fn apply(control_plane: &ControlPlane, path: &Path) {
    run(Command::new(programs().await.path("kubectl"))
        .arg("--kubeconfig")
        .arg(control_plane.kubeconfig())
        .args(["apply", "--validate=strict", "-f"])
        .arg(path));
}

fn client_as(control_plane: &ControlPlane, user: &str, groups: &[&str]) -> Client {
    let mut config = control_plane.config();
    config.auth_info.impersonate = Some(user.to_owned());
    config.auth_info.impersonate_groups = Some(groups.iter().map(|&group| group.to_owned()).collect());
    Client::try_from(config).expect("a client")
}

#[tokio::test]
async fn install_yaml_is_what_the_chart_gives() {
    let programs = programs().await;
    let helm = programs.path("helm");
    let path = format!("{}:/usr/bin:/bin", helm.parent().expect("a directory").display());
    run(Command::new(deploy("render.sh")).arg("--check").env("PATH", path));
}

#[tokio::test]
async fn the_examples_are_accepted_in_the_order_of_their_readme() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let control_plane = installed(&directory.path().join("cluster")).await;
    let secrets = directory.path().join("secrets.yaml");
    let print_secrets = |namespace: &str| {
        let printed = run(Command::new(deploy("examples/secrets.sh")).arg(namespace));
        std::fs::write(&secrets, printed).expect("written");
    };
    for example in EXAMPLES {
        let folder = deploy("examples").join(example.directory);
        apply(&control_plane, &folder.join("1-namespace.yaml")).await;
        print_secrets(example.namespace);
        apply(&control_plane, &secrets).await;
        apply(&control_plane, &folder).await;
    }
    // Again, as people do: the passwords in the servers stay those in the Secrets.
    print_secrets(EXAMPLES[0].namespace);
    let mut again = Command::new(programs().await.path("kubectl"));
    again.arg("--kubeconfig").arg(control_plane.kubeconfig());
    let output = again
        .args(["apply", "-f"])
        .arg(&secrets)
        .output()
        .expect("kubectl runs");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("immutable"));
}

#[tokio::test]
async fn with_named_namespaces_nothing_is_granted_elsewhere() {
    let programs = programs().await;
    let mut helm = Command::new(programs.path("helm"));
    helm.args(["template", "pgsteer"]).arg(deploy("chart/pgsteer"));
    let rendered = run(helm.args(["--namespace", "here", "--set", "namespaces={pg,other}"]));
    assert!(!rendered.contains("kind: ClusterRole"), "{rendered}");
    assert!(rendered.contains("- --namespaces=pg,other\n"), "{rendered}");
    let mut roles: Vec<&str> = Vec::new();
    for document in rendered
        .split("\n---\n")
        .filter(|document| document.contains("\nkind: Role\n"))
    {
        roles.extend(document.lines().find_map(|line| line.strip_prefix("  namespace: ")));
    }
    roles.sort_unstable();
    // The controller's and the viewer's.
    assert_eq!(roles, ["here", "here", "other", "other", "pg", "pg"]);
}

#[tokio::test]
async fn the_objects_of_the_prometheus_operator_are_there_when_asked_for_and_keep_the_routes_namespace() {
    let programs = programs().await;
    let render = |settings: &[&str]| {
        let mut helm = Command::new(programs.path("helm"));
        helm.args(["template", "pgsteer"]).arg(deploy("chart/pgsteer"));
        run(helm.args(settings.iter().flat_map(|setting| ["--set", setting])))
    };
    assert!(!render(&[]).contains("monitoring.coreos.com"), "off by default");
    let labels = "monitoring.labels.release=stack";
    for (monitor, kind, endpoints) in [
        ("serviceMonitor", "ServiceMonitor", "endpoints"),
        ("podMonitor", "PodMonitor", "podMetricsEndpoints"),
    ] {
        let rendered = render(&[&format!("monitoring.{monitor}.enabled=true"), labels]);
        let end = format!("  {endpoints}:\n    - port: admin\n      interval: 15s\n      honorLabels: true");
        assert!(
            rendered.contains(&format!("kind: {kind}\n")) && rendered.contains(&end),
            "{rendered}"
        );
        assert!(rendered.contains("    release: stack\n"), "{rendered}");
    }
    let rendered = render(&["monitoring.prometheusRule.enabled=true"]);
    let rules = std::fs::read_to_string(deploy("prometheus/rules.yaml")).expect("the rules");
    let alerts = |text: &str| text.matches("- alert: ").count();
    assert!(
        rendered.contains("kind: PrometheusRule\n") && alerts(&rendered) == alerts(&rules),
        "{rendered}"
    );
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "the question is what the account may do; nothing is written"
)]
async fn the_account_has_the_rights_that_are_listed_here_and_no_others() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let control_plane = installed(directory.path()).await;
    let reviews: Api<SelfSubjectRulesReview> = Api::all(client_as(&control_plane, ACCOUNT, &[]));
    let rights = |namespace: &'static str| {
        let reviews = reviews.clone();
        async move {
            let spec = SelfSubjectRulesReviewSpec {
                namespace: Some(namespace.to_owned()),
            };
            let review = SelfSubjectRulesReview {
                spec,
                ..SelfSubjectRulesReview::default()
            };
            let answer = reviews.create(&PostParams::default(), &review).await.expect("answered");
            let status = answer.status.expect("a status");
            assert!(!status.incomplete, "{:?}", status.evaluation_error);
            status
                .resource_rules
                .into_iter()
                .flat_map(|rule| {
                    let join = |list: Option<Vec<String>>| list.unwrap_or_default().join(",");
                    let names = join(rule.resource_names);
                    let (groups, verbs) = (join(rule.api_groups), rule.verbs.join(","));
                    let line = move |resource| format!("{groups}/{resource} {names}: {verbs}");
                    rule.resources.unwrap_or_default().into_iter().map(line)
                })
                // What everybody may ask about themselves.
                .filter(|line| !line.contains("/selfsubject"))
                .collect::<BTreeSet<String>>()
        }
    };
    let everywhere = BTreeSet::from(
        [
            "/pods : get,list,watch,patch",
            "/services : get,list,watch",
            "/secrets : get",
            "discovery.k8s.io/endpointslices : get,list,watch,create,patch",
            "apps/deployments : get",
            "apps/replicasets : get",
            "apps/statefulsets : get",
            "pgsteer.io/postgresroutes : get,list,watch,patch",
            "pgsteer.io/postgresroutes/status : get,patch",
            "pgsteer.io/postgresledgers : get,list,watch,create,patch",
            "events.k8s.io/events : create,patch",
        ]
        .map(str::to_owned),
    );
    assert_eq!(rights("pg").await, everywhere);
    let mut at_home = everywhere;
    at_home.insert("coordination.k8s.io/leases pgsteer: get,list,watch,patch".to_owned());
    at_home.insert("coordination.k8s.io/leases : create".to_owned());
    assert_eq!(rights("pgsteer-system").await, at_home);
}

/// What becomes of the stamp; `Keep` writes something else on the pod.
#[derive(Debug, Clone, Copy)]
enum Write {
    Stamp(&'static str),
    Remove,
    Keep,
}

async fn write(pods: &Api<Pod>, write: Write) -> Result<(), String> {
    let annotation = match write {
        Write::Stamp(stamp) => json!({STAMP: stamp}),
        Write::Remove => json!({STAMP: Value::Null}),
        Write::Keep => json!({"other": "value"}),
    };
    let patch = json!({"metadata": {"annotations": annotation}});
    #[expect(clippy::disallowed_methods, reason = "the test plays the leaders, old and new")]
    let answer = pods
        .patch("server", &PatchParams::default(), &Patch::Merge(patch))
        .await;
    answer.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "there is no controller; the test makes the pod"
)]
async fn the_fence_lets_a_stamp_rise_and_never_fall() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let control_plane = installed(directory.path()).await;
    let pods: Api<Pod> = Api::default_namespaced(client_as(&control_plane, ACCOUNT, &[]));
    let person: Api<Pod> = Api::default_namespaced(client_as(&control_plane, "a-person", &["system:masters"]));
    let trusted = client_as(&control_plane, "a-person", &["system:masters", "pgsteer:break-glass"]);
    let trusted: Api<Pod> = Api::default_namespaced(trusted);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "server"},
        "spec": {"containers": [{"name": "postgres", "image": "none"}]},
    }))
    .expect("a pod");
    person.create(&PostParams::default(), &pod).await.expect("created");
    write(&pods, Write::Stamp("5.1.0123abcd"))
        .await
        .expect("a first stamp passes");
    wait_for("the fence to be in force", SETTLE_LIMIT, || async {
        match write(&pods, Write::Stamp("4.9.0123abcd")).await {
            Err(refusal) if refusal.contains("older term") => Ok(()),
            // Not in force yet: put back what was let through.
            other => {
                write(&pods, Write::Stamp("5.1.0123abcd")).await.ok();
                Err(format!("{other:?}"))
            }
        }
    })
    .await
    .expect("in force");

    for passes in [
        Write::Stamp("5.2.0123abcd"),
        Write::Keep,
        Write::Stamp("10.1.0123abcd"),
        Write::Stamp("10.1.0123abcd"),
    ] {
        write(&pods, passes)
            .await
            .unwrap_or_else(|refusal| panic!("{passes:?}: {refusal}"));
    }
    let refused = [
        "9.9.0123abcd",
        "",
        "11",
        "11.1.0123ABCD",
        "x.1.0123abcd",
        "-11.1.0123abcd",
        "11111111111111111111.1.0123abcd",
    ];
    for stamp in refused.map(Write::Stamp).into_iter().chain([Write::Remove]) {
        let refusal = write(&pods, stamp).await.expect_err("refused");
        assert!(
            refusal.contains("10.1.0123abcd"),
            "the refusal of {stamp:?} names the stamp: {refusal}"
        );
        write(&person, stamp).await.expect_err("a person is held to it too");
    }
    write(&trusted, Write::Stamp("nonsense"))
        .await
        .expect("a trusted person may");
    write(&pods, Write::Keep).await.expect("a damaged stamp stops nobody");
    write(&pods, Write::Stamp("3.1.0123abcd"))
        .await
        .expect("and is repaired by the next write");
    write(&trusted, Write::Remove).await.expect("a trusted person may");
    write(&pods, Write::Stamp("1.1.0123abcd"))
        .await
        .expect("a pod without a stamp takes any");
}
