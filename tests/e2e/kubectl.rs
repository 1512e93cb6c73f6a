//! kubectl as tests run it, and waiting for asynchronous changes. The tests on a real node use it too.

use std::env;
use std::ffi::OsString;
use std::fmt::Debug;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The kubectl of the control plane that `cargo xtask e2e` started.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    pub(crate) program: OsString,
}

/// The result of a run of kubectl.
#[derive(Debug)]
pub(crate) struct Run {
    /// The command as a user would type it.
    pub(crate) command: String,
    /// Whether it exited with 0.
    pub(crate) success: bool,
    /// The data.
    pub(crate) stdout: String,
    /// Messages, including warnings of the API server and of webhooks.
    pub(crate) stderr: String,
}

impl Kubectl {
    /// Returns the kubectl of the control plane under test.
    ///
    /// # Panics
    /// Panics if there is no control plane. A test must never use the user's own cluster instead.
    pub(crate) fn new() -> Self {
        let program = env::var_os("WARDSET_E2E_KUBECTL");
        assert!(
            env::var_os("WARDSET_E2E").is_some() && env::var_os("KUBECONFIG").is_some() && program.is_some(),
            "there is no control plane\nhint: run these tests with `cargo xtask e2e`"
        );
        Self { program: program.unwrap() }
    }

    /// Runs kubectl, and returns failures too.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.run_with_input(args, "")
    }

    /// Runs kubectl with input on stdin (`--filename=-`), and returns failures too.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Run {
        let mut child = Command::new(&self.program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // kubectl reads its whole input before it prints. If it does not read, its status tells why.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        Run {
            command: format!("kubectl {}", args.join(" ")),
            success: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs kubectl and returns its stdout.
    ///
    /// # Panics
    /// Panics if it fails.
    pub(crate) fn succeed(&self, args: &[&str]) -> String {
        self.run(args).succeeded().stdout
    }

    /// Runs kubectl and returns its stdout as JSON.
    ///
    /// # Panics
    /// Panics if it fails.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--output=json"]].concat();
        serde_json::from_str(&self.succeed(&args)).unwrap()
    }
}

impl Run {
    /// Returns the run.
    ///
    /// # Panics
    /// Panics if kubectl failed.
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.success, "`{}` failed:\n{}", self.command, self.stderr);
        self
    }

    /// Returns the run.
    ///
    /// # Panics
    /// Panics if kubectl succeeded.
    pub(crate) fn failed(self) -> Self {
        assert!(!self.success, "`{}` succeeded:\n{}{}", self.command, self.stdout, self.stderr);
        self
    }
}

/// Retries until the attempt succeeds, and returns its value.
///
/// # Panics
/// Panics if it does not succeed within `limit`. The message contains the expectation and the last state.
pub(crate) fn eventually<T, Last: Debug>(
    limit: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<T, Last>,
) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(last) => assert!(
                start.elapsed() < limit,
                "expected within {} s: {what}; last state: {last:#?}",
                limit.as_secs()
            ),
        }
        thread::sleep(Duration::from_millis(100));
    }
}
