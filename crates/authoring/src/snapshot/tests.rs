use super::*;

/// A program that counts its starts in a global and in memory, and asks for the time.
const PROGRAM: &str = r#"(module
    (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
    (import "wardset:policy/document@0.1.1" "object" (func $object (param i32 i32 i32)))
    (memory (export "memory") 1 9)
    (global $starts (mut i32) (i32.const 0))
    (global $fixed i64 (i64.const 7))
    (data (i32.const 8) "old")
    (func (export "_initialize")
        (drop (memory.grow (i32.const 1)))
        (global.set $starts (i32.add (global.get $starts) (i32.const 1)))
        (drop (call $time (i32.const 1) (i64.const 0) (i32.const 65536))))
    (func (export "wizer-initialize") (i32.store8 (i32.const 9) (i32.const 0x4c)))
    (func (export "starts") (result i32) (global.get $starts))
    (func (export "fixed") (result i64) (global.get $fixed))
    (func (export "ask") (call $object (i32.const 0) (i32.const 0) (i32.const 0))))"#;

/// Runs a module whose imports all trap.
fn instance(module: &[u8]) -> (Store<()>, Instance) {
    let engine = Engine::default();
    let module = Module::new(&engine, module).unwrap();
    let mut store = Store::new(&engine, ());
    let (mut linker, mut defined) = (Linker::new(&engine), BTreeSet::new());
    for import in module.imports() {
        if !defined.insert((import.module().to_owned(), import.name().to_owned())) {
            continue;
        }
        let ty = import.ty().func().unwrap().clone();
        let trap = |_: Caller<'_, ()>, _: &[Val], _: &mut [Val]| Err(wasmi::Error::new("called"));
        linker.func_new(import.module(), import.name(), ty, trap).unwrap();
    }
    let instance = linker.instantiate_and_start(&mut store, &module).unwrap();
    (store, instance)
}

#[test]
fn begins_in_the_state_after_the_start() {
    let core = wat::parse_str(PROGRAM).unwrap();
    let (mut store, instance) = instance(&snapshot(&core).unwrap());
    let memory = instance.get_memory(&store, "memory").unwrap();
    assert_eq!(memory.size(&store), 2);
    let data = memory.data(&store);
    assert_eq!(&data[8..11], b"oLd");
    assert_eq!(u64::from_le_bytes(data[65_536..65_544].try_into().unwrap()), CLOCK_NS as u64);
    let mut result = [Val::I32(0)];
    instance.get_func(&store, "starts").unwrap().call(&mut store, &[], &mut result).unwrap();
    assert_eq!(result[0].i32(), Some(1));
    let mut result = [Val::I64(0)];
    instance.get_func(&store, "fixed").unwrap().call(&mut store, &[], &mut result).unwrap();
    assert_eq!(result[0].i64(), Some(7));
}

#[test]
fn nothing_can_start_the_program_again() {
    let core = wat::parse_str(PROGRAM).unwrap();
    let (store, instance) = instance(&snapshot(&core).unwrap());
    for start in STARTS {
        assert!(instance.get_func(&store, start).is_none(), "{start}");
    }
}

#[test]
fn the_same_module_gives_the_same_snapshot() {
    let core = wat::parse_str(PROGRAM).unwrap();
    assert_eq!(snapshot(&core).unwrap(), snapshot(&core).unwrap());
}

#[test]
fn time_in_a_sandbox_is_later_than_in_the_snapshot() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let memory = wasmi::Memory::new(&mut store, wasmi::MemoryType::new(1, None)).unwrap();
    let mut linker = Linker::new(&engine);
    linker.define("env", "memory", memory).unwrap();
    let adapter = Module::new(&engine, WASI_ADAPTER).unwrap();
    let adapter = linker.instantiate_and_start(&mut store, &adapter).unwrap();
    let begin = adapter.get_global(&store, "clock").unwrap().get(&store).i64().unwrap();
    // Each look takes one microsecond. A start of half a million looks still ends before.
    assert!(begin > CLOCK_NS + 500_000 * 1000, "{begin}");
}

#[test]
fn a_start_that_calls_the_host_is_an_error() {
    let text = PROGRAM.replace(
        "(i32.store8 (i32.const 9) (i32.const 0x4c))",
        "(call $object (i32.const 0) (i32.const 0) (i32.const 0))",
    );
    let error = snapshot(&wat::parse_str(text).unwrap()).unwrap_err().to_string();
    assert!(error.contains("calls `object` of `wardset:policy/document@0.1.1`"), "{error}");
    assert!(error.contains("hint: "), "{error}");
}

#[test]
fn refuses_modules_that_a_snapshot_cannot_reproduce() {
    for (text, part) in [
        ("(module)", "no exported memory"),
        ("(module (memory (export \"memory\") 1) (memory 1))", "more than one memory"),
        ("(module (import \"e\" \"m\" (memory 1)))", "import"),
        ("(module (memory (export \"memory\") 1) (func $f) (start $f))", "start"),
        (
            "(module (memory (export \"memory\") 1) (table 1 funcref)
                (func (table.set (i32.const 0) (ref.null func))))",
            "tables",
        ),
    ] {
        let error = snapshot(&wat::parse_str(text).unwrap()).unwrap_err();
        assert!(matches!(error, SnapshotError::Form { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(matches!(snapshot(b"x").unwrap_err(), SnapshotError::Unreadable { .. }));
}

#[test]
fn segments_leave_out_long_gaps_and_stay_few() {
    let mut memory = vec![0; 4 * PAGE];
    (memory[10], memory[20], memory[100]) = (1, 1, 1);
    assert_eq!(segments(&memory), [(10, 21), (100, 101)]);
    for at in (0..memory.len()).step_by(20) {
        memory[at] = 1;
    }
    let found = segments(&memory);
    assert!(found.len() <= SEGMENTS, "{}", found.len());
    assert!(found.iter().all(|(start, end)| memory[*start] != 0 && memory[end - 1] != 0));
}

#[test]
fn a_start_that_never_ends_is_an_error() {
    let text = PROGRAM.replace("(i32.store8 (i32.const 9) (i32.const 0x4c))", "(loop $again (br $again))");
    let error = within(&wat::parse_str(text).unwrap(), 100_000).unwrap_err();
    assert!(matches!(&error, SnapshotError::Start { cause } if cause.contains("fuel")), "{error}");
}
