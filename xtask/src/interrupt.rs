//! Being asked to stop: SIGINT and SIGTERM, as something that a wait can look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether this process was asked to stop. From the first value on, the signals no longer end the process
/// automatically. Each waiting function must check, so that started processes are stopped on the way out.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system takes no handler.
    pub(crate) fn listen() -> Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        for (number, mark) in [(SIGINT, 1), (SIGTERM, 2), (SIGHUP, 3)] {
            signal_hook::flag::register_usize(number, Arc::clone(&signal), mark)
                .context("cannot listen for signals")?;
        }
        Ok(Self { signal })
    }

    /// # Errors
    /// A signal has come; the error names it.
    pub(crate) fn check(&self) -> Result<()> {
        let name = match self.signal.load(Ordering::Relaxed) {
            0 => return Ok(()),
            1 => "SIGINT",
            2 => "SIGTERM",
            _ => "SIGHUP",
        };
        bail!("interrupted by {name}")
    }

    /// Waits a moment.
    ///
    /// # Errors
    /// As [`Interrupt::check`].
    pub(crate) fn pause(&self, time: Duration) -> Result<()> {
        self.check()?;
        thread::sleep(time);
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_named_and_stays() {
        let interrupt = Interrupt { signal: Arc::new(AtomicUsize::new(0)) };
        interrupt.check().unwrap();
        interrupt.clone().signal.store(2, Ordering::Relaxed);
        assert_eq!(interrupt.check().unwrap_err().to_string(), "interrupted by SIGTERM");
        assert!(interrupt.pause(Duration::from_secs(60)).is_err());
    }
}
