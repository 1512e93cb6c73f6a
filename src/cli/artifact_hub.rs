//! The metadata of a module for catalogues: `artifacthub-pkg.yml`, in the format of Artifact Hub.
//!
//! The format: <https://github.com/artifacthub/hub/blob/master/docs/metadata/artifacthub-pkg.yml>.

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};
use wardset_core::policy::{ModuleRef, OciReference};

use crate::supply::modules::LoadedModule;
use crate::yaml;

/// The first lines of the file.
const HEADER: &str = "\
# Metadata of a module for catalogues, in the format of Artifact Hub (artifacthub-pkg.yml).
# Made by `wardset policy inspect --artifacthub`.
";

/// The part that all standard annotations of OCI share.
const OCI: &str = "org.opencontainers.image.";

/// Returns the file for a module that is in a registry. `readme` describes its settings as Markdown, `mutates` is whether it
/// may change objects, and `now` is its time of creation if its annotations have none.
///
/// # Errors
///
/// The module comes from elsewhere, or lacks a field that the format requires.
pub(super) fn file(
    loaded: &LoadedModule,
    readme: &str,
    mutates: bool,
    now: Timestamp,
) -> anyhow::Result<String> {
    let ModuleRef::Oci(reference) = &loaded.name else {
        bail!(
            "expected a module in a registry, found `{}`; hint: store it there by `wardset policy push`, because \
             catalogues name the artifact",
            loaded.name
        );
    };
    let manifest = &loaded.module.manifest;
    ensure!(
        is_semantic(&manifest.version),
        "expected a semantic version such as `1.0.0` in the module's manifest, found `{}`; hint: catalogues refuse others",
        manifest.version
    );
    let annotation = |name: &str| {
        let value = loaded.annotations.get(&format!("{OCI}{name}")).map(String::as_str);
        value.filter(|value| !value.trim().is_empty())
    };
    let created = match annotation("created") {
        Some(time) => time.parse().with_context(|| {
            format!("expected a time such as 2026-01-01T00:00:00Z in the annotation `{OCI}created`, found `{time}`")
        })?,
        None => now,
    };
    let mut package = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            package.insert(name.to_owned(), value);
        }
    };
    set("version", json!(manifest.version));
    set("name", json!(manifest.name));
    set("displayName", json!(display_name(&manifest.name)));
    set("createdAt", json!(format!("{created:.0}")));
    set("description", json!(manifest.description));
    set("digest", json!(reference.digest()));
    set("license", json!(annotation("licenses")));
    set("homeURL", json!(annotation("url")));
    // A scanner of images finds nothing in a module.
    set("containersImages", json!([{"name": "policy", "image": image(reference), "whitelisted": true}]));
    set("keywords", json!(["wardset", "kubernetes", "daemonset", "admission", "webassembly"]));
    let links: Vec<Value> = ["source", "documentation"]
        .into_iter()
        .filter_map(|name| annotation(name).map(|url| json!({"name": name, "url": url})))
        .collect();
    set("links", if links.is_empty() { Value::Null } else { links.into() });
    set("readme", json!(readme));
    set("install", json!(install(&manifest.name, reference)));
    set("provider", annotation("vendor").map_or(Value::Null, |vendor| json!({"name": vendor})));
    // The format has texts only.
    let mutation = if mutates { "true" } else { "false" };
    set("annotations", json!({"wardset/mutation": mutation, "wardset/resources": "DaemonSet"}));
    Ok(format!("{HEADER}{}", yaml::to_string(&package)))
}

/// Returns the name of the artifact without its scheme, as catalogues write images.
fn image(reference: &OciReference) -> String {
    match (reference.tag(), reference.digest()) {
        (Some(tag), _) => format!("{}:{tag}", reference.location()),
        (None, Some(digest)) => format!("{}@{digest}", reference.location()),
        (None, None) => reference.location(),
    }
}

/// Returns a name such as `Default labels` for `default-labels`.
fn display_name(name: &str) -> String {
    let words = name.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn install(name: &str, reference: &OciReference) -> String {
    let policy = json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": name},
        "spec": {"module": reference.to_string(), "mode": "observe"},
    });
    format!(
        "Apply a `Policy` with this module. Set `mode: enforce` once its reports are as expected:\n\n```yaml\n{}```\n",
        yaml::to_string(&policy)
    )
}

/// Returns whether a text is a semantic version (2.0.0).
fn is_semantic(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = |part: &str| is_digits(part) && (part == "0" || !part.starts_with('0'));
    let is_word = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(is_number)
        && pre.is_none_or(|pre| {
            pre.split('.').all(|part| is_word(part) && (!is_digits(part) || is_number(part)))
        })
        && build.is_none_or(|build| build.split('.').all(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semantic_version_has_three_numbers() {
        for text in ["0.0.0", "1.20.3", "1.0.0-rc.1", "1.0.0-x-y", "1.0.0+build.01", "1.0.0-0.a+b"] {
            assert!(is_semantic(text), "{text}");
        }
        for text in ["", "1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0.0", "1.0.x"] {
            assert!(!is_semantic(text), "{text}");
        }
    }

    #[test]
    fn an_image_has_its_tag_or_else_its_digest() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let image = |text: &str| image(&text.parse().unwrap());
        assert_eq!(image(&format!("oci://r.example/a/b:1@{digest}")), "r.example/a/b:1");
        assert_eq!(image(&format!("oci://r.example/a/b@{digest}")), format!("r.example/a/b@{digest}"));
        assert_eq!(display_name("default-labels"), "Default labels");
    }
}
