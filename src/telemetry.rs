//! Log lines: on standard error, as text or JSON, filtered by `WARDSET_LOG` (such as `wardset=debug,guest=info`).
//!
//! A server's lines are gathered and written by a thread of their own, a few dozen times a second at most: a line of its
//! own system call, and a thread woken for it, took a fifth of a review's time. A reader that hangs holds nothing up.

use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How long lines are gathered.
const GATHER: Duration = Duration::from_millis(20);

/// The most bytes that wait to be written. What comes on top is let go and counted.
const MAX_WAITING: usize = 8 << 20;

/// How long the end of the process waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Warnings only: a command's words are its output.
pub fn for_commands() {
    let filter = EnvFilter::try_from_env("WARDSET_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let subscriber = subscriber.with_ansi(io::stderr().is_terminal()).without_time();
    // A second call is a test that runs commands in one process: the first subscriber stays.
    let _ = subscriber.try_init();
}

/// One line a decision and what the operator should know. What waits is written when the log is dropped.
///
/// # Errors
///
/// No thread could be started.
pub fn for_server(json: bool) -> io::Result<Log> {
    let log = Log::start(io::stderr())?;
    let lines = Lines(Arc::clone(&log.shared));
    let filter = EnvFilter::try_from_env("WARDSET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    let subscriber = subscriber.with_ansi(io::stderr().is_terminal());
    // As above.
    let _ = if json { subscriber.json().flatten_event(true).try_init() } else { subscriber.try_init() };
    Ok(log)
}

/// A server's log.
pub struct Log {
    shared: Arc<Shared>,
    writer: Thread,
}

/// How many lines a log let go.
#[derive(Clone)]
pub struct LostLines(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    /// All that was taken is written.
    written: Condvar,
    lost: AtomicU64,
    /// The thread to wake for the first line of many.
    writer: Mutex<Option<Thread>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Whether lines are being written just now.
    writing: bool,
    /// No line comes any more.
    ended: bool,
}

/// Makes writers that gather.
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

    /// How many lines were let go, now and later.
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
        // Whoever reads it may hang; the process ends all the same.
        drop(self.shared.written.wait_timeout_while(self.shared.waiting(), LAST_LINES, unwritten));
    }
}

impl LostLines {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nobody panics while holding it: it is only appended to and taken.
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
                // Others that come at the same time go with it.
                thread::sleep(GATHER);
                continue;
            }
            // Standard error may be closed; there is nobody left to tell.
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
    /// Takes a whole line, which is how `tracing-subscriber` writes, or none of it.
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

    /// A reader that takes nothing until it is let go.
    struct Hangs(Receiver<()>);

    impl Write for Hangs {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The sender is dropped to let it go.
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_in_order_the_last_ones_at_the_end() {
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
    fn a_reader_that_hangs_holds_up_nobody_and_what_is_lost_is_counted() {
        let (go_on, hangs) = channel();
        let log = Log::start(Hangs(hangs)).unwrap();
        let lost = log.lost_lines();
        let line = [b'x'; 1 << 20];
        for _ in 0..100 {
            (&Lines(Arc::clone(&log.shared))).write_all(&line).unwrap();
        }
        // One lot is being written at most, and one waits.
        assert!((84..=92).contains(&lost.count()), "{}", lost.count());
        drop(go_on);
    }
}
