//! Modules that attack the compiler: some exceed a limit before compilation, others are stopped during it.

use std::path::Path;

use wardset::supply::PoliciesError;
use wardset::supply::modules::Modules;
use wardset_core::policy::Resource;
use wardset_runtime::{CompileLimits, Compiler};
use wasm_encoder::{
    BlockType, CodeSection, Component, ConstExpr, CustomSection, DataCountSection, DataSection, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, Instruction, Module as Core,
    ModuleSection, NestedComponentSection, RawSection, TypeSection, ValType,
};

use super::*;
use crate::support;

pub(super) struct Bomb {
    pub(super) name: &'static str,
    pub(super) purpose: &'static str,
    pub(super) bytes: fn() -> Vec<u8>,
    pub(super) by: By,
}

/// Time and memory for one compilation in these tests, low so that the suite ends soon.
const LIMITS: CompileLimits = CompileLimits {
    processor_time: Duration::from_secs(2),
    wall_time: Duration::from_secs(300),
    memory: 1 << 30,
    most_memory: 1 << 30,
};

pub(super) const BOMBS: &[Bomb] = &[
    Bomb {
        name: "functions-by-the-hundred-thousand",
        purpose: "Has 200,000 empty functions.",
        bytes: || functions(200_000, 0, |_| {}),
        by: By::Load(Refusal::Shape),
    },
    Bomb {
        name: "locals-by-the-ten-thousand",
        purpose: "Has functions of nine bytes with 50,000 local variables each.",
        bytes: || functions(1000, 50_000, |_| {}),
        by: By::Load(Refusal::Shape),
    },
    Bomb {
        name: "locals-by-the-million",
        purpose: "Has functions with the maximum number of local variables, five million in total.",
        bytes: || functions(200, 25_000, |_| {}),
        by: By::Load(Refusal::Shape),
    },
    Bomb {
        name: "function-of-megabytes",
        purpose: "Has one function of two MiB.",
        bytes: || functions(1, 64, |body| sums(body, 2 << 20)),
        by: By::Load(Refusal::Shape),
    },
    Bomb {
        name: "types-by-the-million",
        purpose: "Has a million types.",
        bytes: || component(&core_types(1_000_000)),
        by: By::Load(Refusal::Shape),
    },
    Bomb {
        name: "exports-by-the-hundred-thousand",
        purpose: "Exports one function under 100,000 names.",
        bytes: || component(&core_exports(100_000)),
        by: By::Load(Refusal::Shape),
    },
    Bomb {
        name: "segments-by-the-hundred-thousand",
        purpose: "Has 200,000 segments of data.",
        bytes: || component(&core_segments(200_000)),
        by: By::Load(Refusal::Shape),
    },
    Bomb {
        name: "components-in-components",
        purpose: "Has components nested a thousand levels deep.",
        bytes: || nested(1000),
        by: By::Load(Refusal::Shape),
    },
    Bomb {
        name: "components-beside-components",
        purpose: "Has a thousand components side by side.",
        bytes: || {
            let mut outer = Component::new();
            (0..1000).for_each(|_| {
                outer.section(&NestedComponentSection(&Component::new()));
            });
            outer.finish()
        },
        by: By::Load(Refusal::Shape),
    },
    Bomb {
        name: "types-in-types",
        purpose: "Has a type that is nested a hundred thousand levels deep.",
        bytes: || {
            // A component type that declares one type, which is again a component type, and so on.
            let mut data = vec![1];
            data.extend([0x41, 1, 1].repeat(100_000));
            data.extend([0x41, 0]);
            let mut outer = Component::new();
            outer.section(&RawSection { id: 7, data: &data });
            outer.finish()
        },
        by: By::Load(Refusal::Compiler),
    },
    Bomb {
        name: "code-of-megabytes",
        purpose: "Has 15 MiB of code; each function is within the limits.",
        bytes: || functions(15, 64, |body| sums(body, 1000 << 10)),
        by: By::Load(Refusal::Compiler),
    },
    Bomb {
        name: "blocks-in-blocks",
        purpose: "Has functions of 60,000 nested blocks with a jump out of each.",
        bytes: || functions(30, 1, |body| blocks(body, 60_000)),
        by: By::Load(Refusal::Time),
    },
    Bomb {
        name: "custom-section-of-megabytes",
        purpose: "Behaves well, but carries a custom section of 15 MiB.",
        bytes: || {
            let mut bytes = guests::component("well-behaved");
            let section = CustomSection { name: "x".into(), data: vec![0; 15 << 20].into() };
            let mut with_header = Component::new();
            with_header.section(&section);
            bytes.extend(&with_header.finish()[8..]);
            bytes
        },
        by: By::Nothing,
    },
];

impl Bomb {
    /// Loads the module; returns the mechanism that stopped it, and the time until then.
    pub(super) async fn set_off(&self) -> (By, Duration) {
        let bytes = (self.bytes)();
        let started = Instant::now();
        let by = Self::load(&bytes).await;
        (by, started.elapsed())
    }

    async fn load(bytes: &[u8]) -> By {
        let compiler = support::compiler(LIMITS);
        match Module::load_by(&compiler, &ENGINE, bytes, None).await {
            Err(error) => refused(&error),
            Ok(module) => {
                let policies = between_neighbours((
                    policy("hostile", 0, Mode::Enforce, OnError::Fail, "10s"),
                    module.into(),
                ));
                let snapshot = Snapshot::new(Arc::clone(&ENGINE), policies.await).await.unwrap();
                assert_silent(&decide(&snapshot, &review(Of::Create, false)).await);
                By::Nothing
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_compiler_bomb_is_contained() {
    for bomb in BOMBS {
        let (by, _) = bomb.set_off().await;
        assert!(is_as_expected(bomb.by, by), "{}: expected {:?}, found {by:?}", bomb.name, bomb.by);
    }
    assert_engine_works().await;
}

/// Returns whether `found` is acceptable. Memory may run out before the deadline on a fast or full machine, or after
/// it.
pub(super) fn is_as_expected(expected: By, found: By) -> bool {
    let bounds = [By::Load(Refusal::Time), By::Load(Refusal::Compiler)];
    expected == found || (bounds.contains(&expected) && bounds.contains(&found))
}

/// The compiler's process has a memory limit. If it runs out, it ends and the server continues.
#[tokio::test]
async fn the_server_survives_a_compiler_that_runs_out_of_memory() {
    let limits = CompileLimits { memory: 12 << 20, ..CompileLimits::default() };
    let bytes =
        wardset::supply::builtin::MODULES.iter().find(|module| module.name == "node-affinity").unwrap().bytes;
    let error = Module::load_by(&support::compiler(limits), &ENGINE, bytes, None).await.err().unwrap();
    assert!(matches!(error, LoadError::Crashed(_)), "{error:?}");
    // The same module compiles with more memory, so memory was the cause.
    let compiler = support::compiler(CompileLimits { memory: 128 << 20, ..CompileLimits::default() });
    assert_eq!(
        Module::load_by(&compiler, &ENGINE, bytes, None).await.unwrap().manifest.name,
        "node-affinity"
    );
}

#[tokio::test]
async fn a_child_process_compiles_like_this_process() {
    let bytes = guests::component("well-behaved");
    let here = Module::load(&ENGINE, &bytes, None).await.unwrap();
    let child = support::compiler(CompileLimits::default());
    let there = Module::load_by(&child, &ENGINE, &bytes, None).await.unwrap();
    assert_eq!((&here.manifest, &here.digest), (&there.manifest, &there.digest));
    let error = Module::load_by(&child, &ENGINE, &bytes[..bytes.len() / 2], None).await.err().unwrap();
    assert_eq!(refused(&error), By::Load(Refusal::Compile), "{error:?}");
}

#[tokio::test]
async fn fails_to_load_if_the_compiler_is_missing() {
    let compiler = Compiler::danger_in_children("/nowhere/wardset", [], CompileLimits::default());
    let error = Module::load_by(&compiler, &ENGINE, &guests::component("well-behaved"), None).await.err();
    assert!(matches!(error, Some(LoadError::NoCompiler(_))), "{error:?}");
}

/// While one module uses the compiler's full time, the server decides reviews and activates other policies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compiler_bomb_delays_no_other_policy() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bomb.wasm"), forever()).unwrap();
    let modules = Arc::new(modules(CompileLimits {
        processor_time: Duration::from_secs(60),
        memory: 1 << 30,
        ..CompileLimits::default()
    }));
    let (here, theirs) = (folder.path().to_owned(), Arc::clone(&modules));
    let bomb = tokio::spawn(async move { theirs.member(of_file("bomb", "bomb.wasm"), &here).await.err() });

    let other = [(policy("other", 0, Mode::Enforce, OnError::Fail, "10s"), load("well-behaved").await)];
    let snapshot = Snapshot::new(Arc::clone(&ENGINE), other).await.unwrap();
    for guest in ["well-behaved", "declines", "unreachable", "many-warnings"] {
        let file = format!("{guest}.wasm");
        std::fs::write(folder.path().join(&file), guests::component(guest)).unwrap();
        modules.member(of_file(guest, &file), folder.path()).await.unwrap();
        assert_eq!(decide(&snapshot, &review(Of::Create, false)).await.outcome, Outcome::Allowed);
        assert!(!bomb.is_finished(), "the compilation ended early");
    }
    bomb.abort();
    assert!(bomb.await.unwrap_err().is_cancelled());
}

/// If the client gives up, its compiler must stop too. Otherwise both compiler permits would stay taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_policy_review_stops_its_compiler() {
    let folder = tempfile::tempdir().unwrap();
    let modules = modules(CompileLimits {
        processor_time: Duration::from_secs(600),
        memory: 1 << 30,
        ..CompileLimits::default()
    });
    for number in 0..4 {
        let file = folder.path().join(format!("bomb-{number}.wasm"));
        std::fs::write(&file, [forever(), padding(number)].concat()).unwrap();
        let check = modules.check(resource("bomb", file.to_str().unwrap()));
        let given_up = tokio::time::timeout(Duration::from_millis(200), check).await;
        assert!(given_up.is_err(), "the compilation ended early: {given_up:?}");
    }
    let file = folder.path().join("good.wasm");
    std::fs::write(&file, guests::component("well-behaved")).unwrap();
    let good = modules.check(resource("good", file.to_str().unwrap()));
    tokio::time::timeout(SOON * 4, good).await.expect("every compiler permit stayed taken").unwrap();
}

/// After a module timed out in the compiler, the same bytes are refused at once, and other bytes are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compiler_bomb_is_compiled_only_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bomb.wasm"), forever()).unwrap();
    let modules = modules(CompileLimits {
        processor_time: Duration::from_secs(1),
        memory: 1 << 30,
        ..CompileLimits::default()
    });
    let mut errors = Vec::new();
    for name in ["first", "second"] {
        modules.forget_unused();
        match modules.member(of_file(name, "bomb.wasm"), folder.path()).await {
            Err(PoliciesError::Module { source, .. }) => errors.push(source),
            other => panic!("{:?}", other.err()),
        }
    }
    assert!(matches!(*errors[0], LoadError::TooSlow(_)), "{:?}", errors[0]);
    assert!(Arc::ptr_eq(&errors[0], &errors[1]), "the module was compiled again");
}

fn modules(limits: CompileLimits) -> Modules {
    Modules::new(Arc::clone(&ENGINE), None, support::compiler(limits))
}

fn of_file(name: &str, file: &str) -> Policy {
    Policy::try_from(resource(name, file)).unwrap()
}

fn resource(name: &str, file: &str) -> Resource {
    let resource = json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": name},
        "spec": {"module": format!("file:{}", Path::new(file).display()), "limits": {"timeout": "10s"}},
    });
    serde_json::from_value(resource).unwrap()
}

/// Returns a module below the size limit that no machine compiles within many seconds.
pub(crate) fn forever() -> Vec<u8> {
    functions(30, 64, |body| sums(body, 500 << 10))
}

/// Returns an empty custom section, which gives the same module another digest.
fn padding(number: u8) -> Vec<u8> {
    vec![0, 3, 1, b'x', number]
}

/// Returns a component with one core module.
fn component(core: &Core) -> Vec<u8> {
    let mut component = Component::new();
    component.section(&ModuleSection(core));
    component.finish()
}

fn nested(depth: u32) -> Vec<u8> {
    let mut inner = Component::new();
    for _ in 0..depth {
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&inner));
        inner = outer;
    }
    inner.finish()
}

fn core_types(number: u32) -> Core {
    let mut types = TypeSection::new();
    (0..number).for_each(|_| types.ty().function([], []));
    let mut core = Core::new();
    core.section(&types);
    core
}

fn core_segments(number: u32) -> Core {
    let mut data = DataSection::new();
    (0..number).for_each(|_| {
        data.passive([]);
    });
    let mut core = Core::new();
    core.section(&DataCountSection { count: number }).section(&data);
    core
}

fn core_exports(number: u32) -> Core {
    let mut core = core_types(1);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut exports = ExportSection::new();
    for name in 0..number {
        exports.export(&name.to_string(), ExportKind::Func, 0);
    }
    let mut code = CodeSection::new();
    let mut body = Function::new([]);
    body.instruction(&Instruction::End);
    code.function(&body);
    core.section(&functions).section(&exports).section(&code);
    core
}

/// Returns a component with `number` functions of `locals` local variables and this body, and a global variable.
fn functions(number: u32, locals: u32, body: impl Fn(&mut Function)) -> Vec<u8> {
    let mut core = core_types(1);
    let (mut functions, mut globals, mut code) =
        (FunctionSection::new(), GlobalSection::new(), CodeSection::new());
    let global = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
    globals.global(global, &ConstExpr::i64_const(1));
    let mut function = Function::new([(locals, ValType::I64)]);
    body(&mut function);
    function.instruction(&Instruction::End);
    for _ in 0..number {
        functions.function(0);
        code.function(&function);
    }
    core.section(&functions).section(&globals).section(&code);
    component(&core)
}

/// Appends about `bytes` of sums over 64 variables, with a branch around each sum. All variables are live until the
/// end, which is much work for a register allocator.
fn sums(body: &mut Function, bytes: usize) {
    for local in 0..64 {
        body.instruction(&Instruction::GlobalGet(0)).instruction(&Instruction::LocalSet(local));
    }
    let mut turn = 0;
    while body.byte_len() + 512 < bytes {
        turn += 1;
        let local = |n: u32| n % 64;
        body.instruction(&Instruction::Block(BlockType::Empty))
            .instruction(&Instruction::LocalGet(local(turn)))
            .instruction(&Instruction::I32WrapI64)
            .instruction(&Instruction::BrIf(0))
            .instruction(&Instruction::LocalGet(local(turn)))
            .instruction(&Instruction::LocalGet(local(turn * 7 + 3)))
            .instruction(&Instruction::I64Mul)
            .instruction(&Instruction::LocalGet(local(turn * 13 + 5)))
            .instruction(&Instruction::I64Add)
            .instruction(&Instruction::LocalSet(local(turn * 5 + 1)))
            .instruction(&Instruction::End);
    }
    body.instruction(&Instruction::I64Const(0));
    for local in 0..64 {
        body.instruction(&Instruction::LocalGet(local)).instruction(&Instruction::I64Add);
    }
    body.instruction(&Instruction::GlobalSet(0));
}

fn blocks(body: &mut Function, number: u32) {
    body.instruction(&Instruction::GlobalGet(0)).instruction(&Instruction::LocalSet(0));
    for _ in 0..number {
        body.instruction(&Instruction::Block(BlockType::Empty));
    }
    for _ in 0..number {
        body.instruction(&Instruction::LocalGet(0))
            .instruction(&Instruction::I32WrapI64)
            .instruction(&Instruction::BrIf(0))
            .instruction(&Instruction::End);
    }
}
