//! A history in which every rule holds, to be doctored: the primary `a` is killed, `b` is promoted, `a` comes back as its standby.
//!
//! ```text
//! ms     10000 a dies   10020 withdrawn   10050 unlisted   10300 b promoted   10320 mark   10340 granted   10400 listed
//!        16000 a is b's standby           16100 a is labelled replica         16200 a is listed for reads   40000 end
//! ```

use std::collections::BTreeSet;

use crate::history::{
    AuditedWrite, Event, FORMAT, Happening, Header, History, Mark, Part, Phase, PodSeen, RoleEdit, Rows, ServiceOf,
    Standing, State, Target,
};
use crate::host_time::HostTime;
use crate::workload::{Answerer, Kind, Line, Outcome, SessionKind};

/// A history that is being made up.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) header: Header,
    pub(crate) events: Vec<Event>,
}

/// The system identifier of the pair.
pub(crate) const SYSTEM: &str = "7";

pub(crate) fn ms(at: u64) -> HostTime {
    HostTime(at * 1_000_000)
}

/// The address of a pod.
pub(crate) fn address(pod: &str) -> String {
    format!("10.0.0.{}", pod.bytes().map(u32::from).sum::<u32>())
}

impl Story {
    pub(crate) fn empty() -> Self {
        Self {
            header: Header {
                format: FORMAT,
                scenario: "primary-killed".to_owned(),
                began: ms(0),
                began_unix: 0,
                route: "pg/pg-ha".to_owned(),
                silent_after_millis: 3000,
                settle_within_millis: 10_000,
                observed_every_micros: 1000,
                client_nodes: vec!["n3".to_owned()],
            },
            events: Vec::new(),
        }
    }

    /// The whole story, with every rule kept.
    pub(crate) fn sound() -> Self {
        let mut story = Self::empty();
        story.lease(1, "pgsteer-0_0badcafe", 3);
        story.mark(2, SYSTEM, 1, "a");
        story.label(3, "a", Some("primary"));
        story.label(3, "b", Some("replica"));
        story.state(4, "a", writable(1));
        story.state(4, "b", standby(1));
        story.endpoints(5, ServiceOf::Writes, &["a"]);
        story.endpoints(5, ServiceOf::Reads, &["b"]);
        story.struck(10_000, 10_000, Part::Server, "a");
        story.state(
            10_001,
            "a",
            State::Down {
                why: "reset".to_owned(),
            },
        );
        story.edited(10_015, "a", RoleEdit::Off, "3.5.0badcafe");
        story.label(10_020, "a", None);
        story.endpoints(10_050, ServiceOf::Writes, &[]);
        story.add(10_280, Happening::Promotion { pod: "b".to_owned() });
        story.state(10_300, "b", writable(2));
        story.mark(10_320, SYSTEM, 2, "b");
        story.edited(10_335, "b", RoleEdit::To("primary".to_owned()), "3.7.0badcafe");
        story.label(10_340, "b", Some("primary"));
        story.endpoints(10_390, ServiceOf::Reads, &[]);
        story.endpoints(10_400, ServiceOf::Writes, &["b"]);
        story.state(16_000, "a", standby(2));
        story.label(16_100, "a", Some("replica"));
        story.endpoints(16_200, ServiceOf::Reads, &["a"]);
        for at in (100..10_000).step_by(100) {
            story.wrote(at, "a", 1);
            story.read(at, "b");
        }
        story.failed(10_100, Kind::Write);
        for at in (10_600..40_000).step_by(100) {
            story.wrote(at, "b", 2);
        }
        for at in (16_300..40_000).step_by(100) {
            story.read(at, "a");
        }
        let ids = vec![0..=100_000];
        story.add(
            39_990,
            Happening::Rows(Rows {
                pod: "b".to_owned(),
                system: SYSTEM.to_owned(),
                timeline: 2,
                asked: None,
                ids,
            }),
        );
        story.add(40_000, Happening::End);
        story
    }

    pub(crate) fn history(self) -> History {
        History::new(self.header, self.events)
    }

    pub(crate) fn add(&mut self, at: u64, what: Happening) {
        self.events.push(Event { at: ms(at), what });
    }

    /// Takes out what is like this.
    pub(crate) fn drop_where(&mut self, is_so: impl Fn(u64, &Happening) -> bool) {
        self.events.retain(|event| !is_so(event.at.0 / 1_000_000, &event.what));
    }

    pub(crate) fn label(&mut self, at: u64, pod: &str, role: Option<&str>) {
        let seen = PodSeen {
            pod: pod.to_owned(),
            uid: format!("uid-{pod}"),
            address: Some(address(pod)),
            node: Some("n1".to_owned()),
            role: role.map(str::to_owned),
            is_ready: true,
            is_terminating: false,
        };
        self.add(at, Happening::Pod(seen));
    }

    pub(crate) fn endpoints(&mut self, at: u64, service: ServiceOf, pods: &[&str]) {
        self.add(
            at,
            Happening::Endpoints {
                service,
                ready: pods.iter().map(|pod| address(pod)).collect(),
                terminating: BTreeSet::new(),
            },
        );
    }

    pub(crate) fn lease(&mut self, at: u64, holder: &str, transitions: u32) {
        let holder = Some(holder.to_owned());
        self.add(at, Happening::Lease { holder, transitions });
    }

    pub(crate) fn mark(&mut self, at: u64, system: &str, timeline: u32, pod: &str) {
        let mark = Mark {
            system: system.to_owned(),
            timeline,
            lsn: "0/3000148".to_owned(),
            pod: pod.to_owned(),
        };
        self.add(at, Happening::Ledger { mark: Some(mark) });
    }

    pub(crate) fn state(&mut self, at: u64, pod: &str, state: State) {
        let standing = Standing {
            pod: pod.to_owned(),
            uid: format!("uid-{pod}"),
            address: address(pod),
            state,
            not_before: ms(at.saturating_sub(1)),
        };
        self.add(at, Happening::Standing(standing));
    }

    pub(crate) fn struck(&mut self, from: u64, to: u64, part: Part, name: &str) {
        for (at, phase) in [(from, Phase::Injected), (to, Phase::Healed)] {
            let (name, target) = ("struck".to_owned(), Target::new(part, name));
            self.add(at, Happening::Fault { name, target, phase });
        }
    }

    /// The controller's write of a pod's label is accepted.
    pub(crate) fn edited(&mut self, at: u64, pod: &str, role: RoleEdit, stamp: &str) {
        let write = AuditedWrite {
            received: ms(at.saturating_sub(3)),
            verb: "patch".to_owned(),
            resource: "pods".to_owned(),
            subresource: None,
            name: pod.to_owned(),
            user: "system:serviceaccount:pgsteer-system:pgsteer".to_owned(),
            from_pod: Some("pgsteer-0".to_owned()),
            stamp: Some(stamp.to_owned()),
            role,
            endpoints: None,
            code: 200,
        };
        self.add(at, Happening::Write(write));
    }

    /// A write over a new connection that took 5 ms. Its row has the number of its millisecond.
    pub(crate) fn wrote(&mut self, at: u64, pod: &str, timeline: u32) {
        self.wrote_over(at, at - 5, SessionKind::Fresh, pod, timeline);
    }

    pub(crate) fn wrote_over(&mut self, at: u64, began: u64, session: SessionKind, pod: &str, timeline: u32) {
        let by = answerer(pod, timeline, false);
        self.said(at, began, session, Kind::Write, Outcome::Written { id: at, by });
    }

    /// What was said last went over a connection from this port.
    pub(crate) fn over_port(&mut self, port: u16) {
        if let Some(Happening::Client { line, .. }) = self.events.last_mut().map(|event| &mut event.what) {
            line.port = Some(port);
        }
    }

    pub(crate) fn read(&mut self, at: u64, pod: &str) {
        let by = answerer(pod, 1, true);
        self.said(
            at,
            at - 5,
            SessionKind::Fresh,
            Kind::Read,
            Outcome::Read { highest: 1, by },
        );
    }

    pub(crate) fn failed(&mut self, at: u64, kind: Kind) {
        let error = "refused".to_owned();
        self.said(at, at - 5, SessionKind::Fresh, kind, Outcome::Failed { error });
    }

    fn said(&mut self, at: u64, began: u64, session: SessionKind, kind: Kind, outcome: Outcome) {
        let line = Line {
            n: at,
            at: ms(at),
            began: ms(began),
            port: None,
            opened: Some(ms(began + 2)),
            session,
            outcome,
        };
        let client = "client".to_owned();
        self.add(at, Happening::Client { client, kind, line });
    }
}

fn answerer(pod: &str, timeline: u32, in_recovery: bool) -> Answerer {
    Answerer {
        system: SYSTEM.to_owned(),
        timeline,
        address: address(pod),
        in_recovery,
    }
}

pub(crate) fn writable(timeline: u32) -> State {
    State::Writable {
        system: SYSTEM.to_owned(),
        timeline,
    }
}

pub(crate) fn standby(timeline: u32) -> State {
    State::InRecovery {
        system: SYSTEM.to_owned(),
        timeline,
    }
}
