//! The programs of a control plane: taken from `KUBEBUILDER_ASSETS`, or built once from the Go modules in
//! `tests/cluster`, which pin their versions and digests.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest as _, Sha256};

use super::version::{Minor, Version};
use crate::interrupt::Interrupt;
use crate::repository::Repository;
use crate::{lock, process};

/// One program of the control plane, or kubectl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The API server. The first to be built: nothing takes longer.
    KubeApiserver,
    /// The controllers, of which that of DaemonSets is one.
    KubeControllerManager,
    /// Binds pods to nodes.
    KubeScheduler,
    /// The client.
    Kubectl,
    /// The API server's store.
    Etcd,
    /// Does the work of kubelets, except starting containers.
    Kwok,
    /// Starts containers. Only the newest version is pinned.
    Kubelet,
}

impl Program {
    /// All of them, in the order in which they are built.
    pub(crate) const ALL: [Self; 7] = [
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubectl,
        Self::Etcd,
        Self::Kwok,
        Self::Kubelet,
    ];

    /// The name of its file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Etcd => "etcd",
            Self::Kwok => "kwok",
            Self::Kubelet => "kubelet",
        }
    }

    /// The Go module that it comes from.
    fn module(self) -> &'static str {
        match self {
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kubectl
            | Self::Kubelet => KUBERNETES,
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::Kwok => "sigs.k8s.io/kwok",
        }
    }

    /// The folder in `tests/cluster` that pins it. Each version of Kubernetes has one.
    fn folder(self, kubernetes: Minor) -> String {
        match self {
            Self::Etcd | Self::Kwok => self.name().to_owned(),
            _ => kubernetes.folder(),
        }
    }

    fn package(self) -> String {
        let module = self.module();
        match self {
            Self::Etcd => module.to_owned(),
            _ => format!("{module}/cmd/{}", self.name()),
        }
    }

    /// Options of the linker: no debug information, and the version that Kubernetes' own build would set.
    fn linker_flags(self, version: &str) -> String {
        let mut flags = "-s -w".to_owned();
        if self.module() == KUBERNETES {
            let mut numbers = version.trim_start_matches('v').split('.');
            let values = [
                ("gitVersion", version),
                ("gitMajor", numbers.next().unwrap_or_default()),
                ("gitMinor", numbers.next().unwrap_or_default()),
                ("gitCommit", ""),
                ("gitTreeState", "clean"),
            ];
            for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
                for (key, value) in values {
                    // Writing to a String cannot fail.
                    let _ = write!(flags, " -X {package}.{key}={value}");
                }
            }
        }
        flags
    }
}

/// The paths of the programs.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    paths: [PathBuf; 7],
}

impl Binaries {
    /// Finds the needed programs, and builds missing ones: minutes for the first time on a machine, nothing after.
    ///
    /// # Errors
    /// A program is missing and Go is not installed, or its build fails. The version is unknown, or was selected
    /// although `KUBEBUILDER_ASSETS` has programs of another.
    pub(crate) fn find(
        repository: &Repository,
        needed: &[Program],
        version: &Version,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let kubernetes = version.select(repository)?;
        let assets = env::var_os(ASSETS).filter(|value| !value.is_empty()).map(PathBuf::from);
        if assets.is_some() && version.kubernetes.is_some() {
            bail!("`--kubernetes` and `{ASSETS}` both select programs\nhint: unset `{ASSETS}`");
        }
        if let Some(assets) = &assets
            && !assets.is_dir()
        {
            bail!("`{ASSETS}` names `{}`, which is no folder\nhint: unset it", assets.display());
        }
        let ready = |program: Program| {
            let path = assets.as_ref()?.join(program.name());
            path.is_file().then_some(path)
        };
        let missing: Vec<Program> =
            needed.iter().copied().filter(|program| ready(*program).is_none()).collect();
        let builder =
            if missing.is_empty() { None } else { Some(Builder::new(repository, kubernetes, &missing)?) };
        let mut paths = Vec::new();
        for program in Program::ALL {
            paths.push(match (ready(program), &builder) {
                // Programs run with the folder of their state as the current directory.
                (Some(path), _) => {
                    std::path::absolute(path).context("cannot resolve `KUBEBUILDER_ASSETS`")?
                }
                (None, Some(builder)) => builder.path(program)?,
                // Nothing runs it: every needed program is ready.
                (None, None) => PathBuf::from(program.name()),
            });
        }
        if let Some(builder) = &builder {
            builder.build(&missing, interrupt)?;
        }
        let paths = paths.try_into().map_err(|_| anyhow!("not every program has a place"))?;
        Ok(Self::at(paths))
    }

    /// Programs that are there, in the order of [`Program::ALL`].
    pub(crate) fn at(paths: [PathBuf; 7]) -> Self {
        Self { paths }
    }

    /// The file of a program.
    pub(crate) fn path(&self, program: Program) -> &Path {
        // The array has a place for each variant, in the order of `ALL`, which is that of the declaration.
        &self.paths[program as usize]
    }
}

/// Builds programs with the Go that is installed.
#[derive(Debug)]
struct Builder {
    /// `tests/cluster`.
    sources: PathBuf,
    /// Folder of the built programs.
    cache: PathBuf,
    /// As `go env GOVERSION` prints it, with the system and the processor that it builds for.
    go: String,
    /// The built version.
    kubernetes: Minor,
}

impl Builder {
    fn new(repository: &Repository, kubernetes: Minor, missing: &[Program]) -> Result<Self> {
        let sources = repository.control_plane();
        let go = match go_version(&sources.join(kubernetes.folder())) {
            Ok(version) => version,
            Err(error) if no_such_program(&error) => return Err(no_go(missing)),
            Err(error) => return Err(error),
        };
        Ok(Self { sources, cache: repository.target()?.join("cluster/bin"), go, kubernetes })
    }

    /// Returns the path of the built program. The name has a digest of everything that it is built from.
    fn path(&self, program: Program) -> Result<PathBuf> {
        let mut digest = Sha256::new();
        for name in ["go.mod", "go.sum"] {
            let path = self.folder(program).join(name);
            digest.update(fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?);
            digest.update([0]);
        }
        digest.update(&self.go);
        digest.update([0]);
        digest.update(program.linker_flags(&self.version(program)?));
        let mut name = format!("{}-", program.folder(self.kubernetes));
        for byte in &digest.finalize()[..8] {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        Ok(self.cache.join(name).join(program.name()))
    }

    fn version(&self, program: Program) -> Result<String> {
        let module = program.module();
        let path = self.folder(program).join("go.mod");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        required_version(&text, module)
            .map(str::to_owned)
            .with_context(|| format!("`{}` requires no version of `{module}`", path.display()))
    }

    fn build(&self, programs: &[Program], interrupt: &Interrupt) -> Result<()> {
        let mut missing = Vec::new();
        for program in programs {
            if !self.path(*program)?.is_file() {
                missing.push(*program);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let _lock = lock::take(&self.cache.join("lock"), "another build of the control plane", interrupt)?;
        for (number, program) in missing.iter().enumerate() {
            let path = self.path(*program)?;
            // The previous holder of the lock may have built it.
            if path.is_file() {
                continue;
            }
            let version = self.version(*program)?;
            eprintln!(
                "building {} {version} ({} of {}; minutes on a cold machine)",
                program.name(),
                number + 1,
                missing.len(),
            );
            let start = Instant::now();
            // It has another name until it is complete, so that a file with the right name can be run.
            let partial = path.with_extension("partial");
            let mut go = self.go(*program);
            go.args(["build", "-trimpath", "-ldflags", &program.linker_flags(&version), "-o"]);
            go.arg(&partial).arg(program.package());
            process::show_until(&mut go, interrupt)
                .with_context(|| format!("cannot build `{}`", program.name()))?;
            fs::rename(&partial, &path).with_context(|| format!("cannot write `{}`", path.display()))?;
            eprintln!("built {} in {:.0} s", program.name(), start.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn go(&self, program: Program) -> Command {
        go(&self.folder(program))
    }

    fn folder(&self, program: Program) -> PathBuf {
        self.sources.join(program.folder(self.kubernetes))
    }
}

/// `go` in a module's folder, for a program that needs nothing of the system.
fn go(folder: &Path) -> Command {
    let mut go = Command::new("go");
    // A `go.work` around the repository would override the module's versions.
    go.current_dir(folder).env("CGO_ENABLED", "0").env("GOWORK", "off");
    go
}

fn go_version(folder: &Path) -> Result<String> {
    let words = process::stdout(go(folder).args(["env", "GOVERSION", "GOOS", "GOARCH"]))?;
    Ok(words.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn no_such_program(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

fn no_go(missing: &[Program]) -> anyhow::Error {
    let names: Vec<String> = missing.iter().map(|program| format!("`{}`", program.name())).collect();
    anyhow!(
        "no `go` in `PATH` to build {} with\n\
         hint: install Go 1.26 or newer, or set `{ASSETS}` to a folder that has them; `setup-envtest` fetches `etcd`, \
         `kube-apiserver` and `kubectl` only",
        names.join(", ")
    )
}

/// The version of `module` that a `go.mod` requires.
fn required_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let line = line.trim();
        let mut words = line.strip_prefix("require ").unwrap_or(line).split_whitespace();
        (words.next() == Some(module)).then(|| words.next().filter(|word| word.starts_with('v')))?
    })
}

/// A folder with ready programs, as envtest names it.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// The Go module of Kubernetes' own programs.
const KUBERNETES: &str = "k8s.io/kubernetes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_missing_without_go() {
        assert_eq!(
            no_go(&[Program::KubeScheduler, Program::Kwok]).to_string(),
            "no `go` in `PATH` to build `kube-scheduler`, `kwok` with\n\
             hint: install Go 1.26 or newer, or set `KUBEBUILDER_ASSETS` to a folder that has them; `setup-envtest` \
             fetches `etcd`, `kube-apiserver` and `kubectl` only"
        );
    }

    #[test]
    fn knows_a_missing_program_from_one_that_fails() {
        let missing = process::stdout(&mut Command::new("wardset-no-such-program")).unwrap_err();
        assert!(no_such_program(&missing));
        let failing = process::stdout(&mut Command::new("false")).unwrap_err();
        assert!(!no_such_program(&failing));
    }

    #[test]
    fn each_program_has_its_place() {
        for (number, program) in Program::ALL.into_iter().enumerate() {
            assert_eq!(number, program as usize, "{}", program.name());
        }
    }

    #[test]
    fn finds_the_version_that_is_required_and_no_replacement() {
        let go_mod = "module m\nrequire a.b/c v1.2.3 // indirect\nrequire (\n\td.e/f v0.1.0\n)\n\
                      replace (\n\tg.h/i => g.h/i v2.0.0\n)\n";
        assert_eq!(required_version(go_mod, "a.b/c"), Some("v1.2.3"));
        assert_eq!(required_version(go_mod, "d.e/f"), Some("v0.1.0"));
        assert_eq!(required_version(go_mod, "g.h/i"), None);
    }

    #[test]
    fn programs_of_kubernetes_know_their_version() {
        let flags = Program::Kubectl.linker_flags("v1.37.2");
        assert!(flags.contains(" -X k8s.io/component-base/version.gitVersion=v1.37.2 "), "{flags}");
        assert!(flags.contains(" -X k8s.io/client-go/pkg/version.gitMinor=37 "), "{flags}");
        assert_eq!(Program::Etcd.linker_flags("v3.7.3"), "-s -w");
    }

    #[test]
    fn committed_modules_require_what_is_built_from_them() {
        let repository = Repository::at(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));
        let newest = Minor::newest(&repository).unwrap();
        for minor in Minor::known(&repository).unwrap() {
            for program in Program::ALL {
                if program == Program::Kubelet && minor != newest {
                    continue;
                }
                let path = repository.control_plane().join(program.folder(minor)).join("go.mod");
                let text = fs::read_to_string(path).unwrap();
                assert!(required_version(&text, program.module()).is_some(), "{minor}: {}", program.name());
                assert!(text.contains(&program.package()), "{minor}: {}", program.name());
            }
        }
    }
}
