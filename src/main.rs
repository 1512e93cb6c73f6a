//! `wardset`: the admission gate for Kubernetes DaemonSets.

use std::process::ExitCode;

fn main() -> ExitCode {
    wardset::cli::run()
}
