//! The raw data: a header, then one line of JSON a round, written as it ends. A run that was ended goes on where it was; rounds of another
//! build or of another kind of run are put aside, never mixed in.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::phases::Phases;

/// The format of this file; a reader puts any other aside.
const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header {
    /// Of this file.
    pub format: u32,
    /// The controller that was measured: the SHA-256 of its program.
    pub controller: String,
    /// A look whether everything works, or a measurement.
    pub is_quick: bool,
    /// Processors of the host.
    pub processors: usize,
    /// Its kernel.
    pub kernel: String,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Round {
    /// Its cell.
    pub cell: String,
    /// Seconds since 1970 at its end.
    pub ended_unix: u64,
    /// From the cut to its last phase.
    pub lasted_millis: u64,
    /// The whole of it, with the mending before and after.
    #[serde(default)]
    pub took_millis: u64,
    /// How long before the promotion the old primary's label was off; negative: after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_before_millis: Option<i64>,
    /// Its phases.
    #[serde(default)]
    pub phases: Phases,
    /// How much too late a sleeper of one millisecond woke up meanwhile, at worst: what the host adds to every stamp.
    pub noise_micros: u64,
    /// The host's load average of one minute at its beginning.
    pub load: f64,
    /// Why it gave no phases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The file of a run.
#[derive(Debug)]
pub(super) struct Raw {
    path: PathBuf,
    file: File,
    /// The host and what is measured.
    pub header: Header,
    /// What has been played.
    pub rounds: Vec<Round>,
    /// How many of these an earlier run has played.
    pub earlier: usize,
}

impl Header {
    /// Of a run on this host.
    pub(super) fn of(controller: String, is_quick: bool) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            format: FORMAT,
            controller,
            is_quick,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
        }
    }
}

impl Raw {
    /// Opens `rounds.jsonl` of a folder, or begins it. A file whose header is another one is renamed after its time.
    pub(super) fn open(directory: &Path, header: Header, now_unix: u64) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join("rounds.jsonl");
        let kept = match read(&path) {
            Ok(Some((found, rounds))) if found == header => Some(rounds),
            Ok(None) => None,
            Ok(Some(_)) | Err(_) => {
                std::fs::rename(&path, directory.join(format!("rounds-until-{now_unix}.jsonl")))?;
                None
            }
        };
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        if kept.is_none() {
            line(&mut file, &header)?;
        }
        let rounds = kept.unwrap_or_default();
        Ok(Self {
            path,
            file,
            header,
            earlier: rounds.len(),
            rounds,
        })
    }

    /// Adds a round.
    pub(super) fn add(&mut self, round: Round) -> io::Result<()> {
        line(&mut self.file, &round)?;
        self.rounds.push(round);
        Ok(())
    }

    /// What this run has played.
    pub(super) fn fresh(&self) -> &[Round] {
        self.rounds.get(self.earlier..).unwrap_or_default()
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn line(file: &mut File, what: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string(what)?;
    text.push('\n');
    file.write_all(text.as_bytes())
}

/// Nothing: there is no such file, or nothing in it. A last line that was cut off is no round.
fn read(path: &Path) -> io::Result<Option<(Header, Vec<Round>)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let lines: Vec<String> = BufReader::new(file).lines().collect::<Result<_, _>>()?;
    let Some((first, rest)) = lines.split_first() else {
        return Ok(None);
    };
    let header = serde_json::from_str(first)?;
    let rounds = rest.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(Some((header, rounds)))
}

/// A round shorter than this is played a hundred times, one up to the next twenty times, a longer one eight times.
const SHORT: Duration = Duration::from_secs(3);
const MIDDLING: Duration = Duration::from_secs(10);
/// From so many rounds on a 99th percentile says something.
pub(super) const MANY: usize = 100;
const SOME: usize = 20;
const FEW: usize = 8;
/// So many failures in a row, and a cell did not come to be.
pub(super) const FAILURES_MAX: usize = 3;
/// Rounds of each cell in a quick run.
pub(super) const QUICK_ROUNDS: usize = 2;

/// How often a cell is to be played, by how long its rounds so far lasted (their median).
pub(super) fn wanted(rounds: &[Round], cell: &Cell, is_quick: bool) -> usize {
    if is_quick {
        return QUICK_ROUNDS;
    }
    let mut lasted: Vec<u64> = good(rounds, cell.name).map(|round| round.lasted_millis).collect();
    lasted.sort_unstable();
    let Some(median) = lasted.get(lasted.len() / 2) else {
        return FEW;
    };
    match Duration::from_millis(*median) {
        short if short < SHORT => MANY,
        middling if middling <= MIDDLING => SOME,
        _ => FEW,
    }
}

/// The rounds of a cell that gave phases.
pub(super) fn good<'a>(rounds: &'a [Round], cell: &'a str) -> impl Iterator<Item = &'a Round> {
    rounds
        .iter()
        .filter(move |round| round.cell == cell && round.failed.is_none())
}

/// Why a cell is given up: its last rounds all failed.
pub(super) fn given_up<'a>(rounds: &'a [Round], cell: &str) -> Option<&'a str> {
    let of_cell: Vec<&Round> = rounds.iter().filter(|round| round.cell == cell).collect();
    let last = of_cell.iter().rev().take(FAILURES_MAX);
    let failed: Vec<&str> = last.filter_map(|round| round.failed.as_deref()).collect();
    failed.first().copied().filter(|_| failed.len() == FAILURES_MAX)
}

/// How many rounds of each cell there are, of those that gave phases.
pub(super) fn counts(rounds: &[Round]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for round in rounds.iter().filter(|round| round.failed.is_none()) {
        *counts.entry(round.cell.as_str()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::super::cell;
    use super::*;

    fn round(cell: &str, lasted_millis: u64, failed: Option<&str>) -> Round {
        Round {
            cell: cell.to_owned(),
            ended_unix: 1,
            lasted_millis,
            took_millis: 0,
            withdrawn_before_millis: None,
            phases: Phases::from([(super::super::phases::Phase::Write, 5)]),
            noise_micros: 100,
            load: 0.5,
            failed: failed.map(str::to_owned),
        }
    }

    #[test]
    fn a_run_goes_on_where_it_was_and_rounds_of_another_build_are_put_aside() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let header = Header::of("abc".to_owned(), false);
        let mut raw = Raw::open(directory.path(), header.clone(), 7).expect("begun");
        raw.add(round("labels", 10, None)).expect("written");
        // A program that is killed while it writes leaves half a line.
        std::fs::OpenOptions::new()
            .append(true)
            .open(raw.path())
            .and_then(|mut file| file.write_all(b"{\"cell\":\"la\n"))
            .expect("written");
        let again = Raw::open(directory.path(), header, 8).expect("opened");
        assert_eq!(again.rounds, [round("labels", 10, None)]);
        assert!(
            again.fresh().is_empty(),
            "a cell that was given up earlier is tried again"
        );
        let other = Raw::open(directory.path(), Header::of("def".to_owned(), false), 9).expect("begun");
        assert!(other.rounds.is_empty());
        assert!(directory.path().join("rounds-until-9.jsonl").is_file());
    }

    #[test]
    fn long_rounds_are_played_less_often() {
        let cell = Cell::find(cell::LABELS).expect("there is one");
        for (lasted, expected) in [(2_999, 100), (3_000, 20), (10_000, 20), (10_001, 8)] {
            let rounds = vec![round(cell.name, lasted, None); 3];
            assert_eq!(wanted(&rounds, cell, false), expected, "{lasted} ms");
        }
        let failed = vec![round(cell.name, 1, Some("no promotion"))];
        assert_eq!(wanted(&failed, cell, false), 8, "a failure tells nothing of its length");
        assert_eq!(wanted(&[], cell, true), QUICK_ROUNDS);
    }

    #[test]
    fn a_cell_is_given_up_after_three_failures_in_a_row_alone() {
        let fails = || round("a", 1, Some("no"));
        let mixed = [fails(), fails(), round("a", 1, None), fails(), fails()];
        assert_eq!(given_up(&mixed, "a"), None);
        let rounds = [fails(), round("b", 1, None), fails(), fails()];
        assert_eq!((given_up(&rounds, "a"), given_up(&rounds, "b")), (Some("no"), None));
        assert_eq!(counts(&rounds), BTreeMap::from([("b", 1)]));
    }
}
