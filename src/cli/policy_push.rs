//! `wardset policy push`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use wardset_core::policy::{ModuleRef, OciReference};
use wardset_runtime::Module;

use super::policy_args::PolicyPush;
use super::policy_compile;
use super::setup::{self, SupplyOptions};
use crate::registry::{Annotations, ModuleArtifact, RegistryClient};
use crate::supply::modules::LoadedModule;
use crate::telemetry;

/// The annotation that holds the schema of the settings, as JSON.
const SETTINGS_SCHEMA: &str = "dev.wardset.settings.schema";

pub(super) async fn run(args: PolicyPush) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let reference = setup::reference(&args.reference)?;
    let found = reference.digest().unwrap_or_default();
    ensure!(
        found.is_empty(),
        "expected a tag in the reference, found the digest `{found}`; hint: write `oci://{}/{}:TAG`, because the digest \
         follows from the module",
        reference.host(),
        reference.repository()
    );
    let options = SupplyOptions::from(args.compile);
    let loaded = load(&options, &args.module).await?;
    let artifact = artifact(&loaded, args.annotations);
    let client = RegistryClient::new(options.registry);
    let pushed: OciReference = client.push(&reference, &artifact).await?;
    super::print_data(&format!("{pushed}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Loads the module, as a server would: a broken one must not reach the registry.
async fn load(options: &SupplyOptions, named: &str) -> anyhow::Result<LoadedModule> {
    let module = policy_compile::module(named)?;
    ensure!(
        !matches!(module, ModuleRef::Oci(_)),
        "expected a module on this machine, found `{named}`; hint: `wardset policy pull` writes it to a file"
    );
    let modules = setup::modules(options)?;
    let loaded = setup::showing_compilations(&modules, modules.load(&module, Path::new(""))).await;
    loaded.with_context(|| format!("failed to load the module `{named}`"))
}

/// Returns the artifact of a module. Annotations of the user win over those from its manifest.
fn artifact(loaded: &LoadedModule, annotations: Vec<(String, String)>) -> ModuleArtifact {
    let manifest = &loaded.module.manifest;
    let of_manifest = [
        ("org.opencontainers.image.title", &manifest.name),
        ("org.opencontainers.image.version", &manifest.version),
        ("org.opencontainers.image.description", &manifest.description),
        (SETTINGS_SCHEMA, &manifest.settings_schema),
    ];
    let mut all: Annotations =
        of_manifest.into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    all.extend(annotations);
    let (imports, exports) = (Module::imports_of(&loaded.bytes), Module::exports_of(&loaded.bytes));
    ModuleArtifact::new(loaded.bytes.to_vec(), &imports, &exports, &all)
}
