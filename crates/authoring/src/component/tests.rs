use super::*;

/// Each component of the world names the contract's types.
const TYPES: &str = "wardset:policy/types@0.1.1";

/// A core module whose exports have the types of the contract, and which imports `extra`.
fn core(extra: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
            {extra}
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "manifest") (result i32) unreachable)
            (func (export "validate-settings") (param i32 i32) (result i32) unreachable)
            (func (export "evaluate")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable))"#
    ))
    .unwrap()
}

#[test]
fn encodes_a_core_module_that_has_no_component_type() {
    let component = encode(&core("")).unwrap();
    assert_eq!(check(&component).unwrap(), [TYPES]);
    assert_eq!(component, encode(&core("")).unwrap());
}

#[test]
fn names_the_imports_of_the_contract() {
    let import = r#"(import "wardset:policy/document@0.1.1" "object" (func (param i32 i32 i32)))"#;
    let component = encode(&core(import)).unwrap();
    assert_eq!(check(&component).unwrap(), ["wardset:policy/document@0.1.1", TYPES]);
}

#[test]
fn does_not_embed_a_second_time() {
    let core = core("");
    let embedded = embed(&core).unwrap();
    assert!(embedded.len() > core.len());
    assert!(matches!(embed(&embedded).unwrap(), Cow::Borrowed(_)));
    assert_eq!(encode(&embedded).unwrap(), encode(&core).unwrap());
}

#[test]
fn closes_wasi_only_if_the_module_imports_it() {
    let import = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
                    (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))"#;
    let closed = encode(&core(import)).unwrap();
    assert_eq!(check(&closed).unwrap(), [TYPES]);
    assert!(closed.len() > encode(&core("")).unwrap().len());
}

#[test]
fn closes_every_function_of_wasi() {
    let engine = wasmi::Engine::default();
    let adapter = wasmi::Module::new(&engine, WASI_ADAPTER).unwrap();
    let imports: String = adapter
        .exports()
        .filter_map(|export| {
            let ty = export.ty().func()?.clone();
            let text = |types: &[wasmi::ValType]| -> String {
                let one = |ty: &wasmi::ValType| if *ty == wasmi::ValType::I32 { " i32" } else { " i64" };
                types.iter().map(one).collect()
            };
            Some(format!(
                "(import \"{WASI_MODULE}\" \"{}\" (func (param{}) (result{})))\n",
                export.name(),
                text(ty.params()),
                text(ty.results())
            ))
        })
        .collect();
    assert_eq!(imports.lines().count(), 46);
    assert_eq!(check(&encode(&core(&imports)).unwrap()).unwrap(), [TYPES]);
}

#[test]
fn a_wasi_function_that_does_not_exist_is_an_error_with_its_name() {
    let import = r#"(import "wasi_snapshot_preview1" "fd_teleport" (func))"#;
    let error = encode(&core(import)).unwrap_err().to_string();
    assert!(error.contains("fd_teleport"), "{error}");
}

#[test]
fn a_foreign_import_is_an_error_with_its_remedy() {
    let error = encode(&core(r#"(import "env" "helper" (func))"#)).unwrap_err();
    assert!(matches!(&error, ComponentError::Foreign(found) if found.import == "env"), "{error}");
    assert!(error.to_string().contains("hint: "), "{error}");
}

#[test]
fn a_component_with_wasi_imports_is_an_error_with_its_remedy() {
    let component = wat::parse_str(
        r#"(component (import "wasi:clocks/wall-clock@0.2.12" (instance (export "now" (func)))))"#,
    )
    .unwrap();
    let error = check(&component).unwrap_err().to_string();
    assert!(error.contains("wasi:clocks/wall-clock@0.2.12") && error.contains("--stub-wasi"), "{error}");
}

#[test]
fn imports_of_inner_components_do_not_count() {
    let component = wat::parse_str(r#"(component (component (import "wasi:a/b" (func))))"#).unwrap();
    assert_eq!(component_imports(&component).unwrap(), Vec::<String>::new());
}

#[test]
fn a_missing_export_is_an_error_with_its_name() {
    let module = wat::parse_str(r#"(module (memory (export "memory") 1))"#).unwrap();
    let error = encode(&module).unwrap_err().to_string();
    assert!(error.contains("manifest") && error.contains("hint: a policy exports"), "{error}");
}

#[test]
fn a_component_without_the_exports_is_not_of_the_world() {
    let error = check(&wat::parse_str("(component)").unwrap()).unwrap_err();
    assert!(matches!(error, ComponentError::World { .. }), "{error}");
    assert!(error.to_string().contains("expected the world `policy` of `wardset:policy@0.1.1`"), "{error}");
}

#[test]
fn says_which_kind_of_webassembly_was_expected() {
    let component = wat::parse_str("(component)").unwrap();
    let error = encode(&component).unwrap_err().to_string();
    assert!(error.starts_with("expected a core module, found a component\nhint: "), "{error}");
    let error = check(&core("")).unwrap_err().to_string();
    assert!(error.starts_with("expected a component, found a core module\nhint: "), "{error}");
    assert!(error.contains("`wasm-tools component new CORE -o OUT`"), "{error}");
    for error in [encode(b"not wasm").unwrap_err(), check(b"").unwrap_err()] {
        assert!(error.to_string().starts_with("expected WebAssembly, found other bytes"), "{error}");
    }
}

#[test]
fn finds_the_largest_memory_within_a_component() {
    let component = wat::parse_str(
        "(component (core module (memory 3)) (component (core module (memory 257))) (core module (memory 2)))",
    )
    .unwrap();
    assert_eq!(initial_pages(&component).unwrap(), 257);
    assert_eq!(initial_pages(&core("")).unwrap(), 1);
}
