//! Wardset against MutatingAdmissionPolicies, on a real API server. `cargo xtask bench --admission` starts both.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table on stdout, progress on stderr")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use wardset_bench::admission::api_server::ApiServer;
use wardset_bench::admission::rounds::{Plan, measure};
use wardset_bench::admission::stage::Stage;
use wardset_bench::admission::table::Table;
use wardset_bench::admission::variant::Webhooks;
use wardset_bench::cores::{self, Cores};
use wardset_bench::server::Lab;

#[derive(Parser)]
struct Args {
    /// Address of the API server
    server: SocketAddr,
    /// Folder with ca.crt, admin.crt and admin.key
    #[arg(long)]
    certificates: PathBuf,
    /// Number of the API server's process
    #[arg(long)]
    api_server: u32,
    /// Number of etcd's process
    #[arg(long)]
    etcd: u32,
    /// The manifest with the MutatingWebhookConfiguration
    #[arg(long, default_value = "deploy/install.yaml")]
    manifest: PathBuf,
    /// Fewer rounds, shorter
    #[arg(long)]
    quick: bool,
    /// File for the report, as JSON
    #[arg(long, default_value = "target/admission.json")]
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
    let plan = Plan::new(args.quick);
    let cores = Cores::find()?;
    let lab = Lab::open()?;
    for process in [args.api_server, args.etcd] {
        cores::pin_process(process, cores.server)?;
    }
    cores::pin(cores.server)?;
    let webhooks = Webhooks::start(&lab, &args.manifest)?;
    cores::pin(cores.load)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let api = ApiServer::new(args.server, &args.certificates)?;
    let mut stage = runtime.block_on(Stage::new(api, webhooks))?;
    eprintln!("comparing the stored objects");
    runtime.block_on(stage.verify())?;
    println!("Both ways store the same: {} DaemonSets, with 1, 5 and 10 rules.\n", stage.compared());
    eprintln!("measuring: {} rounds", plan.rounds);
    let measured = measure(&runtime, &mut stage, args.api_server, &plan)?;
    let table = Table { measured, orders: stage.orders };
    println!("{table}");
    if let Some(folder) = args.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&args.json, serde_json::to_vec_pretty(&table.json(args.quick))?)?;
    eprintln!("the report is in {}", args.json.display());
    let goal = table.goal();
    let met = if goal.met() { "met" } else { "SHORT" };
    println!("{}: {:.2} (goal: at most {:.1}, {met})", goal.what, goal.reached, goal.goal);
    Ok(())
}
