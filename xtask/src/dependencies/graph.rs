//! The crates that are in the program, and their dependencies on each other.
//!
//! `cargo tree` resolves features as a build does, so it lists no crate that only tests or other members of the workspace
//! need. Build scripts and procedural macros run at build time and are not in the program. The built-in modules are, so
//! their crates belong to the list.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process;
use crate::repository::Repository;

/// The crates in the program.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    crates: BTreeMap<Id, Crate>,
}

/// The name and version of a crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// A crate in the program.
#[derive(Debug)]
pub(crate) struct Crate {
    /// The expression of its manifest, as SPDX defines it; `None` if the manifest names a file.
    pub(crate) licence: Option<String>,
    /// The address of its sources, as its manifest names it.
    pub(crate) repository: Option<String>,
    /// The folder with its sources.
    pub(crate) folder: PathBuf,
    /// The SHA-256 of its package in the registry; `None` if its sources are in this repository.
    pub(crate) checksum: Option<String>,
    /// The crates that it depends on.
    pub(crate) uses: BTreeSet<Id>,
}

impl Graph {
    /// Lists the crates of the program and of the modules that it embeds.
    ///
    /// # Errors
    /// cargo fails, or its output has another form than expected.
    pub(crate) fn read(repository: &Repository) -> Result<Self> {
        let mut graph = Self::of_program(repository)?;
        let modules =
            graph.add(&repository.policies(), &["--workspace"], &["wasm32-unknown-unknown".to_owned()])?;
        for (id, program) in &mut graph.crates {
            if id.name == PROGRAM {
                program.uses.extend(modules.iter().cloned());
            }
        }
        Ok(graph)
    }

    /// Lists the crates of the program without those of the modules, whose sources may not be on this machine yet.
    ///
    /// # Errors
    /// cargo fails, or its output has another form than expected.
    pub(crate) fn of_program(repository: &Repository) -> Result<Self> {
        let processor = env::consts::ARCH;
        let hosts = ["gnu", "musl"].map(|library| format!("{processor}-unknown-linux-{library}"));
        let mut graph = Self::default();
        graph.add(repository.root(), &["--package", PROGRAM], &hosts)?;
        Ok(graph)
    }

    /// Returns the crates in the order of their names.
    pub(crate) fn crates(&self) -> impl Iterator<Item = (&Id, &Crate)> {
        self.crates.iter()
    }

    /// Returns the crates from registries in the order of their names.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = (&Id, &Crate)> {
        self.crates().filter(|(_, one)| one.checksum.is_some())
    }

    #[cfg(test)]
    pub(crate) fn with(crates: impl IntoIterator<Item = (Id, Crate)>) -> Self {
        Self { crates: crates.into_iter().collect() }
    }

    /// Adds the crates that these packages of a workspace need on these targets, and returns the packages.
    fn add(&mut self, workspace: &Path, packages: &[&str], targets: &[String]) -> Result<BTreeSet<Id>> {
        let mut cargo = process::cargo(workspace);
        // `{p}` is name, version and, for packages of the workspace, the folder.
        cargo.args(["tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=depth", "--format= {p}"]);
        cargo.args(packages);
        for target in targets {
            cargo.arg("--target").arg(target);
        }
        let tree = Tree::parse(&process::stdout(&mut cargo)?)?;
        let metadata = metadata(workspace, targets)?;
        let lock = workspace.join("Cargo.lock");
        let text =
            fs::read_to_string(&lock).with_context(|| format!("failed to read `{}`", lock.display()))?;
        let checksums = checksums(&text);
        for (id, uses) in tree.uses {
            let Some(package) = metadata.get(&id) else {
                bail!("`cargo tree` lists `{id}` in `{}`, `cargo metadata` does not", workspace.display());
            };
            let checksum = checksums.get(&id).cloned();
            if checksum.is_none() && package.source.is_some() {
                bail!("expected a checksum of `{id}` in `{}`, found none", lock.display());
            }
            let folder = package.manifest_path.parent().unwrap_or(Path::new("")).to_owned();
            let (licence, repository) = (package.license.as_deref().map(spdx), package.repository.clone());
            let known = self.crates.entry(id).or_insert(Crate {
                licence,
                repository,
                folder,
                checksum,
                uses: BTreeSet::new(),
            });
            known.uses.extend(uses);
        }
        Ok(tree.roots)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.name, self.version)
    }
}

/// The output of `cargo tree`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tree {
    roots: BTreeSet<Id>,
    uses: BTreeMap<Id, BTreeSet<Id>>,
}

impl Tree {
    /// Reads lines such as `2 serde v1.0.0` or `0 wardset v0.1.0 (/folder) (*)`; the number is the depth.
    fn parse(printed: &str) -> Result<Self> {
        let mut tree = Self::default();
        // The crates from a root to the last line.
        let mut path: Vec<Id> = Vec::new();
        for line in printed.lines().filter(|line| !line.is_empty()) {
            let unexpected = || format!("`cargo tree`: expected depth, name and version, found `{line}`");
            let mut words = line.split_whitespace();
            let depth: usize = words.next().and_then(|word| word.parse().ok()).with_context(unexpected)?;
            let name = words.next().with_context(unexpected)?.to_owned();
            let version = words.next().and_then(|word| word.strip_prefix('v')).with_context(unexpected)?;
            if depth > path.len() {
                bail!(unexpected());
            }
            let id = Id { name, version: version.to_owned() };
            path.truncate(depth);
            match path.last() {
                Some(parent) => drop(tree.uses.entry(parent.clone()).or_default().insert(id.clone())),
                None => drop(tree.roots.insert(id.clone())),
            }
            tree.uses.entry(id.clone()).or_default();
            path.push(id);
        }
        Ok(tree)
    }
}

/// A package in the output of `cargo metadata`.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
}

fn metadata(workspace: &Path, targets: &[String]) -> Result<BTreeMap<Id, Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let mut cargo = process::cargo(workspace);
    cargo.args(["metadata", "--locked", "--format-version=1"]);
    for target in targets {
        cargo.arg("--filter-platform").arg(target);
    }
    let metadata: Metadata = serde_json::from_str(&process::stdout(&mut cargo)?)
        .context("failed to read the output of `cargo metadata`")?;
    let with_id =
        |package: Package| (Id { name: package.name.clone(), version: package.version.clone() }, package);
    Ok(metadata.packages.into_iter().map(with_id).collect())
}

/// Returns the checksums in a lock file, which cargo writes one key a line.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let mut checksums = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let value = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
            value.and_then(|value| value.strip_suffix('"')).map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (value("name"), value("version"), value("checksum"))
        {
            checksums.insert(Id { name, version }, checksum);
        }
    }
    checksums
}

/// Returns a licence as an SPDX expression: older manifests have `/` for `OR`.
fn spdx(licence: &str) -> String {
    licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

/// The package of the program.
pub(crate) const PROGRAM: &str = "wardset";

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, version: &str) -> Id {
        Id { name: name.into(), version: version.into() }
    }

    #[test]
    fn reads_roots_and_edges_of_a_tree() {
        let printed = "0 a v1.0.0 (/here)\n1 b v2.0.0\n2 c v3.0.0\n1 c v3.0.0\n\n0 d v1.0.0 (/here/d)\n1 b v2.0.0 (*)\n";
        let tree = Tree::parse(printed).unwrap();
        let (a, b, c, d) = (id("a", "1.0.0"), id("b", "2.0.0"), id("c", "3.0.0"), id("d", "1.0.0"));
        assert_eq!(tree.roots, [a.clone(), d.clone()].into());
        assert_eq!(tree.uses[&a], [b.clone(), c.clone()].into());
        assert_eq!(tree.uses[&b], [c.clone()].into());
        assert_eq!(tree.uses[&d], [b].into());
        assert!(tree.uses[&c].is_empty());
    }

    #[test]
    fn refuses_lines_of_another_form() {
        for line in ["a v1.0.0", "0 a 1.0.0", "0", "1 a v1.0.0"] {
            let error = Tree::parse(line).unwrap_err().to_string();
            assert_eq!(error, format!("`cargo tree`: expected depth, name and version, found `{line}`"));
        }
    }

    #[test]
    fn reads_checksums_of_registries_only() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n\
            [[package]]\nname = \"b\"\nversion = \"2.0.0\"\nsource = \"registry\"\nchecksum = \"00ff\"\ndependencies = [\n \"a\",\n]\n";
        assert_eq!(checksums(lock), [(id("b", "2.0.0"), "00ff".to_owned())].into());
    }

    #[test]
    fn older_licences_become_expressions() {
        assert_eq!(spdx("MIT/Apache-2.0"), "MIT OR Apache-2.0");
        assert_eq!(spdx("Apache-2.0 / MIT"), "Apache-2.0 OR MIT");
        assert_eq!(spdx("(MIT OR Apache-2.0) AND Unicode-3.0"), "(MIT OR Apache-2.0) AND Unicode-3.0");
    }

    #[test]
    fn lists_the_crates_of_the_program_but_no_macros_and_tests() {
        let graph = Graph::of_program(&Repository::find().unwrap()).unwrap();
        let has = |name: &str| graph.crates().any(|(id, _)| id.name == name);
        for name in ["wardset", "wasmtime", "aws-lc-sys"] {
            assert!(has(name), "expected `{name}`");
        }
        for name in ["serde_derive", "proptest", "cc", "xtask"] {
            assert!(!has(name), "unexpected `{name}`");
        }
    }
}
