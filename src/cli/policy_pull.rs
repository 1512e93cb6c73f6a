//! `wardset policy pull`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use wardset_core::policy::OciReference;

use super::args::PolicyPull;
use crate::registry::RegistryClient;
use crate::telemetry;

pub(super) async fn run(args: PolicyPull) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let reference = reference(&args.reference)?;
    let last = reference.repository().rsplit('/').next().unwrap_or_default();
    let path = args.output.unwrap_or_else(|| PathBuf::from(format!("{last}.wasm")));
    let pulled = RegistryClient::new(args.registry.into()).pull(&reference, None).await?;
    let written = OpenOptions::new().write(true).create_new(true).open(&path).and_then(|mut file| {
        let written = file.write_all(&pulled.component);
        // Half a module is worse than none. If it cannot be removed either, the error says enough.
        written.inspect_err(|_| drop(std::fs::remove_file(&path)))
    });
    written.with_context(|| {
        format!("failed to write the module to `{}`; hint: `--output` names another file", path.display())
    })?;
    super::print_data(&format!("{}\n", pulled.reference))?;
    super::say_line(&format!("wrote {} bytes to `{}`", pulled.component.len(), path.display()));
    Ok(ExitCode::SUCCESS)
}

/// Returns the reference that the user named.
pub(super) fn reference(named: &str) -> anyhow::Result<OciReference> {
    named.parse().map_err(|problem| anyhow!("failed to parse the reference: {problem}"))
}
