//! `wardset policies`.

use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::json;
use wardset_core::plan::Plan;
use wardset_core::text::printable_lines;

use super::args::Policies;
use super::setup::{self, SupplyOptions};
use super::source_args::{CompileArgs, ListOutput, PolicySources, RegistryArgs};
use crate::registry::{CredentialSource, RegistryOptions};
use crate::telemetry;

pub(super) async fn run(args: Policies) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let snapshot = setup::snapshot(&args.policies.into()).await?;
    let plans = snapshot.plans();
    super::print(&match args.output {
        ListOutput::Text => text(plans.iter().map(AsRef::as_ref)),
        ListOutput::Json => json(plans.iter().map(AsRef::as_ref))?,
    })?;
    Ok(ExitCode::SUCCESS)
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
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "MODULE", "MODE", "ORDER", "READS", "WRITES", "SETTINGS"]);
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
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
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
