//! The cost of warnings about placement with thousands of nodes. `cargo xtask bench --nodes` starts the API server.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table on stdout, progress on stderr")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use wardset_bench::admission::api_server::ApiServer;
use wardset_bench::cores::Cores;
use wardset_bench::nodes::measure::{Bench, Plan};
use wardset_bench::nodes::table::Table;
use wardset_bench::server::Lab;

#[derive(Parser)]
struct Args {
    /// Address of an API server without nodes
    server: SocketAddr,
    /// Folder with ca.crt, admin.crt and admin.key
    #[arg(long)]
    certificates: PathBuf,
    /// The administrator's kubeconfig
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Number of nodes
    #[arg(long, default_value_t = 5000)]
    nodes: usize,
    /// Fewer starts and reviews
    #[arg(long)]
    quick: bool,
    /// File for the report, as JSON
    #[arg(long, default_value = "target/nodes.json")]
    json: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let plan = Plan::new(args.nodes, args.quick);
    let lab = Lab::open()?;
    let bench = Bench { lab: &lab, kubeconfig: &args.kubeconfig, cores: Cores::find()?, plan };
    let api = Arc::new(ApiServer::new(args.server, &args.certificates)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = runtime.block_on(bench.run(&api))?;
    let table = Table { measured, plan };
    println!("{table}");
    if let Some(folder) = args.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&args.json, serde_json::to_vec_pretty(&table.json(args.quick))?)?;
    eprintln!("the report is in {}", args.json.display());
    Ok(())
}
