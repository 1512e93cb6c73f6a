//! Runs the start of a language's runtime at build time, and stores the memory of the started program in the module.
//!
//! Go needs about 300 µs to start its runtime, which each fresh sandbox would repeat. An interpreter runs the start
//! once. The snapshot has the same code, but its memory and its globals begin with the values after the start.

use std::collections::BTreeSet;
use std::{error, fmt};

use wasm_encoder::{
    ConstExpr, DataSection, ExportKind, ExportSection, GlobalSection, GlobalType, MemorySection, MemoryType,
    RawSection, ValType,
};
use wasmi::{Caller, Config, Engine, Extern, FuncType, Instance, Linker, Module, Store, Val};
use wasmparser::{ExternalKind, Operator, Parser, Payload};

use crate::wasi::{WASI_ADAPTER, WASI_MODULE};

/// Functions that the start calls, in this order. A module need not export both.
const STARTS: [&str; 2] = ["_initialize", "wizer-initialize"];

/// Prefix of the exports by which the interpreter reads the globals.
const GLOBAL: &str = "wardset-global-";

/// Nanoseconds of the clock during the start. The adapter's clock in a sandbox begins later, so time never goes back.
const CLOCK_NS: i64 = 1_000_000;

/// Instructions of the start: a hundred times those of Go's runtime, and less than a minute.
const FUEL: u64 = 5_000_000_000;

/// Number of data segments. Wardset refuses modules with more than 100,000.
const SEGMENTS: usize = 10_000;

/// Bytes of a page of WebAssembly memory.
const PAGE: usize = 65_536;

/// Returns a module that begins in the state after the start of this one.
///
/// # Errors
///
/// The module is of a form that a snapshot cannot reproduce, or the start traps.
pub fn snapshot(core: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    within(core, FUEL)
}

fn within(core: &[u8], fuel: u64) -> Result<Vec<u8>, SnapshotError> {
    let shape = Shape::read(core)?;
    let state = run(&shape.instrumented(core)?, &shape, fuel)?;
    shape.with_state(core, &state)
}

/// The parts of a module that a snapshot changes.
struct Shape {
    /// The name of the only memory.
    memory: String,
    /// The globals; those that are mutable have a state.
    globals: Vec<wasmparser::GlobalType>,
}

/// The state after the start.
struct State {
    memory: Vec<u8>,
    /// The values of the mutable globals, by their indices.
    globals: Vec<Option<Val>>,
}

impl Shape {
    fn read(core: &[u8]) -> Result<Self, SnapshotError> {
        let mut memory = None;
        let mut memories = 0;
        let mut globals = Vec::new();
        for payload in Parser::new(0).parse_all(core) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        if !matches!(import.ty, wasmparser::TypeRef::Func(_)) {
                            return Err(form("an import that is not a function", import.name));
                        }
                    }
                }
                Payload::MemorySection(section) => memories = section.count(),
                Payload::GlobalSection(section) => {
                    for global in section {
                        globals.push(global?.ty);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == ExternalKind::Memory {
                            memory = Some(export.name.to_owned());
                        }
                    }
                }
                Payload::StartSection { .. } => return Err(form("a start function", "start")),
                Payload::CodeSectionEntry(body) => {
                    for operator in body.get_operators_reader()? {
                        refuse(&operator?)?;
                    }
                }
                _ => {}
            }
        }
        match memory {
            Some(memory) if memories == 1 => Ok(Self { memory, globals }),
            Some(_) => Err(form("more than one memory", "memory")),
            None => Err(form("no exported memory", "memory")),
        }
    }

    /// Returns the module with all mutable globals exported.
    fn instrumented(&self, core: &[u8]) -> Result<Vec<u8>, SnapshotError> {
        rewrite(core, |module, id, payload| {
            let Payload::ExportSection(section) = payload else { return Ok(Section::Keep(id)) };
            let mut exports = ExportSection::new();
            for export in section.clone() {
                let export = export?;
                exports.export(export.name, kind(export.kind)?, export.index);
            }
            for (index, global) in self.globals.iter().enumerate() {
                if global.mutable {
                    exports.export(&format!("{GLOBAL}{index}"), ExportKind::Global, number(index)?);
                }
            }
            module.section(&exports);
            Ok(Section::Replaced)
        })
    }

    /// Returns the module with the state in the place of its data, and without the functions of the start.
    fn with_state(&self, core: &[u8], state: &State) -> Result<Vec<u8>, SnapshotError> {
        rewrite(core, |module, id, payload| {
            match payload {
                Payload::MemorySection(section) => {
                    let mut memories = MemorySection::new();
                    for memory in section.clone() {
                        let memory = memory?;
                        memories.memory(MemoryType {
                            minimum: (state.memory.len() / PAGE) as u64,
                            maximum: memory.maximum,
                            memory64: memory.memory64,
                            shared: memory.shared,
                            page_size_log2: memory.page_size_log2,
                        });
                    }
                    module.section(&memories);
                }
                Payload::GlobalSection(section) => {
                    let mut globals = GlobalSection::new();
                    for (global, value) in section.clone().into_iter().zip(&state.globals) {
                        let global = global?;
                        let (ty, value) = match value {
                            Some(value) => constant(value)?,
                            // An immutable global keeps its text.
                            None => kept(&global)?,
                        };
                        let mutable = global.ty.mutable;
                        globals
                            .global(GlobalType { val_type: ty, mutable, shared: global.ty.shared }, &value);
                    }
                    module.section(&globals);
                }
                Payload::ExportSection(section) => {
                    let mut exports = ExportSection::new();
                    for export in section.clone() {
                        let export = export?;
                        if !STARTS.contains(&export.name) {
                            exports.export(export.name, kind(export.kind)?, export.index);
                        }
                    }
                    module.section(&exports);
                }
                Payload::DataSection(_) => {
                    let mut data = DataSection::new();
                    for (start, end) in segments(&state.memory) {
                        let offset = ConstExpr::i32_const(number(start)?.cast_signed());
                        data.active(0, &offset, state.memory[start..end].iter().copied());
                    }
                    module.section(&data);
                }
                // The number of segments differs, and no instruction names one.
                Payload::DataCountSection { .. } => {}
                _ => return Ok(Section::Keep(id)),
            }
            Ok(Section::Replaced)
        })
    }
}

/// Whether a section stays.
enum Section {
    Keep(u8),
    Replaced,
}

/// Copies a module section by section. `change` may write another section instead.
fn rewrite(
    core: &[u8],
    mut change: impl FnMut(&mut wasm_encoder::Module, u8, &Payload<'_>) -> Result<Section, SnapshotError>,
) -> Result<Vec<u8>, SnapshotError> {
    let mut module = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(core) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else { continue };
        if let Section::Keep(id) = change(&mut module, id, &payload)? {
            module.section(&RawSection { id, data: &core[range] });
        }
    }
    Ok(module.finish())
}

/// Refuses an instruction whose effect a snapshot cannot reproduce: changes of tables, and uses of segments.
fn refuse(operator: &Operator<'_>) -> Result<(), SnapshotError> {
    match operator {
        Operator::TableCopy { .. }
        | Operator::TableInit { .. }
        | Operator::TableSet { .. }
        | Operator::TableGrow { .. }
        | Operator::TableFill { .. }
        | Operator::ElemDrop { .. }
        | Operator::DataDrop { .. }
        | Operator::MemoryInit { .. } => Err(form("an instruction that changes tables or segments", "code")),
        _ => Ok(()),
    }
}

fn form(found: &'static str, name: &str) -> SnapshotError {
    SnapshotError::Form { found, name: name.to_owned() }
}

fn number(value: usize) -> Result<u32, SnapshotError> {
    u32::try_from(value).map_err(|_| form("more than 4 GiB", "memory"))
}

fn kind(kind: ExternalKind) -> Result<ExportKind, SnapshotError> {
    Ok(match kind {
        ExternalKind::Func => ExportKind::Func,
        ExternalKind::Table => ExportKind::Table,
        ExternalKind::Memory => ExportKind::Memory,
        ExternalKind::Global => ExportKind::Global,
        _ => return Err(form("an export of another kind", "export")),
    })
}

fn constant(value: &Val) -> Result<(ValType, ConstExpr), SnapshotError> {
    Ok(match value {
        Val::I32(value) => (ValType::I32, ConstExpr::i32_const(*value)),
        Val::I64(value) => (ValType::I64, ConstExpr::i64_const(*value)),
        Val::F32(value) => (ValType::F32, ConstExpr::f32_const(wasm_encoder::Ieee32::new(value.to_bits()))),
        Val::F64(value) => (ValType::F64, ConstExpr::f64_const(wasm_encoder::Ieee64::new(value.to_bits()))),
        _ => return Err(form("a global that is not a number", "global")),
    })
}

/// Returns type and value of a global that never changes.
fn kept(global: &wasmparser::Global<'_>) -> Result<(ValType, ConstExpr), SnapshotError> {
    let mut operators = global.init_expr.get_operators_reader();
    Ok(match operators.read()? {
        Operator::I32Const { value } => (ValType::I32, ConstExpr::i32_const(value)),
        Operator::I64Const { value } => (ValType::I64, ConstExpr::i64_const(value)),
        Operator::F32Const { value } => {
            (ValType::F32, ConstExpr::f32_const(wasm_encoder::Ieee32::new(value.bits())))
        }
        Operator::F64Const { value } => {
            (ValType::F64, ConstExpr::f64_const(wasm_encoder::Ieee64::new(value.bits())))
        }
        _ => return Err(form("a global whose value is not a constant", "global")),
    })
}

/// Returns the ranges of memory that are not zero, at most [`SEGMENTS`]. Gaps that are too short to skip are part of a
/// range.
fn segments(memory: &[u8]) -> Vec<(usize, usize)> {
    let mut gap = 16;
    loop {
        let found = ranges(memory, gap);
        if found.len() <= SEGMENTS {
            return found;
        }
        gap *= 2;
    }
}

fn ranges(memory: &[u8], gap: usize) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (at, _) in memory.iter().enumerate().filter(|(_, byte)| **byte != 0) {
        match found.last_mut() {
            Some((_, end)) if at - *end < gap => *end = at + 1,
            _ => found.push((at, at + 1)),
        }
    }
    found
}

/// Runs the start in an interpreter.
fn run(module: &[u8], shape: &Shape, fuel: u64) -> Result<State, SnapshotError> {
    let trap = |error: wasmi::Error| SnapshotError::Start { cause: error.to_string() };
    let mut config = Config::default();
    config.consume_fuel(true);
    let engine = Engine::new(&config);
    let module = Module::new(&engine, module).map_err(trap)?;
    let adapter = Module::new(&engine, WASI_ADAPTER).map_err(trap)?;
    let mut store: Store<Option<Instance>> = Store::new(&engine, None);
    store.set_fuel(fuel).map_err(trap)?;

    // The adapter needs the memory of the program, so it comes second.
    let mut linker = Linker::new(&engine);
    let mut defined = BTreeSet::new();
    for import in module.imports() {
        let Some(ty) = import.ty().func() else { continue };
        let (from, name) = (import.module().to_owned(), import.name().to_owned());
        // Go imports some functions twice.
        if !defined.insert((from.clone(), name.clone())) {
            continue;
        }
        answer(&mut linker, from, name, ty.clone()).map_err(trap)?;
    }
    let instance = linker.instantiate_and_start(&mut store, &module).map_err(trap)?;
    let memory =
        instance.get_memory(&store, &shape.memory).ok_or_else(|| form("no exported memory", "memory"))?;
    let mut linker = Linker::new(&engine);
    linker.define("env", "memory", Extern::Memory(memory)).map_err(|error| trap(error.into()))?;
    let adapter = linker.instantiate_and_start(&mut store, &adapter).map_err(trap)?;
    if let Some(clock) = adapter.get_global(&store, "clock") {
        clock
            .set(&mut store, Val::I64(CLOCK_NS))
            .map_err(|error| SnapshotError::Start { cause: error.to_string() })?;
    }
    *store.data_mut() = Some(adapter);

    for start in STARTS {
        if let Some(function) = instance.get_func(&store, start) {
            function.call(&mut store, &[], &mut []).map_err(trap)?;
        }
    }
    let globals = (0..shape.globals.len())
        .map(|index| {
            instance.get_global(&store, &format!("{GLOBAL}{index}")).map(|global| global.get(&store))
        })
        .collect();
    Ok(State { memory: memory.data(&store).to_vec(), globals })
}

/// Defines an import: the adapter answers for WASI, and any other call fails.
fn answer(
    linker: &mut Linker<Option<Instance>>,
    from: String,
    name: String,
    ty: FuncType,
) -> Result<(), wasmi::Error> {
    let call = {
        let (from, name) = (from.clone(), name.clone());
        move |mut caller: Caller<'_, Option<Instance>>, params: &[Val], results: &mut [Val]| {
            let adapter = caller.data().filter(|_| from == WASI_MODULE);
            let function = adapter.and_then(|adapter| adapter.get_func(&caller, &name));
            let function = function.ok_or_else(|| {
                wasmi::Error::new(format!("the start calls `{name}` of `{from}`, which only a review has"))
            })?;
            function.call(&mut caller, params, results)
        }
    };
    linker.func_new(&from, &name, ty, call)?;
    Ok(())
}

/// The reason why there is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// The bytes are not a module.
    Unreadable {
        /// The parser's message.
        cause: String,
    },
    /// The module has something that a snapshot cannot reproduce.
    Form {
        /// The thing.
        found: &'static str,
        /// Its name, or its section.
        name: String,
    },
    /// The start failed.
    Start {
        /// The interpreter's message.
        cause: String,
    },
}

impl From<wasmparser::BinaryReaderError> for SnapshotError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Unreadable { cause: error.to_string() }
    }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { cause } => write!(f, "expected a core module, found other bytes: {cause}"),
            Self::Form { found, name } => {
                write!(f, "failed to make a snapshot of the started program: found {found} (`{name}`)")
            }
            Self::Start { cause } => write!(
                f,
                "failed to start the program at build time: {cause}\nhint: code that runs before the first review \
                 must not call the host"
            ),
        }
    }
}

impl error::Error for SnapshotError {}

#[cfg(test)]
mod tests;
