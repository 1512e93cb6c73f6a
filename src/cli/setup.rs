//! What the commands share: turns the command line's sources into loaded modules, a snapshot or a judge.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use arc_swap::ArcSwap;
use tokio::sync::watch;
use wardset_core::policy::{NamespaceLabels, OciReference};
use wardset_placement::KubernetesVersion;
use wardset_runtime::{Cache, CompileLimits, Compiler, Engine, EngineOptions, Evaluator, Snapshot};
use wardset_signatures::RepositoryPrefix;

use crate::admission::{Judge, NamespaceSource};
use crate::metrics::PullMetrics;
use crate::offline::input::{self, InputError, InputFile, InputSource};
use crate::offline::request::{self, Built};
use crate::offline::text;
use crate::preview::Inventory;
use crate::registry::{ContentCache, RegistryOptions};
use crate::supply::RegistrySupply;
use crate::supply::modules::{CompilingModule, Modules};
use crate::supply::policy_files;
use crate::supply::trust_file;
use crate::yaml;

/// The locations of policies and compiled modules, and the limits of compilation.
#[derive(Debug, Clone)]
pub(crate) struct SupplyOptions {
    /// Files and folders with policies. If empty, the built-in policies apply.
    pub(crate) policies: Vec<PathBuf>,
    /// Folder of compiled modules and content of registries. If none, every start pulls and compiles them.
    pub(crate) cache: Option<PathBuf>,
    /// Limits of one compilation.
    pub(crate) compile: CompileLimits,
    /// How to reach registries.
    pub(crate) registry: RegistryOptions,
    /// File with the rules for signatures. Without it, modules need none.
    pub(crate) trust: Option<PathBuf>,
}

/// Folder of the content from registries, in the folder of compiled modules.
const CONTENT: &str = "registry";

/// Returns the reference to a module in a registry that the user named.
pub(super) fn reference(named: &str) -> anyhow::Result<OciReference> {
    named.parse().map_err(|problem| anyhow!("failed to parse the reference: {problem}"))
}

/// Returns the module store, with no module loaded yet. If the cache folder cannot be opened, the server logs a
/// warning and runs without a cache, which makes each start slower.
///
/// # Errors
///
/// An engine that this machine cannot run.
pub(crate) fn modules(sources: &SupplyOptions) -> anyhow::Result<Arc<Modules>> {
    served_modules(sources, Vec::new(), PullMetrics::default())
}

/// Returns the module store of a server: modules come only from registries in `allowed`, unless it is empty, and
/// `metrics` count the pulls.
///
/// # Errors
///
/// As [`modules`].
pub(super) fn served_modules(
    sources: &SupplyOptions,
    allowed: Vec<RepositoryPrefix>,
    metrics: PullMetrics,
) -> anyhow::Result<Arc<Modules>> {
    let engine = Engine::new(EngineOptions::default())?;
    let cache = sources.cache.as_ref().and_then(|folder| match Cache::open(folder) {
        Ok(cache) => Some(cache),
        Err(error) => {
            let error = anyhow::Error::new(error);
            tracing::warn!(
                error = format!("{error:#}"),
                "failed to open the cache of modules: every start pulls and compiles them again; \
                 hint: pass a writable folder by `--cache-dir`"
            );
            None
        }
    });
    // If compiled modules cannot be stored there, neither can anything else.
    let folder = sources.cache.as_ref().filter(|_| cache.is_some());
    let cached = folder.map(|folder| ContentCache::at(folder.join(CONTENT)));
    let modules = Modules::new(engine, cache, compiler(sources.compile)?);
    let trust = sources.trust.as_deref().map(trust_file::read).transpose()?.unwrap_or_default();
    let options = sources.registry.clone();
    let registries = RegistrySupply { options, cache: cached, trust, allowed, metrics };
    Ok(Arc::new(modules.with_registries(registries)))
}

/// Minimum memory of one compilation if the user sets no limit: enough for the built-in modules, with a reserve.
const LEAST_MEMORY: u64 = 128 << 20;

/// How much longer a compilation may take than its processor time, for a machine that does other work.
const BUSY: u32 = 10;

/// Returns the limits of one compilation: its processor time, and `memory` in bytes. If `memory` is none, the limit is a quarter
/// of the process's control group, so that two compilations and the server fit into it. It is at least 128 MiB and at
/// most 1 GiB. A module of more than 4 MiB may get more, up to half of the group and to 2 GiB.
#[must_use]
pub(crate) fn compile_limits(processor_time: Duration, memory: Option<u64>) -> CompileLimits {
    let default = CompileLimits::default();
    // In a container, this file describes the container's own control group. Elsewhere it does not exist or holds
    // `max`.
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let quarter = group.and_then(|limit| limit.trim().parse::<u64>().ok()).map(|limit| limit / 4);
    let (memory, most_memory) = match memory {
        Some(memory) => (memory, memory),
        None => (
            quarter.map_or(default.memory, |most| most.clamp(LEAST_MEMORY, default.memory)),
            quarter.map_or(default.most_memory, |most| (2 * most).min(default.most_memory)),
        ),
    };
    CompileLimits { processor_time, wall_time: BUSY * processor_time, memory, most_memory }
}

/// Returns the compiler, which runs this same program in child processes.
fn compiler(limits: CompileLimits) -> anyhow::Result<Compiler> {
    // The link leads to the running program even if its file was replaced since.
    let link = Path::new("/proc/self/exe");
    let program = if link.exists() {
        link.to_owned()
    } else {
        std::env::current_exe().context("failed to find this program's own file, which compiles modules")?
    };
    Ok(Compiler::danger_in_children(program, ["compile-module".into()], limits))
}

/// Returns a snapshot of the policies as they are now. It never changes.
///
/// # Errors
///
/// A policy that cannot become active.
pub(crate) async fn snapshot(sources: &SupplyOptions) -> anyhow::Result<Snapshot> {
    load(&*modules(sources)?, sources).await
}

async fn load(modules: &Modules, sources: &SupplyOptions) -> anyhow::Result<Snapshot> {
    let found = if sources.policies.is_empty() {
        policy_files::defaults()
    } else {
        policy_files::read(&sources.policies)
    }?;
    showing_compilations(modules, policy_files::load(modules, found))
        .await
        .context("failed to load the policies")
}

/// Time after which the terminal shows a compilation. Built-in modules compile faster.
const NOTICEABLE: Duration = Duration::from_secs(1);

/// Completes with `work`. Meanwhile, it names each module that is being compiled, if standard error is a terminal.
pub(crate) async fn showing_compilations<T>(modules: &Modules, work: impl Future<Output = T>) -> T {
    if std::io::stderr().is_terminal() {
        naming_compilations(modules.compiling(), work, super::say).await
    } else {
        work.await
    }
}

async fn naming_compilations<T>(
    compiling: watch::Receiver<Vec<CompilingModule>>,
    work: impl Future<Output = T>,
    mut say: impl FnMut(&str),
) -> T {
    let mut work = pin!(work);
    let mut named = Vec::new();
    loop {
        if let Ok(done) = tokio::time::timeout(NOTICEABLE, &mut work).await {
            return done;
        }
        for module in compiling.borrow().iter() {
            if !named.contains(module) {
                let CompilingModule { module: name, bytes } = module;
                say(&format!("compiling `{name}` ({}), once for each digest", text::count(*bytes, "byte")));
                named.push(module.clone());
            }
        }
    }
}

/// Returns the DaemonSet of the built-in example.
///
/// # Errors
///
/// The example is not valid YAML, which the tests exclude.
pub(crate) fn example() -> anyhow::Result<InputSource> {
    let manifest: serde_json::Value =
        yaml::documents(include_str!("../../examples/fluentd-ds.yaml"))?.remove(0);
    Ok(InputSource { origin: "the built-in example".to_owned(), json: manifest.to_string(), named: true })
}

/// Returns the AdmissionReview that creates an object.
///
/// # Errors
///
/// An object that is not a DaemonSet.
pub(crate) fn review_of(source: &InputSource) -> anyhow::Result<String> {
    match request::build(source, &request::Settings::default())? {
        Built::Request(built) => Ok(String::from_utf8(built.bytes)?),
        Built::Skipped(reason) => anyhow::bail!("expected a DaemonSet in {}, found {reason}", source.origin),
    }
}

/// Returns a judge for the command line: the policies as they are now, one review at a time, and `labels` as those of
/// every namespace.
///
/// # Errors
///
/// A policy that cannot become active.
pub(crate) async fn judge(sources: &SupplyOptions, labels: NamespaceLabels) -> anyhow::Result<Judge> {
    let modules = modules(sources)?;
    let policies = ArcSwap::from_pointee(load(&modules, sources).await?);
    let evaluator = Evaluator::new(Arc::clone(modules.engine()), 1);
    Ok(Judge::new(Arc::new(policies), NamespaceSource::Fixed(labels), evaluator))
}

/// Returns the user's cache folder, if the environment names one.
#[must_use]
pub(crate) fn default_cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("wardset"))
}

/// Fails if standard input, `-`, is named more than once: the second reader would find it empty.
///
/// # Errors
///
/// It is named twice.
pub(crate) fn reads_standard_input_once<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> anyhow::Result<()> {
    if paths.filter(|path| path.as_path() == Path::new("-")).count() > 1 {
        bail!("`-`, standard input, can be read once; hint: write one of the inputs into a file");
    }
    Ok(())
}

/// Reads all files. Reports each file that fails, and returns whether one did. A bad file hides no other.
pub(crate) fn read(paths: &[PathBuf], recursive: bool) -> (Vec<InputFile>, bool) {
    let mut files = Vec::new();
    let mut broken = false;
    let mut say = |error: InputError| {
        broken = true;
        super::say_error(&format!("{:#}", anyhow::Error::new(error)));
    };
    for path in paths {
        let named = !path.is_dir();
        match input::files(path, recursive) {
            Err(error) => say(error),
            Ok(found) => {
                for file in found {
                    let read = file.and_then(|file| input::read(&file, named));
                    read.map(|file| files.push(file)).unwrap_or_else(&mut say);
                }
            }
        }
    }
    (files, broken)
}

/// Reads the nodes of the option `--nodes`, and the pods and DaemonSets beside them.
///
/// # Errors
///
/// A file that cannot be read, an object of a wrong form, or no node.
pub(crate) fn inventory(paths: &[PathBuf]) -> anyhow::Result<Inventory> {
    let (files, broken) = read(paths, false);
    if broken {
        bail!("failed to read the files of `--nodes`");
    }
    let mut inventory = Inventory::new(KubernetesVersion::default());
    for source in files.iter().flat_map(|file| &file.documents).flat_map(|document| &document.objects) {
        let object = serde_json::from_str(&source.json).with_context(|| source.origin.clone())?;
        inventory.add(object, &source.origin)?;
    }
    if inventory.nodes().is_empty() {
        bail!(
            "expected objects of kind Node, found none; hint: `kubectl get nodes -o yaml > nodes.yaml` writes them"
        );
    }
    Ok(inventory)
}

#[cfg(test)]
mod tests {
    use wardset_core::policy::ModuleRef;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn names_each_module_that_compiles_for_long_once() {
        let module = |name: &str| CompilingModule { module: ModuleRef::File(name.to_owned()), bytes: 5 };
        let (all, compiling) = watch::channel(vec![module("quick.wasm")]);
        let work = async {
            tokio::time::sleep(NOTICEABLE / 2).await;
            all.send_replace(vec![module("a.wasm")]);
            tokio::time::sleep(NOTICEABLE * 3).await;
            all.send_replace(vec![module("a.wasm"), module("b.wasm")]);
            tokio::time::sleep(NOTICEABLE * 3).await;
            7
        };
        let mut said = Vec::new();
        let done = naming_compilations(compiling, work, |line| said.push(line.to_owned())).await;
        assert_eq!(done, 7);
        let line = |name: &str| format!("compiling `file:{name}` (5 bytes), once for each digest");
        assert_eq!(said, [line("a.wasm"), line("b.wasm")]);
    }
}
