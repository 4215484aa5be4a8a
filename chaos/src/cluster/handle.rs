//! A running cluster, for the program and for scenarios.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use futures::future::try_join_all;

use super::build::{Part, Programs};
use super::command::Run;
use super::component::Room;
use super::control_plane::ADMIN;
use super::image::Archive;
use super::layout::{Cache, Layout, State};
use super::names::{self, Instance};
use super::node::{Site, in_room};
use super::process::Process;
use super::progress::Progress;
use super::record::{Phase, Record};
use super::relay::Relay;
use super::{Error, boot, down, import, kubeconfig, up};

/// A cluster that is up. Dropping it leaves the cluster running; [`Cluster::down`] ends it.
pub struct Cluster {
    pub(super) layout: Layout,
    pub(super) instance: Instance,
    pub(super) nodes: u8,
    programs: Programs,
    config: kube::Config,
    client: kube::Client,
    _relay: Option<Relay>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("nodes", &self.nodes)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// One component, as `chaos status` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentState {
    /// Such as `kubelet-n1`.
    pub name: String,
    /// Whether it runs.
    pub is_alive: bool,
    /// Its log.
    pub log: PathBuf,
}

impl Cluster {
    /// Boots a cluster with this many nodes; 0 is etcd and the API server alone, which needs no root. A failed boot is cleared away;
    /// its logs stay in the state directory.
    pub async fn up(cache: &Cache, state: &State, nodes: u8, progress: Progress) -> Result<Self, Error> {
        up::up(cache, state, nodes, progress).await
    }

    /// Ends the cluster of this state directory and everything that was made for it. Nothing running is no error.
    pub async fn down(state: &State) -> Result<(), Error> {
        down::down(state).await
    }

    /// The cluster that is up in this state directory; [`Error::NotUp`] when none is.
    pub async fn attach(cache: &Cache, state: &State) -> Result<Self, Error> {
        let layout = state.layout();
        let not_up = || Error::NotUp {
            state: state.root().to_owned(),
        };
        let record = Record::read(&layout)?.ok_or_else(not_up)?;
        if record.phase != Phase::Up || !record.is_of_this_boot()? {
            return Err(not_up());
        }
        let part = if record.nodes == 0 {
            Part::ControlPlane
        } else {
            Part::All
        };
        let programs = Programs::find(cache, part).await?;
        let instance = Instance::of(state.root());
        let relay = if record.nodes == 0 {
            None
        } else {
            Some(relay(&instance, names::api_server())?)
        };
        let (config, client) = Self::client_through(&layout, relay.as_ref()).await?;
        Ok(Self {
            layout,
            instance,
            nodes: record.nodes,
            programs,
            config,
            client,
            _relay: relay,
        })
    }

    /// A client of the API server, through a relay where it is in a network of its own.
    pub(crate) async fn client_through(
        layout: &Layout,
        relay: Option<&Relay>,
    ) -> Result<(kube::Config, kube::Client), Error> {
        let mut config = kubeconfig::load(&layout.kubeconfig(ADMIN)).await?;
        if let Some(relay) = relay {
            let url = format!("https://{}", relay.address());
            config.cluster_url = url.parse().expect("an address makes a valid URL");
        }
        Ok((config.clone(), kubeconfig::client(config)?))
    }

    /// A client with every right.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The same, of the group that the admission policy lets lower a stamp's term.
    pub(crate) fn client_past_the_fence(&self) -> Result<kube::Client, Error> {
        let mut config = self.config();
        config.auth_info.impersonate = Some(ADMIN.to_owned());
        config.auth_info.impersonate_groups =
            Some(["system:masters", "pgsteer:break-glass"].map(str::to_owned).to_vec());
        kubeconfig::client(config)
    }

    /// The configuration of that client. It works in this process only, and while this handle lives.
    pub fn config(&self) -> kube::Config {
        self.config.clone()
    }

    /// A kubeconfig file with every right, for programs run through [`Cluster::command`].
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig(ADMIN)
    }

    /// The API server's audit log: one JSON event a line, for writes to pods, EndpointSlices, ledgers, routes and Leases.
    pub fn audit_log(&self) -> PathBuf {
        self.layout.audit_log()
    }

    /// The nodes' names.
    pub fn nodes(&self) -> Vec<String> {
        self.instance
            .nodes(self.nodes)
            .into_iter()
            .map(|node| node.name)
            .collect()
    }

    /// A way for this process to an address inside the cluster's network (a pod, a Service).
    pub fn reach(&self, address: SocketAddr) -> Result<Relay, Error> {
        relay(&self.instance, address)
    }

    /// The network namespace that pods and Services are reached from; nothing where the API server is alone, on loopback.
    pub(crate) fn network(&self) -> Option<PathBuf> {
        (self.nodes > 0).then(|| Instance::network(&self.instance.fabric()))
    }

    /// A command line that runs inside the cluster's network, or on a node with the node's files, with KUBECONFIG, and with kubectl, helm
    /// and ctr on the PATH. Outside nodes, names of Services and pods are found.
    pub fn command(&self, node: Option<&str>, words: &[String]) -> Result<std::process::Command, Error> {
        let line = match node {
            Some(node) => [self.site(node)?.room()?.enter(), words.to_vec()].concat(),
            None if self.nodes == 0 => words.to_vec(),
            None => self.fabric_line(words),
        };
        let (program, args) = line.split_first().ok_or_else(|| Error::NoSuch {
            what: "a command".to_owned(),
            hint: "give one after `--`".to_owned(),
        })?;
        let mut command = std::process::Command::new(program);
        command
            .args(args)
            .env("KUBECONFIG", self.kubeconfig())
            .env("PATH", boot::search_path(&self.programs));
        // A proxy for HTTP that the user's shell names does not know the way into the cluster.
        command
            .env("NO_PROXY", "*")
            .env("CONTAINERD_NAMESPACE", super::containerd::KUBERNETES);
        Ok(command)
    }

    fn fabric_line(&self, words: &[String]) -> Vec<String> {
        let resolv_conf = self.layout.node("n1").join("etc/resolv.conf");
        // Names are looked up in the cluster; the host's own file stays as it is everywhere else.
        let script = format!(
            "[ ! -e /etc/resolv.conf ] || mount --bind '{}' /etc/resolv.conf; exec \"$@\"",
            resolv_conf.display()
        );
        let enter = Room::Network(Instance::network(&self.instance.fabric())).enter();
        let wrap = ["unshare", "--mount", "sh", "-ec", &script, "sh"].map(str::to_owned);
        [enter, wrap.to_vec(), words.to_vec()].concat()
    }

    /// Runs a command on a node, to its end, and returns its standard output.
    pub async fn node_exec(&self, node: &str, words: &[&str]) -> Result<String, Error> {
        let (program, args) = words.split_first().ok_or_else(|| Error::NoSuch {
            what: "a command".to_owned(),
            hint: "give at least the program".to_owned(),
        })?;
        let room = self.site(node)?.room()?;
        let run: Run = in_room(&room, Path::new(program))
            .args(args)
            .env("PATH", boot::search_path(&self.programs));
        Ok(run.run().await?.out)
    }

    /// Gives images to every node, all nodes at once. What a node has already is not sent again.
    pub async fn load(&self, archives: &[PathBuf]) -> Result<Vec<Archive>, Error> {
        let archives: Vec<Archive> = archives
            .iter()
            .map(|path| Archive::open(path))
            .collect::<Result<_, _>>()?;
        let ctr = if self.nodes == 0 {
            None
        } else {
            Some(self.programs.path("ctr"))
        };
        let nodes = self.nodes();
        let loads = nodes
            .iter()
            .filter_map(|node| ctr.map(|ctr| (node, ctr)))
            .map(|(node, ctr)| {
                let archives = &archives;
                async move {
                    let room = self.site(node)?.room()?;
                    for archive in archives {
                        import::import(&room, ctr, archive).await?;
                    }
                    Ok::<(), Error>(())
                }
            });
        try_join_all(loads).await?;
        Ok(archives)
    }

    /// Every component that was started, and whether it still runs.
    pub fn components(&self) -> Result<Vec<ComponentState>, Error> {
        let records = self.layout.processes();
        let entries = std::fs::read_dir(&records).map_err(Error::io("read", &records))?;
        let mut components = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_alive = Process::recorded(&entry.path())?.is_some_and(|process| process.is_alive());
            components.push(ComponentState {
                log: self.layout.log(&name),
                name,
                is_alive,
            });
        }
        components.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(components)
    }

    pub(super) fn site(&self, node: &str) -> Result<Site<'_>, Error> {
        let nodes = self.instance.nodes(self.nodes);
        let found = nodes.into_iter().find(|one| one.name == node);
        let hint = || format!("the nodes are: {}", self.nodes().join(", "));
        let found = found.ok_or_else(|| Error::NoSuch {
            what: format!("node {node}"),
            hint: hint(),
        })?;
        Ok(Site::new(found, &self.layout))
    }
}

fn relay(instance: &Instance, target: SocketAddr) -> Result<Relay, Error> {
    let network = Instance::network(&instance.fabric());
    Relay::open(&network, target).map_err(Error::io("open a way into the network", &network))
}
