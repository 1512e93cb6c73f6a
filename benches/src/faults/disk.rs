//! Faults of the cache of compiled modules: it is full, read-only or damaged.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use hyper::body::Bytes;

use super::steady::{Plan, Steady, answer, exactly};
use super::{Effort, Row};
use crate::load::Target;
use crate::policies;
use crate::reviews::{Size, review};
use crate::server::{Lab, Server};

/// Each state of the cache, and whether the decisions are as with a good one.
///
/// # Errors
///
/// A server that doesn't start: without a cache it must compile.
pub fn run(lab: &Lab, _: &Effort) -> Result<Vec<Row>> {
    let cache = lab.path("cache-disk");
    let expected = {
        let server = lab.wardset(5, &cache)?;
        answer(&Target::new(server.webhook, &lab.ca()?)?, &Bytes::from(review(Size::Usual)))?
    };
    let files = || -> Result<Vec<_>> {
        let files = fs::read_dir(cache.join("wardset"))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        Ok(files.into_iter().filter(|path| path.is_file()).collect())
    };
    let mut rows = Vec::new();
    rows.push(serves(lab, "the cache's disk is full", &lab.path("cache-full"), true, &expected)?);
    rows.push(serves(lab, "the cache's disk is read-only", Path::new("/proc/wardset"), false, &expected)?);
    for path in files()? {
        let mut bytes = fs::read(&path)?;
        for at in (0..bytes.len()).step_by(997) {
            bytes[at] ^= 0x55;
        }
        fs::write(&path, bytes)?;
    }
    rows.push(serves(lab, "bytes of each cached module are flipped", &cache, false, &expected)?);
    for path in files()? {
        let bytes = fs::read(&path)?;
        fs::write(&path, &bytes[..bytes.len() / 2])?;
    }
    rows.push(serves(lab, "each cached module is truncated to half", &cache, false, &expected)?);
    let found = files()?;
    let (first, second) =
        (found.first().context("a cached module")?, found.last().context("a cached module")?);
    let beside = lab.path("swapped");
    fs::copy(first, &beside)?;
    fs::copy(second, first)?;
    fs::copy(&beside, second)?;
    rows.push(serves(lab, "two cached modules are swapped", &cache, false, &expected)?);
    Ok(rows)
}

/// Starts a server with a cache, and compares its decision with the expected one.
fn serves(lab: &Lab, what: &str, cache: &Path, full: bool, expected: &Bytes) -> Result<Row> {
    let file = lab.path("disk.yaml");
    policies::write(5, &file)?;
    let mut command = lab.serve(&file, cache, &[])?;
    if full {
        command = without_room(&command);
    }
    let server = Server::start(command).with_context(|| what.to_owned())?;
    let target = Target::new(server.webhook, &lab.ca()?)?;
    let bodies = vec![Bytes::from(review(Size::Usual))];
    let judge = exactly(expected.clone());
    let pause = std::time::Duration::ZERO;
    let load = Steady::start(Plan { target, clients: 4, bodies, pause, churn: 0, judge });
    load.go_on(500)?;
    let mut row = Row::of(what, load.end()?);
    row.seen = format!("ready after {} ms", server.ready_after.as_millis());
    Ok(row)
}

/// The same command with a limit of 200 KB for files, which is too small for every compiled module. The write fails
/// with "file too large" in the middle, like one with "no space left".
fn without_room(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg0("wardset-without-room").args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$@\"", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}
