//! A core module in two: its memory with what allocates in it, and everything else.
//!
//! What the host lowers needs a memory and a `realloc` before the module that imports it exists. The usual way out is a shim
//! and a fixup around the module, two more instances for each evaluation. A module whose memory and `realloc` stand alone
//! needs neither.
//!
//! ```text
//! core module ──► base   memory, globals, data, `cabi_realloc` and what it calls
//!             └─► main   everything else; memory and globals are imported from the base
//! ```
//!
//! Both halves work on one memory and one stack pointer, so an allocator's state is the same for both.

use std::collections::BTreeMap;
use std::convert::Infallible;

use anyhow::{Context as _, Result, bail};
use wasm_encoder::reencode::{self, Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, FunctionSection, ImportSection, MemoryType, Module,
    RawSection,
};
use wasmparser::{DataKind, ExternalKind, FunctionBody, GlobalType, Operator, Parser, Payload, TypeRef};

/// The name by which the main half imports the base.
pub(super) const BASE: &str = "base";
pub(super) const REALLOC: &str = "cabi_realloc";
pub(super) const MEMORY: &str = "memory";

pub(super) struct Halves {
    pub(super) base: Vec<u8>,
    pub(super) main: Vec<u8>,
}

/// What of a module decides how it is split.
#[derive(Default)]
struct Parts<'m> {
    memory: Option<wasmparser::MemoryType>,
    globals: Vec<GlobalType>,
    imports: Vec<wasmparser::Import<'m>>,
    /// The types of the functions that it defines.
    functions: Vec<u32>,
    bodies: Vec<FunctionBody<'m>>,
    exports: Vec<wasmparser::Export<'m>>,
}

/// Splits a module.
///
/// # Errors
///
/// One that can't be split: it has no memory of its own or imports more than functions, or its `realloc` does more than to
/// allocate. It works unsplit as well.
pub(super) fn split(core: &[u8]) -> Result<Halves> {
    let parts = Parts::read(core)?;
    let realloc = parts.exports.iter().find(|export| export.name == REALLOC);
    let realloc = realloc.context("it exports no `cabi_realloc`")?.index;
    Ok(Halves { base: parts.base(core, realloc)?, main: parts.main(core)? })
}

impl<'m> Parts<'m> {
    fn read(core: &'m [u8]) -> Result<Self> {
        let mut parts = Parts::default();
        for payload in Parser::new(0).parse_all(core) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        if !matches!(import.ty, TypeRef::Func(_)) {
                            bail!("it imports `{}`, which is no function", import.name);
                        }
                        parts.imports.push(import);
                    }
                }
                Payload::FunctionSection(section) => {
                    parts.functions = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        if parts.memory.replace(memory?).is_some() {
                            bail!("it has two memories");
                        }
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        parts.globals.push(global?.ty);
                    }
                }
                Payload::ExportSection(section) => {
                    parts.exports = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::DataSection(section) => {
                    for data in section {
                        if !matches!(data?.kind, DataKind::Active { .. }) {
                            bail!("it has data that its code puts into memory");
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => parts.bodies.push(body),
                _ => {}
            }
        }
        Ok(parts)
    }

    fn base(&self, core: &[u8], realloc: u32) -> Result<Vec<u8>> {
        let reached = self.reached_from(realloc)?;
        let mut renumber =
            Renumber(reached.keys().zip(0..).map(|(function, number)| (*function, number)).collect());
        let mut functions = FunctionSection::new();
        let mut code = CodeSection::new();
        for (function, body) in reached {
            functions.function(self.functions[function as usize - self.imports.len()]);
            renumber.parse_function_body(&mut code, body)?;
        }
        let mut exports = ExportSection::new();
        exports.export(MEMORY, ExportKind::Memory, 0);
        exports.export(REALLOC, ExportKind::Func, renumber.function_index(realloc)?);
        for (number, _) in (0..).zip(&self.globals) {
            exports.export(&global_name(number), ExportKind::Global, number);
        }
        let mut module = Module::new();
        for payload in Parser::new(0).parse_all(core) {
            let payload = payload?;
            match &payload {
                Payload::TypeSection(_) => {
                    raw(&mut module, core, &payload);
                    module.section(&functions);
                }
                Payload::MemorySection(_) | Payload::GlobalSection(_) | Payload::DataSection(_) => {
                    raw(&mut module, core, &payload);
                }
                Payload::ExportSection(_) => drop(module.section(&exports)),
                Payload::CodeSectionStart { .. } => drop(module.section(&code)),
                _ => {}
            }
        }
        Ok(module.finish())
    }

    fn main(&self, core: &[u8]) -> Result<Vec<u8>> {
        let memory = self.memory.context("it has no memory")?;
        let mut imports = ImportSection::new();
        for import in &self.imports {
            let TypeRef::Func(ty) = import.ty else { bail!("`{}` is no function", import.name) };
            imports.import(import.module, import.name, EntityType::Function(ty));
        }
        imports.import(BASE, MEMORY, MemoryType::from(memory));
        for (number, global) in (0..).zip(&self.globals) {
            let global = RoundtripReencoder.global_type(*global)?;
            imports.import(BASE, &global_name(number), global);
        }
        let mut exports = ExportSection::new();
        for export in &self.exports {
            if export.kind == ExternalKind::Func && export.name != REALLOC {
                exports.export(export.name, ExportKind::Func, export.index);
            }
        }
        let mut module = Module::new();
        for payload in Parser::new(0).parse_all(core) {
            let payload = payload?;
            match &payload {
                Payload::TypeSection(_) => {
                    raw(&mut module, core, &payload);
                    module.section(&imports);
                }
                Payload::FunctionSection(_)
                | Payload::TableSection(_)
                | Payload::StartSection { .. }
                | Payload::ElementSection(_)
                | Payload::CodeSectionStart { .. } => raw(&mut module, core, &payload),
                Payload::ExportSection(_) => drop(module.section(&exports)),
                _ => {}
            }
        }
        Ok(module.finish())
    }

    /// The functions that a call of `function` may run, which must need nothing that stays in the main half.
    fn reached_from(&self, function: u32) -> Result<BTreeMap<u32, FunctionBody<'m>>> {
        let mut reached = BTreeMap::new();
        let mut open = vec![function];
        while let Some(function) = open.pop() {
            if reached.contains_key(&function) {
                continue;
            }
            let body = (function as usize).checked_sub(self.imports.len()).and_then(|n| self.bodies.get(n));
            let body = body.context("its `cabi_realloc` calls the host")?.clone();
            for operator in body.get_operators_reader()? {
                match operator? {
                    Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                        open.push(function_index);
                    }
                    Operator::CallIndirect { .. }
                    | Operator::ReturnCallIndirect { .. }
                    | Operator::RefFunc { .. }
                    | Operator::TableGet { .. }
                    | Operator::TableSet { .. } => bail!("its `cabi_realloc` needs a table"),
                    _ => {}
                }
            }
            reached.insert(function, body);
        }
        Ok(reached)
    }
}

fn global_name(number: u32) -> String {
    format!("global-{number}")
}

/// Copies a section as it stands.
fn raw(module: &mut Module, core: &[u8], payload: &Payload<'_>) {
    if let Some((id, range)) = payload.as_section() {
        let range = super::range(&range);
        module.section(&RawSection { id, data: &core[range] });
    }
}

/// Functions under new numbers.
struct Renumber(BTreeMap<u32, u32>);

impl Reencode for Renumber {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, reencode::Error<Infallible>> {
        // Every function that is called was reached.
        Ok(self.0.get(&function).copied().unwrap_or(function))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(fields: &str) -> Vec<u8> {
        wat::parse_str(format!("(module {fields})")).unwrap()
    }

    /// Names of imports and exports.
    fn border(module: &[u8]) -> (Vec<String>, Vec<String>) {
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        for payload in Parser::new(0).parse_all(module) {
            match payload.unwrap() {
                Payload::ImportSection(section) => {
                    imports.extend(section.into_imports().map(|import| import.unwrap().name.to_owned()));
                }
                Payload::ExportSection(section) => {
                    exports.extend(section.into_iter().map(|export| export.unwrap().name.to_owned()));
                }
                _ => {}
            }
        }
        (imports, exports)
    }

    const REALLOC_THAT_STANDS_ALONE: &str = r#"
        (import "host" "read" (func $read))
        (memory (export "memory") 1)
        (global $stack (mut i32) (i32.const 1024))
        (func $unrelated (call $read))
        (func $take (param i32) (result i32) (global.get $stack))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (call $take (local.get 3)))
        (func (export "evaluate") (call $unrelated))
        (data (i32.const 8) "text")"#;

    #[test]
    fn the_base_has_the_memory_and_the_main_half_imports_it() {
        let halves = split(&module(REALLOC_THAT_STANDS_ALONE)).unwrap();
        let (imports, exports) = border(&halves.base);
        assert_eq!(
            (imports.len(), exports),
            (0, ["memory", "cabi_realloc", "global-0"].map(str::to_owned).into())
        );
        let (imports, exports) = border(&halves.main);
        assert_eq!(imports, ["read", "memory", "global-0"]);
        assert_eq!(exports, ["evaluate"]);
        let functions = Parts::read(&halves.base).unwrap().bodies.len();
        assert_eq!(functions, 2, "only what `cabi_realloc` calls");
    }

    #[test]
    fn a_module_that_can_not_be_split_says_why() {
        for (from, to, why) in [
            ("(call $take (local.get 3))", "(call $read) (i32.const 0)", "its `cabi_realloc` calls the host"),
            (r#"(export "cabi_realloc")"#, "", "it exports no `cabi_realloc`"),
            (
                r#"(data (i32.const 8) "text")"#,
                r#"(data "text")"#,
                "it has data that its code puts into memory",
            ),
            (
                r#"(memory (export "memory") 1)"#,
                r#"(import "host" "memory" (memory 1))"#,
                "it imports `memory`, which is no function",
            ),
            (
                "(call $take (local.get 3))",
                "(call_indirect (type $t) (local.get 3))) (type $t (func (result i32))) (table 1 funcref",
                "its `cabi_realloc` needs a table",
            ),
        ] {
            let error =
                split(&module(&REALLOC_THAT_STANDS_ALONE.replace(from, to))).err().map(|e| e.to_string());
            assert_eq!(error.as_deref(), Some(why));
        }
    }
}
