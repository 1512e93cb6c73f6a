//! `cargo xtask release`: all files of a release, in one folder.
//!
//! ```text
//! program ─┬─► archive for people      manuals ─► problems: a name that no file has
//!          └─► image                   chart, manifests, modules ─► problems: out of date
//! crates ────► notice, bill of materials
//! all of them ► checksums, release notes
//! ```
//!
//! The same sources and the same program make the same files, byte for byte.

mod chart;
mod manuals;
mod names;
mod notes;
mod program;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use jiff::Timestamp;

use self::chart::Chart;
use self::names::Names;
use self::notes::Notes;
use crate::archive::Files;
use crate::dependencies::Documents;
use crate::digests::{self, Workspace};
use crate::image::{self, VERSION};
use crate::interrupt::Interrupt;
use crate::replace::replace;
use crate::repository::Repository;
use crate::{Outcome, archive, deploy, lock};

/// The options of `cargo xtask release`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Pack this program instead of new builds of the profile `dist`
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// Makes the files in `target/release-files`, and prints their digests.
///
/// # Errors
/// A build fails, the program is of another version, a crate has no licence text, or the system refuses a file. If a
/// committed file is out of date or a manual names a file that no release has, the outcome says so.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<Outcome> {
    let interrupt = Interrupt::listen()?;
    let architecture = image::architecture(env::consts::ARCH)?;
    let epoch = image::epoch()?;
    let created = epoch.unwrap_or(Timestamp::UNIX_EPOCH);
    let chart = Chart::read(&repository.chart())?;
    let names = Names::new(architecture, &chart.version);
    let problems = problems(repository, &chart)?;
    if !problems.is_empty() {
        for problem in problems {
            eprintln!("error: {problem}");
        }
        return Ok(Outcome::Found);
    }
    let target = repository.target()?;
    // The builds of the program are shared with that task.
    let _lock =
        lock::take(&target.join("image/lock"), "another `cargo xtask image` or `release`", &interrupt)?;
    let (server, portable) = match &options.program {
        Some(program) => (program.clone(), program.clone()),
        None => build(repository, &interrupt)?,
    };
    program::check_version(&server, VERSION)?;
    let portable = program::Portable::read(&portable)?;
    let documents = Documents::make(repository, epoch)?;
    let revision = image::revision(repository);
    let image = image::make(&server, &documents, architecture, created, revision.clone())?;

    let mut files = files(repository, &names, &chart, &portable.bytes, &documents, created)?;
    let changelog = repository.root().join("CHANGELOG.md");
    let changelog = fs::read_to_string(&changelog)
        .with_context(|| format!("failed to read `{}`", changelog.display()))?;
    let folder = target.join("release-files");
    replace(&folder, |partial| {
        fs::create_dir_all(partial)?;
        let archive = partial.join(&names.image);
        image.write_archive(&archive)?;
        files.insert(names.image.clone(), fs::read(&archive)?);
        for (name, bytes) in &files {
            fs::write(partial.join(name), bytes)?;
        }
        let notes = Notes {
            revision: revision.as_deref(),
            image: image.digest(),
            needs: portable.needs.as_deref(),
            changes: notes::changes(&changelog, VERSION),
            names: &names,
        };
        fs::write(partial.join(names::SUMS), sums(&files))?;
        Ok(fs::write(partial.join(names::NOTES), notes.write(&files))?)
    })?;
    print!("{}", sums(&files));
    eprintln!("wrote {} files to `{}`", files.len() + 2, folder.display());
    Ok(Outcome::Fine)
}

/// Returns all files but the image and those about the other files.
fn files(
    repository: &Repository,
    names: &Names,
    chart: &Chart,
    program: &[u8],
    documents: &Documents,
    time: Timestamp,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    files.insert(names.program.clone(), program_archive(names, program, documents, time)?);
    files.insert(names.chart.clone(), chart.pack(time)?);
    files.insert(names.policies.clone(), policies_archive(repository, names, documents, time)?);
    files.insert(names.sbom.clone(), documents.sbom.clone());
    files.insert(names::NOTICE.to_owned(), documents.notice.clone());
    for name in names::MANIFESTS {
        files.insert(name.to_owned(), read(&repository.deploy().join(name))?);
    }
    Ok(files)
}

/// Returns the reasons why these sources are no release, a line each.
fn problems(repository: &Repository, chart: &Chart) -> Result<Vec<String>> {
    // The manuals name the files for one processor.
    let names = Names::new(names::ARCHITECTURE_OF_MANUALS, &chart.version);
    let mut problems = manuals::problems(repository, &names)?;
    if chart.app_version != VERSION {
        problems.push(format!(
            "`deploy/chart/wardset/Chart.yaml`: `appVersion`: expected `{VERSION}`, the version in `Cargo.toml`, found `{}`",
            chart.app_version
        ));
    }
    problems.extend(deploy::differences(repository)?);
    let workspace = Workspace::read(repository)?;
    let policies = workspace.select(&[])?;
    problems.extend(digests::problems(repository, &workspace, &policies, true)?);
    Ok(problems)
}

/// Builds the program for the image, and the one for people. They are the same if no static program can be built here.
fn build(repository: &Repository, interrupt: &Interrupt) -> Result<(PathBuf, PathBuf)> {
    let server = image::build_program(repository, interrupt)?;
    let portable = match program::static_target()? {
        Ok(triple) => image::build_program_for(repository, &triple, interrupt)?,
        Err(reason) => {
            eprintln!("the program needs the C library of this machine or a newer one, because {reason}");
            server.clone()
        }
    };
    Ok((server, portable))
}

/// Packs the program with its licences.
fn program_archive(names: &Names, program: &[u8], documents: &Documents, time: Timestamp) -> Result<Vec<u8>> {
    let mut files = licences(documents);
    files.insert(image::NAME.to_owned(), (program.to_vec(), 0o755));
    pack(&names.program, &files, time)
}

/// Packs the built-in modules, for those who push them to a registry.
fn policies_archive(
    repository: &Repository,
    names: &Names,
    documents: &Documents,
    time: Timestamp,
) -> Result<Vec<u8>> {
    let mut files = licences(documents);
    for policy in Workspace::read(repository)?.select(&[])? {
        let module = read(&digests::module_path(repository, &policy.name))?;
        files.insert(format!("{}.wasm", policy.name), (module, 0o644));
    }
    pack(&names.policies, &files, time)
}

fn licences(documents: &Documents) -> Files {
    let licences = documents.licences().into_iter();
    licences.map(|(name, text)| (name.to_owned(), (text.to_vec(), 0o644))).collect()
}

/// Packs files below a folder with the name of the archive.
fn pack(name: &str, files: &Files, time: Timestamp) -> Result<Vec<u8>> {
    let folder = name.trim_end_matches(".tar.gz");
    archive::pack(folder, files, time).with_context(|| format!("failed to pack `{name}`"))
}

/// Returns the checksums, as `sha256sum --check` reads them.
fn sums(files: &BTreeMap<String, Vec<u8>>) -> String {
    files.iter().map(|(name, bytes)| format!("{}  {name}\n", digests::sha256(bytes))).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_have_the_form_of_sha256sum() {
        let files = [("b".to_owned(), b"".to_vec()), ("a".to_owned(), b"x".to_vec())].into();
        assert_eq!(
            sums(&files),
            "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881  a\n\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  b\n"
        );
    }

    #[test]
    fn same_sources_and_program_make_the_same_files() {
        let repository = Repository::find().unwrap();
        let chart = Chart::read(&repository.chart()).unwrap();
        let names = Names::new("amd64", &chart.version);
        let text = |text: &str| text.as_bytes().to_vec();
        let documents =
            Documents { licence: text("l"), notice: text("n"), rust: text("r"), sbom: text("{}") };
        let make =
            || files(&repository, &names, &chart, b"program", &documents, Timestamp::UNIX_EPOCH).unwrap();
        let one = make();
        assert_eq!(sums(&one), sums(&make()));
        let mut found: Vec<&str> = one.keys().map(String::as_str).collect();
        found.extend([names.image.as_str(), names::SUMS, names::NOTES]);
        found.sort_unstable();
        let mut expected = names.all().map(|(name, _)| name);
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn archives_have_one_folder_with_their_name() {
        let files = [("a".to_owned(), (b"x".to_vec(), 0o644))].into();
        let one = pack("wardset-1.0.0.tar.gz", &files, Timestamp::UNIX_EPOCH).unwrap();
        assert!(one == archive::pack("wardset-1.0.0", &files, Timestamp::UNIX_EPOCH).unwrap());
    }
}
