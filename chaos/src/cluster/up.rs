//! Boots a cluster.
//!
//! ```text
//! record -> files -> control groups, network -> etcd, API server ─┬─> controllers, scheduler, DNS ─┐
//!                                               nodes: containerd ┴─> kubelets, kube-proxies ──────┴─> Ready -> volumes
//! ```

use std::path::PathBuf;
use std::time::Duration;

use futures::future::{try_join, try_join_all};
use k8s_openapi::api::core::v1::{Node as KubernetesNode, ServiceAccount};
use kube::Api;
use kube::api::ListParams;

use super::apiserver::{self, Settings};
use super::build::{Part, Programs};
use super::cgroup::Hierarchies;
use super::component::{Launcher, Room, Started};
use super::control_plane::{self, ADMIN, wait_until_ready};
use super::image::{Archive, ImageConfig, Layer, write_archive};
use super::layout::{Cache, Layout, State, create_dir, write};
use super::lock::Lock;
use super::names::{self, Instance, KUBERNETES_SERVICE, NODES_MAX, SERVICES};
use super::node::{self, Site, Tools, in_room};
use super::pki::{Authority, Subject, create_token_key};
use super::progress::Progress;
use super::record::{Phase, Record, boot_id};
use super::relay::Relay;
use super::{
    Cluster, Error, containerd, controller_manager, coredns, down, etcd, host, kube_proxy, kubeconfig, network,
    scheduler, volume,
};
use crate::wait::wait_for;

/// Boots a cluster with `nodes` nodes, or the API server alone for 0.
pub(crate) async fn up(cache: &Cache, state: &State, nodes: u8, progress: Progress) -> Result<Cluster, Error> {
    if nodes > NODES_MAX {
        return Err(Error::NoSuch {
            what: format!("a cluster of {nodes} nodes"),
            hint: format!("at most {NODES_MAX}"),
        });
    }
    if nodes > 0 {
        host::require_root()?;
        host::ensure_packages(progress).await?;
    }
    let lock = Lock::take(&state.lock())?;
    let layout = state.layout();
    match Record::read(&layout)? {
        Some(record) if record.phase == Phase::Up && record.is_of_this_boot()? => {
            return Err(Error::AlreadyUp {
                nodes: record.nodes,
                state: state.root().to_owned(),
            });
        }
        Some(_) => {
            progress.tell("clearing away what an interrupted `up` left");
            down::take_down(state, &lock).await?;
        }
        None => {}
    }
    let part = if nodes == 0 { Part::ControlPlane } else { Part::All };
    let programs = Programs::find(cache, part).await?;
    let mount_points = if nodes == 0 {
        Vec::new()
    } else {
        node::missing_mount_points()
    };
    let mut record = Record {
        phase: Phase::Booting,
        nodes,
        boot: boot_id()?,
        mount_points,
    };
    record.write(&layout)?;
    let boot = Boot {
        cache,
        layout: &layout,
        instance: Instance::of(state.root()),
        programs: &programs,
        progress,
    };
    let booted = if nodes == 0 {
        boot.alone().await
    } else {
        boot.with_nodes(nodes).await
    };
    if let Err(error) = booted {
        let kept = keep_logs(state, &layout);
        progress.tell(&format!("up failed; the logs are kept in {}", kept.display()));
        // The first failure is the one to tell; `down` tells its own when it is asked again.
        down::take_down(state, &lock).await.ok();
        return Err(error);
    }
    record.phase = Phase::Up;
    record.write(&layout)?;
    drop(lock);
    Cluster::attach(cache, state).await
}

/// Moves the logs of a failed boot out of the way of `down`.
fn keep_logs(state: &State, layout: &Layout) -> PathBuf {
    let kept = state.root().join("failed");
    // Without logs of an earlier failure there is nothing to remove, and without logs of this one nothing to keep.
    std::fs::remove_dir_all(&kept).ok();
    std::fs::rename(layout.root().join("log"), &kept).ok();
    kept
}

struct Boot<'a> {
    cache: &'a Cache,
    layout: &'a Layout,
    instance: Instance,
    programs: &'a Programs,
    progress: Progress,
}

/// Two cores boot three nodes in 10 s; the estimates are for the progress lines.
const CONTROL_PLANE_ESTIMATE: Duration = Duration::from_secs(6);
const NODES_ESTIMATE: Duration = Duration::from_secs(8);

/// A node is ready 5 s after its kubelet started on an idle host.
const READY_LIMIT: Duration = Duration::from_mins(2);

impl Boot<'_> {
    async fn alone(&self) -> Result<(), Error> {
        let step = self
            .progress
            .step("start etcd and the API server", CONTROL_PLANE_ESTIMATE);
        let launcher = Launcher {
            layout: self.layout,
            cgroups: Vec::new(),
            keeper: None,
        };
        control_plane::boot(&launcher, self.programs).await?;
        step.done();
        Ok(())
    }

    async fn with_nodes(&self, count: u8) -> Result<(), Error> {
        let nodes = self.instance.nodes(count);
        let sites: Vec<Site<'_>> = nodes.iter().map(|node| Site::new(node.clone(), self.layout)).collect();
        let hierarchies = Hierarchies::detect()?;
        self.layout.create()?;
        create_pki(self.layout, &sites)?;
        let pause = self.pause_image()?;
        let control = format!("{}/control", self.instance.cgroup());
        hierarchies.create(&control)?;
        for node in &nodes {
            hierarchies.create(&system_group(node))?;
        }
        network::create(&self.instance, &nodes).await?;

        let launcher = |group: &str| Launcher {
            layout: self.layout,
            cgroups: hierarchies.directories(group),
            keeper: None,
        };
        let control = launcher(&control);
        let launchers: Vec<Launcher<'_>> = nodes.iter().map(|node| launcher(&system_group(node))).collect();
        let path = search_path(self.programs);
        let tools = |launcher| Tools {
            launcher,
            programs: self.programs,
            path: &path,
        };
        let tools: Vec<Tools<'_>> = launchers.iter().map(tools).collect();

        let step = self.progress.step(
            "start the control plane, and containerd on each node",
            CONTROL_PLANE_ESTIMATE,
        );
        let prepare = sites
            .iter()
            .zip(&tools)
            .map(|(site, tools)| node::prepare(site, tools, &pause));
        let (mut started, _) = try_join(self.control_plane(&control, &path), try_join_all(prepare)).await?;
        step.done();

        let step = self
            .progress
            .step(format!("wait until {count} nodes are Ready"), NODES_ESTIMATE);
        for (site, tools) in sites.iter().zip(&tools) {
            started.extend(node::join(site, tools)?);
        }
        self.wait_until_usable(count.into(), &started).await?;
        self.publish_volumes(&sites).await?;
        step.done();
        Ok(())
    }

    fn room(&self) -> Room {
        Room::Network(Instance::network(&self.instance.fabric()))
    }

    async fn control_plane(&self, launcher: &Launcher<'_>, path: &str) -> Result<Vec<Started>, Error> {
        let (layout, room) = (self.layout, self.room());
        let program = |name| self.programs.path(name);
        let settings = Settings {
            bind: std::net::Ipv4Addr::UNSPECIFIED.into(),
            advertise: names::CONTROL_PLANE.into(),
            port: names::API_PORT,
            etcd_port: etcd::USUAL.client,
            services: SERVICES,
            with_nodes: true,
        };
        let etcd = etcd::component(program("etcd"), &layout.etcd(), etcd::USUAL, room.clone());
        let apiserver = apiserver::component(program("kube-apiserver"), layout, settings, room.clone())?;
        let mut started = vec![launcher.start(&etcd)?, launcher.start(&apiserver)?];
        let relay = Relay::open(&Instance::network(&self.instance.fabric()), names::api_server());
        let relay = relay.map_err(Error::io("open a way into the network of", layout.root()))?;
        let client = Cluster::client_through(layout, Some(&relay)).await?.1;
        wait_until_ready(&client, &started).await?;
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

    /// The image that holds pods' namespaces, made once a version of its sources.
    fn pause_image(&self) -> Result<Archive, Error> {
        let program = self.programs.path("pause");
        let key = program
            .parent()
            .and_then(|directory| directory.file_name())
            .unwrap_or_default()
            .to_string_lossy();
        let directory = self.cache.images();
        let path = directory.join(format!("{key}.tar"));
        if path.is_file() {
            return Archive::open(&path);
        }
        create_dir(&directory)?;
        let layer = Layer::from_files(
            &directory.join(format!("{key}-layer.tar")),
            &[("pause", program, 0o755)],
        )?;
        let config = ImageConfig {
            entrypoint: vec!["/pause".to_owned()],
            ..ImageConfig::default()
        };
        write_archive(&path, containerd::PAUSE_IMAGE, &[layer], &config)
    }

    /// Waits until pods can be placed anywhere, have their service account, and find each other by name.
    async fn wait_until_usable(&self, nodes: usize, started: &[Started]) -> Result<(), Error> {
        let fabric = Instance::network(&self.instance.fabric());
        let relay = Relay::open(&fabric, names::api_server());
        let relay = relay.map_err(Error::io("open a way into the network of", self.layout.root()))?;
        let client = Cluster::client_through(self.layout, Some(&relay)).await?.1;
        let waited = wait_for("the cluster to be usable", READY_LIMIT, || async {
            if let Some(error) = started.iter().find_map(|component| component.check().err()) {
                return Ok(Err(error));
            }
            let listed = Api::<KubernetesNode>::all(client.clone())
                .list(&ListParams::default())
                .await;
            let ready = listed
                .map_err(|error| error.to_string())?
                .items
                .iter()
                .filter(|node| is_usable(node))
                .count();
            if ready < nodes {
                return Err(format!("{ready} of {nodes} nodes are Ready"));
            }
            let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
            accounts
                .get("default")
                .await
                .map_err(|error| format!("the default service account: {error}"))?;
            network::connect(&fabric, coredns::address(), DNS_LIMIT).map_err(|error| format!("DNS: {error}"))?;
            Ok(Ok(()))
        });
        let logs: Vec<PathBuf> = started.iter().map(|component| component.log().to_owned()).collect();
        waited.await.map_err(|timed_out| Error::timed_out(timed_out, &logs))?
    }

    async fn publish_volumes(&self, sites: &[Site<'_>]) -> Result<(), Error> {
        let volumes: Vec<_> = sites.iter().flat_map(Site::volumes).collect();
        let objects = self.layout.etc("volumes.json");
        write(&objects, volume::objects(&volumes).to_string())?;
        let kubectl =
            in_room(&self.room(), self.programs.path("kubectl")).env("KUBECONFIG", self.layout.kubeconfig(ADMIN));
        kubectl.args(["apply", "-f"]).arg(&objects).run().await?;
        for site in sites {
            for plain in site.plain_volumes() {
                self.progress.tell(&format!(
                    "no loop device for volume {plain}: it is a plain directory, and cannot be filled or frozen alone"
                ));
            }
        }
        Ok(())
    }
}

/// A loopback of the host answers at once or not at all.
const DNS_LIMIT: Duration = Duration::from_millis(500);

fn is_usable(node: &KubernetesNode) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    ready && taints.is_none_or(Vec::is_empty)
}

/// The group of a node's own programs, beside its pods.
fn system_group(node: &names::Node) -> String {
    format!("{}/system", node.cgroup)
}

/// The built programs first, then the host's.
pub(crate) fn search_path(programs: &Programs) -> String {
    let built = programs.directories();
    let built = built.iter().map(|directory| directory.display().to_string());
    built
        .chain(
            host::PROGRAM_DIRECTORIES
                .iter()
                .map(|directory| (*directory).to_owned()),
        )
        .collect::<Vec<_>>()
        .join(":")
}

fn create_pki(layout: &Layout, sites: &[Site<'_>]) -> Result<(), Error> {
    let authority = Authority::create(layout)?;
    create_token_key(layout)?;
    let addresses = [names::CONTROL_PLANE, KUBERNETES_SERVICE, std::net::Ipv4Addr::LOCALHOST];
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ];
    let hosts = addresses
        .iter()
        .map(ToString::to_string)
        .chain(names.map(str::to_owned))
        .collect();
    authority.issue(
        layout,
        &Subject {
            file: "apiserver",
            user: "kube-apiserver",
            group: None,
            hosts,
        },
    )?;
    let user = |file, user, group| -> Result<(), Error> {
        authority.issue(
            layout,
            &Subject {
                file,
                user,
                group,
                hosts: Vec::new(),
            },
        )?;
        kubeconfig::write_for(layout, file, &format!("https://{}", names::api_server()))
    };
    user(ADMIN, ADMIN, Some("system:masters"))?;
    user(controller_manager::USER, "system:kube-controller-manager", None)?;
    user(scheduler::USER, "system:kube-scheduler", None)?;
    user(kube_proxy::USER, "system:kube-proxy", None)?;
    user(coredns::USER, coredns::USER, Some("system:masters"))?;
    for site in sites {
        let name = &site.node.name;
        let hosts = vec![site.node.address().to_string(), name.clone()];
        let subject = Subject {
            file: name,
            user: &format!("system:node:{name}"),
            group: Some("system:nodes"),
            hosts,
        };
        authority.issue(layout, &subject)?;
        kubeconfig::write_for(layout, name, &format!("https://{}", names::api_server()))?;
    }
    Ok(())
}
