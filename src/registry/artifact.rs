//! The layout of modules in registries: a manifest, a config and one layer.
//!
//! Wardset writes the layout of the CNCF for WebAssembly. It also reads the older pair of media types, which other tools
//! still write.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wardset_core::policy::OciReference;
use wardset_runtime::MAX_MODULE;

use super::problem::RegistryProblem;

/// The media type of a manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media types of config and layer: those of the CNCF, and the older ones.
const LAYOUTS: [(&str, &str); 2] = [
    ("application/vnd.wasm.config.v0+json", "application/wasm"),
    ("application/vnd.wasm.config.v1+json", "application/vnd.wasm.content.layer.v1+wasm"),
];

/// Time in the config, which must have one. It is always the same, so that equal modules have equal digests.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Bytes of a media type that a message repeats.
const MAX_TYPE: usize = 100;

/// Annotations of a manifest.
pub type Annotations = BTreeMap<String, String>;

/// A module in the form that a registry stores.
#[derive(Debug, Clone)]
pub struct ModuleArtifact {
    pub(super) manifest: Vec<u8>,
    pub(super) config: Vec<u8>,
    pub(super) layer: Vec<u8>,
}

/// A reference from a manifest to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: Option<u32>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    manifests: Option<Value>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

impl ModuleArtifact {
    /// Returns the artifact of a component with its imports and exports. The same arguments give the same bytes.
    #[must_use]
    pub fn new(
        component: Vec<u8>,
        imports: &[String],
        exports: &[String],
        annotations: &Annotations,
    ) -> Self {
        let layer = descriptor(LAYOUTS[0].1, &component);
        let config = json!({
            "created": CREATED, "architecture": "wasm", "os": "wasip2", "layerDigests": [layer.digest],
            "component": {"imports": imports, "exports": exports},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(LAYOUTS[0].0, &config),
            "layers": [layer], "annotations": annotations,
        });
        Self { manifest: manifest.to_string().into_bytes(), config, layer: component }
    }

    /// Returns the digest of the manifest, which names the artifact.
    #[must_use]
    pub fn digest(&self) -> String {
        digest_of(&self.manifest)
    }
}

/// Returns the layer that a manifest names, and the annotations.
pub(super) fn layer_of(manifest: &[u8]) -> Result<(Descriptor, Annotations), RegistryProblem> {
    let layout = |found: String| RegistryProblem::Layout { found };
    let manifest: Manifest = serde_json::from_slice(manifest)
        .map_err(|error| layout(format!("no manifest (line {}, column {})", error.line(), error.column())))?;
    if manifest.schema_version != Some(2) {
        return Err(layout("a manifest of another schema version than 2".to_owned()));
    }
    if manifest.manifests.is_some() {
        return Err(layout("an index of several artifacts".to_owned()));
    }
    let short = |text: &str| wardset_core::text::one_line(text, MAX_TYPE);
    let Some(config) = &manifest.config else {
        let kind = manifest.artifact_type.as_deref().map(|kind| format!(" of the type `{}`", short(kind)));
        return Err(layout(format!("a manifest{} without a config", kind.unwrap_or_default())));
    };
    let [layer] = manifest.layers.as_slice() else {
        let config = short(&config.media_type);
        return Err(layout(format!("the config `{config}` and {} layers", manifest.layers.len())));
    };
    if !LAYOUTS.contains(&(&*config.media_type, &*layer.media_type)) {
        let (config, layer) = (short(&config.media_type), short(&layer.media_type));
        return Err(layout(format!("the config `{config}` and a layer of `{layer}`")));
    }
    if !OciReference::is_digest(&layer.digest) {
        return Err(layout(format!("a layer with the digest `{}`", short(&layer.digest))));
    }
    // Before the download.
    check_size(layer.size)?;
    Ok((layer.clone(), manifest.annotations.unwrap_or_default()))
}

fn check_size(size: u64) -> Result<(), RegistryProblem> {
    let most = MAX_MODULE as u64;
    if size > most {
        return Err(RegistryProblem::TooLarge { thing: "a module", most, found: size.to_string() });
    }
    Ok(())
}

/// Fails if the bytes do not begin as a component. The runtime checks the rest.
pub(super) fn check_component(bytes: &[u8]) -> Result<(), RegistryProblem> {
    let found = match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => "a core module",
        [0, b'a', b's', b'm', ..] => "WebAssembly of another version",
        [] => "nothing",
        _ => "other content",
    };
    Err(RegistryProblem::NoComponent { found })
}

/// Returns the descriptor of content.
pub(super) fn descriptor(media_type: &str, content: &[u8]) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest: digest_of(content), size: content.len() as u64 }
}

/// Returns the digest of content, as registries write it.
pub(super) fn digest_of(content: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(content) {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn manifest(config: &str, layers: &[&str]) -> Value {
        let layers: Vec<_> = layers.iter().map(|kind| descriptor(kind, COMPONENT)).collect();
        json!({"schemaVersion": 2, "config": descriptor(config, b"{}"), "layers": layers})
    }

    fn problem(manifest: &Value) -> String {
        layer_of(manifest.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_can_be_read_and_equal_modules_have_equal_digests() {
        let annotations = Annotations::from([("a".to_owned(), "b".to_owned())]);
        let artifact = || ModuleArtifact::new(COMPONENT.to_vec(), &["i:i/i".to_owned()], &[], &annotations);
        assert_eq!(artifact().digest(), artifact().digest());
        let (layer, found) = layer_of(&artifact().manifest).unwrap();
        assert_eq!((layer.digest, layer.size), (digest_of(COMPONENT), 8));
        assert_eq!(found, annotations);
        let config: Value = serde_json::from_slice(&artifact().config).unwrap();
        assert_eq!(config["layerDigests"], json!([digest_of(COMPONENT)]));
        assert_eq!(config["component"]["imports"], json!(["i:i/i"]));
    }

    #[test]
    fn both_layouts_are_read_and_every_other_one_is_named() {
        for (config, layer) in LAYOUTS {
            layer_of(manifest(config, &[layer]).to_string().as_bytes()).unwrap();
        }
        let ((config, layer), (older, _)) = (LAYOUTS[0], LAYOUTS[1]);
        let image = "application/vnd.oci.image.config.v1+json";
        let index = json!({"schemaVersion": 2, "manifests": []});
        let artifact = json!({"schemaVersion": 2, "artifactType": "text/x"});
        let mut forged = manifest(config, &[layer]);
        forged["layers"][0]["digest"] = "sha256:../../x".into();
        for (manifest, found) in [
            (manifest(image, &[layer]), format!("the config `{image}` and a layer of `{layer}`")),
            (manifest(older, &[layer]), format!("the config `{older}` and a layer of `{layer}`")),
            (manifest(config, &[]), format!("the config `{config}` and 0 layers")),
            (manifest(config, &[layer, layer]), format!("the config `{config}` and 2 layers")),
            (index, "an index of several artifacts".to_owned()),
            (artifact, "a manifest of the type `text/x` without a config".to_owned()),
            (forged, "a layer with the digest `sha256:../../x`".to_owned()),
            (json!({}), "a manifest of another schema version than 2".to_owned()),
            (json!("text"), "no manifest (line 1, column 6)".to_owned()),
        ] {
            let problem = problem(&manifest);
            assert!(problem.contains(&format!("found {found};")), "{problem}");
        }
    }

    #[test]
    fn a_module_that_is_too_large_is_refused_by_its_manifest() {
        let (config, layer) = LAYOUTS[0];
        let mut manifest = manifest(config, &[layer]);
        manifest["layers"][0]["size"] = MAX_MODULE.into();
        layer_of(manifest.to_string().as_bytes()).unwrap();
        manifest["layers"][0]["size"] = (MAX_MODULE + 1).into();
        assert_eq!(problem(&manifest), "expected at most 33554432 bytes of a module, found 33554433");
    }

    #[test]
    fn only_a_component_counts_as_a_module() {
        check_component(COMPONENT).unwrap();
        for (bytes, found) in [
            (&b"\0asm\x01\0\0\0"[..], "a core module"),
            (b"\0asm\x02\0\0\0", "WebAssembly of another version"),
            (b"", "nothing"),
            (b"<html>", "other content"),
        ] {
            let error = check_component(bytes).unwrap_err().to_string();
            assert!(error.contains(&format!("found {found};")), "{error}");
        }
    }
}
