//! Makes components of core modules, and checks that a component keeps the contract.

use std::borrow::Cow;
use std::{error, fmt};

use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding};

use crate::contract;
use crate::foreign::{ForeignImport, foreign_import};
use crate::wasi::{WASI_ADAPTER, WASI_MODULE};

/// Makes a component of a core module.
///
/// The contract is embedded if the module has no component type of its own. If the module imports WASI preview 1, the
/// adapter answers instead of a host. The result imports nothing but the contract.
///
/// # Errors
///
/// The bytes are not a core module, an import is foreign, or the exports are not those of a policy.
pub fn encode(core: &[u8]) -> Result<Vec<u8>, ComponentError> {
    let parts = read_core(core)?;
    for (module, _) in &parts.imports {
        if module != WASI_MODULE
            && let Some(foreign) = foreign_import(module)
        {
            return Err(ComponentError::Foreign(foreign));
        }
    }
    let embedded = embed(core)?;
    let encode = || -> anyhow::Result<Vec<u8>> {
        let mut encoder = ComponentEncoder::default().validate(true).module(&embedded)?;
        if parts.imports.iter().any(|(module, _)| module == WASI_MODULE) {
            encoder = encoder.adapter(WASI_MODULE, WASI_ADAPTER)?;
        }
        encoder.encode()
    };
    let component = encode().map_err(|error| ComponentError::Encode { cause: chain(&error) })?;
    check(&component)?;
    Ok(component)
}

/// Returns the core module with the contract embedded, if it has no component type of its own.
///
/// # Errors
///
/// The bytes are not a core module.
pub fn embed(core: &[u8]) -> Result<Cow<'_, [u8]>, ComponentError> {
    if read_core(core)?.has_type {
        return Ok(Cow::Borrowed(core));
    }
    let embed = || -> anyhow::Result<Vec<u8>> {
        let (resolve, world) = contract::resolve()?;
        let mut bytes = core.to_vec();
        wit_component::embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)?;
        Ok(bytes)
    };
    embed().map(Cow::Owned).map_err(|error| ComponentError::Encode { cause: chain(&error) })
}

/// Checks that a component keeps the contract, and returns the names of its imports.
///
/// # Errors
///
/// The bytes are not a component, an import is foreign, or an export is missing or of another type.
pub fn check(component: &[u8]) -> Result<Vec<String>, ComponentError> {
    let imports = component_imports(component)?;
    if let Some(foreign) = imports.iter().find_map(|import| foreign_import(import)) {
        return Err(ComponentError::Foreign(foreign));
    }
    contract::resolve()
        .and_then(|(resolve, world)| wit_component::targets(&resolve, world, component))
        .map_err(|error| ComponentError::World { cause: chain(&error) })?;
    Ok(imports)
}

/// The parts of a core module that decide how to encode it.
struct CoreParts {
    imports: Vec<(String, String)>,
    has_type: bool,
}

fn read_core(bytes: &[u8]) -> Result<CoreParts, ComponentError> {
    let mut parts = CoreParts { imports: Vec::new(), has_type: false };
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(unreadable)? {
            Payload::Version { encoding: Encoding::Component, .. } => {
                return Err(ComponentError::Kind { expected: ModuleKind::Core });
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(unreadable)?;
                    parts.imports.push((import.module.to_owned(), import.name.to_owned()));
                }
            }
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                parts.has_type = true;
            }
            _ => {}
        }
    }
    Ok(parts)
}

/// Returns the names of the outermost imports.
fn component_imports(bytes: &[u8]) -> Result<Vec<String>, ComponentError> {
    let mut depth = 0_u32;
    let mut imports = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(unreadable)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(ComponentError::Kind { expected: ModuleKind::Component });
            }
            // A module or component inside begins with such a payload, and ends with `End`.
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let import = import.map_err(unreadable)?;
                    // The world's own names for types of the contract: nothing to link.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        imports.push(import.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    Ok(imports)
}

/// Returns the largest number of memory pages with which a core module in these bytes begins.
///
/// # Errors
///
/// The bytes are not WebAssembly.
pub fn initial_pages(bytes: &[u8]) -> Result<u64, ComponentError> {
    let mut pages = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::MemorySection(section) = payload.map_err(unreadable)? {
            for memory in section {
                pages = pages.max(memory.map_err(unreadable)?.initial);
            }
        }
    }
    Ok(pages)
}

fn unreadable(error: wasmparser::BinaryReaderError) -> ComponentError {
    ComponentError::Unreadable { cause: error.to_string() }
}

/// Joins the causes of an error, outermost first.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(cause.to_string().trim_end_matches('\n'));
    }
    text
}

/// A kind of WebAssembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleKind {
    /// The output of a compiler.
    Core,
    /// A core module with typed imports and exports.
    Component,
}

/// The reason why bytes cannot become a component of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentError {
    /// The bytes are not WebAssembly.
    Unreadable {
        /// The parser's message.
        cause: String,
    },
    /// The bytes are the other kind of WebAssembly.
    Kind {
        /// The expected kind.
        expected: ModuleKind,
    },
    /// An import is not part of the contract.
    Foreign(ForeignImport),
    /// The encoder refuses the module: mostly since an export is missing or has another type.
    Encode {
        /// The encoder's message.
        cause: String,
    },
    /// The component does not keep the contract.
    World {
        /// The validator's message.
        cause: String,
    },
}

impl fmt::Display for ComponentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { cause } => write!(f, "expected WebAssembly, found other bytes: {cause}"),
            Self::Kind { expected } => match expected {
                ModuleKind::Core => f.write_str(
                    "expected a core module, found a component\nhint: a component needs no further step",
                ),
                ModuleKind::Component => f.write_str(
                    "expected a component, found a core module\nhint: `wardset policy build` makes components from \
                     sources, and `wasm-tools component new CORE -o OUT` makes one of a core module",
                ),
            },
            Self::Foreign(foreign) => foreign.fmt(f),
            Self::Encode { cause } => write!(
                f,
                "failed to make a component: {cause}\nhint: a policy exports `manifest`, `validate-settings` and \
                 `evaluate` as wit/policy.wit declares them"
            ),
            Self::World { cause } => write!(
                f,
                "expected the world `{}` of `{}@{}`, found another one: {cause}\nhint: build the module against \
                 wit/policy.wit of this version of Wardset",
                contract::WORLD,
                contract::PACKAGE,
                contract::version()
            ),
        }
    }
}

impl error::Error for ComponentError {}

#[cfg(test)]
mod tests;
