//! The program as a process: how it starts, answers and ends, beside a real API server and beside none.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what went wrong by failing there"
)]

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use chaos::{
    cluster::ControlPlane,
    postgres::{Server, Setup},
    wait::wait_for,
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pgsteer");

/// Far beyond what anything here takes, on a host that builds something else beside it.
const LIMIT: Duration = Duration::from_secs(30);

/// A running controller; it is killed with the test.
struct Controller {
    child: Child,
    log: PathBuf,
}

impl Controller {
    fn start(directory: &Path, kubeconfig: &Path, pod: &str, flags: &[&str]) -> Self {
        let log = directory.join(format!("{pod}.log"));
        let child = Command::new(PROGRAM)
            .args(["run", "--lease-namespace", "default", "--pod-name", pod])
            .args([
                "--lease-ttl",
                "2s",
                "--admin-address",
                "127.0.0.1:0",
                "--log-format",
                "json",
            ])
            .args(flags)
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Every line of the log is one JSON object.
    fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} of {text:?}")))
            .collect()
    }

    /// The first line that says this.
    async fn said(&self, message: &str) -> Value {
        let found = wait_for("a log line", LIMIT, || async {
            let log = self.log();
            log.iter()
                .find(|line| line["message"] == message)
                .cloned()
                .ok_or_else(|| format!("{message}: {log:#?}"))
        });
        found.await.unwrap()
    }

    async fn admin(&self) -> SocketAddr {
        let line = self.said("pgsteer started").await;
        line["admin"].as_str().unwrap().parse().unwrap()
    }

    /// Waits until this path is answered with this status and these words.
    async fn answers(&self, path: &str, status: &str, words: &str) {
        let address = self.admin().await;
        let answered = wait_for("an answer", LIMIT, || async {
            let answer = get(address, path).await.map_err(|error| error.to_string())?;
            let expected = answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(words);
            if expected { Ok(()) } else { Err(answer) }
        });
        answered
            .await
            .unwrap_or_else(|error| panic!("{path}: {error:?}\n{:#?}", self.log()));
    }

    async fn end(&mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let ended = wait_for("the process to end", LIMIT, || {
            let status = self.child.try_wait().unwrap();
            async move { status.ok_or_else(|| "it runs".to_owned()) }
        });
        ended.await.unwrap()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn holder(client: &Client) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "default");
    let lease = leases.get_opt("pgsteer").await.unwrap()?;
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

#[tokio::test]
async fn one_leads_one_follows_and_the_end_of_one_is_the_turn_of_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let control_plane = ControlPlane::start(directory.path())
        .await
        .unwrap_or_else(|error| panic!("{:#}", anyhow::Error::from(error)));
    let client = control_plane.client();
    control_plane.define_resources().await.unwrap();
    let start = |pod| Controller::start(directory.path(), &control_plane.kubeconfig(), pod, &[]);

    let mut first = start("first");
    first.answers("/readyz", "200", "leading under term").await;
    let second = start("second");
    second.answers("/readyz", "200", "following first_").await;
    for (controller, leader) in [(&first, "\npgsteer_leader 1\n"), (&second, "\npgsteer_leader 0\n")] {
        controller.answers("/metrics", "200", leader).await;
        controller.answers("/livez", "200", "ok").await;
    }
    assert!(holder(&client).await.unwrap().starts_with("first_"));

    assert_eq!(first.end(Signal::TERM).await.code(), Some(0), "{:#?}", first.log());
    first.said("pgsteer ended").await;
    first.said("lease released").await;
    second.said("leading").await;
    assert!(holder(&client).await.unwrap().starts_with("second_"));
}

#[tokio::test]
async fn an_api_server_that_is_away_at_start_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let control_plane = ControlPlane::start(directory.path())
        .await
        .unwrap_or_else(|error| panic!("{:#}", anyhow::Error::from(error)));
    // The same API server behind a port that nobody listens on yet.
    let gap = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = control_plane.config().cluster_url.authority().unwrap().to_string();
    let kubeconfig = directory.path().join("away.kubeconfig");
    let text = fs::read_to_string(control_plane.kubeconfig()).unwrap();
    fs::write(&kubeconfig, text.replace(&server, &gap.to_string())).unwrap();
    control_plane.define_resources().await.unwrap();

    let mut controller = Controller::start(directory.path(), &kubeconfig, "early", &[]);
    controller.said("election attempt failed").await;
    controller
        .answers("/readyz", "503", "the API server has not said yet")
        .await;
    controller.answers("/livez", "200", "ok").await;

    let relay = tokio::net::TcpListener::bind(gap).await.unwrap();
    let pass = async {
        let mut passed = tokio::task::JoinSet::new();
        loop {
            let (mut inner, _) = relay.accept().await.unwrap();
            let server = server.clone();
            passed.spawn(async move {
                let mut outer = TcpStream::connect(server).await.unwrap();
                // Either side may end it at any time.
                drop(tokio::io::copy_bidirectional(&mut inner, &mut outer).await);
            });
        }
    };
    tokio::select! {
        () = pass => (),
        () = controller.answers("/readyz", "200", "leading under term") => (),
    }
    assert_eq!(
        controller.end(Signal::INT).await.code(),
        Some(0),
        "{:#?}",
        controller.log()
    );
}

#[tokio::test]
async fn what_cannot_start_says_why_and_ends_with_three() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (admin, reason) in [(address.as_str(), address.as_str()), ("127.0.0.1:0", "kubeconfig")] {
        let ended = Command::new(PROGRAM)
            .args([
                "run",
                "--lease-namespace",
                "default",
                "--pod-name",
                "pod",
                "--admin-address",
                admin,
            ])
            .env_clear()
            .env("KUBECONFIG", directory.path().join("missing"))
            .output()
            .unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(3), "{said}");
        assert!(said.contains(reason), "{reason}: {said}");
    }
}

#[tokio::test]
async fn probe_prints_what_a_server_says_and_its_exit_status_is_the_answer() {
    let primary = Server::primary(Setup::default()).await.unwrap();
    primary
        .sql("CREATE ROLE pgsteer LOGIN PASSWORD 'right' IN ROLE pg_monitor")
        .await
        .unwrap();
    let mut standby = primary.standby(Setup::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "right\n").unwrap();
    let probe = |server: &Server, password: Result<&Path, &str>| {
        let mut command = Command::new(PROGRAM);
        command
            .args(["probe", &server.address().to_string(), "--tls", "disable", "-o", "json"])
            .env_clear();
        match password {
            Ok(file) => command.arg("--password-file").arg(file),
            Err(text) => command.env("PGPASSWORD", text),
        };
        let ended = command.output().unwrap();
        let answer: Value = serde_json::from_slice(&ended.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&ended.stderr)));
        (ended.status.code().unwrap(), answer)
    };

    let (status, answer) = probe(&primary, Ok(&file));
    assert_eq!((status, &answer["evidence"]), (0, &"writable".into()), "{answer}");
    assert_eq!(
        (&answer["report"]["standing"], &answer["report"]["timeline"]),
        (&"writable".into(), &1.into())
    );
    let (status, answer) = probe(&standby, Err("right"));
    assert_eq!((status, &answer["evidence"]), (1, &"inRecovery".into()), "{answer}");
    let (status, answer) = probe(&primary, Err("wrong"));
    assert_eq!((status, &answer["evidence"]), (3, &"barred".into()), "{answer}");
    assert!(!answer.to_string().contains("wrong"), "{answer}");
    standby.kill().await.unwrap();
    let (status, answer) = probe(&standby, Ok(&file));
    assert_eq!((status, &answer["evidence"]), (1, &"down".into()), "{answer}");
}
