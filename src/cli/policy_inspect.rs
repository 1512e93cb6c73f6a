//! `wardset policy inspect`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use wardset_core::PointerBuf;
use wardset_core::policy::ModuleRef;
use wardset_core::text::printable_lines;
use wardset_runtime::Module;

use super::artifact_hub;
use super::policy_args::PolicyInspect;
use super::policy_compile;
use super::setup::{self, SupplyOptions};
use super::source_args::ListOutput;
use crate::supply::modules::LoadedModule;
use crate::telemetry;

pub(super) async fn run(args: PolicyInspect) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let modules = setup::modules(&SupplyOptions { trust: args.trust.trust, ..args.compile.into() })?;
    let module = policy_compile::module(&args.module)?;
    let loaded = setup::showing_compilations(&modules, modules.load(&module, Path::new(""))).await;
    let loaded = loaded.with_context(|| format!("failed to load the module `{}`", args.module))?;
    let schema = serde_json::from_str(&loaded.module.manifest.settings_schema)
        .with_context(|| format!("the settings schema of `{}` is not JSON", args.module))?;
    if args.artifacthub {
        let (readme, mutates) = (docs(&loaded, &schema), !loaded.module.manifest.writes.is_empty());
        super::print_data(&artifact_hub::file(&loaded, &readme, mutates, Timestamp::now())?)?;
        return Ok(ExitCode::SUCCESS);
    }
    match (args.docs, args.output) {
        (true, _) => super::print_data(&printable_lines(&docs(&loaded, &schema)))?,
        (false, ListOutput::Json) => {
            super::print_data(&(serde_json::to_string_pretty(&json(&loaded, &schema))? + "\n"))?;
        }
        (false, ListOutput::Text) => super::print(&printable_lines(&text(&loaded, &schema)))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn texts(pointers: &[PointerBuf]) -> Vec<&str> {
    pointers.iter().map(|pointer| pointer.as_str()).collect()
}

/// Returns the kind of a policy with this module.
fn kind(loaded: &LoadedModule) -> &'static str {
    if loaded.module.manifest.writes.is_empty() { "validating" } else { "mutating" }
}

/// Returns the reference of a module from a registry, with the digest of its artifact.
fn reference(loaded: &LoadedModule) -> Option<String> {
    matches!(loaded.name, ModuleRef::Oci(_)).then(|| loaded.name.to_string())
}

fn json(loaded: &LoadedModule, schema: &Value) -> Value {
    let manifest = &loaded.module.manifest;
    json!({
        "name": manifest.name, "version": manifest.version, "description": manifest.description,
        "kind": kind(loaded), "reads": texts(&manifest.reads), "writes": texts(&manifest.writes),
        "clusterData": manifest.cluster, "imports": Module::imports_of(&loaded.bytes),
        "reference": reference(loaded), "bytes": loaded.bytes.len(), "digest": format!("sha256:{}", loaded.module.digest),
        "settingsSchema": schema,
    })
}

fn text(loaded: &LoadedModule, schema: &Value) -> String {
    let manifest = &loaded.module.manifest;
    let list = |items: Vec<&str>| match items.as_slice() {
        [] => "none".to_owned(),
        // The empty pointer is the whole document.
        items => items
            .iter()
            .map(|item| if item.is_empty() { "everything" } else { item })
            .collect::<Vec<_>>()
            .join("\n              "),
    };
    let cluster = manifest.cluster.iter().map(|data| json!(data).as_str().unwrap_or_default().to_owned());
    let cluster: Vec<String> = cluster.collect();
    let imports = Module::imports_of(&loaded.bytes);
    let mut out = String::new();
    for (name, value) in [
        ("name", format!("{} {}", manifest.name, manifest.version)),
        ("purpose", manifest.description.clone()),
        ("kind", kind(loaded).to_owned()),
        ("reads", list(texts(&manifest.reads))),
        ("writes", list(texts(&manifest.writes))),
        ("cluster data", list(cluster.iter().map(String::as_str).collect())),
        ("imports", list(imports.iter().map(String::as_str).collect())),
        ("size", format!("{} bytes", loaded.bytes.len())),
        ("digest", format!("sha256:{}", loaded.module.digest)),
    ]
    .into_iter()
    .chain(reference(loaded).map(|reference| ("reference", reference)))
    {
        let _ = writeln!(out, "{name:14}{value}");
    }
    let settings = settings(schema);
    if !settings.is_empty() {
        let _ = writeln!(out, "settings");
    }
    for Setting { name, kind, default, description, .. } in settings {
        let _ = writeln!(out, "  {name}: {kind}, {default}");
        if !description.is_empty() {
            let _ = writeln!(out, "      {description}");
        }
    }
    out
}

fn docs(loaded: &LoadedModule, schema: &Value) -> String {
    let manifest = &loaded.module.manifest;
    let mut out = format!("# {}\n\n{}\n\n", manifest.name, manifest.description);
    let settings = settings(schema);
    if settings.is_empty() {
        return out + "The module has no settings.\n";
    }
    out.push_str("| setting | type | default | meaning |\n|---|---|---|---|\n");
    for Setting { name, kind, default, description } in settings {
        let description = description.replace('|', "\\|");
        let _ = writeln!(out, "| `{name}` | {} | {default} | {description} |", kind.replace('|', "\\|"));
    }
    out
}

/// A member of the settings.
struct Setting {
    name: String,
    kind: String,
    default: String,
    description: String,
}

/// Returns the members of the settings, as the schema describes them.
fn settings(schema: &Value) -> Vec<Setting> {
    let required = schema["required"].as_array();
    let members = schema["properties"].as_object().into_iter().flatten();
    members
        .map(|(name, member)| {
            let is_required = required.is_some_and(|names| names.iter().any(|found| found == name.as_str()));
            let default = match member.get("default") {
                Some(default) => format!("default `{default}`"),
                None if is_required => "required".to_owned(),
                None => "optional".to_owned(),
            };
            let description = member["description"].as_str().unwrap_or_default();
            Setting {
                name: name.clone(),
                kind: type_of(schema, member),
                default,
                description: description.split_whitespace().collect::<Vec<_>>().join(" "),
            }
        })
        .collect()
}

/// Returns the type of a value in words.
fn type_of(schema: &Value, member: &Value) -> String {
    if let Some(definition) = member["$ref"].as_str().and_then(|path| path.strip_prefix('#'))
        && let Some(definition) = schema.pointer(definition)
    {
        return type_of(schema, definition);
    }
    let names: Vec<String> = match &member["type"] {
        Value::String(name) => vec![name.clone()],
        Value::Array(names) => names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    let of = |field: &str| member[field].as_array().into_iter().flatten();
    let choices = of("enum").chain(of("oneOf").filter_map(|choice| choice.get("const")));
    let choices: Vec<String> =
        choices.map(|choice| format!("`{}`", choice.as_str().unwrap_or("null"))).collect();
    if !choices.is_empty() {
        return choices.join(" or ");
    }
    match names.as_slice() {
        [] => "any value".to_owned(),
        [name, ..] if name == "array" => format!("list of {}", type_of(schema, &member["items"])),
        names => names.iter().filter(|name| *name != "null").cloned().collect::<Vec<_>>().join(" or "),
    }
}
