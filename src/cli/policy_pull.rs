//! `wardset policy pull`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::policy_args::PolicyPull;
use super::setup;
use crate::registry::RegistryClient;
use crate::supply::trust_file;
use crate::telemetry;

pub(super) async fn run(args: PolicyPull) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let reference = setup::reference(&args.reference)?;
    let last = reference.repository().rsplit('/').next().unwrap_or_default();
    let path = args.output.unwrap_or_else(|| PathBuf::from(format!("{last}.wasm")));
    let trust = args.trust.trust.as_deref().map(trust_file::read).transpose()?.unwrap_or_default();
    let client = RegistryClient::new(args.registry.into());
    let pulled = client.pull(&reference, None).await?;
    if let Some(rule) = trust.rule(&reference.location()) {
        let checked = client.check(&pulled.reference, rule, None).await?;
        checked.with_context(|| format!("the module `{}` is not trusted", pulled.reference))?;
    }
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
