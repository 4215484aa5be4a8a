//! What a run has played: kept on disk, so that a run that was ended goes on where it was, and summed up in the end.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::outcome::Kept;
use crate::cluster;

/// The last lines of a run.
pub(super) fn summary(kept: &[Kept]) -> Vec<String> {
    let failed: Vec<&str> = kept
        .iter()
        .filter(|one| !one.passed)
        .map(|one| one.name.as_str())
        .collect();
    let took: u64 = kept.iter().map(|one| one.millis).sum();
    let held = kept.len() - failed.len();
    let seconds = Duration::from_millis(took).as_secs();
    let mut lines = vec![format!(
        "\n{held} of {} scenarios held, in {} min {} s",
        kept.len(),
        seconds / 60,
        seconds % 60
    )];
    if !failed.is_empty() {
        lines.push(format!("FAIL: {}", failed.join(", ")));
    }
    lines
}

/// What a run has played, on disk.
pub(super) struct Played {
    path: PathBuf,
    pub(super) kept: Vec<Kept>,
}

impl Played {
    /// Begins in this folder; with `resume` from what an earlier run has left there.
    pub(super) fn open(reports: &Path, resume: bool) -> Result<Self, cluster::Error> {
        let path = reports.join("played.jsonl");
        std::fs::create_dir_all(reports).map_err(cluster::Error::io("make the directory", reports))?;
        if !resume {
            std::fs::write(&path, "").map_err(cluster::Error::io("write", &path))?;
        }
        let content = std::fs::read_to_string(&path).unwrap_or_default();
        // A line that was cut off is of a scenario that is played again.
        let kept = content.lines().filter_map(|line| serde_json::from_str(line).ok());
        Ok(Self {
            kept: kept.collect(),
            path,
        })
    }

    /// One more was played.
    pub(super) fn keep(&mut self, kept: Kept) -> Result<(), cluster::Error> {
        let append = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            writeln!(file, "{}", serde_json::json!(kept))
        };
        append().map_err(cluster::Error::io("write", &self.path))?;
        self.kept.push(kept);
        Ok(())
    }
}
