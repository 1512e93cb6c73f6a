//! `wardset policy dev`: builds, tests and serves a project on this machine, again after each save.
//!
//! ```text
//! save ─► build ─► test ─► Followed (the policy file and its module) ─► Store ─► the webhook's next review
//!           └─ if it fails, the module of the last good build stays active
//! ```

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use tokio::sync::watch;
use wardset_authoring::{BuildEvent, BuiltPolicy};
use wardset_core::policy::NamespaceLabels;
use wardset_core::text::one_line;
use wardset_runtime::Evaluator;

use super::policy_args::PolicyDev;
use super::project::{self, CASES, Decider};
use super::setup::{self, SupplyOptions};
use super::signals::{Abort, signals};
use crate::admission::observers::LogLine;
use crate::admission::{Desk, Judge, NamespaceSource};
use crate::certificates::{CertificateFolder, ServedCertificate, development};
use crate::folder::tree::{self, Tree};
use crate::metrics::Metrics;
use crate::offline::input;
use crate::policy_test::{self, CaseReport, TestOptions, report};
use crate::server::{Limits, Options};
use crate::supply::modules::Modules;
use crate::supply::store::{Source, Standing, State, Store};
use crate::supply::{Followed, policy_files};
use crate::telemetry;

/// Folder for the certificate and the review, within the project. Its own `.gitignore` excludes it from Git.
const WORK: &str = ".wardset";

/// The object of the project that the `curl` line sends.
const SAMPLE: &str = "daemonset.yaml";

/// Maximum number of connections to the webhook. One person uses it.
const MAX_CONNECTIONS: usize = 64;

/// Maximum number of reviews in flight.
const MAX_IN_FLIGHT: usize = 16;

/// Time for open requests to finish.
const DRAIN: Duration = Duration::from_secs(1);

/// Interval at which the server polls the certificate's files, which another `policy dev` in the folder replaces.
const CERTIFICATE_PERIOD: Duration = Duration::from_secs(1);

/// Maximum length of a printed line, in bytes.
const MAX_LINE: usize = 1 << 10;

/// Entries of the project's folder that builds and installers make.
const MADE: [&str; 4] = ["build", "gen", "node_modules", "target"];

/// Files that builds make if they are missing.
const LOCKS: [&str; 2] = ["Cargo.lock", "go.sum"];

const RED: Style = AnsiColor::Red.on_default();

pub(super) async fn run(args: PolicyDev) -> anyhow::Result<ExitCode> {
    telemetry::for_development();
    // Registered first, so that an early signal is not lost.
    let (mut stop, abort) = signals()?;
    let folder = if args.folder == Path::new(".") { PathBuf::new() } else { args.folder };
    let policy = project::policy_file(&folder)?;
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let options = Options {
        listen: address(args.port),
        admin: address(0),
        max_connections: MAX_CONNECTIONS,
        drain: DRAIN,
        limits: Limits::default(),
    };
    let metrics = Arc::new(Metrics::new());
    let open = options.bind()?.open(Arc::clone(&metrics))?;
    let port = open.addresses.webhook.port();
    let work = folder.join(WORK);
    let served = Arc::new(ServedCertificate::new(metrics.certificates.clone()));
    let tls = wardset_port::config(served.clone(), None)?;
    development::make(&work).context("failed to make a development certificate")?;
    development::write(&work.join(".gitignore"), "*\n")?;
    let certificates = CertificateFolder::open(&work.join("tls"), served)?;
    tokio::spawn(certificates.watch(CERTIFICATE_PERIOD));
    let modules = setup::modules(&SupplyOptions::from(args.compile))?;
    let store = Arc::new(Store::new(Arc::clone(&modules), Arc::clone(&metrics))?);
    let labels = NamespaceSource::Fixed(NamespaceLabels::Known(Arc::default()));
    let evaluator = Evaluator::new(Arc::clone(modules.engine()), MAX_IN_FLIGHT);
    let judge = Judge::new(store.live(), labels, evaluator).observed_by(metrics).observed_by(LogLine);
    let desk = Desk { judge, modules: Arc::clone(&modules) };

    let shows_steps = !args.quiet && std::io::stderr().is_terminal();
    let mut dev = Dev { folder, policy: policy.clone(), modules, store, followed: None, shows_steps };
    let mut stop_early = stop.clone();
    let seen = dev.look(&Tree::default());
    tokio::select! {
        block = dev.cycle() => super::print(&block)?,
        _ = stop_early.wait_for(|stop| *stop) => return Ok(ExitCode::SUCCESS),
    }
    let shutdown = async move {
        // If the sender is gone, the server stops as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let server = tokio::spawn(open.run(tls, desk, shutdown));
    super::print(&invitation(&policy, &work, port))?;
    tokio::select! {
        never = dev.follow(seen) => match never? {},
        stopped = server => {
            stopped.context("the server failed")??;
            Ok(ExitCode::SUCCESS)
        }
        Abort { code, .. } = abort => Ok(ExitCode::from(code)),
    }
}

/// A project that is built, tested and served.
struct Dev {
    /// The folder of the project; empty if it is the current one.
    folder: PathBuf,
    policy: PathBuf,
    modules: Arc<Modules>,
    store: Arc<Store>,
    /// The policy file, once it was read for the first time.
    followed: Option<Followed>,
    shows_steps: bool,
}

/// The result of a build.
enum BuildResult {
    /// The project has no module.
    NotNeeded,
    Built(BuiltPolicy, Duration),
    /// The error, with the end of the tool's output.
    Failed(String),
}

impl Dev {
    /// Waits for saves, and prints a block after each, until the future is dropped.
    async fn follow(&mut self, mut seen: Tree) -> anyhow::Result<Infallible> {
        let mut standings = self.store.standings();
        loop {
            super::print("waiting for changes\n")?;
            seen = loop {
                let states = Arc::clone(&standings.borrow_and_update());
                let is_compiling =
                    states.iter().any(|(_, standing)| matches!(standing.state, State::Compiling(_)));
                tokio::select! {
                    now = tree::changed(seen.clone(), |before| self.look(before)) => break now,
                    true = next_state(&mut standings), if is_compiling => super::print(&states_of(&standings, true))?,
                }
            };
            let block = self.cycle().await;
            super::print(&format!("\n{block}"))?;
        }
    }

    /// Reads the sources of the project.
    fn look(&self, before: &Tree) -> Tree {
        let root = self.root();
        let output = project::output(root).ok();
        Tree::read(&[root.to_owned()], |path| is_made(root, output.as_deref(), path), before)
    }

    /// Returns the folder of the project as a path that is not empty.
    fn root(&self) -> &Path {
        if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder }
    }

    /// Builds, tests and activates the project once. Returns the results for people.
    async fn cycle(&mut self) -> String {
        let built = self.build().await;
        let mut block = String::new();
        let is_built = !matches!(built, BuildResult::Failed(_));
        match built {
            BuildResult::NotNeeded => {
                line(&mut block, "build", None, "not needed: the rules are in the policy file")
            }
            BuildResult::Built(built, took) => {
                let path = built.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let size = crate::offline::text::count(
                    usize::try_from(built.size_bytes).unwrap_or(usize::MAX),
                    "byte",
                );
                let text = format!("{path}: {size}, {:.1} s", took.as_secs_f64());
                line(&mut block, "build", None, &text);
            }
            BuildResult::Failed(error) => line(&mut block, "build", Some("FAILED"), &error),
        }
        let problem = policy_files::read(std::slice::from_ref(&self.policy)).err();
        // Without a module, no case could run.
        let tested = if is_built && (problem.is_none() || project::has_module(&self.folder)) {
            Some(self.test().await)
        } else {
            None
        };
        let mut states = String::new();
        if let Err(error) = self.write_review() {
            line(&mut states, "review", Some("FAILED"), &format!("{error:#}"));
        }
        match &mut self.followed {
            Some(followed) => followed.look().await,
            None => {
                let paths = vec![self.policy.clone()];
                self.followed = Some(Followed::start_anyway(paths, Arc::clone(&self.store)).await);
            }
        }
        let standings = self.store.standings();
        if standings.borrow().is_empty() {
            // The states name no policy if the file could never be read.
            let problem = problem.map(|error| format!("{:#}", anyhow::Error::new(error)));
            line(&mut states, "policy", Some("FAILED"), problem.as_deref().unwrap_or("there is no policy"));
        }
        states.push_str(&states_of(&standings, is_built));
        if let Some(tested) = tested {
            write_results(&mut block, tested, &states);
        }
        block + &states
    }

    async fn build(&self) -> BuildResult {
        if !project::has_module(&self.folder) {
            return BuildResult::NotNeeded;
        }
        let (root, shows_steps, started) = (self.root().to_owned(), self.shows_steps, Instant::now());
        let build = move || {
            let mut progress = |event: BuildEvent<'_>| match event {
                BuildEvent::Step(step) if shows_steps => super::say(step),
                BuildEvent::Command(command) if shows_steps => super::say(&format!("  $ {command}")),
                _ => {}
            };
            wardset_authoring::build(&root, &mut progress)
                .map_err(|error| format!("{:#}", anyhow::Error::new(error)))
        };
        match tokio::task::spawn_blocking(build).await {
            Ok(Ok(built)) => BuildResult::Built(built, started.elapsed()),
            Ok(Err(error)) => BuildResult::Failed(error),
            Err(crashed) => BuildResult::Failed(crashed.to_string()),
        }
    }

    async fn test(&self) -> anyhow::Result<Vec<CaseReport>> {
        let Decider { module, policies } = Decider::of_project(&self.folder)?;
        let options = TestOptions { module, policies, ..TestOptions::default() };
        let cases = [self.folder.join(CASES)];
        let run = policy_test::run(&self.modules, &cases, &options);
        let reports =
            if self.shows_steps { setup::showing_compilations(&self.modules, run).await } else { run.await };
        Ok(reports?)
    }

    /// Writes the review that the `curl` line sends: of the project's own object, or of the built-in example.
    fn write_review(&self) -> anyhow::Result<()> {
        let sample = self.folder.join(SAMPLE);
        let source = if sample.exists() {
            let documents = input::read(&sample, true)?.documents.into_iter();
            let first = documents.flat_map(|document| document.objects).next();
            first
                .with_context(|| format!("expected a DaemonSet in `{}`, found no object", sample.display()))?
        } else {
            setup::example()?
        };
        development::write(&self.folder.join(WORK).join("review.json"), &setup::review_of(&source)?)?;
        Ok(())
    }
}

/// Adds the results of the cases. The reasons why cases did not run are left out if the states of the policies have them.
fn write_results(block: &mut String, tested: anyhow::Result<Vec<CaseReport>>, states: &str) {
    match tested {
        Ok(reports) if reports.iter().all(CaseReport::passed) => {
            line(block, "test", None, &report::sums(&reports));
        }
        Ok(reports) => {
            line(block, "test", Some("FAILED"), &report::sums(&reports));
            block.push_str(&report::failures(&reports, states));
        }
        Err(error) => line(block, "test", Some("FAILED"), &format!("{error:#}")),
    }
}

/// Returns whether a path is made by tools, or belongs to an editor or to this command.
fn is_made(root: &Path, output: Option<&Path>, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_output = |output: &Path| path == output || path == output.with_extension("wasm.partial");
    name.starts_with('.')
        || name.ends_with('~')
        || name == "__pycache__"
        || LOCKS.contains(&&*name)
        || (path.parent() == Some(root) && MADE.contains(&&*name))
        || output.is_some_and(is_output)
}

/// Waits for the next change of the states. Returns false if there will be none.
async fn next_state(standings: &mut watch::Receiver<Arc<Vec<(Source, Standing)>>>) -> bool {
    standings.changed().await.is_ok()
}

/// Returns a line for each policy with its state.
fn states_of(standings: &watch::Receiver<Arc<Vec<(Source, Standing)>>>, is_built: bool) -> String {
    let mut block = String::new();
    for (_, standing) in standings.borrow().iter() {
        let (failed, text) = state(standing, is_built);
        line(&mut block, "policy", failed, &text);
    }
    block
}

fn state(standing: &Standing, is_built: bool) -> (Option<&'static str>, String) {
    let name = &standing.name;
    // The line names the policy already.
    let of_policy = format!("policy `{name}`: ");
    let short = |problem: &str| problem.strip_prefix(&of_policy).unwrap_or(problem).to_owned();
    match &standing.state {
        State::Ready if is_built => (None, format!("`{name}` is active")),
        State::Ready => (None, format!("`{name}`: the last good build stays active")),
        State::LastGood(problem) => {
            (Some("FAILED"), format!("`{name}`: {}; the last good revision stays active", short(problem)))
        }
        State::Compiling(module) => (None, format!("`{name}` becomes active after `{module}` is compiled")),
        State::Unready(problem) => {
            (Some("FAILED"), format!("`{name}`: {}; its `onError` decides", short(problem)))
        }
    }
}

/// Adds a result: a word in the first column, and the text beside it. Further lines of the text are indented.
fn line(block: &mut String, word: &str, failed: Option<&str>, text: &str) {
    let failed = failed.map_or_else(String::new, |failed| format!("{RED}{failed}{RED:#}: "));
    for (at, text) in text.lines().enumerate() {
        let text = one_line(text, MAX_LINE);
        let _ = if at == 0 {
            writeln!(block, "{word:<6}  {failed}{text}")
        } else {
            writeln!(block, "        {text}")
        };
    }
}

/// Returns the address of the webhook, and two commands: one prints the decision as text, and one sends it a request.
fn invitation(policy: &Path, work: &Path, port: u16) -> String {
    let shown = |path: &Path| quoted(&path.display().to_string());
    let (ca, review) = (shown(&work.join("ca.pem")), shown(&work.join("review.json")));
    let url = format!("https://localhost:{port}/mutate");
    let ask = format!("curl -s --cacert {ca} -H 'Content-Type: application/json' --data @{review} {url}");
    format!(
        "\nwebhook {url}\nTry:\n\n  wardset review --policies {} -f {review}\n\n\
         The patch of the webhook, which is base64 in its answer:\n\n  {ask} |\n    {DECODE}\n\n",
        shown(policy)
    )
}

/// Prints the patch of an answer as JSON, with tools that each system has. Without a patch, it prints nothing.
const DECODE: &str = r#"sed -n 's/.*"patch":"\([^"]*\)".*/\1/p' | base64 -d"#;

/// Returns a word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_tools_are_no_sources() {
        let (root, output) = (Path::new("p"), Path::new("p/a.wasm"));
        for made in [
            "p/.git",
            "p/.venv",
            "p/.wardset",
            "p/src/.a.go.swp",
            "p/a.go~",
            "p/target",
            "p/build",
            "p/node_modules",
            "p/gen",
            "p/src/__pycache__",
            "p/a.wasm",
            "p/a.wasm.partial",
            "p/Cargo.lock",
            "p/go.sum",
        ] {
            assert!(is_made(root, Some(output), Path::new(made)), "{made}");
        }
        for source in
            ["p/policy.yaml", "p/src/lib.rs", "p/src/build", "p/b.wasm", "p/cases/a.yaml", "p/app.py"]
        {
            assert!(!is_made(root, Some(output), Path::new(source)), "{source}");
        }
    }

    #[test]
    fn the_current_folder_is_compared_as_it_is_read() {
        assert!(is_made(Path::new("."), Some(Path::new("./a.wasm")), Path::new("./a.wasm")));
        assert!(is_made(Path::new("."), None, Path::new("./target")));
    }

    #[test]
    fn the_command_is_quoted_for_a_shell() {
        let shown = invitation(Path::new("my policy/policy.yaml"), Path::new("my policy/.wardset"), 81);
        let command = "curl -s --cacert 'my policy/.wardset/ca.pem' -H 'Content-Type: application/json' \
                       --data @'my policy/.wardset/review.json' https://localhost:81/mutate |\n    sed -n ";
        assert!(shown.contains(command), "{shown}");
        let review =
            "  wardset review --policies 'my policy/policy.yaml' -f 'my policy/.wardset/review.json'\n";
        assert!(shown.contains(review), "{shown}");
        assert_eq!(quoted("a/b.json"), "a/b.json");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn each_state_has_a_line_that_says_which_revision_is_active() {
        let standing =
            |state| Standing { name: "a".into(), revision: "1".into(), state, module: None, refusal: None };
        let problem = || "policy `a`: bad".to_owned();
        for (state, is_built, shown) in [
            (State::Ready, true, "policy  `a` is active\n"),
            (State::Ready, false, "policy  `a`: the last good build stays active\n"),
            (
                State::LastGood(problem()),
                true,
                "policy  FAILED: `a`: bad; the last good revision stays active\n",
            ),
            (State::Unready(problem()), true, "policy  FAILED: `a`: bad; its `onError` decides\n"),
            (
                State::Compiling("file:a.wasm".to_owned()),
                true,
                "policy  `a` becomes active after `file:a.wasm` is compiled\n",
            ),
        ] {
            let (failed, text) = super::state(&standing(state), is_built);
            let mut block = String::new();
            line(&mut block, "policy", failed, &text);
            assert_eq!(anstream::adapter::strip_str(&block).to_string(), shown);
        }
    }

    #[test]
    fn lines_of_a_tool_are_indented_and_harmless() {
        let mut block = String::new();
        line(&mut block, "build", None, "one\ntwo\u{1b}[2J");
        assert!(block.starts_with("build   one\n        two") && !block.contains('\u{1b}'), "{block:?}");
    }
}
