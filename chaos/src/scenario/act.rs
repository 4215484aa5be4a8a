//! What can be done in a scenario: plain data, which [`super::stage`] brings about.

use std::fmt;
use std::time::Duration;

use crate::history::Part;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Several steps that scenarios have in common.
    Steps(&'static [Self]),
    /// A fault is injected.
    Fault(Fault),
    /// The fault that was injected first, of those that are not healed, ends.
    HealFirst,
    /// All faults end.
    Heal,
    /// Time passes.
    Pass(Duration),
    /// A promoter, who knows nothing of pgsteer, asks a standby to promote itself, and sees that it has.
    Promote(Who),
    /// A person asks a real promoter for something: a command in one of the example's pods.
    Ask {
        /// The pod.
        pod: &'static str,
        /// The command.
        words: &'static [&'static str],
    },
    /// For so long a promoter watches, and promotes the standby when nobody has taken writes for as long as its patience.
    Guard {
        /// How long it waits until it is sure.
        patience: Duration,
        /// How long it watches.
        span: Duration,
    },
    /// The same, until every role is right.
    GuardUntilRight {
        /// How long it waits until it is sure.
        patience: Duration,
        /// Every role is right within this time, or the scenario has failed.
        limit: Duration,
    },
    /// Waits until something has come about.
    Await(Await),
    /// Like [`Act::Await`], but goes on when it does not come about within this time: the scenario's expectations tell whether that matters.
    AwaitAtMost(Await, Duration),
}

/// Whom a step is about. Roles are those at the beginning of the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The server that was primary when the scenario began, whatever it is now.
    Primary,
    /// The server that was its standby.
    Standby,
    /// The controller that led when the scenario began.
    Leader,
    /// Every controller.
    Controllers,
}

/// What is injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to the first process.
    Kill(Who),
    /// Every process of the pod stops in its tracks.
    Freeze(Who),
    /// SIGTERM to the container's first process: the container ends and is started again.
    Terminate(Who),
    /// The pod is deleted.
    Delete(Who),
    /// The pod is deleted with no time to end.
    ForceDelete(Who),
    /// The server is shut down and stays so.
    Stop(Who),
    /// The server's volume is emptied; it has been stopped before.
    Wipe(Who),
    /// Somebody runs initdb on the server's empty volume, past every check.
    Initdb(Who),
    /// The server's disk is full.
    Fill(Who),
    /// The server's disk hangs: writes never return.
    Hang(Who),
    /// The standby receives the log and replays nothing.
    PauseReplay(Who),
    /// Every place for a session of the server is taken.
    Exhaust(Who),
    /// The probe's password is another one, in the database first and then in the Secret.
    RotatePassword,
    /// Packets between the pod and a peer are dropped.
    Cut(Who, Peer),
    /// Every packet of the pod arrives this much later.
    Slow(Who, Duration),
    /// The pod's wall clock is wrong by so many seconds.
    Skew(Who, i64),
    /// The controllers' pods are replaced one after the other.
    Roll,
    /// A component of the cluster is killed, and started again when healed.
    KillComponent(&'static str),
    /// A component of the cluster stops in its tracks.
    FreezeComponent(&'static str),
    /// A component that there is one of on every node stops in its tracks on all of them.
    FreezeEverywhere(&'static str),
    /// The component of this name on the pod's node is killed, and started again when healed.
    KillOnNodeOf(&'static str, Who),
    /// The pod's node is switched off.
    SwitchOff(Who),
    /// The cable of the pod's node is pulled out.
    Unplug(Who),
    /// The processors are kept busy, four times over.
    Starve,
}

/// From whom a pod is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The API server.
    ApiServer,
    /// Every PostgreSQL server.
    Servers,
    /// Another pod.
    Pod(Who),
    /// Everyone.
    Everyone,
}

/// What a step can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Await {
    /// The server is the primary: by its label, and alone in the write Service.
    IsPrimary(Who),
    /// The server is a replica by its label.
    IsReplica(Who),
    /// The server takes writes and is nobody's primary: by its label.
    IsOrphan(Who),
    /// Nobody is labelled primary, and the write Service leads nowhere.
    NoPrimary,
    /// The server says that it takes writes.
    Writable(Who),
    /// The server refuses connections.
    Down(Who),
    /// The server has no pod.
    Gone(Who),
    /// The server has a pod on a node.
    Running(Who),
    /// Another controller leads than at the beginning.
    AnotherLeads,
    /// A write of the leader to the API server is on its way: bytes that nobody has acknowledged, beside those of the Lease's renewal.
    RequestUnderWay,
    /// A write of the one who led has come to the API server since another leads.
    LateRequest,
    /// Everything is as it was meant to be: one primary, one replica, both in their Services.
    Right,
}

impl Fault {
    /// How the history calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill(_) | Self::KillComponent(_) | Self::KillOnNodeOf(..) => "SIGKILL",
            Self::Freeze(_) | Self::FreezeComponent(_) | Self::FreezeEverywhere(_) => "freeze",
            Self::Terminate(_) => "SIGTERM",
            Self::Delete(_) => "delete",
            Self::ForceDelete(_) => "force delete",
            Self::Stop(_) => "shut down",
            Self::Wipe(_) => "wipe the volume",
            Self::Initdb(_) => "initdb by force",
            Self::Fill(_) => "fill the disk",
            Self::Hang(_) => "hang the disk",
            Self::PauseReplay(_) => "pause replay",
            Self::Exhaust(_) => "exhaust connections",
            Self::RotatePassword => "rotate the password",
            Self::Cut(_, Peer::ApiServer) => "cut off from the API server",
            Self::Cut(_, Peer::Servers) => "cut off from PostgreSQL",
            Self::Cut(_, Peer::Pod(_)) => "cut off from its peer",
            Self::Cut(_, Peer::Everyone) => "cut off from everyone",
            Self::Slow(..) => "slow link",
            Self::Skew(..) => "wrong clock",
            Self::Roll => "rolling upgrade",
            Self::SwitchOff(_) => "power off",
            Self::Unplug(_) => "unplug",
            Self::Starve => "starve",
        }
    }

    /// What it strikes, of what kind.
    pub fn part(self) -> Part {
        match self {
            Self::Cut(..) | Self::Slow(..) => Part::Network,
            Self::Unplug(_) | Self::SwitchOff(_) => Part::Node,
            Self::Skew(..) => Part::Clock,
            Self::Starve => Part::Processors,
            Self::Roll => Part::Controller,
            Self::RotatePassword => Part::Server,
            Self::KillComponent(name)
            | Self::FreezeComponent(name)
            | Self::FreezeEverywhere(name)
            | Self::KillOnNodeOf(name, _) => component(name),
            Self::Kill(_)
            | Self::Freeze(_)
            | Self::Terminate(_)
            | Self::Delete(_)
            | Self::ForceDelete(_)
            | Self::Stop(_)
            | Self::Wipe(_)
            | Self::Initdb(_)
            | Self::Fill(_)
            | Self::Hang(_)
            | Self::PauseReplay(_)
            | Self::Exhaust(_) => self.victim().map_or(Part::Server, Who::part),
        }
    }

    /// Whose process or packets it strikes; nobody's when it strikes the cluster.
    pub fn victim(self) -> Option<Who> {
        match self {
            Self::Kill(who)
            | Self::Freeze(who)
            | Self::Terminate(who)
            | Self::Delete(who)
            | Self::ForceDelete(who)
            | Self::Stop(who)
            | Self::Wipe(who)
            | Self::Initdb(who)
            | Self::Fill(who)
            | Self::Hang(who)
            | Self::PauseReplay(who)
            | Self::Exhaust(who)
            | Self::Cut(who, _)
            | Self::Slow(who, _)
            | Self::Skew(who, _) => Some(who),
            Self::Roll => Some(Who::Controllers),
            Self::KillOnNodeOf(..)
            | Self::SwitchOff(_)
            | Self::Unplug(_)
            | Self::RotatePassword
            | Self::KillComponent(_)
            | Self::FreezeComponent(_)
            | Self::FreezeEverywhere(_)
            | Self::Starve => None,
        }
    }

    /// Whether it is over at once, so that there is nothing to heal: what it broke mends by itself.
    pub fn is_over_at_once(self) -> bool {
        match self {
            Self::Kill(_)
            | Self::Terminate(_)
            | Self::Delete(_)
            | Self::ForceDelete(_)
            | Self::Wipe(_)
            | Self::Initdb(_)
            | Self::RotatePassword
            | Self::Roll => true,
            Self::Freeze(_)
            | Self::Stop(_)
            | Self::Fill(_)
            | Self::Hang(_)
            | Self::PauseReplay(_)
            | Self::Exhaust(_)
            | Self::Cut(..)
            | Self::Slow(..)
            | Self::Skew(..)
            | Self::KillComponent(_)
            | Self::FreezeComponent(_)
            | Self::FreezeEverywhere(_)
            | Self::KillOnNodeOf(..)
            | Self::SwitchOff(_)
            | Self::Unplug(_)
            | Self::Starve => false,
        }
    }
}

impl Who {
    fn part(self) -> Part {
        match self {
            Self::Primary | Self::Standby => Part::Server,
            Self::Leader | Self::Controllers => Part::Controller,
        }
    }
}

fn component(name: &str) -> Part {
    match name {
        "kube-controller-manager" => Part::ControllerManager,
        "kubelet" => Part::Kubelet,
        "kube-proxy" => Part::KubeProxy,
        "coredns" => Part::Dns,
        // Without etcd the API server answers nothing.
        _ => Part::ApiServer,
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "the primary",
            Self::Standby => "the standby",
            Self::Leader => "the leader",
            Self::Controllers => "every controller",
        })
    }
}

impl fmt::Display for Await {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IsPrimary(who) => write!(f, "{who} of the beginning to be primary, alone in the write Service"),
            Self::IsReplica(who) => write!(f, "{who} of the beginning to be labelled replica"),
            Self::IsOrphan(who) => write!(f, "{who} of the beginning to be labelled orphan"),
            Self::NoPrimary => f.write_str("nobody to be primary"),
            Self::Writable(who) => write!(f, "{who} of the beginning to take writes"),
            Self::Down(who) => write!(f, "{who} of the beginning to refuse connections"),
            Self::Gone(who) => write!(f, "{who} of the beginning to have no pod"),
            Self::Running(who) => write!(f, "{who} of the beginning to have a pod that runs"),
            Self::AnotherLeads => f.write_str("another leader"),
            Self::RequestUnderWay => f.write_str("a write of the leader to be under way"),
            Self::LateRequest => f.write_str("the late request of the one who led"),
            Self::Right => f.write_str("every role to be right"),
        }
    }
}
