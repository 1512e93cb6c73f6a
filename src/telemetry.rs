//! Log lines on standard error, as text or JSON. `WARDSET_LOG` filters them, for example `wardset=debug,guest=info`.
//!
//! A server's log lines are queued, and a separate thread writes them at most 50 times a second. One system call and
//! one thread wake-up per line took a fifth of a review's time. A blocked standard error never delays a review.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Time between two writes, in which lines are queued.
const GATHER: Duration = Duration::from_millis(20);

/// Maximum number of queued lines. Further lines are dropped and counted. A line of a decision has about 400 bytes, and
/// 6 KiB if it lists many changes.
const MAX_WAITING: usize = 16 << 10;

/// Maximum size of one write, in bytes.
const MAX_BATCH: usize = 64 << 10;

/// Starts logging for commands other than `serve`. The default level is `warn`, because a command's result is its
/// output.
pub fn for_commands() {
    start_plain("warn");
}

/// Starts logging for `wardset policy dev`: the default shows decisions and the guests' own lines. The command itself prints
/// the states of policies.
pub fn for_development() {
    start_plain("warn,wardset::supply=off,wardset::decision=info,guest=debug");
}

fn start_plain(default: &str) {
    let filter = EnvFilter::try_from_env("WARDSET_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let subscriber = subscriber.with_ansi(io::stderr().is_terminal()).without_time();
    // A second call fails if a test runs several commands in one process; the first subscriber stays.
    let _ = subscriber.try_init();
}

/// Starts logging for the server. The default level is `info`, with one line per decision. Dropping the returned log
/// writes the queued lines, unless standard error stays blocked for a second.
#[must_use]
pub fn for_server(json: bool) -> Log {
    let (lines, log) = start(io::stderr());
    let filter = EnvFilter::try_from_env("WARDSET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    let subscriber = subscriber.with_ansi(io::stderr().is_terminal());
    // A second call fails, as in `for_commands`.
    let _ = if json { subscriber.json().flatten_event(true).try_init() } else { subscriber.try_init() };
    log
}

/// The log of a server. Dropping it writes the queued lines.
pub struct Log {
    /// Counts the dropped lines, also after the log is dropped.
    pub lost_lines: ErrorCounter,
    _writer: WorkerGuard,
}

fn start(to: impl Write + Send + 'static) -> (NonBlocking, Log) {
    let queue =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_WAITING).thread_name("log");
    let (lines, writer) = queue.finish(Batches(BufWriter::with_capacity(MAX_BATCH, to)));
    let log = Log { lost_lines: lines.error_counter(), _writer: writer };
    (lines, log)
}

/// A writer that pauses after each flush. The log's thread flushes when the queue is empty, so the lines of a pause
/// become one write.
struct Batches<W: Write>(BufWriter<W>);

impl<W: Write> Write for Batches<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        // If standard error is closed, there is nowhere to report the failure. An error would also make the log's
        // thread miss the shutdown.
        let _ = self.0.flush();
        thread::sleep(GATHER);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use super::*;

    struct To(Sender<Vec<u8>>);

    impl Write for To {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A writer that blocks until its sender is dropped.
    struct Hangs(Receiver<()>);

    impl Write for Hangs {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error means that the sender is dropped, which ends the block.
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn writes_every_line_in_order_and_the_last_ones_at_shutdown() {
        let (to, written) = channel();
        let (mut lines, log) = start(To(to));
        let expected: Vec<u8> = (0..10_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        for line in expected.split_inclusive(|byte| *byte == b'\n') {
            lines.write_all(line).unwrap();
        }
        let lost = log.lost_lines.clone();
        drop(log);
        let written: Vec<u8> = written.into_iter().flatten().collect();
        assert!(written == expected, "{} bytes instead of {}", written.len(), expected.len());
        assert_eq!(lost.dropped_lines(), 0);
    }

    #[test]
    fn counts_dropped_lines_and_never_blocks_if_standard_error_does() {
        let (go_on, hangs) = channel();
        let (mut lines, log) = start(Hangs(hangs));
        let line = [b'x'; 512];
        for _ in 0..2 * MAX_WAITING {
            lines.write_all(&line).unwrap();
        }
        // The queue holds its maximum, and the thread has taken at most one batch and one line from it.
        let taken = MAX_BATCH / line.len() + 1;
        let lost = log.lost_lines.dropped_lines();
        assert!((MAX_WAITING - taken..=MAX_WAITING).contains(&lost), "{lost}");
        drop(go_on);
    }

    #[test]
    fn shutdown_does_not_wait_for_a_closed_standard_error() {
        let (to, closed) = channel();
        drop(closed);
        let (mut lines, log) = start(To(to));
        lines.write_all(b"line\n").unwrap();
        let started = Instant::now();
        drop(log);
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    }
}
