//! Boots a cluster.
//!
//! ```text
//! files -> control groups, network -> etcd, API server ─┬─> controllers, scheduler, DNS ─┐
//!                                     nodes: containerd ┴─> kubelets, kube-proxies ──────┴─> usable -> volumes
//! ```

use std::net::Ipv4Addr;
use std::time::Duration;

use futures::future::{try_join, try_join_all};
use kube::Client;

use super::apiserver::{self, Settings};
use super::build::Programs;
use super::cgroup::Hierarchies;
use super::component::{Launcher, Room, Started};
use super::control_plane::{self, wait_until_ready};
use super::layout::{Cache, Layout};
use super::names::{self, Instance, Node, SERVICES};
use super::node::{self, Site, Tools};
use super::progress::Progress;
use super::relay::Relay;
use super::usable::wait_until_usable;
use super::{
    Cluster, Error, controller_manager, coredns, etcd, host, identities, kube_proxy, network, pause, scheduler, volume,
};

/// What a boot needs to know.
#[derive(Debug)]
pub(crate) struct Boot<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) layout: &'a Layout,
    pub(crate) instance: Instance,
    pub(crate) programs: &'a Programs,
    pub(crate) progress: Progress,
}

/// What two idle cores take for three nodes; for the progress lines only.
const CONTROL_PLANE_ESTIMATE: Duration = Duration::from_secs(3);
const NODES_ESTIMATE: Duration = Duration::from_secs(3);

impl Boot<'_> {
    /// etcd and the API server on loopback.
    pub(crate) async fn alone(&self) -> Result<(), Error> {
        let step = self
            .progress
            .step("start etcd and the API server", CONTROL_PLANE_ESTIMATE);
        let launcher = Launcher {
            layout: self.layout,
            cgroups: Vec::new(),
            keeper: None,
        };
        control_plane::boot(&launcher, self.programs, None).await?;
        step.done();
        Ok(())
    }

    /// Everything, with this many nodes.
    pub(crate) async fn with_nodes(&self, count: u8) -> Result<(), Error> {
        let nodes = self.instance.nodes(count);
        let sites: Vec<Site<'_>> = nodes.iter().map(|node| Site::new(node.clone(), self.layout)).collect();
        self.layout.create()?;
        identities::create(self.layout, &nodes)?;
        let pause = pause::image(self.cache, self.programs)?;
        let hierarchies = Hierarchies::detect()?;
        let control_group = format!("{}/control", self.instance.cgroup());
        for group in nodes.iter().map(system_group).chain([control_group.clone()]) {
            hierarchies.create(&group)?;
        }
        network::create(&self.instance, &nodes).await?;

        let launcher = |group: &str| Launcher {
            layout: self.layout,
            cgroups: hierarchies.directories(group),
            keeper: None,
        };
        let control = launcher(&control_group);
        let launchers: Vec<Launcher<'_>> = nodes.iter().map(|node| launcher(&system_group(node))).collect();
        let path = search_path(self.programs);
        let kept = [self.layout.root().to_owned(), self.cache.root().to_owned()];
        let tools = |launcher| Tools {
            launcher,
            programs: self.programs,
            path: &path,
            kept: &kept,
        };
        let tools: Vec<Tools<'_>> = launchers.iter().map(tools).collect();
        let fabric = Instance::network(&self.instance.fabric());
        let relay = Relay::open(&fabric, names::api_server());
        let relay = relay.map_err(Error::io("open a way into the network", &fabric))?;
        let (_, client) = Cluster::client_through(self.layout, Some(&relay)).await?;

        let step = self.progress.step(
            "start the control plane, and containerd on each node",
            CONTROL_PLANE_ESTIMATE,
        );
        let prepare = sites
            .iter()
            .zip(&tools)
            .map(|(site, tools)| node::prepare(site, tools, &pause));
        let (mut started, _) = try_join(self.control_plane(&control, &path, &client), try_join_all(prepare)).await?;
        step.done();

        let step = self
            .progress
            .step(format!("wait until {count} nodes are Ready"), NODES_ESTIMATE);
        for (site, tools) in sites.iter().zip(&tools) {
            started.extend(node::join(site, tools)?);
        }
        wait_until_usable(&client, &fabric, count.into(), &started).await?;
        let volumes: Vec<_> = sites.iter().flat_map(Site::volumes).collect();
        volume::publish(&client, &volumes).await?;
        step.done();
        self.tell_of_plain_volumes(&sites);
        Ok(())
    }

    async fn control_plane(&self, launcher: &Launcher<'_>, path: &str, client: &Client) -> Result<Vec<Started>, Error> {
        let (layout, program) = (self.layout, |name| self.programs.path(name));
        let room = Room::Network(Instance::network(&self.instance.fabric()));
        let settings = Settings {
            bind: Ipv4Addr::UNSPECIFIED.into(),
            advertise: names::CONTROL_PLANE.into(),
            port: names::API_PORT,
            etcd_port: etcd::USUAL.client,
            services: SERVICES,
            with_nodes: true,
            traces: None,
        };
        let etcd = etcd::component(program("etcd"), &layout.etcd(), etcd::USUAL, room.clone());
        let apiserver = apiserver::component(program("kube-apiserver"), layout, settings, room.clone())?;
        let mut started = vec![launcher.start(&etcd)?, launcher.start(&apiserver)?];
        wait_until_ready(client, &started).await?;
        let env = vec![("PATH".to_owned(), path.to_owned())];
        let rest = [
            controller_manager::component(program("kube-controller-manager"), layout, room.clone()),
            scheduler::component(program("kube-scheduler"), layout, room.clone()),
            coredns::component(program("coredns"), layout, room.clone())?,
            kube_proxy::component(program("kube-proxy"), layout, "control-plane", room, env),
        ];
        for component in &rest {
            started.push(launcher.start(component)?);
        }
        Ok(started)
    }

    fn tell_of_plain_volumes(&self, sites: &[Site<'_>]) {
        for plain in sites.iter().flat_map(Site::plain_volumes) {
            let line = "is a plain directory, as there is no loop device for it: it cannot be filled or frozen alone";
            self.progress.tell(&format!("volume {plain} {line}"));
        }
    }
}

/// The group of a node's own programs, beside its pods.
fn system_group(node: &Node) -> String {
    format!("{}/system", node.cgroup)
}

/// The built programs first, then the host's.
pub(crate) fn search_path(programs: &Programs) -> String {
    let built = programs.directories();
    let built = built.iter().map(|directory| directory.display().to_string());
    let hosts = host::PROGRAM_DIRECTORIES
        .iter()
        .map(|directory| (*directory).to_owned());
    built.chain(hosts).collect::<Vec<_>>().join(":")
}
