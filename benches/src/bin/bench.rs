//! The cost of Wardset, compared with a webhook that does nothing. `cargo xtask bench` builds and runs it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures on stdout, progress on stderr")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use comfy_table::{Cell, CellAlignment, Table, presets};
use hyper::body::Bytes;
use mimalloc::MiMalloc;
use serde::Serialize;
use wardset_bench::cores::{self, Cores};
use wardset_bench::inside::{self, Inside};
use wardset_bench::life::{self, Life};
use wardset_bench::load::{self, Target};
use wardset_bench::report::{Figure, Goal};
use wardset_bench::reviews::{Size, review};
use wardset_bench::server::{Lab, Server};

/// As the product has it, since the parts of a review are measured in this process.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
struct Args {
    /// Fewer cells, shorter: a look, not a figure to quote
    #[arg(long)]
    quick: bool,
    /// File for the report, as JSON
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
}

/// The servers, in the order of the tables.
const SERVERS: [&str; 5] = ["floor", "baseline", "1 policy", "5 policies", "10 policies"];
const BASELINE: usize = 1;
const FIVE: usize = 3;
const TEN: usize = 4;

/// Time over which the CPU time of an idle server is measured.
const IDLE: Duration = Duration::from_secs(5);

/// The clients at which the ratio to the baseline is taken.
const HEADLINE_CLIENTS: usize = 32;

/// One line of the big table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Key {
    size: Size,
    clients: usize,
    server: usize,
}

/// The measured values behind it.
#[derive(Debug, Default, Serialize)]
struct Row {
    per_second: Figure,
    p50_us: Figure,
    p90_us: Figure,
    p99_us: Figure,
    max_us: Figure,
    cpu_us: Figure,
    /// How much of its core the load took: near 1, the figure is the load's, not the server's.
    load_share: Figure,
}

#[derive(Serialize)]
struct Report<'a> {
    quick: bool,
    servers: [&'static str; 5],
    rows: Vec<Entry<'a>>,
    /// CPU time per review of five policies, divided by that of the baseline right before, 32 clients.
    five_to_baseline: &'a Figure,
    fresh_connection: &'a BTreeMap<&'static str, Fresh>,
    resident_mib: &'a BTreeMap<&'static str, f64>,
    inside: &'a Inside,
    life: &'a Life,
    goals: &'a [Goal],
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    key: &'a Key,
    #[serde(flatten)]
    row: &'a Row,
}

/// The first request of a fresh TLS connection.
#[derive(Debug, Serialize)]
struct Fresh {
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

/// How long and how often.
struct Plan {
    rounds: usize,
    /// Pairs of baseline and five policies, measured one after the other. The load of the machine changes faster than
    /// a round takes, and affects both of a pair.
    pairs: usize,
    time: Duration,
    sizes: &'static [Size],
    clients: &'static [usize],
    connections: usize,
}

impl Plan {
    fn new(quick: bool) -> Self {
        if quick {
            Self {
                rounds: 3,
                pairs: 9,
                time: Duration::from_millis(700),
                sizes: &[Size::Usual],
                clients: &[1, 32],
                connections: 100,
            }
        } else {
            Self {
                rounds: 3,
                pairs: 25,
                time: Duration::from_millis(700),
                sizes: &[Size::Usual, Size::Large],
                clients: &[1, 8, 32, 64],
                connections: 500,
            }
        }
    }
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
    let cache = lab.path("cache");

    eprintln!("inside: what one review costs, part by part");
    cores::pin(cores.server)?;
    let inside = inside::measure(args.quick)?;
    cores.unpin()?;

    eprintln!("life: start to ready, edit to live");
    let life = life::measure(&lab, args.quick)?;

    eprintln!("over the wire: {} rounds", plan.rounds);
    cores::pin(cores.server)?;
    let servers = [
        lab.baseline(true)?,
        lab.baseline(false)?,
        lab.wardset(1, &cache)?,
        lab.wardset(5, &cache)?,
        lab.wardset(10, &cache)?,
    ];
    cores::pin(cores.load)?;
    for server in &servers {
        server.pause()?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ca = lab.ca()?;
    let mut rows = BTreeMap::new();
    for round in 0..plan.rounds {
        eprintln!("  round {}", round + 1);
        for (size, clients) in cells(&plan) {
            let body = Bytes::from(review(size));
            for (index, server) in servers.iter().enumerate() {
                let key = Key { size, clients, server: index };
                let row: &mut Row = rows.entry(key).or_default();
                let target = Target::new(server.webhook, &ca)?;
                server.resume()?;
                let seen =
                    measured(server, || runtime.block_on(load::steady(&target, clients, &body, plan.time)));
                row.take(seen.with_context(|| format!("{}, {clients} clients", SERVERS[index]))?);
                server.pause()?;
            }
        }
    }
    eprintln!("five policies and the baseline in turns: {} pairs", plan.pairs);
    let body = Bytes::from(review(Size::Usual));
    let cpu = |server: &Server| {
        let target = Target::new(server.webhook, &ca)?;
        server.resume()?;
        let seen =
            measured(server, || runtime.block_on(load::steady(&target, HEADLINE_CLIENTS, &body, plan.time)))?;
        server.pause()?;
        anyhow::Ok(seen.cpu_us())
    };
    let mut five_to_baseline = Figure::default();
    for _ in 0..plan.pairs {
        let baseline = cpu(&servers[BASELINE])?;
        five_to_baseline.push(cpu(&servers[FIVE])? / baseline);
    }
    let mut fresh = BTreeMap::new();
    let mut resident = BTreeMap::new();
    for (name, server) in SERVERS.into_iter().zip(&servers) {
        let target = Target::new(server.webhook, &ca)?;
        server.resume()?;
        let seen = runtime.block_on(load::fresh(&target, plan.connections, &body))?;
        server.pause()?;
        let at = |quantile| microseconds(seen.times.value_at_quantile(quantile));
        fresh.insert(
            name,
            Fresh { p50_us: at(0.5), p99_us: at(0.99), max_us: microseconds(seen.times.max()) },
        );
        resident.insert(name, mib(cores::resident(server.process())?));
    }
    eprintln!("idle: {IDLE:?}");
    servers[TEN].resume()?;
    let before = cores::cpu_time(servers[TEN].process())?;
    std::thread::sleep(IDLE);
    let idle =
        cores::cpu_time(servers[TEN].process())?.saturating_sub(before).as_secs_f64() / IDLE.as_secs_f64();
    let goals = goals(&rows, &five_to_baseline, idle, &resident, &inside, &life);
    let report = Report {
        quick: args.quick,
        servers: SERVERS,
        rows: rows.iter().map(|(key, row)| Entry { key, row }).collect(),
        five_to_baseline: &five_to_baseline,
        fresh_connection: &fresh,
        resident_mib: &resident,
        inside: &inside,
        life: &life,
        goals: &goals,
    };
    if let Some(folder) = args.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&args.json, serde_json::to_vec_pretty(&report)?)?;
    print(&rows, &five_to_baseline, &fresh, &resident, &inside, &life, &goals);
    eprintln!("\nthe report is in {}", args.json.display());
    println!("five policies / no-op, CPU per review: {:.2}", five_to_baseline.median());
    Ok(())
}

fn cells(plan: &Plan) -> impl Iterator<Item = (Size, usize)> {
    plan.sizes.iter().flat_map(|size| plan.clients.iter().map(|clients| (*size, *clients)))
}

struct Measured {
    seen: load::Seen,
    cpu: Duration,
    load_cpu: Duration,
}

fn measured(server: &Server, run: impl FnOnce() -> Result<load::Seen>) -> Result<Measured> {
    let (before, load_before) = (cores::cpu_time(server.process())?, cores::cpu_time(std::process::id())?);
    let seen = run()?;
    let (after, load_after) = (cores::cpu_time(server.process())?, cores::cpu_time(std::process::id())?);
    Ok(Measured { seen, cpu: after.saturating_sub(before), load_cpu: load_after.saturating_sub(load_before) })
}

impl Measured {
    /// Returns the server's CPU time per answer, in microseconds.
    #[expect(clippy::cast_precision_loss, reason = "counts of requests")]
    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.seen.times.len() as f64
    }
}

impl Row {
    fn take(&mut self, measured: Measured) {
        let seen = &measured.seen;
        let at = |quantile| microseconds(seen.times.value_at_quantile(quantile));
        self.per_second.push(seen.per_second());
        self.p50_us.push(at(0.5));
        self.p90_us.push(at(0.9));
        self.p99_us.push(at(0.99));
        self.max_us.push(microseconds(seen.times.max()));
        self.cpu_us.push(measured.cpu_us());
        self.load_share.push(measured.load_cpu.as_secs_f64() / seen.took.as_secs_f64());
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds")]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "bytes of megabytes")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn find(rows: &BTreeMap<Key, Row>, size: Size, clients: usize, server: usize) -> Option<&Row> {
    rows.get(&Key { size, clients, server })
}

/// Returns the goals of the design, each with its result.
fn goals(
    rows: &BTreeMap<Key, Row>,
    five_to_baseline: &Figure,
    idle: f64,
    resident: &BTreeMap<&'static str, f64>,
    inside: &Inside,
    life: &Life,
) -> Vec<Goal> {
    let p50 = |server| find(rows, Size::Usual, 1, server).map_or(f64::NAN, |row| row.p50_us.median());
    let cpu = |size| find(rows, size, HEADLINE_CLIENTS, FIVE).map_or(f64::NAN, |row| row.cpu_us.median());
    let ten = resident.get("10 policies").copied().unwrap_or(f64::NAN);
    let mut goals = vec![
        Goal::at_most("CPU per review, 5 policies / no-op", five_to_baseline.median(), 2.0, ""),
        Goal::at_most("CPU per review, 5 policies", cpu(Size::Usual), 250.0, "µs"),
        Goal::at_most("p50, 5 policies - no-op, 1 client", p50(FIVE) - p50(BASELINE), 1000.0, "µs"),
        Goal::at_most("a policy that does not match", inside.silent_ns.median(), 50.0, "ns"),
        Goal::at_most("resident memory, 10 policies, after the load", ten, 64.0, "MiB"),
        Goal::at_most("ready with 10 policies, warm cache", life.ready_ms("10 policies, warm"), 60.0, "ms"),
        Goal::at_most("CPU of an idle server, 10 policies", idle * 100.0, 0.1, "%"),
    ];
    if !cpu(Size::Large).is_nan() {
        goals.push(Goal::at_most(
            "CPU, 100 KB / 7 KB, 5 policies",
            cpu(Size::Large) / cpu(Size::Usual),
            5.0,
            "",
        ));
    }
    goals
}

fn print(
    rows: &BTreeMap<Key, Row>,
    five_to_baseline: &Figure,
    fresh: &BTreeMap<&'static str, Fresh>,
    resident: &BTreeMap<&'static str, f64>,
    inside: &Inside,
    life: &Life,
    goals: &[Goal],
) {
    let mut table = headed([
        "review",
        "clients",
        "server",
        "requests/s",
        "±",
        "p50 µs",
        "p90 µs",
        "p99 µs",
        "max µs",
        "CPU µs",
        "load's core",
    ]);
    for (key, row) in rows {
        let figure = |figure: &Figure| number(figure.median(), 0);
        table.add_row(vec![
            text(key.size.label()),
            number(key.clients as f64, 0),
            text(SERVERS[key.server]),
            figure(&row.per_second),
            percent(row.per_second.spread()),
            figure(&row.p50_us),
            figure(&row.p90_us),
            figure(&row.p99_us),
            figure(&row.max_us),
            number(row.cpu_us.median(), 1),
            percent(row.load_share.median()),
        ]);
    }
    println!("Over TLS, the server on one core, the load on another:\n{table}\n");
    let runs = || five_to_baseline.runs.iter().copied();
    println!(
        "Five policies and the baseline in turns, {HEADLINE_CLIENTS} clients: {:.2} times the CPU time per review, the \
         median of {} pairs; {:.2} to {:.2}.\n",
        five_to_baseline.median(),
        runs().count(),
        runs().fold(f64::INFINITY, f64::min),
        runs().fold(0.0, f64::max),
    );
    let mut table =
        headed(["server", "first request of a connection: p50 µs", "p99 µs", "max µs", "resident MiB"]);
    for name in SERVERS {
        let (Some(fresh), Some(resident)) = (fresh.get(name), resident.get(name)) else { continue };
        table.add_row(vec![
            text(name),
            number(fresh.p50_us, 0),
            number(fresh.p99_us, 0),
            number(fresh.max_us, 0),
            number(*resident, 1),
        ]);
    }
    println!("Fresh connections, and memory after the load:\n{table}\n");
    println!("{inside}\n{life}");
    let mut table = headed(["what", "reached", "goal", ""]);
    for goal in goals {
        let sign = if goal.at_least { "≥" } else { "≤" };
        let unit = if goal.unit.is_empty() { String::new() } else { format!(" {}", goal.unit) };
        table.add_row(vec![
            text(&goal.what),
            Cell::new(format!("{:.2}{unit}", goal.reached)).set_alignment(CellAlignment::Right),
            Cell::new(format!("{sign} {}{unit}", goal.goal)).set_alignment(CellAlignment::Right),
            text(if goal.met() { "met" } else { "SHORT" }),
        ]);
    }
    println!("Goals:\n{table}\n");
}

fn headed<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table
}

fn text(text: &str) -> Cell {
    Cell::new(text)
}

fn number(value: f64, digits: usize) -> Cell {
    Cell::new(format!("{value:.digits$}")).set_alignment(CellAlignment::Right)
}

fn percent(part: f64) -> Cell {
    number(part * 100.0, 0)
}
