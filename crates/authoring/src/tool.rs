//! Finds and runs the tools of languages.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use std::{error, fmt, io, thread};

/// Lines of a tool's output that an error keeps: enough for one message of a compiler.
const KEPT_LINES: usize = 60;

/// Time for the rest of the output after a tool has ended. A child that it left behind may keep its pipes open.
const REST: Duration = Duration::from_secs(1);

/// A missing tool, or a missing part of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingTool {
    /// The tool, as people name it.
    pub tool: String,
    /// The version that is too old, if there is one.
    pub found: Option<String>,
    /// The one command that installs it.
    pub command: String,
}

impl fmt::Display for MissingTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            None => write!(f, "failed to find {}", self.tool)?,
            Some(found) => write!(f, "expected {}, found `{found}`", self.tool)?,
        }
        write!(f, "\nhint: run `{}`", self.command)
    }
}

impl error::Error for MissingTool {}

/// A tool that did not do its work.
#[derive(Debug)]
pub enum ToolError {
    /// It does not start.
    Start {
        /// The command line.
        line: String,
        /// The cause.
        source: io::Error,
    },
    /// It ended with an error.
    Failed {
        /// The command line.
        line: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its output.
        output: String,
    },
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { line, .. } => write!(f, "failed to start `{line}`"),
            Self::Failed { line, status, output } => {
                write!(f, "failed to run `{line}` ({status})")?;
                if output.is_empty() { Ok(()) } else { write!(f, ":\n{output}") }
            }
        }
    }
}

impl error::Error for ToolError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Start { source, .. } => Some(source),
            Self::Failed { .. } => None,
        }
    }
}

/// Returns the path of a program: from one of `folders`, else from `PATH`.
pub(crate) fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let from_path = env::split_paths(&path).collect::<Vec<_>>();
    folders
        .iter()
        .chain(&from_path)
        // An empty entry of `PATH` means the current folder.
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Runs a command, and hands each line of its output to `on_line`. Returns its standard output.
pub(crate) fn run(command: &mut Command, on_line: &mut dyn FnMut(&str)) -> Result<String, ToolError> {
    let line = line(command);
    let start = |source| ToolError::Start { line: line.clone(), source };
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(start)?;
    let (sender, events) = channel();
    if let Some(stream) = child.stdout.take() {
        read(stream, true, sender.clone());
    }
    if let Some(stream) = child.stderr.take() {
        read(stream, false, sender.clone());
    }
    // The channel closes when the tool has ended and both pipes are closed.
    thread::spawn(move || {
        // The receiver waits for this event.
        let _ = sender.send(Event::Ended(child.wait()));
    });
    let (mut all, mut out, mut ended) = (Vec::new(), String::new(), None);
    while let Some(event) = next(&events, ended.as_ref().map(|(_, at)| *at)) {
        match event {
            Event::Line { is_out, text } => {
                on_line(&text);
                if is_out {
                    out.push_str(&text);
                    out.push('\n');
                }
                all.push(text);
            }
            Event::Ended(status) => ended = Some((status, Instant::now())),
        }
    }
    let lost = || Err(io::Error::other("the thread that waits for it ended"));
    let status = ended.map_or_else(lost, |(status, _)| status).map_err(start)?;
    if status.success() {
        return Ok(out);
    }
    let kept = &all[all.len().saturating_sub(KEPT_LINES)..];
    Err(ToolError::Failed { line, status, output: kept.join("\n") })
}

/// An event of a running tool.
enum Event {
    /// It wrote a line, to standard output or standard error.
    Line { is_out: bool, text: String },
    /// It ended.
    Ended(io::Result<ExitStatus>),
}

/// Returns the next event, or none if there are no more. After the tool has ended, it waits for the rest of the output
/// for [`REST`].
fn next(events: &Receiver<Event>, ended: Option<Instant>) -> Option<Event> {
    match ended {
        None => events.recv().ok(),
        Some(at) => events.recv_timeout(REST.checked_sub(at.elapsed())?).ok(),
    }
}

/// Starts a thread that reads the lines of a pipe until it is closed.
fn read(stream: impl Read + Send + 'static, is_out: bool, events: Sender<Event>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if events.send(Event::Line { is_out, text }).is_err() {
                return;
            }
        }
    });
}

/// Returns the command as a person would type it, with the program's name only.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_on_each_line_and_returns_the_output() {
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; echo three"]);
        let out = run(&mut command, &mut |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(out, "one\nthree\n");
        seen.sort();
        assert_eq!(seen, ["one", "three", "two"]);
    }

    #[test]
    fn a_failure_has_the_command_and_the_end_of_its_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "for i in $(seq 100); do echo line $i; done; exit 3"]);
        let error = run(&mut command, &mut |_| {}).unwrap_err().to_string();
        assert!(error.starts_with("failed to run `sh -c ") && error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("line 99\nline 100") && !error.contains("line 40\n"), "{error}");
    }

    #[test]
    fn a_child_that_outlives_the_tool_does_not_delay_its_end() {
        // The background process keeps both pipes open.
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 300 & echo $!; echo wrong >&2; exit 3"]);
        let started = Instant::now();
        let mut child = None;
        let error = run(&mut command, &mut |line| {
            child = child.take().or_else(|| line.parse::<u32>().ok());
        })
        .unwrap_err()
        .to_string();
        Command::new("kill").arg(child.unwrap().to_string()).status().unwrap();
        assert!(error.contains("exit status: 3") && error.contains("wrong"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    }

    #[test]
    fn a_program_that_does_not_start_is_an_error_with_its_name() {
        let error = run(&mut Command::new("/nowhere/tool"), &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "failed to start `tool`");
    }

    #[test]
    fn the_folders_of_the_project_come_before_those_of_the_user() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sh"), "").unwrap();
        assert_eq!(find("sh", &[folder.path().to_owned()]), Some(folder.path().join("sh")));
        assert_ne!(find("sh", &[]), None);
        assert_eq!(find("no-such-tool", &[]), None);
    }
}
