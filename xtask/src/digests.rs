//! The sources of `policies/built`: the policies, the digests of their sources and modules, and the file
//! `digests.json` that records both. Needs no compiler for the guest target.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wardset_authoring::guest::LINK_ARGS;

use crate::process;
use crate::repository::Repository;

/// The file name of the records, in `policies/built`.
pub(crate) const FILE: &str = "digests.json";

/// `digests.json`: a record for each committed module.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Digests {
    pub(crate) modules: BTreeMap<String, Record>,
}

/// The record of one committed module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// SHA-256 of the module, lower-case hex.
    pub(crate) sha256: String,
    /// Size of the module.
    pub(crate) size_bytes: u64,
    /// SHA-256 of the sources, as [`Workspace::sources`] computes it.
    pub(crate) sources_sha256: String,
    /// Version lines of the tools that decide the module's bytes, beside the sources.
    pub(crate) compiler: String,
}

impl Digests {
    /// Reads `digests.json`; `None` if it is missing.
    pub(crate) fn read(repository: &Repository) -> Result<Option<Self>> {
        let path = repository.built().join(FILE);
        match fs::read(&path) {
            Ok(text) => Ok(Some(
                serde_json::from_slice(&text).with_context(|| format!("cannot read `{}`", path.display()))?,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        }
    }

    /// Writes `digests.json`.
    pub(crate) fn write(&self, repository: &Repository) -> Result<()> {
        let path = repository.built().join(FILE);
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    }
}

/// The workspace of the guests, as far as its files tell.
#[derive(Debug)]
pub(crate) struct Workspace {
    policies: Vec<Policy>,
    /// The directories of the packages that are no policy: the SDK and the crates that it uses.
    shared: Vec<PathBuf>,
}

/// A package of the policies' workspace that becomes a module.
#[derive(Debug)]
pub(crate) struct Policy {
    /// The package's name, which is the module's too.
    pub(crate) name: String,
    /// The name of its `cdylib`, as in the file that the compiler writes.
    pub(crate) library: String,
    /// Its name and version: a dependency can have the same name.
    pub(crate) spec: String,
    /// The path of its `Cargo.toml`.
    pub(crate) dir: PathBuf,
}

impl Workspace {
    /// Asks cargo which packages there are.
    pub(crate) fn read(repository: &Repository) -> Result<Self> {
        let dir = repository.policies();
        if !dir.join("Cargo.toml").is_file() {
            bail!("`{}` has no `Cargo.toml`: there are no policies to build", dir.display());
        }
        let mut workspace = Self { policies: Vec::new(), shared: Vec::new() };
        for package in packages(&dir)? {
            package.refuse_paths_outside(&dir)?;
            let dir = package.dir()?.to_owned();
            match package.targets.into_iter().find(|target| target.crate_types.iter().any(|t| t == "cdylib"))
            {
                Some(library) => workspace.policies.push(Policy {
                    spec: format!("{}@{}", package.name, package.version),
                    name: package.name,
                    library: library.name.replace('-', "_"),
                    dir,
                }),
                None => workspace.shared.push(dir),
            }
        }
        workspace.policies.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(workspace)
    }

    /// The policies of these names, or all if none is given.
    pub(crate) fn select(&self, names: &[String]) -> Result<Vec<&Policy>> {
        for name in names {
            if !self.policies.iter().any(|policy| policy.name == *name) {
                let known: Vec<&str> = self.policies.iter().map(|policy| policy.name.as_str()).collect();
                bail!("there is no policy `{name}`\nhint: the policies are {}", known.join(", "));
            }
        }
        Ok(self.policies.iter().filter(|p| names.is_empty() || names.contains(&p.name)).collect())
    }

    /// SHA-256 over the path and content of each file that decides about the module, in order of path, and over the
    /// linker's flags. The same on every machine, as long as git leaves line ends alone.
    ///
    /// Those files are the contract, and the workspace's `Cargo.toml` and `Cargo.lock`. The policy and each package that is
    /// no policy add `Cargo.toml`, `build.rs`, `settings.schema.json` and all of `src`.
    pub(crate) fn sources(&self, repository: &Repository, policy: &Policy) -> Result<String> {
        let mut files = Vec::new();
        collect(&repository.wit(), &mut |path| path.extension().is_some_and(|e| e == "wit"), &mut files)?;
        files.push(repository.policies().join("Cargo.toml"));
        files.push(repository.policies().join("Cargo.lock"));
        for dir in self.shared.iter().chain([&policy.dir]) {
            files.push(dir.join("Cargo.toml"));
            files.extend(
                ["build.rs", "settings.schema.json"].map(|f| dir.join(f)).into_iter().filter(|f| f.is_file()),
            );
            collect(&dir.join("src"), &mut |_| true, &mut files)?;
        }

        let named = named(repository, files)?;
        let flags = LINK_ARGS.iter().map(|arg| arg.as_bytes());
        Ok(of_parts(flags.chain(named.iter().flat_map(|(name, content)| [name.as_bytes(), content]))))
    }
}

/// A package, as `cargo metadata` prints it.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    kind: Option<String>,
    /// The targets that have the dependency; all if it is `None`.
    target: Option<String>,
    path: Option<PathBuf>,
}

/// The targets of dependencies that only native tests use.
const NATIVE: &str = "cfg(not(target_arch = \"wasm32\"))";

impl Package {
    fn dir(&self) -> Result<&Path> {
        self.manifest_path.parent().context("a manifest without a directory")
    }

    /// Fails if a module would contain a package from outside the workspace. Cargo puts the absolute path of such a package
    /// into its symbols, which decide the order of the functions: two checkouts would build different bytes.
    fn refuse_paths_outside(&self, workspace: &Path) -> Result<()> {
        let of_module = self
            .dependencies
            .iter()
            .filter(|found| found.kind.as_deref() != Some("dev") && found.target.as_deref() != Some(NATIVE));
        for path in of_module.filter_map(|dependency| dependency.path.as_deref()) {
            if !path.starts_with(workspace) {
                bail!(
                    "`{}` depends on `{}`, which is outside `{}`: its modules would differ between checkouts\n\
                     hint: link its sources into a package of that folder, as the SDK does with `placement`",
                    self.name,
                    path.display(),
                    workspace.display()
                );
            }
        }
        Ok(())
    }
}

/// Asks cargo which packages are in the workspace of the directory.
fn packages(dir: &Path) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let mut cargo = process::cargo(dir);
    cargo.args(["metadata", "--no-deps", "--format-version=1"]);
    let metadata: Metadata = serde_json::from_str(&process::stdout(&mut cargo)?)
        .context("cannot read what `cargo metadata` prints")?;
    Ok(metadata.packages)
}

/// Returns the problems of the committed modules of `policies`, a line each. With `all`, also modules that belong to
/// no policy.
pub(crate) fn problems(
    repository: &Repository,
    workspace: &Workspace,
    policies: &[&Policy],
    all: bool,
) -> Result<Vec<String>> {
    let Some(digests) = Digests::read(repository)? else {
        return Ok(vec![format!("`policies/built/{FILE}` is missing")]);
    };
    let mut problems = Vec::new();
    for policy in policies {
        let name = &policy.name;
        let Some(record) = digests.modules.get(name) else {
            problems.push(format!("`{name}` has no record in `policies/built/{FILE}`"));
            continue;
        };
        let sources = workspace.sources(repository, policy)?;
        if sources != record.sources_sha256 {
            problems.push(format!(
                "`{name}`: the sources have changed since the module was built: expected digest {}, found {}",
                short(&record.sources_sha256),
                short(&sources)
            ));
        }
        match fs::read(module_path(repository, name)) {
            Ok(module) => {
                let found = sha256(&module);
                if found != record.sha256 || module.len() as u64 != record.size_bytes {
                    problems.push(format!(
                        "`policies/built/{name}.wasm` is not the module that was built: expected digest {} ({} bytes), found {} ({} bytes)",
                        short(&record.sha256), record.size_bytes, short(&found), module.len()
                    ));
                }
            }
            Err(error) => problems.push(format!("`policies/built/{name}.wasm` cannot be read: {error}")),
        }
    }
    if all {
        for name in strays(repository, workspace, &digests)? {
            problems.push(format!("`policies/built` has a module `{name}`, but there is no such policy"));
        }
    }
    Ok(problems)
}

/// Names that are recorded or lie in `policies/built`, and belong to no policy.
pub(crate) fn strays(
    repository: &Repository,
    workspace: &Workspace,
    digests: &Digests,
) -> Result<Vec<String>> {
    let mut files = Vec::new();
    collect(&repository.built(), &mut |path| path.extension().is_some_and(|e| e == "wasm"), &mut files)?;
    let mut names: Vec<String> = files
        .iter()
        .filter_map(|path| path.file_stem())
        .map(|stem| stem.to_string_lossy().into_owned())
        .chain(digests.modules.keys().cloned())
        .filter(|name| !workspace.policies.iter().any(|policy| policy.name == *name))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Returns the path of this policy's committed module.
pub(crate) fn module_path(repository: &Repository, name: &str) -> PathBuf {
    repository.built().join(format!("{name}.wasm"))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 over the path and content of each file below `dir`, in order of path. The same on every machine, as long as git
/// leaves line ends alone.
pub(crate) fn of_folder(repository: &Repository, dir: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(dir, &mut |_| true, &mut files)?;
    let named = named(repository, files)?;
    Ok(of_parts(named.iter().flat_map(|(name, content)| [name.as_bytes(), content])))
}

/// Enough of a digest for a person to tell two apart.
pub(crate) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Returns all files below `dir` that `wanted` accepts; none if `dir` does not exist.
fn collect(dir: &Path, wanted: &mut dyn FnMut(&Path) -> bool, files: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list `{}`", dir.display()))? {
        let path = entry.with_context(|| format!("cannot list `{}`", dir.display()))?.path();
        if path.is_dir() {
            collect(&path, wanted, files)?;
        } else if wanted(&path) {
            files.push(path);
        }
    }
    Ok(())
}

/// The content of each file by its path in the repository, with `/` on every machine.
fn named(repository: &Repository, files: Vec<PathBuf>) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut named = BTreeMap::new();
    for file in files {
        let path = file
            .strip_prefix(repository.root())
            .with_context(|| format!("`{}` is outside the repository", file.display()))?;
        let name = path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
        let content = fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        named.insert(name, content);
    }
    Ok(named)
}

/// Each part is led by its length: no two lists of parts read the same.
fn of_parts<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|n| char::from(b"0123456789abcdef"[usize::from(n)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A copy of the repository with an SDK and its crates, one policy `guard` and its committed module.
    struct Copy {
        dir: tempfile::TempDir,
        repository: Repository,
    }

    impl Copy {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let copy = Self { repository: Repository::at(dir.path()), dir };
            copy.write("wit/policy.wit", "package a:b;");
            copy.write(
                "policies/Cargo.toml",
                "[workspace]\nmembers = [\"sdk\", \"near\", \"guard\"]\nresolver = \"3\"\n",
            );
            copy.write("policies/Cargo.lock", "");
            copy.write(
                "policies/sdk/Cargo.toml",
                "[package]\nname = \"sdk\"\n\n[dependencies]\nnear = { path = \"../near\" }\n",
            );
            copy.write("policies/sdk/src/lib.rs", "");
            copy.write(
                "crates/near/Cargo.toml",
                "[package]\nname = \"near\"\n\n[dev-dependencies]\ntest = { path = \"../../crates/test\" }\n\n\
                 [target.'cfg(not(target_arch = \"wasm32\"))'.dependencies]\n\
                 native = { path = \"../../crates/native\" }\n",
            );
            copy.write("crates/near/src/lib.rs", "");
            symlink("../crates/near", copy.dir.path().join("policies/near")).unwrap();
            for name in ["native", "test"] {
                copy.write(&format!("crates/{name}/Cargo.toml"), &format!("[package]\nname = \"{name}\"\n"));
                copy.write(&format!("crates/{name}/src/lib.rs"), "");
            }
            copy.write(
                "policies/guard/Cargo.toml",
                "[package]\nname = \"guard\"\n\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n",
            );
            copy.write("policies/guard/src/lib.rs", "");
            copy.write("policies/guard/README.md", "Guards.");
            copy.write("policies/built/guard.wasm", "module");
            let record = Record {
                sha256: sha256(b"module"),
                size_bytes: 6,
                sources_sha256: copy.sources(),
                compiler: "rustc".into(),
            };
            Digests { modules: [("guard".into(), record)].into() }.write(&copy.repository).unwrap();
            copy
        }

        fn write(&self, path: &str, content: &str) {
            let path = self.dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn sources(&self) -> String {
            let workspace = Workspace::read(&self.repository).unwrap();
            let policies = workspace.select(&[]).unwrap();
            workspace.sources(&self.repository, policies[0]).unwrap()
        }

        fn problems(&self) -> Vec<String> {
            let workspace = Workspace::read(&self.repository).unwrap();
            let policies = workspace.select(&[]).unwrap();
            problems(&self.repository, &workspace, &policies, true).unwrap()
        }
    }

    #[test]
    fn finds_nothing_where_all_matches() {
        assert_eq!(Copy::new().problems(), [""; 0]);
    }

    #[test]
    fn digest_of_sources_is_the_same_in_another_place() {
        assert_eq!(Copy::new().sources(), Copy::new().sources());
    }

    #[test]
    fn digest_of_sources_covers_all_that_decides_about_the_module() {
        for path in [
            "wit/policy.wit",
            "wit/deps/more.wit",
            "policies/Cargo.lock",
            "policies/sdk/src/new.rs",
            "crates/near/src/new.rs",
            "policies/guard/src/deep/new.rs",
            "policies/guard/settings.schema.json",
        ] {
            let copy = Copy::new();
            copy.write(path, "other");
            let problems = copy.problems();
            assert_eq!(problems.len(), 1, "{path}: {problems:?}");
            assert!(problems[0].starts_with("`guard`: the sources have changed"), "{path}: {problems:?}");
        }
    }

    #[test]
    fn digest_of_sources_leaves_out_what_does_not() {
        let copy = Copy::new();
        copy.write("policies/guard/README.md", "Guards well.");
        copy.write("policies/guard/tests/cases.yaml", "");
        copy.write("policies/built/README.md", "");
        copy.write("crates/test/src/lib.rs", "other");
        copy.write("crates/native/src/lib.rs", "other");
        copy.write("wit/README.md", "");
        assert_eq!(copy.problems(), [""; 0]);
    }

    #[test]
    fn digest_of_sources_tells_a_moved_line_from_a_moved_file() {
        let (one, other) = (Copy::new(), Copy::new());
        one.write("policies/guard/src/a", "b");
        other.write("policies/guard/src/ab", "");
        assert_ne!(one.sources(), other.sources());
    }

    #[test]
    fn refuses_a_package_whose_absolute_path_would_decide_the_bytes() {
        let copy = Copy::new();
        copy.write(
            "policies/sdk/Cargo.toml",
            "[package]\nname = \"sdk\"\n\n[dependencies]\nnear = { path = \"../../crates/near\" }\n",
        );
        let error = Workspace::read(&copy.repository).unwrap_err().to_string();
        assert!(error.starts_with("`sdk` depends on `"), "{error}");
        assert!(error.contains("crates/near`, which is outside `"), "{error}");
    }

    #[test]
    fn finds_a_module_that_was_not_built_from_here() {
        let copy = Copy::new();
        copy.write("policies/built/guard.wasm", "muddle");
        assert_eq!(
            copy.problems(),
            [format!(
                "`policies/built/guard.wasm` is not the module that was built: \
                 expected digest {} (6 bytes), found {} (6 bytes)",
                short(&sha256(b"module")),
                short(&sha256(b"muddle"))
            )]
        );
    }

    #[test]
    fn finds_missing_and_stray_modules() {
        let copy = Copy::new();
        fs::rename(module_path(&copy.repository, "guard"), module_path(&copy.repository, "guards")).unwrap();
        let problems = copy.problems();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("`policies/built/guard.wasm` cannot be read"), "{problems:?}");
        assert_eq!(problems[1], "`policies/built` has a module `guards`, but there is no such policy");
    }

    #[test]
    fn finds_missing_records() {
        let copy = Copy::new();
        Digests::default().write(&copy.repository).unwrap();
        assert_eq!(copy.problems()[0], "`guard` has no record in `policies/built/digests.json`");
        fs::remove_file(copy.repository.built().join(FILE)).unwrap();
        assert_eq!(copy.problems(), ["`policies/built/digests.json` is missing"]);
    }

    #[test]
    fn names_the_policies_there_are() {
        let workspace = Workspace::read(&Copy::new().repository).unwrap();
        let error = workspace.select(&["gard".into()]).unwrap_err().to_string();
        assert_eq!(error, "there is no policy `gard`\nhint: the policies are guard");
    }
}
