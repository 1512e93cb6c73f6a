//! xtask in the place of rustc, by cargo's `RUSTC_WRAPPER`: coverage for the crates that a stranger's bytes pass through.
//!
//! Flags for every crate would slow down the guests' compiler, and fill the fuzzer's map with it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

/// The variable that says that xtask was started as a compiler.
pub(crate) const MARK: &str = "WARDSET_FUZZ_COMPILER";

/// The crates with coverage for the fuzzer: our own, the targets, and the parsers.
pub(super) const INSTRUMENTED: &[&str] = &[
    // The house.
    "wardset_core",
    "wardset_expression",
    "wardset_placement",
    "wardset_runtime",
    "wardset_policy_sdk",
    "default_labels",
    "default_tolerations",
    "node_affinity",
    "selector_safety",
    "certificate",
    // The targets.
    "wardset_fuzz",
    "cache",
    "patches",
    "pem",
    "pointers",
    "policy",
    "review",
    "settings",
    "verdict",
    // Readers.
    "antlr4rust",
    "asn1_rs",
    "base64",
    "cel",
    "der_parser",
    "jsonptr",
    "libyaml_safer",
    "rustls_pki_types",
    "serde_json",
    "webpki",
    "x509_parser",
];

/// LLVM's options for libFuzzer: counters of edges, their table, and traced comparisons.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // Counters and their table are made for each unit, and must be of one length.
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// Runs the compiler for cargo, if xtask was started in its place. It then returns only with an error.
pub(crate) fn stand_in() -> Option<ExitCode> {
    std::env::var_os(MARK)?;
    let mut arguments = std::env::args_os().skip(1);
    let Some(rustc) = arguments.next() else {
        eprintln!("error: `{MARK}` is set, and no compiler is named");
        return Some(ExitCode::from(2));
    };
    let arguments: Vec<OsString> = arguments.collect();
    let mut command = Command::new(&rustc);
    command.args(&arguments);
    if is_instrumented(&arguments) {
        command.args(COVERAGE);
    }
    let error = command.exec();
    eprintln!("error: cannot start `{}`: {error}", rustc.display());
    Some(ExitCode::from(2))
}

/// Scripts and macros that run while building are compiled without `--target`, and have no fuzzer to tell anything.
fn is_instrumented(arguments: &[OsString]) -> bool {
    let name = arguments.iter().skip_while(|argument| *argument != "--crate-name").nth(1);
    let name = name.and_then(|name| name.to_str()).unwrap_or_default();
    INSTRUMENTED.contains(&name) && arguments.iter().any(|argument| argument == "--target")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_to_be_fuzzed_is_instrumented() {
        let instrumented = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            is_instrumented(&arguments)
        };
        assert!(instrumented("--crate-name wardset_core --edition=2024 --target x86_64-unknown-linux-gnu"));
        assert!(!instrumented("--crate-name cranelift_codegen --target x86_64-unknown-linux-gnu"));
        assert!(!instrumented("--crate-name serde_json --edition=2021"));
        assert!(!instrumented("-vV"));
    }
}
