//! Which core a thread runs on, and how long a process ran.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::param::clock_ticks_per_second;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Two cores: one for the server, one for the load.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    all: CpuSet,
    /// The server's.
    pub server: usize,
    /// The load's.
    pub load: usize,
}

impl Cores {
    /// The first two that this process may use.
    ///
    /// # Errors
    ///
    /// A machine with a single one: the load would be measured with the server.
    pub fn find() -> Result<Self> {
        let all = sched_getaffinity(None).context("the cores of this machine can't be asked for")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
        let two = (cores.next(), cores.next());
        ensure!(two.1.is_some(), "a benchmark needs two cores: one for the server, one for the load");
        Ok(Self { all, server: two.0.unwrap_or_default(), load: two.1.unwrap_or_default() })
    }

    /// Gives this thread all cores again.
    ///
    /// # Errors
    ///
    /// As [`pin`].
    pub fn unpin(&self) -> Result<()> {
        sched_setaffinity(None, &self.all).context("the cores can't be used")
    }
}

/// Runs this thread, and all threads that it starts later, on one core.
///
/// # Errors
///
/// A core that this process may not use.
pub fn pin(core: usize) -> Result<()> {
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).with_context(|| format!("core {core} can't be used"))
}

/// For how long a process has been running on a core, all its living threads together.
///
/// # Errors
///
/// A process that is gone.
pub fn cpu_time(process: u32) -> Result<Duration> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).context("the server is gone")?;
    let mut nanoseconds = 0;
    for thread in threads {
        // A thread that ends in between takes its time along; the servers measured here keep theirs.
        let Ok(times) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let running: u64 = times.split(' ').next().unwrap_or_default().parse().context("schedstat")?;
        nanoseconds += running;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// CPU time of a process since its start: `utime` and `stime` of `/proc/PID/stat`. It includes threads that have ended,
/// and has the resolution of a clock tick, 10 ms on most systems.
///
/// # Errors
///
/// A process that is gone.
pub fn process_time(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("the server is gone")?;
    // The second field, the program's name, can have spaces and parentheses in it.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<Result<u64, _>>().context("/proc/PID/stat")?;
    Ok(Duration::from_secs(ticks) / u32::try_from(clock_ticks_per_second())?)
}

/// Moves all threads of a process to one core. Threads that it starts later run there, too.
///
/// # Errors
///
/// A process that is gone, and a core that this process may not use.
pub fn pin_process(process: u32, core: usize) -> Result<()> {
    let mut one = CpuSet::new();
    one.set(core);
    for thread in fs::read_dir(format!("/proc/{process}/task")).context("the server is gone")? {
        let id = thread?.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
        sched_setaffinity(id, &one).with_context(|| format!("core {core} can't be used"))?;
    }
    Ok(())
}

/// Bytes of a process's memory that are in RAM.
///
/// # Errors
///
/// A process that is gone.
pub fn resident(process: u32) -> Result<u64> {
    memory(process, "VmRSS:")
}

/// The most that [`resident`] has been since the process started.
///
/// # Errors
///
/// A process that is gone.
pub fn peak_resident(process: u32) -> Result<u64> {
    memory(process, "VmHWM:")
}

fn memory(process: u32, field: &'static str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("the server is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context(field)?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context(field)?;
    Ok(kib * 1024)
}
