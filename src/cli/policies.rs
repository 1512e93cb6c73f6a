//! `wardset policies`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use comfy_table::{Table, presets};
use serde_json::json;
use wardset_core::plan::Plan;
use wardset_core::policy::{OciReference, OciRepository};
use wardset_core::text::printable_lines;

use super::args::Policies;
use super::setup::{self, SupplyOptions};
use super::source_args::{CompileArgs, ListOutput, PolicySources, RegistryArgs};
use crate::registry::{CredentialSource, RegistryClient, RegistryOptions, TagList};
use crate::telemetry;

pub(super) async fn run(args: Policies) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    if let Some(repository) = &args.remote {
        return list_tags(repository, args.policies.compile.registry, args.output).await;
    }
    let snapshot = setup::snapshot(&args.policies.into()).await?;
    let plans = snapshot.plans();
    super::print(&match args.output {
        ListOutput::Text => text(plans.iter().map(AsRef::as_ref)),
        ListOutput::Json => json(plans.iter().map(AsRef::as_ref))?,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the tags of a repository.
async fn list_tags(named: &str, registry: RegistryArgs, output: ListOutput) -> anyhow::Result<ExitCode> {
    let repository: OciRepository =
        named.parse().map_err(|problem| anyhow!("failed to parse the repository: {problem}"))?;
    let TagList { references, is_complete } = RegistryClient::new(registry.into()).tags(&repository).await?;
    match output {
        ListOutput::Json => {
            let row =
                |reference: &OciReference| json!({"tag": reference.tag(), "module": reference.to_string()});
            let rows: Vec<_> = references.iter().map(row).collect();
            super::print_data(&(serde_json::to_string_pretty(&rows)? + "\n"))?;
        }
        ListOutput::Text => {
            let mut table = table(["TAG", "MODULE"]);
            for reference in &references {
                table.add_row([reference.tag().unwrap_or_default(), &reference.to_string()]);
            }
            if !references.is_empty() {
                super::print(&lines(&table))?;
            }
        }
    }
    if references.is_empty() {
        super::say_line(&format!("`{repository}` has no tags"));
    }
    if !is_complete {
        super::say_line(&format!("`{repository}` has more tags: these are the first {}", references.len()));
    }
    Ok(ExitCode::SUCCESS)
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}

fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

impl From<PolicySources> for SupplyOptions {
    fn from(typed: PolicySources) -> Self {
        let options = Self::from(typed.compile);
        let cache = options.cache.filter(|_| !typed.no_cache);
        Self { policies: typed.paths, cache, trust: typed.trust.trust, ..options }
    }
}

impl From<CompileArgs> for SupplyOptions {
    fn from(typed: CompileArgs) -> Self {
        let compile = setup::compile_limits(
            Duration::from_secs(typed.compile_seconds.into()),
            typed.compile_memory.map(|mebibytes| u64::from(mebibytes) << 20),
        );
        Self {
            policies: Vec::new(),
            cache: typed.cache_dir.or_else(setup::default_cache),
            compile,
            registry: typed.registry.into(),
            trust: None,
        }
    }
}

impl From<RegistryArgs> for RegistryOptions {
    fn from(typed: RegistryArgs) -> Self {
        let credentials = match typed.registry_auth {
            files if files.is_empty() => CredentialSource::Environment,
            files => CredentialSource::Files(files),
        };
        let (ca, insecure) = (typed.registry_ca, typed.insecure_registries);
        Self { ca, insecure, credentials, ..Self::default() }
    }
}

fn text<'p>(plans: impl Iterator<Item = &'p Plan>) -> String {
    let mut table = table(["NAME", "MODULE", "MODE", "ORDER", "READS", "WRITES", "SETTINGS"]);
    for plan in plans {
        let policy = &plan.policy;
        let list = |pointers: &[wardset_core::PointerBuf]| {
            let lines: Vec<&str> = pointers.iter().map(|pointer| pointer.as_str()).collect();
            if lines.is_empty() { "-".to_owned() } else { lines.join("\n") }
        };
        let row = [
            policy.name.to_string(),
            format!("{} {}", policy.module, plan.manifest.version),
            policy.mode.label().to_owned(),
            policy.order.to_string(),
            list(&plan.manifest.reads),
            list(&plan.manifest.writes),
            policy.settings.to_string(),
        ];
        table.add_row(row.map(|cell| printable_lines(&cell)));
    }
    lines(&table)
}

fn json<'p>(plans: impl Iterator<Item = &'p Plan>) -> anyhow::Result<String> {
    let plans: Vec<_> = plans
        .map(|plan| {
            let (policy, manifest) = (&plan.policy, &plan.manifest);
            let texts = |pointers: &[wardset_core::PointerBuf]| -> Vec<String> {
                pointers.iter().map(|pointer| pointer.to_string()).collect()
            };
            Ok(json!({
                "name": policy.name, "module": policy.module.to_string(), "version": manifest.version,
                "description": manifest.description, "digest": format!("sha256:{}", plan.digest),
                "mode": policy.mode, "onError": policy.on_error, "order": policy.order,
                "reads": texts(&manifest.reads), "writes": texts(&manifest.writes),
                "timeout_ms": policy.limits.timeout.as_millis(), "memory_bytes": policy.limits.memory,
                "settingsSchema": serde_json::from_str::<serde_json::Value>(&manifest.settings_schema)?,
                "settings": serde_json::from_str::<serde_json::Value>(&policy.settings)?,
            }))
        })
        .collect::<Result<_, serde_json::Error>>()?;
    Ok(serde_json::to_string_pretty(&plans)? + "\n")
}
