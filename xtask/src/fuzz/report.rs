//! Libfuzzer's result, in one line.

use std::fmt;
use std::path::{Path, PathBuf};

/// The result of one target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    runs: u64,
    /// Edges that were reached, by the corpus as it was and at the end.
    coverage: (u64, u64),
    /// `None` if nothing was found.
    pub(super) finding: Option<Finding>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    what: String,
    /// The input, or the log if there is none.
    artifact: PathBuf,
}

impl Report {
    /// Reads a log. `success` is the process's exit status.
    pub(super) fn read(log: &str, success: bool, path: &Path) -> Self {
        let coverage = |line: &str| after(line, " cov: ");
        let inited = log.lines().find(|line| line.contains("INITED")).and_then(coverage);
        let last = log.lines().rev().find_map(coverage);
        // The process that fails may not get to its statistics; each line of progress begins with `#RUNS`.
        let counted = log.lines().rev().find_map(|line| after(line, "stat::number_of_executed_units: "));
        let progress = log.lines().rev().find_map(|line| after(line, "#"));
        Self {
            runs: counted.or(progress).unwrap_or_default(),
            coverage: (inited.or(last).unwrap_or_default(), last.unwrap_or_default()),
            finding: (!success).then(|| Finding::read(log, path)),
        }
    }
}

impl Finding {
    fn read(log: &str, path: &Path) -> Self {
        let artifact = log.lines().find_map(|line| line.split_once("Test unit written to "));
        let artifact = artifact.map_or(path, |(_, artifact)| Path::new(artifact.trim()));
        let mut lines = log.lines().skip_while(|line| !line.contains(" panicked at "));
        let what = match lines.next() {
            Some(at) => format!("{} {}", at.trim(), lines.next().unwrap_or_default().trim()),
            None => log
                .lines()
                .find_map(|line| line.split_once("ERROR: libFuzzer: "))
                .map_or("it ended without a word", |(_, what)| what)
                .to_owned(),
        };
        Self { what, artifact: artifact.to_owned() }
    }
}

/// The number that follows `word`.
fn after(line: &str, word: &str) -> Option<u64> {
    let rest = line.split_once(word)?.1.trim_start();
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, now) = self.coverage;
        write!(f, "{:>10} runs   {now:>6} edges, {} new   ", self.runs, now.saturating_sub(before))?;
        match &self.finding {
            None => f.write_str("nothing found"),
            Some(Finding { what, artifact }) => write!(f, "FOUND {what}\n  {}", artifact.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "\
INFO: Seed: 1
#5\tINITED cov: 890 ft: 901 corp: 4/120b exec/s: 0 rss: 40Mb
#900\tNEW    cov: 1000 ft: 1400 corp: 9/500b lim: 4096 exec/s: 300 rss: 50Mb L: 12/80 MS: 1 ChangeBit-
#4321\tDONE   cov: 1012 ft: 1500 corp: 12/700b lim: 4096 exec/s: 400 rss: 51Mb
Done 4321 runs in 11 second(s)
stat::number_of_executed_units: 4321
stat::average_exec_per_sec:     392
";

    #[test]
    fn says_runs_and_new_coverage() {
        let report = Report::read(FINE, true, Path::new("log"));
        assert_eq!(report, Report { runs: 4321, coverage: (890, 1012), finding: None });
        assert_eq!(report.to_string(), "      4321 runs     1012 edges, 122 new   nothing found");
    }

    #[test]
    fn says_what_was_found_and_where_its_input_is() {
        let log = "\
#5\tINITED cov: 890 ft: 901
#70\tNEW    cov: 891 ft: 902

thread '<unnamed>' panicked at fuzz_targets/x.rs:3:5:
the patch makes another object
==7== ERROR: libFuzzer: deadly signal
artifact_prefix='a/'; Test unit written to a/crash-12
";
        let report = Report::read(log, false, Path::new("log"));
        assert_eq!(report.runs, 70);
        let words = "FOUND thread '<unnamed>' panicked at fuzz_targets/x.rs:3:5: the patch makes another object\n  a/crash-12";
        assert!(report.to_string().ends_with(words), "{report}");
        let slow = "==7== ERROR: libFuzzer: timeout after 25 seconds\nTest unit written to a/timeout-1";
        assert!(
            Report::read(slow, false, Path::new("log"))
                .to_string()
                .ends_with("timeout after 25 seconds\n  a/timeout-1")
        );
        assert!(
            Report::read("", false, Path::new("a/log"))
                .to_string()
                .ends_with("it ended without a word\n  a/log")
        );
    }
}
