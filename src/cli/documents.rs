//! `wardset completions` and `wardset man`: generated from the definition of the arguments.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::args::{Args, Completions, Man};

pub(super) fn completions(args: &Completions) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "wardset", &mut script);
    super::print_data(&String::from_utf8(script).context("the completions are not UTF-8")?)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(args: &Man) -> anyhow::Result<ExitCode> {
    let folder = &args.folder;
    clap_mangen::generate_to(Args::command(), folder)
        .with_context(|| format!("failed to write manual pages into `{}`", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
