//! `cargo xtask image`: the image of the program, made without a container engine.
//!
//! ```text
//! program ─► root ─► layout ─► a folder (OCI image layout) and an archive
//! ```
//!
//! The same files make the same image, byte for byte: entries are sorted, belong to root, and have one time.

mod layout;
mod program;
mod root;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;

pub(crate) use self::layout::reference;
use self::layout::{Facts, Image, REVISION};
use self::root::Root;

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
    let created = created(env::var("SOURCE_DATE_EPOCH").ok().as_deref())?;
    let _lock = lock::take(&home.join("lock"), "another `cargo xtask image`", &interrupt)?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => build_program(repository, &interrupt)?,
    };
    let root = Root::of(&program, NAME)?;
    if let Some(folder) = &options.root {
        root.write(folder)?;
        eprintln!("wrote {} files to `{}`", root.files(), folder.display());
        return Ok(Outcome::Fine);
    }
    let revision = revision(repository);
    if revision.is_none() {
        eprintln!("the image has no label `{REVISION}`, because this is no clean checkout of a commit");
    }
    let image = Image::pack(&root, &Facts { name: NAME, architecture, created, revision })?;
    let folder = home.join("oci");
    let archive = home.join(format!("wardset-{}-linux-{architecture}.tar", layout::VERSION));
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

/// Builds the program of the image, and returns its path.
///
/// # Errors
/// The build fails.
pub(crate) fn build_program(repository: &Repository, interrupt: &Interrupt) -> Result<PathBuf> {
    program::build(repository, &repository.target()?.join("image/build"), interrupt)
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
fn architecture(processor: &str) -> Result<&'static str> {
    match processor {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!(
            "expected a machine with `x86_64` or `aarch64`, found `{other}`\n\
             hint: the image is for the machine that builds it; build on another one"
        ),
    }
}

/// Returns the time of all files, from the value of `SOURCE_DATE_EPOCH`; 1970 without one.
fn created(epoch: Option<&str>) -> Result<Timestamp> {
    let Some(epoch) = epoch.filter(|epoch| !epoch.is_empty()) else { return Ok(Timestamp::UNIX_EPOCH) };
    let seconds: Option<u32> = epoch.parse().ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds.into()).ok());
    time.with_context(|| {
        format!(
            "`SOURCE_DATE_EPOCH`: expected seconds since 1970, found `{epoch}`\n\
             hint: unset it, or use the output of `git log -1 --format=%ct`"
        )
    })
}

/// Returns the commit of the checkout; `None` if files differ from it, or if there is no Git.
fn revision(repository: &Repository) -> Option<String> {
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
    fn time_is_1970_unless_the_environment_names_another() {
        assert_eq!(created(None).unwrap().to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(created(Some("1790000000")).unwrap().to_string(), "2026-09-21T14:13:20Z");
        for typed in ["today", "-1", "1.5", "99999999999"] {
            let error = created(Some(typed)).unwrap_err().to_string();
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
