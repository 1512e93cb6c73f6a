//! Log lines on standard error, as text or JSON. `WARDSET_LOG` filters them, for example `wardset=debug,guest=info`.
//!
//! A server's log lines are buffered, and a separate thread writes them at most 50 times a second. One system call
//! and one thread wake-up per line took a fifth of a review's time. A blocked standard error never delays a review.

use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Time for which lines are buffered before a write.
const GATHER: Duration = Duration::from_millis(20);

/// Maximum size of the buffer, in bytes. Lines beyond it are dropped and counted.
const MAX_WAITING: usize = 8 << 20;

/// Time for which shutdown waits until the last lines are written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Starts logging for commands other than `serve`. The default level is `warn`, because a command's result is its
/// output.
pub fn for_commands() {
    let filter = EnvFilter::try_from_env("WARDSET_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let subscriber = subscriber.with_ansi(io::stderr().is_terminal()).without_time();
    // A second call fails if a test runs several commands in one process; the first subscriber stays.
    let _ = subscriber.try_init();
}

/// Starts logging for the server. The default level is `info`, with one line per decision. Dropping the returned log
/// writes the buffered lines.
///
/// # Errors
///
/// The log's thread could not be started.
pub fn for_server(json: bool) -> io::Result<Log> {
    let log = Log::start(io::stderr())?;
    let lines = Lines(Arc::clone(&log.shared));
    let filter = EnvFilter::try_from_env("WARDSET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    let subscriber = subscriber.with_ansi(io::stderr().is_terminal());
    // A second call fails, as in `for_commands`.
    let _ = if json { subscriber.json().flatten_event(true).try_init() } else { subscriber.try_init() };
    Ok(log)
}

/// The log of a server. Dropping it writes the buffered lines.
pub struct Log {
    shared: Arc<Shared>,
    writer: Thread,
}

/// A handle that counts the lines that a log has dropped.
#[derive(Clone)]
pub struct LostLines(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    /// Signals that the writer has written everything that it took.
    written: Condvar,
    lost: AtomicU64,
    /// The thread that writes. It is woken for the first line of a batch.
    writer: Mutex<Option<Thread>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Whether the thread is writing a batch now.
    writing: bool,
    /// Whether the log is shutting down.
    ended: bool,
}

/// Makes writers that append to the buffer.
struct Lines(Arc<Shared>);

impl Log {
    fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            written: Condvar::new(),
            lost: AtomicU64::new(0),
            writer: Mutex::new(None),
        });
        let run = {
            let shared = Arc::clone(&shared);
            move || shared.write(to)
        };
        let writer = thread::Builder::new().name("log".into()).spawn(run)?.thread().clone();
        *shared.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer.clone());
        Ok(Self { shared, writer })
    }

    /// Returns a handle that counts dropped lines, including future ones.
    #[must_use]
    pub fn lost_lines(&self) -> LostLines {
        LostLines(Arc::clone(&self.shared))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.waiting().ended = true;
        self.writer.unpark();
        let unwritten = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        // The reader of standard error may be blocked; the process stops anyway.
        drop(self.shared.written.wait_timeout_while(self.shared.waiting(), LAST_LINES, unwritten));
    }
}

impl LostLines {
    /// Returns the number of lines dropped so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // The lock cannot be poisoned midway: its holders only append or take.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut to: impl Write) {
        let mut lines = Vec::new();
        loop {
            let ended = {
                let mut waiting = self.waiting();
                std::mem::swap(&mut waiting.lines, &mut lines);
                waiting.writing = !lines.is_empty();
                waiting.ended
            };
            if lines.is_empty() {
                if ended {
                    return;
                }
                thread::park();
                // Lines that arrive in the meantime join the batch.
                thread::sleep(GATHER);
                continue;
            }
            // If standard error is closed, there is nowhere to report the failure.
            let _ = to.write_all(&lines).and_then(|()| to.flush());
            lines.clear();
            self.waiting().writing = false;
            self.written.notify_all();
        }
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

impl Write for &Lines {
    /// Appends the whole line or drops it. `tracing-subscriber` passes one whole line per call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let first = {
            let mut waiting = self.0.waiting();
            if waiting.lines.len() + line.len() > MAX_WAITING {
                self.0.lost.fetch_add(1, Ordering::Relaxed);
                return Ok(line.len());
            }
            waiting.lines.extend_from_slice(line);
            waiting.lines.len() == line.len()
        };
        if first && let Some(writer) = &*self.0.writer.lock().unwrap_or_else(PoisonError::into_inner) {
            writer.unpark();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

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
        let log = Log::start(To(to)).unwrap();
        let expected: Vec<u8> = (0..10_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        for line in expected.split_inclusive(|byte| *byte == b'\n') {
            (&Lines(Arc::clone(&log.shared))).write_all(line).unwrap();
        }
        drop(log);
        let written: Vec<u8> = written.into_iter().flatten().collect();
        assert!(written == expected, "{} bytes instead of {}", written.len(), expected.len());
    }

    #[test]
    fn counts_dropped_lines_and_never_blocks_if_standard_error_does() {
        let (go_on, hangs) = channel();
        let log = Log::start(Hangs(hangs)).unwrap();
        let lost = log.lost_lines();
        let line = [b'x'; 1 << 20];
        for _ in 0..100 {
            (&Lines(Arc::clone(&log.shared))).write_all(&line).unwrap();
        }
        // At most one batch is being written, and one more is buffered.
        assert!((84..=92).contains(&lost.count()), "{}", lost.count());
        drop(go_on);
    }
}
