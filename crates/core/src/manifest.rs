//! The manifest: the validated description that a module gives of itself.

use jsonptr::{Pointer, PointerBuf};

use crate::patch::is_within;
use crate::policy::ClusterData;

/// A module's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The module's name.
    pub name: String,
    /// The module's semantic version.
    pub version: String,
    /// The module's purpose, in one sentence.
    pub description: String,
    /// Prefixes of the pointers that the module reads.
    pub reads: Vec<PointerBuf>,
    /// Prefixes of the pointers that the module changes. If there are none, it is a validating policy.
    pub writes: Vec<PointerBuf>,
    /// The cluster data that the module asks for.
    pub cluster: Vec<ClusterData>,
    /// The JSON Schema of the module's settings.
    pub settings_schema: String,
}

/// The reason why a manifest is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A pointer violates RFC 6901.
    #[error("manifest: expected JSON Pointers in `{field}`, found `{pointer}`")]
    Pointer {
        /// `reads` or `writes`.
        field: &'static str,
        /// The text.
        pointer: String,
    },
    /// The module declares that it changes a value that no policy may change.
    #[error("manifest: `writes` has `{pointer}`, which no policy may change")]
    Forbidden {
        /// The pointer in `writes`.
        pointer: PointerBuf,
    },
    /// A text is empty or too long.
    #[error("manifest: `{field}` must have 1 to {most} characters, found {found}")]
    Length {
        /// The field.
        field: &'static str,
        /// The limit.
        most: usize,
        /// The number of characters.
        found: usize,
    },
    /// A pointer or the schema is too long.
    #[error("manifest: `{field}` must have at most {most} bytes, found {found}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// The limit.
        most: usize,
        /// The number of bytes.
        found: usize,
    },
    /// A text contains line breaks or other control characters.
    #[error("manifest: `{field}` must be one printable line")]
    Unprintable {
        /// The field.
        field: &'static str,
    },
    /// The name is not a valid name of a module.
    #[error("manifest: `name` must be lower-case words joined by `-`, found `{name}`")]
    Name {
        /// The value in the manifest.
        name: String,
    },
    /// A list has too many prefixes.
    #[error("manifest: `{field}` must have at most {MAX_PREFIXES} entries, found {found}")]
    TooMany {
        /// `reads` or `writes`.
        field: &'static str,
        /// The number of prefixes.
        found: usize,
    },
    /// The schema of the settings is not a JSON object.
    #[error("manifest: `settings-schema` is not a JSON object")]
    Schema,
}

/// Limit of the entries of `reads`, and of those of `writes`.
pub const MAX_PREFIXES: usize = 64;

/// Limit of a pointer in `reads` and `writes`, in bytes. The longest pointer into a DaemonSet needs a tenth of it.
pub const MAX_POINTER: usize = 1024;

/// Limit of the settings schema, in bytes.
pub const MAX_SCHEMA: usize = 64 << 10;

/// Pointers to the values that no policy may change. A manifest may not declare them.
pub const FORBIDDEN: [&Pointer; 16] = [
    Pointer::from_static("/apiVersion"),
    Pointer::from_static("/kind"),
    Pointer::from_static("/metadata/name"),
    Pointer::from_static("/metadata/generateName"),
    Pointer::from_static("/metadata/namespace"),
    Pointer::from_static("/metadata/uid"),
    Pointer::from_static("/metadata/resourceVersion"),
    Pointer::from_static("/metadata/generation"),
    Pointer::from_static("/metadata/creationTimestamp"),
    Pointer::from_static("/metadata/deletionTimestamp"),
    Pointer::from_static("/metadata/ownerReferences"),
    Pointer::from_static("/metadata/finalizers"),
    Pointer::from_static("/metadata/managedFields"),
    Pointer::from_static("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"),
    Pointer::from_static("/spec/selector"),
    Pointer::from_static("/status"),
];

/// The fields of a manifest as the sandbox returned them: untrusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Manifest`")]
pub struct ManifestParts {
    pub name: String,
    pub version: String,
    pub description: String,
    pub reads: Vec<String>,
    pub writes: Vec<String>,
    pub cluster: Vec<ClusterData>,
    pub settings_schema: String,
}

impl TryFrom<ManifestParts> for Manifest {
    type Error = ManifestError;

    fn try_from(parts: ManifestParts) -> Result<Self, ManifestError> {
        let bounded = |field, text: String, most| {
            let found = text.chars().count();
            match () {
                () if !(1..=most).contains(&found) => Err(ManifestError::Length { field, most, found }),
                () if text.chars().any(char::is_control) => Err(ManifestError::Unprintable { field }),
                () => Ok(text),
            }
        };
        let (field, most, found) = ("settings-schema", MAX_SCHEMA, parts.settings_schema.len());
        if found > most {
            return Err(ManifestError::TooLong { field, most, found });
        }
        let schema: Result<serde_json::Map<_, serde_json::Value>, _> =
            serde_json::from_str(&parts.settings_schema);
        schema.map_err(|_| ManifestError::Schema)?;
        let writes = pointers("writes", parts.writes)?;
        for pointer in &writes {
            if FORBIDDEN.iter().any(|forbidden| is_within(pointer, forbidden)) {
                return Err(ManifestError::Forbidden { pointer: pointer.clone() });
            }
        }
        let name = bounded("name", parts.name, 63)?;
        if !crate::policy::is_dns_label(&name) {
            return Err(ManifestError::Name { name });
        }
        Ok(Self {
            name,
            version: bounded("version", parts.version, 63)?,
            description: bounded("description", parts.description, 500)?,
            reads: pointers("reads", parts.reads)?,
            writes,
            cluster: parts.cluster,
            settings_schema: parts.settings_schema,
        })
    }
}

impl Manifest {
    /// Returns the manifest that stands for a module that does not load: it reads and writes nothing.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            name: "unknown".to_owned(),
            version: "0.0.0".to_owned(),
            description: "a module that can't be loaded".to_owned(),
            reads: Vec::new(),
            writes: Vec::new(),
            cluster: Vec::new(),
            settings_schema: "{}".to_owned(),
        }
    }

    /// Returns the cluster data that a policy with these settings needs, as JSON text.
    ///
    /// The keyword `x-clusterData` of the settings schema names a word for each kind of data, such as
    /// `{"namespaceLabels": "namespaceObject"}`. The settings need the data only if they mention the word. Without a word,
    /// all settings need it.
    #[must_use]
    pub fn needs(&self, settings: &str) -> Vec<ClusterData> {
        #[derive(Default, serde::Deserialize)]
        struct Schema {
            #[serde(rename = "x-clusterData", default)]
            words: serde_json::Map<String, serde_json::Value>,
        }
        let Schema { words } = serde_json::from_str(&self.settings_schema).unwrap_or_default();
        let is_needed = |data: &&ClusterData| match words.get(data.name()).and_then(serde_json::Value::as_str)
        {
            Some(word) => settings.contains(word),
            None => true,
        };
        self.cluster.iter().filter(is_needed).copied().collect()
    }

    /// Returns whether the module may change objects.
    #[must_use]
    pub fn mutates(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Returns whether the module may read at `pointer`.
    #[must_use]
    pub fn may_read(&self, pointer: &Pointer) -> bool {
        self.reads.iter().any(|prefix| is_within(pointer, prefix))
    }

    /// Returns whether the module may change the value at `pointer`.
    #[must_use]
    pub fn may_write(&self, pointer: &Pointer) -> bool {
        self.writes.iter().any(|prefix| is_within(pointer, prefix))
    }
}

fn pointers(field: &'static str, texts: Vec<String>) -> Result<Vec<PointerBuf>, ManifestError> {
    if texts.len() > MAX_PREFIXES {
        return Err(ManifestError::TooMany { field, found: texts.len() });
    }
    texts
        .into_iter()
        .map(|text| {
            let (most, found) = (MAX_POINTER, text.len());
            if found > most {
                return Err(ManifestError::TooLong { field, most, found });
            }
            PointerBuf::parse(text.as_str()).map_err(|_| ManifestError::Pointer { field, pointer: text })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_schema(schema: &str) -> Manifest {
        Manifest {
            cluster: vec![ClusterData::NamespaceLabels],
            settings_schema: schema.to_owned(),
            ..Manifest::unknown()
        }
    }

    #[test]
    fn settings_need_cluster_data_only_if_they_mention_the_word() {
        let (uses, plain) = (r#"{"expression":"namespaceObject.x"}"#, r#"{"expression":"object.x"}"#);
        let optional = with_schema(r#"{"x-clusterData":{"namespaceLabels":"namespaceObject"}}"#);
        assert_eq!(optional.needs(uses), [ClusterData::NamespaceLabels]);
        assert_eq!(optional.needs(plain), []);
        for schema in ["{}", r#"{"x-clusterData":{"namespaceLabels":7}}"#, r#"{"x-clusterData":[]}"#] {
            assert_eq!(with_schema(schema).needs(plain), [ClusterData::NamespaceLabels], "{schema}");
        }
        let none = Manifest { cluster: Vec::new(), ..optional };
        assert_eq!(none.needs(uses), []);
    }
}
