//! One process of the control plane, and how to know it again.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::process;

/// A process that this one started. It lives on when this is dropped.
#[derive(Debug)]
pub(crate) struct Component {
    child: Child,
    record: Record,
}

impl Component {
    /// Starts `command` in a process group of its own, so that a Ctrl-C in the terminal does not reach it. Its output
    /// goes to the file `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(name: &str, command: &mut Command, port: u16, log: &Path) -> Result<Self> {
        let context = || format!("cannot start {}", process::line(command));
        let output = File::create(log).with_context(|| format!("cannot write `{}`", log.display()))?;
        let errors = output.try_clone().with_context(context)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{name}`"))?;
        let pid = child.id();
        // Its number stays its own until somebody waits for it, even if it has exited.
        let Some(Sighting { birth, .. }) = sight(pid) else {
            stop(&mut child);
            bail!("cannot tell when `{name}` (process {pid}) was started");
        };
        let record = Record { name: name.to_owned(), pid, birth, port, log: log.to_owned() };
        Ok(Self { child, record })
    }

    /// The facts that another process needs.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        // An error means that there is nothing to wait for, which cannot be while the child is not waited for.
        self.child.try_wait().ok().flatten()
    }

    /// Ends it without a chance to tidy up: all that it has is thrown away.
    pub(crate) fn stop(&mut self) {
        stop(&mut self.child);
    }
}

fn stop(child: &mut Child) {
    // Both fail only if it has exited already.
    let _ = child.kill();
    let _ = child.wait();
}

/// A process as another one finds it again, however many processes have had its number since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The name of its program.
    pub(crate) name: String,
    /// Its number.
    pub(crate) pid: u32,
    /// When it was started, as the system tells it: with the number, this names one process only.
    birth: String,
    /// Its address on loopback.
    pub(crate) port: u16,
    /// Its output.
    pub(crate) log: PathBuf,
}

impl Record {
    /// Whether this very process is alive.
    pub(crate) fn is_alive(&self) -> bool {
        sight(self.pid).is_some_and(|seen| !seen.ended && seen.birth == self.birth)
    }

    /// Kills this very process and waits until it is gone. If its number belongs to another process by now, nothing
    /// happens.
    ///
    /// # Errors
    /// It is not this user's to kill, or it still runs after 10 s.
    pub(crate) fn kill(&self) -> Result<()> {
        let start = Instant::now();
        let mut killed = false;
        while self.is_alive() {
            if !killed && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
                match kill_process(pid, Signal::KILL) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => killed = true,
                    Err(error) => {
                        return Err(error)
                            .with_context(|| format!("cannot end `{}` (process {})", self.name, self.pid));
                    }
                }
            }
            if start.elapsed() > Duration::from_secs(10) {
                bail!("`{}` (process {}) does not end", self.name, self.pid);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Returns the end of its log and the log's path, as the end of an error message.
    pub(crate) fn log_end(&self) -> String {
        format!("; its log ends in:{}\nhint: the whole log is `{}`", self.last_words(), self.log.display())
    }

    /// The last lines that it said, indented.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..]
            .iter()
            .map(|line| format!("\n  {}", line.trim_end()))
            .collect()
    }
}

/// The system's facts about a process.
#[derive(Debug)]
struct Sighting {
    birth: String,
    /// It has ended, and nobody has waited for it yet.
    ended: bool,
}

#[cfg(target_os = "linux")]
fn sight(pid: u32) -> Option<Sighting> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (state, ticks) = state_and_start(&stat)?;
    // The time counts from the boot.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(Sighting { birth: format!("{ticks} {}", boot.trim()), ended: matches!(state, "Z" | "X") })
}

/// Fields 3 and 22 of `/proc/PID/stat`. The second, the program's name, can have spaces and parentheses in it.
#[cfg(target_os = "linux")]
fn state_and_start(stat: &str) -> Option<(&str, &str)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?, fields.nth(18)?))
}

#[cfg(not(target_os = "linux"))]
fn sight(pid: u32) -> Option<Sighting> {
    let words =
        process::stdout(Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()])).ok()?;
    let (state, birth) = words.trim().split_once(char::is_whitespace)?;
    Some(Sighting { birth: birth.trim().to_owned(), ended: state.starts_with('Z') })
}

/// How many lines of a log an error shows.
const LAST_WORDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> (tempfile::TempDir, Component) {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let component = Component::start(
            "etcd",
            Command::new("sh").args(["-c", "echo one; echo two >&2; exec sleep 60"]),
            1,
            &log,
        );
        (folder, component.unwrap())
    }

    #[test]
    fn kills_the_process_of_a_record() {
        let (_folder, mut component) = sleeper();
        let record = component.record().clone();
        assert!(record.is_alive());
        record.kill().unwrap();
        assert!(!record.is_alive());
        assert!(component.child.wait().unwrap().code().is_none());
        record.kill().unwrap();
    }

    #[test]
    fn leaves_another_process_with_the_same_number_alone() {
        let (_folder, mut component) = sleeper();
        let stale = Record { birth: "1 another".to_owned(), ..component.record().clone() };
        assert!(!stale.is_alive());
        stale.kill().unwrap();
        assert!(component.ended().is_none());
        component.stop();
        assert!(!component.record().is_alive());
    }

    #[test]
    fn last_words_are_the_ends_of_both_outputs() {
        let (_folder, mut component) = sleeper();
        let start = Instant::now();
        while component.record().last_words() != "\n  one\n  two" {
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", component.record().last_words());
            thread::yield_now();
        }
        component.stop();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 1";
        assert_eq!(state_and_start(stat), Some(("S", "98765")));
    }
}
