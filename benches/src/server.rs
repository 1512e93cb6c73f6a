//! A server under measurement: a process of its own, on a core of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::policies;

/// How long a server may take until it is ready, before that is an error.
const READY: Duration = Duration::from_secs(60);

/// The programs and the certificate that all servers of one run share.
#[derive(Debug)]
pub struct Lab {
    folder: TempDir,
    programs: PathBuf,
}

/// A server that answers. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The address for reviews.
    pub webhook: SocketAddr,
    /// The address for probes; the baseline has none.
    pub admin: Option<SocketAddr>,
    /// From the start of the process until it said that it is ready.
    pub ready_after: Duration,
}

impl Lab {
    /// A fresh certificate; the programs are those beside this one.
    ///
    /// # Errors
    ///
    /// A folder that can't be written.
    pub fn open() -> Result<Self> {
        let folder = TempDir::with_prefix("wardset-bench").context("no folder for the run")?;
        wardset::certificates::development::make(folder.path())?;
        let this = std::env::current_exe().context("where this program is")?;
        let programs = this.parent().context("where this program is")?.to_owned();
        Ok(Self { folder, programs })
    }

    /// A file or folder of this run.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the CA for clients, in PEM.
    ///
    /// # Errors
    ///
    /// A missing file.
    pub fn ca(&self) -> Result<Vec<u8>> {
        fs::read(self.path("ca.pem")).context("the CA of this run")
    }

    /// The folder of the certificate that servers serve.
    #[must_use]
    pub fn tls(&self) -> PathBuf {
        self.path("tls")
    }

    /// Starts the webhook that does nothing. With `floor` it doesn't even parse.
    ///
    /// # Errors
    ///
    /// A program that is missing or doesn't become ready.
    pub fn baseline(&self, floor: bool) -> Result<Server> {
        let mut command = self.program("baseline")?;
        command.arg(self.tls());
        if floor {
            command.arg("--floor");
        }
        Server::start(command)
    }

    /// Starts Wardset with the first `n` of the measured policies and the module cache in `cache`.
    ///
    /// # Errors
    ///
    /// As [`Lab::baseline`].
    pub fn wardset(&self, n: usize, cache: &Path) -> Result<Server> {
        let file = self.path(&format!("{n}-policies.yaml"));
        policies::write(n, &file)?;
        Server::start(self.serve(&file, cache, &[])?)
    }

    /// The command of Wardset with policies of the caller's, on free ports.
    ///
    /// # Errors
    ///
    /// A program that is missing.
    pub fn serve(&self, policies: &Path, cache: &Path, more: &[&str]) -> Result<Command> {
        self.serve_with(&self.tls(), policies, cache, more)
    }

    /// The same with a certificate of the caller's.
    ///
    /// # Errors
    ///
    /// As [`Lab::serve`].
    pub fn serve_with(&self, tls: &Path, policies: &Path, cache: &Path, more: &[&str]) -> Result<Command> {
        let mut command = self.program("wardset")?;
        command.args(["serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.arg("--tls-dir").arg(tls).arg("--policies").arg(policies).env("XDG_CACHE_HOME", cache);
        command.args(more);
        Ok(command)
    }

    /// The command of Wardset as a server of the cluster that `KUBECONFIG` names.
    ///
    /// # Errors
    ///
    /// As [`Lab::serve`].
    pub fn cluster(&self, cache: &Path) -> Result<Command> {
        let mut command = self.program("wardset")?;
        command.args([
            "serve",
            "--log-format",
            "json",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--cluster",
        ]);
        command.arg("--tls-dir").arg(self.tls()).env("XDG_CACHE_HOME", cache);
        Ok(command)
    }

    fn program(&self, name: &str) -> Result<Command> {
        let program = self.programs.join(name);
        if !program.exists() {
            bail!("`{}` is missing; `cargo xtask bench` builds it", program.display());
        }
        Ok(Command::new(program))
    }
}

impl Server {
    /// Starts `command` and waits until a line of JSON on standard error says that it is ready, and its address. The
    /// rest of its output is read and dropped, as a log collector would.
    ///
    /// # Errors
    ///
    /// A program that exits, or is not ready within a minute.
    pub fn start(mut command: Command) -> Result<Self> {
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("`{}` can't be started", command.get_program().display()))?;
        let said = child.stderr.take().context("what the server says")?;
        let mut said = BufReader::new(said);
        let mut all = String::new();
        loop {
            let mut line = String::new();
            if said.read_line(&mut line)? == 0 || started.elapsed() > READY {
                // It is of no use to anybody.
                let _ = child.kill();
                let _ = child.wait();
                bail!("the server is not ready after {:?}; it said: {all}", started.elapsed());
            }
            let found: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if found["message"] == "ready" {
                let ready_after = started.elapsed();
                let address = |field: &str| found[field].as_str().and_then(|text| text.parse().ok());
                let webhook = address("webhook").with_context(|| format!("no address in `{line}`"))?;
                let admin = address("admin");
                std::thread::spawn(move || swallow(said));
                return Ok(Self { child, webhook, admin, ready_after });
            }
            all.push_str(&line);
        }
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Stops its threads until [`Server::resume`]: an idle server must not run beside the measured one.
    ///
    /// # Errors
    ///
    /// A process that is gone.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// A process that is gone.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// A process that is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(id, signal).context("the server is gone")
    }

    /// Waits for its end, and returns its status.
    ///
    /// # Errors
    ///
    /// An error of the system.
    pub fn wait(&mut self) -> Result<std::process::ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    ///
    /// An error of the system.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns status and body of a plain `GET` on the admin port.
///
/// # Errors
///
/// A server that does not answer.
pub fn get(admin: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(admin).context("the admin port")?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).context("a status")?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

fn swallow(mut said: BufReader<std::process::ChildStderr>) {
    let mut buffer = [0; 1 << 16];
    while said.read(&mut buffer).is_ok_and(|read| read > 0) {}
}
