//! `wardset`: the admission gate for Kubernetes DaemonSets.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A review makes a few hundred small allocations, most of them in fresh sandboxes: the system's allocator took a tenth of
/// its time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    wardset::cli::run()
}
