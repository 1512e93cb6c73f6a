use std::collections::BTreeMap;

use wasmi::{Engine, Instance, Linker, Memory, MemoryType, Module, Store, Val, ValType};

use super::*;

/// Errors of WASI preview 1.
const SUCCESS: i32 = 0;
const BADF: i32 = 8;
const INVAL: i32 = 28;
const NOSYS: i32 = 52;
const NOTDIR: i32 = 54;
const NOTSOCK: i32 = 57;
const SPIPE: i32 = 70;

/// Every function of WASI preview 1 with its parameters: `i` is 32 bits, `l` is 64. All but `proc_exit` return 32 bits.
///
/// From the specification: handles, pointers, sizes, numbers of elements and flags have 32 bits. Sizes and offsets in
/// files, times, rights and directory cookies have 64. A string or list is a pointer and a length, a result is a
/// pointer.
const FUNCTIONS: [(&str, &str); 46] = [
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "ili"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("fd_advise", "illi"),
    ("fd_allocate", "ill"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "ill"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "il"),
    ("fd_filestat_set_times", "illi"),
    ("fd_pread", "iiili"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_prestat_get", "ii"),
    ("fd_pwrite", "iiili"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiili"),
    ("fd_renumber", "ii"),
    ("fd_seek", "ilii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiilli"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiillii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_exit", "i"),
    ("proc_raise", "i"),
    ("random_get", "ii"),
    ("sched_yield", ""),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// The adapter with one page of memory.
struct Adapter {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
}

impl Adapter {
    fn new() -> Self {
        let engine = Engine::default();
        let mut store = Store::new(&engine, ());
        let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
        // Nothing is zero before the adapter writes it.
        memory.data_mut(&mut store).fill(0xaa);
        let mut linker = Linker::new(&engine);
        linker.define("env", "memory", memory).unwrap();
        let module = Module::new(&engine, WASI_ADAPTER).unwrap();
        let instance = linker.instantiate_and_start(&mut store, &module).unwrap();
        Self { store, instance, memory }
    }

    /// Calls a function with parameters of the type that it has.
    fn try_call(&mut self, name: &str, values: &[i64]) -> Result<i32, wasmi::Error> {
        let function = self.instance.get_func(&self.store, name).unwrap();
        let ty = function.ty(&self.store);
        assert_eq!(ty.params().len(), values.len(), "{name}");
        let values: Vec<Val> = ty
            .params()
            .iter()
            .zip(values)
            .map(|(ty, value)| match ty {
                ValType::I32 => Val::I32(*value as i32),
                _ => Val::I64(*value),
            })
            .collect();
        let mut results = vec![Val::I32(-1); ty.results().len()];
        function.call(&mut self.store, &values, &mut results)?;
        Ok(results.first().and_then(Val::i32).unwrap_or(SUCCESS))
    }

    fn call(&mut self, name: &str, values: &[i64]) -> i32 {
        self.try_call(name, values).unwrap()
    }

    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.memory.data(&self.store)[at..at + N].try_into().unwrap()
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.memory.data_mut(&mut self.store)[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn time(&mut self) -> u64 {
        assert_eq!(self.call("clock_time_get", &[1, 0, 64]), SUCCESS);
        self.u64(64)
    }
}

#[test]
fn exports_every_function_of_wasi_with_its_type() {
    let engine = Engine::default();
    let module = Module::new(&engine, WASI_ADAPTER).unwrap();
    let exported: BTreeMap<String, String> = module
        .exports()
        .filter_map(|export| {
            let ty = export.ty().func()?.clone();
            let letter = |ty: &ValType| if *ty == ValType::I32 { 'i' } else { 'l' };
            let params: String = ty.params().iter().map(letter).collect();
            let results: String = ty.results().iter().map(letter).collect();
            Some((export.name().to_owned(), format!("{params}>{results}")))
        })
        .collect();
    let expected: BTreeMap<String, String> = FUNCTIONS
        .iter()
        .map(|(name, params)| {
            let result = if *name == "proc_exit" { "" } else { "i" };
            ((*name).to_owned(), format!("{params}>{result}"))
        })
        .collect();
    assert_eq!(exported, expected);
    assert_eq!(exported.len(), 46);
}

#[test]
fn imports_only_the_memory() {
    let engine = Engine::default();
    let module = Module::new(&engine, WASI_ADAPTER).unwrap();
    let imports: Vec<_> = module.imports().map(|import| (import.module(), import.name())).collect();
    assert_eq!(imports, [("env", "memory")]);
}

#[test]
fn the_clock_is_never_zero_and_always_advances() {
    let mut adapter = Adapter::new();
    let first = adapter.time();
    assert_eq!(first, 1_000_000_000);
    assert_eq!(adapter.time(), first + 1000);
    for clock in 0..4 {
        assert_eq!(adapter.call("clock_time_get", &[clock, 1, 64]), SUCCESS);
        assert_eq!(adapter.call("clock_res_get", &[clock, 72]), SUCCESS);
        assert_eq!(adapter.u64(72), 1000);
    }
    assert_eq!(adapter.call("clock_time_get", &[4, 0, 64]), INVAL);
    assert_eq!(adapter.call("clock_res_get", &[4, 64]), INVAL);
}

#[test]
fn two_instances_answer_the_same() {
    let answers = || {
        let mut adapter = Adapter::new();
        assert_eq!(adapter.call("random_get", &[128, 64]), SUCCESS);
        let random: [u8; 64] = adapter.bytes(128);
        (random, adapter.time(), adapter.bytes::<1>(192))
    };
    assert_eq!(answers(), answers());
    let (random, _, behind) = answers();
    // The numbers differ, and nothing is written behind them.
    assert!(random.iter().collect::<std::collections::BTreeSet<_>>().len() > 32);
    assert_eq!(behind, [0xaa]);
}

#[test]
fn random_numbers_continue_from_call_to_call() {
    let mut adapter = Adapter::new();
    adapter.call("random_get", &[128, 8]);
    adapter.call("random_get", &[136, 8]);
    assert_ne!(adapter.u64(128), adapter.u64(136));
    let joined: [u8; 16] = adapter.bytes(128);
    let mut once = Adapter::new();
    once.call("random_get", &[128, 16]);
    assert_eq!(once.bytes::<16>(128), joined);
}

#[test]
fn there_are_no_arguments_and_no_variables() {
    for function in ["args", "environ"] {
        let mut adapter = Adapter::new();
        assert_eq!(adapter.call(&format!("{function}_sizes_get"), &[64, 68]), SUCCESS);
        assert_eq!((adapter.u32(64), adapter.u32(68)), (0, 0));
        assert_eq!(adapter.call(&format!("{function}_get"), &[80, 84]), SUCCESS);
        assert_eq!(adapter.u32(80), 0xaaaa_aaaa);
    }
}

#[test]
fn writes_report_success_and_change_nothing() {
    let mut adapter = Adapter::new();
    // Two pieces, of 5 and of 7 bytes.
    for (at, value) in [(64, 200_u32), (68, 5), (72, 300), (76, 7)] {
        adapter.write(at, &value.to_le_bytes());
    }
    for descriptor in [1, 2] {
        assert_eq!(adapter.call("fd_write", &[descriptor, 64, 2, 96]), SUCCESS);
        assert_eq!(adapter.u32(96), 12);
    }
    assert_eq!(adapter.call("fd_write", &[1, 64, 0, 96]), SUCCESS);
    assert_eq!(adapter.u32(96), 0);
    for descriptor in [0, 3, -1] {
        assert_eq!(adapter.call("fd_write", &[descriptor, 64, 2, 96]), BADF);
    }
    assert_eq!(adapter.bytes::<5>(200), [0xaa; 5]);
}

#[test]
fn input_is_at_its_end() {
    let mut adapter = Adapter::new();
    assert_eq!(adapter.call("fd_read", &[0, 64, 1, 96]), SUCCESS);
    assert_eq!(adapter.u32(96), 0);
    assert_eq!(adapter.call("fd_read", &[1, 64, 1, 96]), BADF);
    assert_eq!(adapter.call("fd_read", &[3, 64, 1, 96]), BADF);
}

#[test]
fn standard_descriptors_are_character_devices() {
    let mut adapter = Adapter::new();
    for (descriptor, rights) in [(0, 2), (1, 64), (2, 64)] {
        adapter.write(64, &[0xaa; 128]);
        assert_eq!(adapter.call("fd_fdstat_get", &[descriptor, 64]), SUCCESS);
        assert_eq!((adapter.u64(64), adapter.u64(72), adapter.u64(80)), (2, rights, 0));
        assert_eq!(adapter.u64(88), 0xaaaa_aaaa_aaaa_aaaa);
        assert_eq!(adapter.call("fd_filestat_get", &[descriptor, 128]), SUCCESS);
        let stat: [u8; 64] = adapter.bytes(128);
        assert_eq!(stat[16], 2);
        assert!(stat.iter().enumerate().all(|(at, byte)| at == 16 || *byte == 0));
        assert_eq!(adapter.u64(192), 0xaaaa_aaaa_aaaa_aaaa);
    }
    assert_eq!(adapter.call("fd_fdstat_get", &[3, 64]), BADF);
    assert_eq!(adapter.call("fd_filestat_get", &[3, 64]), BADF);
}

#[test]
fn there_are_no_files_folders_and_sockets() {
    // The answer for a standard descriptor, and for any other.
    let answer = |name: &str| match name {
        "path_symlink" | "fd_readdir" => NOTDIR,
        "fd_prestat_get" | "fd_prestat_dir_name" | "fd_renumber" => BADF,
        "fd_close"
        | "fd_datasync"
        | "fd_sync"
        | "fd_fdstat_set_flags"
        | "fd_fdstat_set_rights"
        | "fd_filestat_set_times" => SUCCESS,
        name if name.starts_with("path_") => NOTDIR,
        name if name.starts_with("sock_") => NOTSOCK,
        _ => SPIPE,
    };
    let mut adapter = Adapter::new();
    let own_test = ["fd_read", "fd_write", "fd_fdstat_get", "fd_filestat_get"];
    let mut seen = 0;
    for (name, params) in FUNCTIONS {
        let has_descriptor = ["fd_", "path_", "sock_"].iter().any(|prefix| name.starts_with(prefix));
        if !has_descriptor || own_test.contains(&name) {
            continue;
        }
        let mut values = vec![0; params.len()];
        // A link has its text before the folder.
        let descriptor = if name == "path_symlink" { 2 } else { 0 };
        for standard in 0..3 {
            values[descriptor] = standard;
            assert_eq!(adapter.call(name, &values), answer(name), "{name} of {standard}");
        }
        for other in [3, 4, -1] {
            values[descriptor] = other;
            assert_eq!(adapter.call(name, &values), BADF, "{name} of {other}");
        }
        seen += 1;
    }
    assert_eq!(seen, 31);
}

#[test]
fn a_wait_ends_at_once_and_moves_the_clock() {
    let mut adapter = Adapter::new();
    let subscription = |user: u64, kind: u8, timeout: u64, flags: u16| {
        let mut bytes = [0; 48];
        bytes[..8].copy_from_slice(&user.to_le_bytes());
        bytes[8] = kind;
        if kind == 0 {
            bytes[24..32].copy_from_slice(&timeout.to_le_bytes());
            bytes[40..42].copy_from_slice(&flags.to_le_bytes());
        } else {
            bytes[16..20].copy_from_slice(&(timeout as u32).to_le_bytes());
        }
        bytes
    };
    // Four subscriptions: a relative timeout of 5 s, an absolute timeout at 3 s, an open descriptor and a closed one.
    for (index, bytes) in [
        subscription(11, 0, 5_000_000_000, 0),
        subscription(12, 0, 3_000_000_000, 1),
        subscription(13, 2, 1, 0),
        subscription(14, 1, 9, 0),
    ]
    .iter()
    .enumerate()
    {
        adapter.write(1024 + 48 * index, bytes);
    }
    assert_eq!(adapter.call("poll_oneoff", &[1024, 2048, 4, 4096]), SUCCESS);
    assert_eq!(adapter.u32(4096), 4);
    for (index, (user, error, kind)) in
        [(11, 0, 0), (12, 0, 0), (13, 0, 2), (14, BADF as u8, 1)].into_iter().enumerate()
    {
        let event: [u8; 32] = adapter.bytes(2048 + 32 * index);
        let mut expected = [0; 32];
        expected[..8].copy_from_slice(&u64::to_le_bytes(user));
        (expected[8], expected[10]) = (error, kind);
        assert_eq!(event, expected);
    }
    assert_eq!(adapter.bytes::<1>(2048 + 128), [0xaa]);
    assert_eq!(adapter.time(), 6_000_000_000);
    assert_eq!(adapter.call("poll_oneoff", &[1024, 2048, 0, 4096]), INVAL);
    adapter.write(1024 + 8, &[3]);
    assert_eq!(adapter.call("poll_oneoff", &[1024, 2048, 1, 4096]), INVAL);
}

#[test]
fn an_exit_traps_and_there_are_no_signals() {
    let mut adapter = Adapter::new();
    let error = adapter.try_call("proc_exit", &[0]).unwrap_err();
    assert!(error.to_string().contains("unreachable"), "{error}");
    assert_eq!(adapter.call("proc_raise", &[6]), NOSYS);
    assert_eq!(adapter.call("sched_yield", &[]), SUCCESS);
}

#[test]
fn a_pointer_beyond_the_memory_traps() {
    let mut adapter = Adapter::new();
    for (name, values) in [
        ("clock_time_get", &[0, 0, 65_532][..]),
        ("random_get", &[65_000, 1000]),
        ("fd_write", &[1, 65_532, 1, 0]),
    ] {
        let error = adapter.try_call(name, values).unwrap_err();
        assert!(error.to_string().contains("out of bounds"), "{name}: {error}");
    }
}
