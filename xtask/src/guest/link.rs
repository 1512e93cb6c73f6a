//! A component of a main module and its base, made from one that the encoder has linked by a shim and a fixup.
//!
//! ```text
//! the encoder's    shim ──► main ──► lowered imports ──► fixup (fills the shim's table)
//! this one's       base ──► lowered imports ──► main
//! ```

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use wasm_encoder::reencode::{ReencodeComponent as _, RoundtripReencoder};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, Component, ComponentAliasSection, ComponentSectionId,
    ExportKind, InstanceSection, ModuleArg, RawSection,
};
use wasmparser::{CanonicalFunction, ComponentAlias, ExternalKind, Instance, Parser, Payload};

use super::split::{self, BASE, MEMORY, REALLOC};

/// The core modules that the encoder writes, in its order.
const MAIN: usize = 0;
const SHIM: usize = 1;
const FIXUP: usize = 2;

/// Links a component anew.
///
/// # Errors
///
/// One that is not made of just the three modules, or whose main module can't be split.
pub(super) fn relink(component: &[u8]) -> Result<Vec<u8>> {
    let modules = modules(component)?;
    let [main, _, _] = modules.as_slice() else {
        bail!("expected a module, a shim and a fixup, found {} core modules", modules.len());
    };
    let halves = split::split(&component[main.clone()])?;
    let mut relinker = Relinker::default();
    for payload in top_level(component)? {
        relinker.payload(component, &halves, &payload)?;
    }
    Ok(relinker.out.finish())
}

/// The sections of the component itself, without what stands in its modules.
fn top_level(component: &[u8]) -> Result<Vec<Payload<'_>>> {
    let mut inside = 0;
    let mut sections = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        match &payload {
            Payload::ModuleSection { unchecked_range, .. } => {
                inside = unchecked_range.end;
                sections.push(payload);
            }
            Payload::ComponentSection { .. } => bail!("a component stands in it"),
            _ => {
                if payload.as_section().is_some_and(|(_, range)| range.start >= inside) {
                    sections.push(payload);
                }
            }
        }
    }
    Ok(sections)
}

fn modules(component: &[u8]) -> Result<Vec<std::ops::Range<usize>>> {
    let sections = top_level(component)?;
    let modules = sections.iter().filter_map(|payload| match payload {
        Payload::ModuleSection { unchecked_range, .. } => Some(super::range(unchecked_range)),
        _ => None,
    });
    Ok(modules.collect())
}

/// A core instance of the encoder's.
enum Old {
    Shim,
    Main,
    /// What the main module imports under one name, by the shim's exports.
    Interface(Vec<(String, String)>),
    /// What fills the shim's table: its exports, as lowered functions.
    Filling(BTreeMap<String, u32>),
    Fixup,
}

/// A core function of the encoder's.
enum Function {
    /// An export of the shim.
    Slot(String),
    /// The same function here.
    Here(u32),
}

#[derive(Default)]
struct Relinker {
    out: Component,
    modules: usize,
    instances: Vec<Old>,
    functions: Vec<Function>,
    /// Core functions and core instances that are written.
    written: u32,
    /// What the main module imports: names, and the encoder's instances.
    arguments: Vec<(String, u32)>,
    main: Option<u32>,
}

impl Relinker {
    fn payload(&mut self, component: &[u8], halves: &split::Halves, payload: &Payload<'_>) -> Result<()> {
        match payload {
            Payload::ModuleSection { .. } => {
                if self.modules == MAIN {
                    self.begin(halves);
                }
                self.modules += 1;
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    self.instance(instance?)?;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.alias(alias?)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.clone() {
                    self.canonical(function?)?;
                }
            }
            // It names what is gone.
            Payload::CustomSection(custom) if custom.name() == "component-name" => {}
            Payload::ComponentTypeSection(_)
            | Payload::ComponentImportSection(_)
            | Payload::ComponentExportSection(_)
            | Payload::CustomSection(_) => {
                if let Some((id, range)) = payload.as_section() {
                    self.out.section(&RawSection { id, data: &component[super::range(&range)] });
                }
            }
            _ => bail!("it has a section that nothing is known of"),
        }
        Ok(())
    }

    /// The two modules, and the base in force.
    fn begin(&mut self, halves: &split::Halves) {
        for module in [&halves.base, &halves.main] {
            self.out.section(&RawSection { id: ComponentSectionId::CoreModule as u8, data: module });
        }
        let mut instances = InstanceSection::new();
        instances.instantiate::<_, &str>(0, []);
        self.out.section(&instances);
        let mut aliases = ComponentAliasSection::new();
        aliases.alias(Alias::CoreInstanceExport { instance: 0, kind: ExportKind::Memory, name: MEMORY });
        aliases.alias(Alias::CoreInstanceExport { instance: 0, kind: ExportKind::Func, name: REALLOC });
        self.out.section(&aliases);
        self.written = 1;
    }

    fn instance(&mut self, instance: Instance<'_>) -> Result<()> {
        let old = match instance {
            Instance::Instantiate { module_index, args } => match module_index as usize {
                MAIN => {
                    self.arguments = args.iter().map(|arg| (arg.name.to_owned(), arg.index)).collect();
                    Old::Main
                }
                SHIM => Old::Shim,
                FIXUP => {
                    self.main_at_last(args.iter().map(|arg| arg.index))?;
                    Old::Fixup
                }
                _ => bail!("it has more than three modules"),
            },
            Instance::FromExports(exports) => {
                let mut slots = Vec::new();
                let mut filling = BTreeMap::new();
                for export in exports.iter().filter(|export| export.kind == ExternalKind::Func) {
                    match self.functions.get(export.index as usize).context("a function")? {
                        Function::Slot(slot) => slots.push((export.name.to_owned(), slot.clone())),
                        Function::Here(here) => drop(filling.insert(export.name.to_owned(), *here)),
                    }
                }
                match (slots.is_empty(), filling.is_empty()) {
                    (false, true) => Old::Interface(slots),
                    (true, false) => Old::Filling(filling),
                    _ => bail!("it gives the main module what needs no shim"),
                }
            }
        };
        self.instances.push(old);
        Ok(())
    }

    /// Once all that it imports is lowered.
    fn main_at_last(&mut self, mut fixup: impl Iterator<Item = u32>) -> Result<()> {
        let filling = fixup.find_map(|index| match self.instances.get(index as usize) {
            Some(Old::Filling(filling)) => Some(filling),
            _ => None,
        });
        let filling = filling.context("nothing fills the shim")?;
        let mut section = InstanceSection::new();
        let mut arguments = vec![(BASE.to_owned(), ModuleArg::Instance(0))];
        for (name, index) in &self.arguments {
            let Some(Old::Interface(slots)) = self.instances.get(*index as usize) else {
                bail!("`{name}` doesn't come from the shim");
            };
            let mut exports = Vec::new();
            for (name, slot) in slots {
                let function = filling.get(slot).with_context(|| format!("nothing fills `{name}`"))?;
                exports.push((name.as_str(), ExportKind::Func, *function));
            }
            section.export_items(exports);
            arguments.push((name.clone(), ModuleArg::Instance(section.len())));
        }
        section.instantiate(1, arguments.iter().map(|(name, argument)| (name.as_str(), *argument)));
        self.main = Some(section.len());
        self.out.section(&section);
        Ok(())
    }

    fn alias(&mut self, alias: ComponentAlias<'_>) -> Result<()> {
        let ComponentAlias::CoreInstanceExport { kind, instance_index, name } = alias else {
            let mut section = ComponentAliasSection::new();
            section.alias(RoundtripReencoder.component_alias(alias)?);
            self.out.section(&section);
            return Ok(());
        };
        match (self.instances.get(instance_index as usize), kind) {
            (Some(Old::Shim), ExternalKind::Func) => self.functions.push(Function::Slot(name.to_owned())),
            (Some(Old::Shim), ExternalKind::Table) | (Some(Old::Main), ExternalKind::Memory) => {}
            (Some(Old::Main), ExternalKind::Func) if name == REALLOC => {
                self.functions.push(Function::Here(0))
            }
            (Some(Old::Main), ExternalKind::Func) => {
                let instance = self.main.with_context(|| format!("`{name}` is needed before it can be"))?;
                let mut section = ComponentAliasSection::new();
                section.alias(Alias::CoreInstanceExport { instance, kind: ExportKind::Func, name });
                self.out.section(&section);
                self.wrote();
            }
            _ => bail!("it uses `{name}` of a module in a way that nothing is known of"),
        }
        Ok(())
    }

    fn canonical(&mut self, function: CanonicalFunction) -> Result<()> {
        let mut section = CanonicalFunctionSection::new();
        match function {
            CanonicalFunction::Lower { func_index, options } => {
                section.lower(func_index, self.options(&options)?);
                self.wrote();
            }
            CanonicalFunction::Lift { core_func_index, type_index, options } => {
                section.lift(self.here(core_func_index)?, type_index, self.options(&options)?);
            }
            _ => bail!("it has a function of the component model that nothing is known of"),
        }
        self.out.section(&section);
        Ok(())
    }

    fn options(&self, options: &[wasmparser::CanonicalOption]) -> Result<Vec<CanonicalOption>> {
        let option = |option: &wasmparser::CanonicalOption| {
            Ok(match option {
                wasmparser::CanonicalOption::UTF8 => CanonicalOption::UTF8,
                wasmparser::CanonicalOption::Memory(0) => CanonicalOption::Memory(0),
                wasmparser::CanonicalOption::Realloc(function) => {
                    CanonicalOption::Realloc(self.here(*function)?)
                }
                other => bail!("it has the option {other:?}, of which nothing is known"),
            })
        };
        options.iter().map(option).collect()
    }

    fn here(&self, function: u32) -> Result<u32> {
        match self.functions.get(function as usize) {
            Some(Function::Here(here)) => Ok(*here),
            _ => bail!("it lifts or lowers with a function of the shim"),
        }
    }

    /// Another core function.
    fn wrote(&mut self) {
        self.functions.push(Function::Here(self.written));
        self.written += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Repository;

    #[test]
    fn each_built_policy_is_two_modules() {
        let built = Repository::find().unwrap().built();
        let mut policies = 0;
        for entry in std::fs::read_dir(built).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "wasm") {
                let component = std::fs::read(&path).unwrap();
                assert_eq!(modules(&component).unwrap().len(), 2, "{}", path.display());
                policies += 1;
            }
        }
        assert!(policies > 0);
    }

    #[test]
    fn a_component_of_another_make_is_refused() {
        let component = wat::parse_str("(component (core module) (core module))").unwrap();
        let error = relink(&component).unwrap_err().to_string();
        assert_eq!(error, "expected a module, a shim and a fixup, found 2 core modules");
    }
}
