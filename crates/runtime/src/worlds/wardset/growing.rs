//! The parts of the contract that may get new cases of `cluster-data` within a version: `manifest` and `cluster.data`.
//!
//! wasmtime compares types exactly, so a module that knows fewer cases than the host would not link. Values without a
//! static type have no such rule.

use wardset_core::manifest::ManifestParts;
use wardset_core::policy::ClusterData;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, Func, Linker, Val};
use wasmtime::{Error, Result, Store, bail};

use crate::host::Host;
use crate::load_error::{CONTRACT, CONTRACT_VERSION};

/// The cluster data as the contract names it.
const DATA: [(&str, ClusterData); 2] =
    [("namespace-labels", ClusterData::NamespaceLabels), ("nodes", ClusterData::Nodes)];

pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    let mut cluster = linker.instance(&format!("{CONTRACT}cluster@{CONTRACT_VERSION}"))?;
    cluster.func_new("data", |store, _, params, results| {
        let ([what], [result]) = (params, results) else {
            bail!("`cluster.data` has one parameter and one result")
        };
        let found = store.data().cluster_data(data(what)?)?;
        *result = Val::Option(found.map(|text| Box::new(Val::String(text.to_owned()))));
        Ok(())
    })
}

/// Finds the export `manifest`.
pub(super) fn find_manifest(component: &Component) -> Result<ComponentExportIndex> {
    let Some((ComponentItem::ComponentFunc(function), index)) = component.get_export(None, "manifest") else {
        bail!("no exported function `manifest` found");
    };
    if function.params().len() > 0 || function.results().len() != 1 {
        bail!("type mismatch with the exported function `manifest`");
    }
    Ok(index)
}

/// Calls `manifest`.
pub(super) async fn manifest(function: Func, store: &mut Store<Host>) -> Result<ManifestParts> {
    let mut results = [Val::Bool(false)];
    function.call_async(&mut *store, &[], &mut results).await?;
    let [Val::Record(fields)] = results else { return Err(unexpected("a record")) };
    let mut parts = ManifestParts::default();
    for (name, value) in fields {
        match &*name {
            "name" => parts.name = string(value)?,
            "version" => parts.version = string(value)?,
            "description" => parts.description = string(value)?,
            "reads" => parts.reads = list(value, string)?,
            "writes" => parts.writes = list(value, string)?,
            "cluster" => parts.cluster = list(value, |value| data(&value))?,
            "settings-schema" => parts.settings_schema = string(value)?,
            _ => bail!("the manifest has the unknown field `{name}`"),
        }
    }
    Ok(parts)
}

fn string(value: Val) -> Result<String> {
    match value {
        Val::String(text) => Ok(text),
        _ => Err(unexpected("a string")),
    }
}

fn list<T>(value: Val, read: impl Fn(Val) -> Result<T>) -> Result<Vec<T>> {
    match value {
        Val::List(elements) => elements.into_iter().map(read).collect(),
        _ => Err(unexpected("a list")),
    }
}

fn data(value: &Val) -> Result<ClusterData> {
    let Val::Enum(name) = value else { return Err(unexpected("an enum")) };
    let found = DATA.iter().find(|(known, _)| known == name);
    found
        .map(|(_, data)| *data)
        .ok_or_else(|| Error::msg(format!("expected a kind of cluster data, found `{name}`")))
}

fn unexpected(expected: &str) -> Error {
    Error::msg(format!("expected {expected}, found another type"))
}
