//! `cargo xtask image`: the image of the program, made without a container engine.
//!
//! ```text
//! program ─► root ─► layout ─► a folder (OCI image layout) and an archive
//! ```
//!
//! The same files make the same image, byte for byte: entries are sorted, belong to root, and have one time.

mod copyrights;
mod layout;
mod program;
mod root;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;

pub(crate) use self::layout::reference;
use self::layout::{Facts, REVISION};
pub(crate) use self::layout::{Image, VERSION};
use self::root::Root;

use crate::dependencies::Documents;
use crate::interrupt::Interrupt;
use crate::repository::Repository;
use crate::{Outcome, lock, process};

/// The options of `cargo xtask image`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Pack this program instead of a new build of the profile `dist`
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Write only the files of the image, into this new folder; the Dockerfile copies them
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

/// Builds the program, and writes its image.
///
/// # Errors
/// The build fails, the program needs a library that is missing, or the system refuses a file.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<Outcome> {
    let interrupt = Interrupt::listen()?;
    let home = repository.target()?.join("image");
    let architecture = architecture(env::consts::ARCH)?;
    let created = epoch()?.unwrap_or(Timestamp::UNIX_EPOCH);
    let _lock = lock::take(&home.join("lock"), "another `cargo xtask image`", &interrupt)?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => build_program(repository, &interrupt)?,
    };
    let root = root(&program, &Documents::make(repository, None)?)?;
    if let Some(folder) = &options.root {
        root.write(folder)?;
        eprintln!("wrote {} files to `{}`", root.files(), folder.display());
        return Ok(Outcome::Fine);
    }
    let image = pack(&root, architecture, created, revision(repository))?;
    let folder = home.join("oci");
    let archive = home.join(archive_name(architecture));
    image.write_folder(&folder)?;
    image.write_archive(&archive)?;
    for (path, size) in root.sizes() {
        eprintln!("{size:>10}  /{path}");
    }
    eprintln!("{:>10}  the layer, compressed", image.layer_size());
    println!("{}", image.digest());
    println!("{}", folder.display());
    println!("{}", archive.display());
    Ok(Outcome::Fine)
}

/// Makes the image of a program for a release, with the documents about its licences.
///
/// # Errors
/// The program needs a library that is missing, or the system refuses a file.
pub(crate) fn make(
    program: &Path,
    documents: &Documents,
    architecture: &'static str,
    created: Timestamp,
    revision: Option<String>,
) -> Result<Image> {
    pack(&root(program, documents)?, architecture, created, revision)
}

fn pack(
    root: &Root,
    architecture: &'static str,
    created: Timestamp,
    revision: Option<String>,
) -> Result<Image> {
    if revision.is_none() {
        eprintln!("the image has no label `{REVISION}`, because this is no clean checkout of a commit");
    }
    Image::pack(root, &Facts { name: NAME, architecture, created, revision })
}

/// Returns the files of the image: the program, its libraries, and the licences of both.
fn root(program: &Path, documents: &Documents) -> Result<Root> {
    let mut root = Root::of(program, NAME)?;
    for (name, text) in documents.licences() {
        root.add(&format!("usr/share/doc/wardset/{name}"), text.to_vec(), 0o644);
    }
    for (path, text) in copyrights::of(&root.libraries())? {
        root.add(&path, text, 0o644);
    }
    Ok(root)
}

/// Returns the name of the image's archive.
pub(crate) fn archive_name(architecture: &str) -> String {
    format!("wardset-image-{VERSION}-linux-{architecture}.tar")
}

/// Builds the program of the image, and returns its path.
///
/// # Errors
/// The build fails.
pub(crate) fn build_program(repository: &Repository, interrupt: &Interrupt) -> Result<PathBuf> {
    program::build(repository, &repository.target()?.join("image/build"), None, interrupt)
}

/// Builds the program for another target of Rust, and returns its path.
///
/// # Errors
/// The build fails.
pub(crate) fn build_program_for(
    repository: &Repository,
    triple: &str,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    program::build(repository, &repository.target()?.join("image/build"), Some(triple), interrupt)
}

/// Writes the archive of an image with one program, which is named `name`, and its libraries.
///
/// # Errors
/// The program needs a library that is missing, or the system refuses a file.
pub(crate) fn write_archive_of(program: &Path, name: &'static str, archive: &Path) -> Result<()> {
    let root = Root::of(program, name)?;
    let architecture = architecture(env::consts::ARCH)?;
    let facts = Facts { name, architecture, created: Timestamp::UNIX_EPOCH, revision: None };
    Image::pack(&root, &facts)?.write_archive(archive)
}

/// Returns the name that images use for a processor, as Rust names it.
pub(crate) fn architecture(processor: &str) -> Result<&'static str> {
    match processor {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!(
            "expected a machine with `x86_64` or `aarch64`, found `{other}`\n\
             hint: the image is for the machine that builds it; build on another one"
        ),
    }
}

/// Returns the time in the environment variable `SOURCE_DATE_EPOCH`, if it is set.
///
/// # Errors
/// It is no number of seconds.
pub(crate) fn epoch() -> Result<Option<Timestamp>> {
    time(env::var("SOURCE_DATE_EPOCH").ok().as_deref())
}

fn time(epoch: Option<&str>) -> Result<Option<Timestamp>> {
    let Some(epoch) = epoch.filter(|epoch| !epoch.is_empty()) else { return Ok(None) };
    let seconds: Option<u32> = epoch.parse().ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds.into()).ok());
    time.map(Some).with_context(|| {
        format!(
            "`SOURCE_DATE_EPOCH`: expected seconds since 1970, found `{epoch}`\n\
             hint: unset it, or use the output of `git log -1 --format=%ct`"
        )
    })
}

/// Returns the commit of the checkout; `None` if files differ from it, or if there is no Git.
pub(crate) fn revision(repository: &Repository) -> Option<String> {
    let git = |args: &[&str]| {
        let mut git = std::process::Command::new("git");
        process::stdout(git.current_dir(repository.root()).args(args)).ok()
    };
    let changed = git(&["status", "--porcelain"])?;
    let commit = git(&["rev-parse", "HEAD"])?;
    changed.is_empty().then(|| commit.trim().to_owned())
}

/// The name of the program and of its image.
pub(crate) const NAME: &str = "wardset";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_time_of_the_environment() {
        assert_eq!(time(None).unwrap(), None);
        assert_eq!(time(Some("")).unwrap(), None);
        assert_eq!(time(Some("1790000000")).unwrap().unwrap().to_string(), "2026-09-21T14:13:20Z");
        for typed in ["today", "-1", "1.5", "99999999999"] {
            let error = time(Some(typed)).unwrap_err().to_string();
            assert!(
                error.starts_with("`SOURCE_DATE_EPOCH`: expected seconds since 1970, found `"),
                "{error}"
            );
        }
    }

    #[test]
    fn names_the_processor_as_images_do() {
        assert_eq!(architecture("x86_64").unwrap(), "amd64");
        assert!(architecture("riscv64").unwrap_err().to_string().contains("found `riscv64`"));
    }
}
