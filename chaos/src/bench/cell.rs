//! What is measured: one cell a rival and way. Plain data.

/// One thing that is measured, against which the others stand in the same run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// How it is called on the command line and in the raw data.
    pub name: &'static str,
    /// What it is, for a person.
    pub about: &'static str,
    /// What a round of it does.
    pub play: Play,
    /// Whether `--quick` measures it too.
    pub is_quick: bool,
}

/// What a round does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Play {
    /// The primary goes and the standby takes over: how long until the name leads there?
    Switch {
        /// On which pair.
        pair: Pair,
        /// How it comes about.
        cut: Cut,
        /// What the clients connect to.
        door: Door,
    },
    /// The primary hangs, and thaws once its label is gone.
    Freeze {
        /// On which pair.
        pair: Pair,
    },
    /// The leader of several replicas ends: how long until another may write?
    Succession {
        /// Of whom.
        of: Elected,
        /// How it ends.
        by: Ending,
    },
}

/// How a change of the primary comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// SIGKILL to the postmaster; a promoter that knows nothing of the route promotes the standby a little later.
    Killed,
    /// The standby is promoted while the primary runs and takes writes.
    Beaten,
    /// SIGKILL to the postmaster and to the leader of the controllers at once.
    KilledWithLeader,
    /// The pair's own promoter is asked for a planned switchover.
    Planned,
}

/// Two servers, and who labels them. Each pair has a namespace of its own and is there all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pair {
    /// pgsteer, `routing: Labels`.
    Labels,
    /// pgsteer, `routing: EndpointSlices`.
    Slices,
    /// The controller that everybody writes first.
    Textbook,
    /// A loop that asks every second.
    Polling,
    /// Patroni labels its pods itself, with its default settings.
    Patroni,
    /// The same with ttl 20, `loop_wait` 1, `retry_timeout` 3.
    PatroniTuned,
}

/// What clients connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The write Service.
    Service,
    /// The Service of a proxy with this name, which finds the primary itself.
    Proxy(&'static str),
    /// All servers; the client looks for the one that takes writes, as libpq does with `target_session_attrs=read-write`.
    EveryServer,
}

/// Who elects a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elected {
    /// pgsteer's replicas.
    Pgsteer,
    /// Two kube-controller-managers: client-go's defaults.
    ClientGo,
}

/// How a leader ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM.
    Asked,
    /// SIGKILL.
    Killed,
}

const fn switch(name: &'static str, about: &'static str, pair: Pair, cut: Cut, door: Door) -> Cell {
    Cell {
        name,
        about,
        play: Play::Switch { pair, cut, door },
        is_quick: false,
    }
}

const fn succession(name: &'static str, about: &'static str, of: Elected, by: Ending) -> Cell {
    Cell {
        name,
        about,
        play: Play::Succession { of, by },
        is_quick: false,
    }
}

const fn quick(cell: Cell) -> Cell {
    Cell { is_quick: true, ..cell }
}

/// The pgsteer cell that rivals' labels stand against.
pub(super) const LABELS: &str = "labels";
/// The pgsteer cell that proxies stand against.
pub(super) const SLICES: &str = "slices";

/// Every cell, in the order in which one round of each is played.
pub const CELLS: &[Cell] = &[
    quick(switch(
        LABELS,
        "pgsteer, routing by labels",
        Pair::Labels,
        Cut::Killed,
        Door::Service,
    )),
    quick(switch(
        "textbook",
        "an informer that asks and patches",
        Pair::Textbook,
        Cut::Killed,
        Door::Service,
    )),
    quick(switch(
        SLICES,
        "pgsteer, routing by EndpointSlices",
        Pair::Slices,
        Cut::Killed,
        Door::Service,
    )),
    switch(
        "polling",
        "a loop that asks every second",
        Pair::Polling,
        Cut::Killed,
        Door::Service,
    ),
    switch(
        "haproxy",
        "HAProxy, 2 s / fall 3 / rise 2",
        Pair::Labels,
        Cut::Killed,
        Door::Proxy("haproxy"),
    ),
    switch(
        "haproxy-tuned",
        "HAProxy, 500 ms / 1 / 1",
        Pair::Labels,
        Cut::Killed,
        Door::Proxy("haproxy-tuned"),
    ),
    switch(
        "libpq",
        "target_session_attrs=read-write over both",
        Pair::Labels,
        Cut::Killed,
        Door::EveryServer,
    ),
    switch(
        "beaten",
        "pgsteer, the old primary takes writes on",
        Pair::Labels,
        Cut::Beaten,
        Door::Service,
    ),
    switch(
        "slices-beaten",
        "the same, EndpointSlices",
        Pair::Slices,
        Cut::Beaten,
        Door::Service,
    ),
    switch(
        "leader-too",
        "pgsteer, its leader killed with the primary",
        Pair::Labels,
        Cut::KilledWithLeader,
        Door::Service,
    ),
    switch(
        "patroni",
        "Patroni's own labels, defaults, switchover",
        Pair::Patroni,
        Cut::Planned,
        Door::Service,
    ),
    switch(
        "patroni-tuned",
        "the same, ttl 20 / loop 1 / retry 3",
        Pair::PatroniTuned,
        Cut::Planned,
        Door::Service,
    ),
    Cell {
        name: "frozen",
        about: "pgsteer, the primary hangs",
        play: Play::Freeze { pair: Pair::Labels },
        is_quick: false,
    },
    quick(succession(
        "leader-term",
        "pgsteer's leader, SIGTERM",
        Elected::Pgsteer,
        Ending::Asked,
    )),
    succession(
        "leader-kill",
        "pgsteer's leader, SIGKILL",
        Elected::Pgsteer,
        Ending::Killed,
    ),
    succession(
        "client-go-term",
        "client-go's leader, SIGTERM",
        Elected::ClientGo,
        Ending::Asked,
    ),
    succession(
        "client-go-kill",
        "client-go's leader, SIGKILL",
        Elected::ClientGo,
        Ending::Killed,
    ),
];

impl Cell {
    /// The cell that is called so.
    pub fn find(name: &str) -> Option<&'static Self> {
        CELLS.iter().find(|cell| cell.name == name)
    }

    /// The same for a command line: the error names those that there are.
    pub fn parse(name: &str) -> Result<&'static Self, String> {
        let known: Vec<&str> = CELLS.iter().map(|cell| cell.name).collect();
        Self::find(name).ok_or_else(|| format!("no such cell; there are {}", known.join(", ")))
    }

    /// The pair that it needs.
    pub fn pair(&self) -> Option<Pair> {
        match self.play {
            Play::Switch { pair, .. } | Play::Freeze { pair } => Some(pair),
            Play::Succession {
                of: Elected::Pgsteer, ..
            } => Some(Pair::Labels),
            Play::Succession {
                of: Elected::ClientGo, ..
            } => None,
        }
    }

    /// Whether it needs client-go's candidates.
    pub fn is_client_go(&self) -> bool {
        let of = Elected::ClientGo;
        matches!(self.play, Play::Succession { of: found, .. } if found == of)
    }

    /// The proxy that it needs.
    pub fn proxy(&self) -> Option<&'static str> {
        match self.play {
            Play::Switch {
                door: Door::Proxy(name),
                ..
            } => Some(name),
            Play::Switch { .. } | Play::Freeze { .. } | Play::Succession { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cell_has_a_name_of_its_own_and_is_found_by_it() {
        let names: BTreeSet<&str> = CELLS.iter().map(|cell| cell.name).collect();
        assert_eq!(names.len(), CELLS.len());
        for cell in CELLS {
            assert_eq!(Cell::parse(cell.name), Ok(cell));
        }
        let refused = Cell::parse("nobody").expect_err("there is none");
        assert!(refused.contains(LABELS) && refused.contains(SLICES), "{refused}");
    }
}
