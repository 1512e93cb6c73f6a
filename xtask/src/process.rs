//! Runs other programs; errors name the command and its output.

use std::env;
use std::fmt::{self, Write as _};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::interrupt::Interrupt;

/// cargo, the same one that runs xtask, in `dir`.
pub(crate) fn cargo(dir: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(dir);
    command
}

/// Runs `command` in front of the user: its output passes through, its stdout as words.
///
/// # Errors
/// It cannot be started, or it fails.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    Ok(())
}

/// Runs `command` in front of the user, as [`show`] does, with all of its children in a process group of its own. If
/// this process is asked to stop, so is the group.
///
/// # Errors
/// It cannot be started, it exits without success (an [`Ended`]), or this process is asked to stop.
pub(crate) fn show_until(command: &mut Command, interrupt: &Interrupt) -> Result<()> {
    pass_until(command.stdout(std::io::stderr()), interrupt)
}

/// The same for a command whose stdout is the task's own.
///
/// # Errors
/// As [`show_until`].
pub(crate) fn pass_until(command: &mut Command, interrupt: &Interrupt) -> Result<()> {
    interrupt.check()?;
    let mut child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", line(command)))?;
    loop {
        if let Some(status) =
            child.try_wait().with_context(|| format!("cannot wait for {}", line(command)))?
        {
            return if status.success() {
                Ok(())
            } else {
                Err(Ended { command: line(command), status }.into())
            };
        }
        if let Err(error) = interrupt.pause(Duration::from_millis(20)) {
            end_group(&mut child, GRACE);
            return Err(error);
        }
    }
}

/// Ends the process group that `child` leads, and waits for it: first as Ctrl-C does it, so that it can tidy up.
fn end_group(child: &mut Child, grace: Duration) {
    let group = Pid::from_child(child);
    // Each fails only if nothing is left to end.
    let _ = kill_process_group(group, Signal::INT);
    let start = Instant::now();
    // Looked at, but not waited for: as long as it is not, the group's number belongs to nobody else.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while let Ok(None) = waitid(WaitId::Pid(group), look)
        && start.elapsed() < grace
    {
        thread::sleep(Duration::from_millis(10));
    }
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

/// Time for an interrupted process group to exit: cargo and Go take milliseconds.
const GRACE: Duration = Duration::from_secs(3);

/// A command that ran in front of the user and did not succeed: it has said why.
#[derive(Debug)]
pub(crate) struct Ended {
    command: String,
    status: ExitStatus,
}

impl Ended {
    /// Returns its exit code; `None` if a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} failed ({})", self.command, self.status)
    }
}

impl std::error::Error for Ended {}

/// Runs `command` and returns its stdout.
///
/// # Errors
/// It cannot be started, it fails (the error ends with its stderr), or its output is not UTF-8.
pub(crate) fn stdout(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", line(command)))?;
    if !output.status.success() {
        return Err(failure(command, output.status, &String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no UTF-8", line(command)))
}

/// Runs `command` quietly, for `limit` at most.
///
/// # Errors
/// It cannot be started, it fails (the error ends with its stderr), or it does not exit within `limit`: then it is
/// killed. Its own children may survive.
pub(crate) fn quiet_within(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", line(command)))?;
    // Read beside the wait: a child that fills the pipe would otherwise never end. Never joined after a kill, since a
    // grandchild may hold the pipe open.
    let stderr = child.stderr.take();
    let words = thread::spawn(move || {
        let mut words = Vec::new();
        if let Some(mut stderr) = stderr {
            // Output that was read before an error can be shown.
            let _ = stderr.read_to_end(&mut words);
        }
        String::from_utf8_lossy(&words).into_owned()
    });
    match wait_within(&mut child, limit).with_context(|| format!("cannot wait for {}", line(command)))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(failure(command, status, &words.join().unwrap_or_default())),
        None => bail!("{} was not done within {} s", line(command), limit.as_secs()),
    }
}

/// The command as one would type it, in backticks.
pub(crate) fn line(command: &Command) -> String {
    // cargo hands on its own path, which no one types.
    let program = command.get_program();
    let program = if Some(program) == env::var_os("CARGO").as_deref() { "cargo".as_ref() } else { program };
    let mut line = format!("`{}", program.display());
    for arg in command.get_args() {
        // Writing to a String cannot fail.
        let _ = write!(line, " {}", arg.to_string_lossy());
    }
    line.push('`');
    line
}

fn wait_within(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn failure(command: &Command, status: ExitStatus, stderr: &str) -> anyhow::Error {
    // The last lines have the problem; the lines before are progress.
    let lines: Vec<&str> = stderr.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(6)..].join("\n  ");
    if last.is_empty() {
        anyhow!("{} failed ({status})", line(command))
    } else {
        anyhow!("{} failed ({status}):\n  {last}", line(command))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;

    #[test]
    fn failure_names_command_and_its_words() {
        let error = stdout(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo no luck >&2; exit 3` failed (exit status: 3):\n  no luck");
    }

    #[test]
    fn missing_program_is_named() {
        let error = show(&mut Command::new("wardset-no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "cannot start `wardset-no-such-program`");
    }

    #[test]
    fn a_group_ends_with_all_that_it_started_though_it_ignores_ctrl_c() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' INT; sleep 60 & echo $!; wait"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut words = BufReader::new(child.stdout.take().unwrap());
        let mut sleeper = String::new();
        words.read_line(&mut sleeper).unwrap();
        end_group(&mut child, Duration::from_millis(50));
        // The pipe is closed once nobody is left who could write to it.
        assert_eq!(words.read_line(&mut String::new()).unwrap(), 0, "process {sleeper} is alive");
    }

    #[test]
    fn ends_what_takes_too_long() {
        let error =
            quiet_within(Command::new("sleep").arg("60"), Duration::from_millis(50)).unwrap_err().to_string();
        assert_eq!(error, "`sleep 60` was not done within 0 s");
    }
}
