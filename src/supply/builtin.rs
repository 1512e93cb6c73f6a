//! The content of the binary: the built-in modules, and the policies that are active by default.

/// A module inside the binary.
#[derive(Debug, Clone, Copy)]
pub struct BuiltinModule {
    /// The name after `builtin:`.
    pub name: &'static str,
    /// The WebAssembly component.
    pub bytes: &'static [u8],
}

/// A policy file inside the binary.
#[derive(Debug, Clone, Copy)]
pub struct DefaultPolicy {
    /// The file's name under `policies/defaults`.
    pub file: &'static str,
    /// Its YAML.
    pub yaml: &'static str,
}

macro_rules! modules {
    ($($name:literal),* $(,)?) => {
        &[$(BuiltinModule { name: $name, bytes: include_bytes!(concat!("../../policies/built/", $name, ".wasm")) }),*]
    };
}

macro_rules! defaults {
    ($($file:literal),* $(,)?) => {
        &[$(DefaultPolicy { file: $file, yaml: include_str!(concat!("../../policies/defaults/", $file)) }),*]
    };
}

/// The built-in modules.
pub const MODULES: &[BuiltinModule] = modules![
    "cel",
    "default-labels",
    "default-tolerations",
    "node-affinity",
    "placement-guard",
    "selector-safety",
];

/// The policies that are active if the user names none.
pub const DEFAULTS: &[DefaultPolicy] = defaults![
    "default-labels.yaml",
    "default-tolerations.yaml",
    "exclude-virtual-nodes.yaml",
    "selector-safety.yaml",
    "workers-only.yaml",
];
