//! etcd and the API server alone, on free ports of 127.0.0.1, without root: what a test against a real API server needs.
//!
//! There are no nodes, no controllers and no scheduler: a pod is an object that a test creates, labels and gives a status.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::apiserver::{self, Settings};
use super::build::{Part, Programs};
use super::component::{Launcher, Room, Started};
use super::keeper::Keeper;
use super::layout::{Cache, Layout, from_environment};
use super::pki::{Authority, Subject, create_token_key};
use super::{Error, etcd, kubeconfig};
use crate::wait::wait_for;

/// A running API server of a test's own. Its processes end when it is dropped, and when the process that started it dies.
pub struct ControlPlane {
    layout: Layout,
    client: kube::Client,
    config: kube::Config,
    _keeper: Keeper,
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane")
            .field("url", &self.config.cluster_url)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// Boot takes 3 s on two idle cores, and was seen to take ten times that on busy ones; an emulated machine needs minutes. A component that
/// dies ends the wait at once, so only a hang waits this long.
pub(crate) const BOOT_LIMIT: Duration = Duration::from_mins(5);

/// A free port can be taken by another process between the look and the use. Each try picks three new ones out of thousands, so a
/// second failure in a row is not bad luck.
const PORT_TRIES: u32 = 3;

impl ControlPlane {
    /// Boots etcd and the API server with all their files under `dir`, which must be empty, and waits until they serve.
    ///
    /// The programs are taken from the cache that the environment names. [`Error::NotBuilt`] tells the command that builds them.
    pub async fn start(dir: &Path) -> Result<Self, Error> {
        Self::start_from(dir, &from_environment().0).await
    }

    /// As [`ControlPlane::start`], with an API server that tells its part of a caller's trace to the collector at `endpoint`,
    /// `host:port` of OTLP over gRPC.
    pub async fn start_traced(dir: &Path, endpoint: &str) -> Result<Self, Error> {
        Self::start_with(dir, &from_environment().0, Some(endpoint)).await
    }

    /// As [`ControlPlane::start`], with the programs of this cache.
    pub async fn start_from(dir: &Path, cache: &Cache) -> Result<Self, Error> {
        Self::start_with(dir, cache, None).await
    }

    async fn start_with(dir: &Path, cache: &Cache, traces: Option<&str>) -> Result<Self, Error> {
        let programs = Programs::find(cache, Part::ControlPlane).await?;
        let mut tried = 1;
        loop {
            match Self::try_start(&dir.join(format!("try-{tried}")), &programs, traces).await {
                Err(Error::Died { said, .. }) if tried < PORT_TRIES && said.contains("address already in use") => {
                    tried += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_start(dir: &Path, programs: &Programs, traces: Option<&str>) -> Result<Self, Error> {
        let layout = Layout::new(dir);
        let keeper = Keeper::new().map_err(Error::io("start a thread for", dir))?;
        let launcher = Launcher {
            layout: &layout,
            cgroups: Vec::new(),
            keeper: Some(&keeper),
        };
        let config = boot(&launcher, programs, traces).await?;
        let client = kubeconfig::client(config.clone())?;
        Ok(Self {
            layout,
            client,
            config,
            _keeper: keeper,
        })
    }

    /// A client with every right.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The configuration of that client, to build others from (another user by impersonation, a layer in between).
    pub fn config(&self) -> kube::Config {
        self.config.clone()
    }

    /// A kubeconfig file with every right, for a program under test.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig(ADMIN)
    }

    /// The audit log: one JSON event a line.
    pub fn audit_log(&self) -> PathBuf {
        self.layout.audit_log()
    }
}

/// The user with every right, and the name of its certificate.
pub(crate) const ADMIN: &str = "admin";

/// Makes what the two need, starts them on loopback and waits until the API server is ready.
pub(crate) async fn boot(
    launcher: &Launcher<'_>,
    programs: &Programs,
    traces: Option<&str>,
) -> Result<kube::Config, Error> {
    let layout = launcher.layout;
    layout.create()?;
    let [api, client, peer] = free_ports().map_err(Error::io("find a free port for", layout.root()))?;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let authority = Authority::create(layout)?;
    create_token_key(layout)?;
    let hosts = ["127.0.0.1", "localhost", "kubernetes.default.svc"]
        .map(str::to_owned)
        .to_vec();
    authority.issue(
        layout,
        &Subject {
            file: "apiserver",
            user: "kube-apiserver",
            group: None,
            hosts,
        },
    )?;
    let admin = Subject {
        file: ADMIN,
        user: ADMIN,
        group: Some("system:masters"),
        hosts: Vec::new(),
    };
    authority.issue(layout, &admin)?;
    kubeconfig::write_for(layout, ADMIN, &format!("https://127.0.0.1:{api}"))?;
    let etcd = etcd::component(
        programs.path("etcd"),
        &layout.etcd(),
        etcd::Ports { client, peer },
        Room::Host,
    );
    let settings = Settings {
        bind: loopback,
        advertise: loopback,
        port: api,
        etcd_port: client,
        services: "10.96.0.0/16",
        with_nodes: false,
        traces,
    };
    let apiserver = apiserver::component(programs.path("kube-apiserver"), layout, settings, Room::Host)?;
    let started = [launcher.start(&etcd)?, launcher.start(&apiserver)?];
    let config = kubeconfig::load(&layout.kubeconfig(ADMIN)).await?;
    wait_until_ready(&kubeconfig::client(config.clone())?, &started).await?;
    Ok(config)
}

/// Waits until the API server says that it is ready; a component that ends meanwhile ends the wait.
pub(crate) async fn wait_until_ready(client: &kube::Client, started: &[Started]) -> Result<(), Error> {
    let ready = wait_for("the API server to be ready", BOOT_LIMIT, || async {
        for component in started {
            if let Err(error) = component.check() {
                return Ok(Err(error));
            }
        }
        let request = http::Request::get("/readyz")
            .body(Vec::new())
            .expect("a constant path is a valid request");
        match client.request_text(request).await {
            Ok(_) => Ok(Ok(())),
            Err(error) => Err(unready(&error.to_string())),
        }
    });
    let logs: Vec<PathBuf> = started.iter().map(|component| component.log().to_owned()).collect();
    ready.await.map_err(|timed_out| Error::timed_out(timed_out, &logs))?
}

/// The checks of `/readyz` that failed, out of forty that did not; or the answer itself when it is another.
fn unready(answer: &str) -> String {
    let failed: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("[-]")).collect();
    if failed.is_empty() {
        format!("/readyz: {answer}")
    } else {
        failed.join("; ")
    }
}

/// Ports of loopback that nobody listens on.
pub fn free_ports<const N: usize>() -> std::io::Result<[u16; N]> {
    // All are held until all are known, so that no two are the same.
    let listeners: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_checks_only_the_failed_ones_are_told() {
        let answer = "ApiError: [+]ping ok\n[+]etcd ok\n[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\n[+]shutdown ok\n";
        assert_eq!(
            unready(answer),
            "poststarthook/rbac/bootstrap-roles failed: reason withheld"
        );
        assert_eq!(unready("connection refused"), "/readyz: connection refused");
    }

    #[test]
    fn free_ports_are_distinct() {
        let [one, two, three] = free_ports().expect("loopback has free ports");
        assert!(one != two && two != three && one != three);
    }
}
