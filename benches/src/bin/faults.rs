//! The faults that Wardset survives, under a load that counts every answer. `cargo xtask faults` builds and runs it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table on stdout, progress on stderr")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use comfy_table::{Table, presets};
use wardset_bench::faults::{Effort, FAULTS, Row};
use wardset_bench::server::Lab;

#[derive(Parser)]
struct Args {
    /// Fewer and shorter, in a few minutes
    #[arg(long)]
    quick: bool,
    /// File for the table, as JSON
    #[arg(long, default_value = "target/faults.json")]
    json: PathBuf,
    /// Only these; all by default
    #[arg(value_name = "FAULT")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    run(Args::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

fn run(args: Args) -> Result<ExitCode> {
    if let Some(unknown) = args.only.iter().find(|only| FAULTS.iter().all(|(name, _)| name != only)) {
        let names: Vec<&str> = FAULTS.iter().map(|(name, _)| *name).collect();
        bail!("no fault `{unknown}`; expected one of {}", names.join(", "));
    }
    let lab = Lab::open()?;
    let effort = Effort::new(args.quick);
    let mut rows: Vec<Row> = Vec::new();
    for (name, run) in
        FAULTS.iter().filter(|(name, _)| args.only.is_empty() || args.only.iter().any(|only| only == name))
    {
        let started = Instant::now();
        let found = run(&lab, &effort).with_context(|| format!("fault `{name}`"))?;
        eprintln!("{name}: {:.0} s", started.elapsed().as_secs_f64());
        rows.extend(found);
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(["what", "sent", "failed", "wrong", "seen"]);
    for row in &rows {
        let Row { what, sent, failed, wrong, seen, .. } = row;
        table.add_row([what.clone(), sent.to_string(), failed.to_string(), wrong.to_string(), seen.clone()]);
    }
    println!("{table}");
    if let Some(folder) = args.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&args.json, serde_json::to_vec_pretty(&rows)?)
        .with_context(|| format!("`{}` can't be written", args.json.display()))?;
    for row in rows.iter().filter(|row| !row.fine()) {
        eprintln!("\nerror: {}: {} failed, {} wrong", row.what, row.failed, row.wrong);
        for problem in &row.problems {
            eprintln!("  {problem}");
        }
    }
    let sum = |count: fn(&Row) -> u64| rows.iter().map(count).sum::<u64>();
    // Requests in flight to a killed server are always lost.
    let lost = sum(|row| row.failed.saturating_sub(row.helpless));
    let helpless = sum(|row| row.failed.min(row.helpless));
    let bad = rows.iter().filter(|row| !row.fine()).count();
    println!(
        "{} faults: {} requests sent, {lost} failed, {} wrong; {helpless} more were in flight to a server that was killed; \
         {bad} faults not survived",
        rows.len(),
        sum(|row| row.sent),
        sum(|row| row.wrong),
    );
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
