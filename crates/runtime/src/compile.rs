//! Compiles modules within limits.
//!
//! A compiler cannot be interrupted, and a few hundred KiB of hostile input cost it seconds or all memory. So a
//! server hands modules to a child: the same program, started with arguments that make it call [`compile_as_child`].
//! The bytes go in through standard input, the code comes back through standard output. The child limits its own
//! memory and processor time, and lowers its priority. Its limit is processor time, because a good module must not fail
//! on a busy machine. If nobody waits for the child any more, it is killed.
//!
//! ```text
//! load ─► one permit of two ─► child: bytes ─► code ─► load
//!                               └─ killed after its wall-clock time, and if `load` is dropped
//! ```

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use wardset_core::text;

use crate::engine::{self, Engine};
use crate::load_error::{CompileError, LoadError};

/// Children that compile at once. If one takes all of its time, the other permit is still free. A server must have
/// memory for both.
const PLACES: usize = 2;

/// The most bytes of a module's code. It has about four times as many as the module.
const MAX_CODE: u64 = 128 << 20;

/// Bytes of a compiler's message about a module.
const MAX_SAID: usize = 1024;

/// How much processor time others get before a child: that of a review, ten times as much.
const NICE: i32 = 10;

/// Bytes of a module for which [`CompileLimits`] are made. A larger module gets them once for each started unit.
const UNIT: usize = 4 << 20;

/// The limits of one compilation.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// Processor time of each thread for each started 4 MiB of the module, in whole seconds. Default 30 s.
    pub processor_time: Duration,
    /// Wall-clock time for each started 4 MiB of the module, without the wait for a place. Default 5 minutes, so that a
    /// child gets its processor time on a busy machine, too.
    pub wall_time: Duration,
    /// Bytes of memory that it can write to, for each started 4 MiB of the module. Default 1 GiB. A built-in takes about
    /// 80 MiB of them, most of which nobody uses.
    pub memory: u64,
    /// The most memory that a module of any size gets, in bytes. Default 2 GiB.
    pub most_memory: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            processor_time: Duration::from_secs(30),
            wall_time: Duration::from_secs(300),
            memory: 1 << 30,
            most_memory: 2 << 30,
        }
    }
}

impl CompileLimits {
    /// Returns the limits for a module of this size.
    fn of_module(self, bytes: usize) -> Self {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1);
        Self {
            processor_time: self.processor_time.saturating_mul(units),
            wall_time: self.wall_time.saturating_mul(units),
            memory: self.memory.saturating_mul(units.into()).min(self.most_memory.max(self.memory)),
            ..self
        }
    }
}

/// The time and the result of one compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasuredCompilation {
    /// Wall-clock time, with the start of the compiler.
    pub time: Duration,
    /// Size of the compiled code, in bytes.
    pub code_bytes: u64,
}

/// The place in which modules are compiled.
#[derive(Clone)]
pub struct Compiler(CompilerPlace);

#[derive(Clone)]
enum CompilerPlace {
    Here,
    Children(Arc<Children>),
}

struct Children {
    program: PathBuf,
    arguments: Vec<OsString>,
    limits: CompileLimits,
    places: Semaphore,
}

impl Compiler {
    /// In this process, without bounds: for modules that one knows.
    #[must_use]
    pub fn here() -> Self {
        Self(CompilerPlace::Here)
    }

    /// Compiles in children: runs `program` with `arguments`, followed by the limits as `--memory BYTES --seconds N`.
    /// Modules must then be loaded on a tokio runtime with I/O and time enabled.
    ///
    /// `danger`: the output of the program is run as machine code. It must be this very program. With these arguments
    /// it must do nothing but call [`compile_as_child`].
    #[must_use]
    pub fn danger_in_children(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = OsString>,
        limits: CompileLimits,
    ) -> Self {
        let (program, arguments) = (program.into(), arguments.into_iter().collect());
        let places = Semaphore::new(PLACES);
        Self(CompilerPlace::Children(Arc::new(Children { program, arguments, limits, places })))
    }

    /// Compiles a component, and discards its code.
    ///
    /// # Errors
    ///
    /// A component that the compiler refuses, or that exceeds its limits.
    pub async fn measure(&self, engine: &Engine, bytes: &[u8]) -> Result<MeasuredCompilation, LoadError> {
        let started = Instant::now();
        let code = self.compile(&engine.wasmtime, bytes.into()).await?;
        Ok(MeasuredCompilation { time: started.elapsed(), code_bytes: code.len() as u64 })
    }

    /// The code of a component.
    pub(crate) async fn compile(
        &self,
        engine: &wasmtime::Engine,
        bytes: Arc<[u8]>,
    ) -> Result<Vec<u8>, LoadError> {
        match &self.0 {
            CompilerPlace::Here => {
                let engine = engine.clone();
                let compile = move || engine.precompile_component(&bytes).map_err(|error| refused(&error));
                // One module that the compiler panics on must not take the others along.
                let crashed = |error: tokio::task::JoinError| LoadError::Crashed(error.to_string());
                spawn_blocking(compile).await.unwrap_or_else(|error| Err(crashed(error)))
            }
            CompilerPlace::Children(children) => children.compile(&bytes).await,
        }
    }
}

impl Children {
    async fn compile(&self, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
        // Never closed.
        let _place = self.places.acquire().await;
        let limits = self.limits.of_module(bytes.len());
        let ended = tokio::time::timeout(limits.wall_time, self.run(bytes)).await;
        let (status, code, said) =
            ended.map_err(|_| LoadError::MachineBusy(limits.wall_time))?.map_err(LoadError::NoCompiler)?;
        if code.len() as u64 > MAX_CODE {
            return Err(LoadError::TooMuchCode);
        }
        match status.code() {
            Some(0) => Ok(code),
            Some(1) => Err(LoadError::Compile(CompileError(said))),
            None if status.signal() == Some(Signal::XCPU.as_raw()) => {
                Err(LoadError::TooSlow(limits.processor_time))
            }
            // Out of memory, out of stack, or a panic.
            _ => Err(LoadError::Crashed(format!("{status}: {said}"))),
        }
    }

    /// Runs a child to its end. If the future is dropped, tokio kills the child and reaps it.
    async fn run(&self, bytes: &[u8]) -> io::Result<(ExitStatus, Vec<u8>, String)> {
        let mut child = self.command(bytes.len()).spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (_, code, said) =
            tokio::join!(write(stdin, bytes), read(stdout, MAX_CODE + 1), read(stderr, 1 << 16));
        let (code, said) = (code?, text::one_line(&String::from_utf8_lossy(&said?), MAX_SAID));
        if code.len() as u64 > MAX_CODE {
            // It may be waiting for somebody to read on.
            child.start_kill()?;
        }
        Ok((child.wait().await?, code, said))
    }

    fn command(&self, module: usize) -> Command {
        let CompileLimits { processor_time, memory, .. } = self.limits.of_module(module);
        // Each thread takes memory of its own, so a small module, of which two are compiled at once, gets one however many
        // processors there are.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (module >> 20).clamp(1, cores);
        // On all of them for all of the time. If the parent is killed, nobody kills the child (`PR_SET_PDEATHSIG` would also
        // kill it when the thread that started it ends), so it limits itself.
        let seconds = processor_time.as_secs().max(1).saturating_mul(threads as u64);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command.args(["--memory", &memory.to_string(), "--seconds", &seconds.to_string()]);
        command.env("RAYON_NUM_THREADS", threads.to_string());
        // The program's allocator would otherwise take a GiB of writable memory at once, which counts although nobody uses it.
        command.env("MIMALLOC_ARENA_EAGER_COMMIT", "0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

/// Writes everything and closes the pipe.
async fn write(pipe: Option<ChildStdin>, bytes: &[u8]) {
    if let Some(mut pipe) = pipe {
        // A child that ended early says why by its status.
        let _ = pipe.write_all(bytes).await;
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(most).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

pub(crate) fn refused(error: &wasmtime::Error) -> LoadError {
    LoadError::Compile(CompileError(text::one_line(&format!("{error:#}"), MAX_SAID)))
}

/// Why a child could not compile.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The bounds could not be set, or a pipe broke.
    #[error("the compiler failed")]
    Io(#[from] io::Error),
    /// The machine is none that wasmtime compiles for.
    #[error("failed to set up the compiler on this machine")]
    Engine(#[source] wasmtime::Error),
    /// The module can't be compiled.
    #[error(transparent)]
    Module(CompileError),
}

/// The child's part: limits itself, reads a component from standard input, and writes its code to standard output.
/// `memory` is in bytes, `seconds` of processor time.
///
/// # Errors
///
/// [`ChildError::Module`] is the module's fault. The child must print it on standard error and exit with 1, otherwise
/// with 2.
pub fn compile_as_child(memory: u64, seconds: u64) -> Result<(), ChildError> {
    let bound = |resource, current, maximum| {
        rustix::process::setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
    };
    bound(Resource::Data, memory, memory).map_err(io::Error::from)?;
    // The first limit sends a signal that means nothing else. At the second one the kernel kills.
    bound(Resource::Cpu, seconds, seconds.saturating_add(1)).map_err(io::Error::from)?;
    // A crash must show in the exit status, and not fill a disk.
    bound(Resource::Core, 0, 0).map_err(io::Error::from)?;
    rustix::process::nice(NICE).map_err(io::Error::from)?;
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    let engine = wasmtime::Engine::new(&engine::code()).map_err(ChildError::Engine)?;
    let code = engine.precompile_component(&bytes);
    let code = code
        .map_err(|error| ChildError::Module(CompileError(text::one_line(&format!("{error:#}"), MAX_SAID))))?;
    let mut out = io::stdout().lock();
    out.write_all(&code)?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_large_module_gets_more_time_and_memory() {
        let limits = CompileLimits { memory: 512 << 20, most_memory: 1 << 30, ..CompileLimits::default() };
        for (bytes, seconds, mebibytes) in [
            (0, 30, 512),
            (4 << 20, 30, 512),
            ((4 << 20) + 1, 60, 1024),
            (12 << 20, 90, 1024),
            (usize::MAX, 30 * u64::from(u32::MAX), 1024),
        ] {
            let limits = limits.of_module(bytes);
            let found = (limits.processor_time, limits.wall_time, limits.memory);
            let time = Duration::from_secs(seconds);
            assert_eq!(found, (time, 10 * time, mebibytes << 20), "{bytes}");
        }
        let small = CompileLimits { most_memory: 1, ..limits };
        assert_eq!(small.of_module(1).memory, 512 << 20, "the limit for a small module always holds");
    }

    /// A child that is killed, but not reaped, would stay in the process table.
    #[tokio::test]
    async fn a_child_that_exceeds_its_wall_clock_time_is_killed_and_reaped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("echo $$ > '{}'; exec sleep 600", file.display());
        let limits = CompileLimits { wall_time: Duration::from_secs(1), ..CompileLimits::default() };
        let compiler = Compiler::danger_in_children("/bin/sh", ["-c".into(), script.into()], limits);
        let engine = wasmtime::Engine::new(&engine::code()).unwrap();
        let error = compiler.compile(&engine, Arc::new([])).await.err();
        assert!(matches!(error, Some(LoadError::MachineBusy(_))), "{error:?}");
        let process = Path::new("/proc").join(std::fs::read_to_string(file).unwrap().trim());
        let started = Instant::now();
        while process.exists() {
            assert!(started.elapsed() < Duration::from_secs(60), "the child is still there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
