//! Log lines: on standard error, as text or JSON, filtered by `WARDSET_LOG` (such as `wardset=debug,guest=info`).

use std::io::{BufWriter, IsTerminal as _};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Warnings only: a command's words are its output.
pub fn for_commands() {
    let filter = EnvFilter::try_from_env("WARDSET_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let subscriber = subscriber.with_ansi(std::io::stderr().is_terminal()).without_time();
    // A second call is a test that runs commands in one process: the first subscriber stays.
    let _ = subscriber.try_init();
}

/// The most lines that wait for standard error; at half a KiB each, a few MiB. What comes on top is let go and counted:
/// a reader that hangs must not hold up decisions.
const MAX_WAITING_LINES: usize = 16 * 1024;

/// The server's log: what waits is written when this is dropped.
pub struct Log {
    _rest: WorkerGuard,
    /// How many lines were let go.
    pub(crate) lost: ErrorCounter,
}

/// One line a decision and what the operator should know, written by a thread of its own: many at a time under load, and
/// none on the path of a review.
#[must_use]
pub fn for_server(json: bool) -> Log {
    let (lines, rest) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_WAITING_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(BufWriter::with_capacity(64 << 10, std::io::stderr()));
    let lost = lines.error_counter();
    let filter = EnvFilter::try_from_env("WARDSET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    let subscriber = subscriber.with_ansi(std::io::stderr().is_terminal());
    // As above.
    let _ = if json { subscriber.json().flatten_event(true).try_init() } else { subscriber.try_init() };
    Log { _rest: rest, lost }
}
