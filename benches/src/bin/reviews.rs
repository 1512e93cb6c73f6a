//! Decides a number of reviews in process and exits. `cargo xtask bench --instructions` counts its instructions.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use mimalloc::MiMalloc;
use wardset_bench::inside;
use wardset_bench::policies;
use wardset_bench::reviews::{Size, review};
use wardset_runtime::{Cache, EngineOptions};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
struct Args {
    /// How many reviews of 7 KB to decide, by five policies
    reviews: u32,
    /// Folder for compiled modules, so that a second run compiles none
    #[arg(long)]
    cache: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // One sandbox: a tool that counts instructions has little address space.
    let snapshot = inside::snapshot(
        &runtime,
        &policies::yaml(5),
        EngineOptions { sandboxes: 1 },
        Some(Cache::open(&args.cache)?),
    )?;
    let bytes = review(Size::Usual);
    for _ in 0..args.reviews {
        runtime.block_on(inside::whole(&snapshot, &bytes))?;
    }
    Ok(())
}
