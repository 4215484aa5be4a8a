//! pgsteer in a cluster that somebody else runs: installed with the chart, upgraded, removed, from images in a registry. The embedded
//! cluster plays the somebody: the commands get a kubeconfig and a registry, and know nothing of how the cluster was booted.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use chaos::cluster::{Cache, Cluster, Progress, State, from_environment};
use chaos::wait::wait_for;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// Nodes pull from their own loopback, where a registry needs no TLS; every node has a registry there, and all share one store.
const REGISTRY: &str = "127.0.0.1:5000";
/// The somebody's name for the way to the cluster.
const CONTEXT: &str = "somebody";
/// Mutual waits of processes on one busy host.
const LIMIT: Duration = Duration::from_mins(3);

/// A cluster that goes when the test ends, however it ends.
struct Host {
    cluster: Cluster,
    cache: Cache,
    state: State,
    registries: Vec<Child>,
    directory: tempfile::TempDir,
}

impl Drop for Host {
    fn drop(&mut self) {
        for registry in &mut self.registries {
            registry.kill().ok();
            registry.wait().ok();
        }
        let mut down = Command::new(env!("CARGO_BIN_EXE_chaos"));
        down.arg("--state").arg(self.state.root()).arg("down").status().ok();
    }
}

impl Host {
    async fn boot() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let cache = from_environment().0;
        let state = State::choose(Some(directory.path().join("state")), &cache);
        let cluster = or_tell(Cluster::up(&cache, &state, 2, Progress::Told).await);
        let mut host = Self {
            cluster,
            cache,
            state,
            registries: Vec::new(),
            directory,
        };
        host.start_registries();
        host.write_kubeconfig();
        host
    }

    /// Debian's registry, unpacked and not installed: its package would start one for everybody.
    fn start_registries(&mut self) {
        let root = self.directory.path().join("registry");
        let mut unpack = Command::new("mmdebstrap");
        unpack.args(["--quiet", "--variant=extract", "--include=docker-registry", "bookworm"]);
        ends_well(unpack.arg(&root));
        let config = self.directory.path().join("registry.yml");
        let store = self.directory.path().join("store");
        let content = json!({
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": store}},
            "http": {"addr": REGISTRY},
        });
        std::fs::write(&config, content.to_string()).expect("written");
        let words =
            [root.join("usr/bin/docker-registry"), "serve".into(), config].map(|word| word.display().to_string());
        let nodes = self.cluster.nodes();
        for place in std::iter::once(None).chain(nodes.iter().map(|node| Some(node.as_str()))) {
            let mut registry = or_tell(self.cluster.command(place, &words));
            registry.stdout(Stdio::null()).stderr(Stdio::null());
            self.registries.push(registry.spawn().expect("the registry starts"));
        }
    }

    /// As an administrator hands it out: another context's name, and none that is current.
    fn write_kubeconfig(&self) {
        let text = std::fs::read_to_string(self.cluster.kubeconfig()).expect("readable");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["contexts"][0]["name"] = json!(CONTEXT);
        config["current-context"] = json!("");
        std::fs::write(self.kubeconfig(), config.to_string()).expect("written");
    }

    fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Runs chaos beside the control plane, as a guest: it has a state directory in which no cluster is.
    fn chaos(&self, command: &str, more: &[&str]) -> Output {
        let (kubeconfig, nowhere) = (self.kubeconfig(), self.directory.path().join("nowhere"));
        let path = |path: &Path| path.display().to_string();
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let words = [
            vec![
                env!("CARGO_BIN_EXE_chaos").to_owned(),
                "--cache".to_owned(),
                path(self.cache.root()),
            ],
            vec![
                "--state".to_owned(),
                path(&nowhere),
                command.to_owned(),
                "--project".to_owned(),
                path(&project),
            ],
            vec![
                "--kubeconfig".to_owned(),
                path(&kubeconfig),
                "--context".to_owned(),
                CONTEXT.to_owned(),
            ],
            vec!["--registry".to_owned(), REGISTRY.to_owned()],
            more.iter().map(|&word| word.to_owned()).collect(),
        ]
        .concat();
        let mut chaos = or_tell(self.cluster.command(None, &words));
        chaos.env("KUBECONFIG", "/nowhere").output().expect("chaos starts")
    }

    /// Runs a program of the cluster's as its administrator.
    fn run(&self, line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        ends_well(&mut or_tell(self.cluster.command(None, &words)))
    }

    /// What pgsteer's account may do in a namespace, line by line.
    fn rights(&self, namespace: &str) -> Vec<String> {
        let account = "--as=system:serviceaccount:pgsteer-system:pgsteer";
        let listed = self.run(&format!(
            "kubectl auth can-i --list --no-headers {account} -n {namespace}"
        ));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut rights: Vec<String> = listed.lines().map(words).collect();
        rights.sort();
        rights
    }

    fn routes(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("pgsteer.io", "v1alpha1", "PostgresRoute");
        Api::namespaced_with(self.cluster.client(), namespace, &ApiResource::from_gvk(&kind))
    }

    #[expect(clippy::disallowed_methods, reason = "the test is the somebody")]
    async fn make_namespace(&self, name: &str) {
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
        let namespaces: Api<Namespace> = Api::all(self.cluster.client());
        namespaces
            .create(&PostParams::default(), &object)
            .await
            .expect("created");
    }

    /// A route of the somebody's own, without a pod.
    #[expect(clippy::disallowed_methods, reason = "the test is the somebody")]
    async fn make_route(&self, namespace: &str) {
        let route = json!({
            "apiVersion": "pgsteer.io/v1alpha1",
            "kind": "PostgresRoute",
            "metadata": {"name": "own"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "own"}},
                "services": {"primary": "own-rw", "replica": "own-ro"},
                "connection": {"user": "pgsteer"},
            },
        });
        let route: DynamicObject = serde_json::from_value(route).expect("a route");
        self.routes(namespace)
            .create(&PostParams::default(), &route)
            .await
            .expect("created");
    }

    /// What the cluster has of ours: its namespaces, definitions, and whatever else is not in a namespace.
    fn ours(&self) -> Vec<String> {
        let kinds = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,validatingadmissionpolicies,\
                     validatingadmissionpolicybindings";
        let listed = self.run(&format!("kubectl get {kinds} -o name"));
        let is_ours = |name: &str| name.contains("pgsteer") || name == "namespace/pg";
        listed.lines().filter(|line| is_ours(line)).map(str::to_owned).collect()
    }
}

#[tokio::test]
#[ignore = "boots two nodes: needs root and the built programs and images; run with --ignored"]
async fn a_guest_touches_nothing_but_its_own_and_the_chart_is_installed_upgraded_and_removed() {
    let host = Host::boot().await;
    nothing_happens_unasked(&host).await;

    let installed = host.chaos("install", &["--yes"]);
    assert!(installed.status.success(), "{}", told(&installed));
    assert!(told(&installed).contains("working on https://"), "{}", told(&installed));
    let made = host.ours();
    assert!(!made.iter().any(|name| name.starts_with("clusterrole")), "{made:?}");
    let images = host.run("kubectl get pods -A -o jsonpath={..image}");
    assert!(!images.contains("localhost/pgsteer/"), "{images}");

    the_chart_serves_the_namespaces_that_it_is_told(&host).await;

    let labels = host.run("kubectl -n pg get pods -L role --no-headers");
    host.run("helm uninstall pgsteer --namespace pgsteer-system --wait");
    assert_eq!(
        host.run("kubectl -n pg get pods -L role --no-headers")
            .split_whitespace()
            .nth(5),
        labels.split_whitespace().nth(5)
    );

    let removed = host.chaos("uninstall", &["--yes"]);
    assert!(removed.status.success(), "{}", told(&removed));
    assert!(
        told(&removed).contains("somebody has made objects of it"),
        "{}",
        told(&removed)
    );
    host.run("kubectl -n other delete postgresroute,postgresledger --all");
    assert!(host.chaos("uninstall", &["--yes"]).status.success());
    assert_eq!(host.ours(), Vec::<String>::new());

    the_demo_is_played_and_leaves_nothing(&host);
}

/// Everything that the demo does, but for the faults that it cannot bring about here.
fn the_demo_is_played_and_leaves_nothing(host: &Host) {
    let refused = host.chaos("run", &["--yes", "--all"]);
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert!(told(&refused).contains("chaos demo"), "{}", told(&refused));

    let demo = host.chaos("demo", &["--yes"]);
    let said = told(&demo);
    assert!(demo.status.success(), "{said}");
    assert!(
        said.contains("skipped: kube-apiserver frozen") && said.contains("\nPASS\n"),
        "{said}"
    );
    assert_eq!(host.ours(), Vec::<String>::new());
    eprintln!("{}", said.split("report: ").last().unwrap_or_default());
}

/// Nothing is made before the user agrees, nor where a namespace of the same name is somebody else's.
async fn nothing_happens_unasked(host: &Host) {
    let unasked = host.chaos("install", &[]);
    assert_eq!(unasked.status.code(), Some(2), "{}", told(&unasked));
    assert!(
        told(&unasked).contains("https://") && told(&unasked).contains("--yes"),
        "{}",
        told(&unasked)
    );
    host.make_namespace("pg").await;
    let refused = host.chaos("install", &["--yes"]);
    assert_eq!(refused.status.code(), Some(3), "{}", told(&refused));
    assert!(told(&refused).contains("namespace pg exists"), "{}", told(&refused));
    assert_eq!(host.ours(), ["namespace/pg"]);
    host.run("kubectl delete namespace pg --wait");
}

/// With `namespaces` a Role in each and no right elsewhere, before and after an upgrade that adds one.
async fn the_chart_serves_the_namespaces_that_it_is_told(host: &Host) {
    let rights = |namespace: &str| host.rights(namespace);
    for namespace in ["other", "third"] {
        host.make_namespace(namespace).await;
        host.make_route(namespace).await;
    }
    let (in_pg, nothing) = (rights("pg"), rights("third"));
    let here: Vec<&String> = in_pg.iter().filter(|right| !nothing.contains(right)).collect();
    eprintln!("in namespace pg the ServiceAccount may: {here:#?}");
    assert!(
        in_pg.contains(&"pods [] [] [get list watch patch]".to_owned()),
        "{in_pg:?}"
    );
    assert!(
        !nothing
            .iter()
            .any(|right| right.starts_with("pods") || right.contains("pgsteer.io")),
        "{nothing:?}"
    );
    assert_eq!(rights("other"), nothing);

    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart/pgsteer");
    let upgrade = "--namespace pgsteer-system --reuse-values --set namespaces={pg,other} --wait --timeout 5m";
    host.run(&format!("helm upgrade pgsteer {} {upgrade}", chart.display()));
    assert_eq!(
        (rights("pg"), rights("other"), rights("third")),
        (in_pg.clone(), in_pg, nothing)
    );
    let told = wait_for("the route in the added namespace to be told of", LIMIT, || async {
        let route = host
            .routes("other")
            .get("own")
            .await
            .map_err(|error| error.to_string())?;
        let conditions = route.data["status"]["conditions"].as_array().map_or(0, Vec::len);
        if conditions > 0 {
            Ok(())
        } else {
            Err(format!("its status is {}", route.data["status"]))
        }
    });
    told.await.expect("it is served");
    let elsewhere = host.routes("third").get("own").await.expect("it is there");
    assert_eq!(
        elsewhere.data["status"],
        Value::Null,
        "nobody serves {}",
        elsewhere.name_any()
    );
    #[expect(clippy::disallowed_methods, reason = "the test is the somebody")]
    host.routes("third")
        .delete("own", &DeleteParams::default())
        .await
        .expect("deleted");
}

fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs a command to its good end and answers its standard output.
fn ends_well(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[expect(
    clippy::panic,
    reason = "a failed environment fails the test, with the whole chain of causes"
)]
fn or_tell<T>(outcome: Result<T, chaos::cluster::Error>) -> T {
    outcome.unwrap_or_else(|error| panic!("{:#}", anyhow::Error::from(error)))
}
