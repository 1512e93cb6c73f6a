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
use wardset_bench::load::{self, Protocol, Target};
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

/// The clients at which the ratio to the baseline is taken.
const HEADLINE_CLIENTS: usize = 32;

/// One line of the big table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Key {
    size: Size,
    protocol: Protocol,
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
    /// Requests per second of five policies to those of the baseline right before, 32 clients.
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
    protocols: &'static [Protocol],
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
                protocols: &[Protocol::Http1],
                clients: &[1, 32],
                connections: 100,
            }
        } else {
            Self {
                rounds: 3,
                pairs: 25,
                time: Duration::from_millis(700),
                sizes: &[Size::Usual, Size::Large],
                protocols: &[Protocol::Http1, Protocol::Http2],
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
    let inside = inside.with_two_threads(&cores, args.quick)?;

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
        for (size, protocol, clients) in cells(&plan) {
            let body = Bytes::from(review(size));
            for (index, server) in servers.iter().enumerate() {
                let key = Key { size, protocol, clients, server: index };
                let row: &mut Row = rows.entry(key).or_default();
                let target = Target::new(server.webhook, &ca)?;
                server.resume()?;
                let seen = measured(server, || {
                    runtime.block_on(load::steady(&target, protocol, clients, &body, plan.time))
                });
                row.take(seen.with_context(|| format!("{}, {clients} clients", SERVERS[index]))?);
                server.pause()?;
            }
        }
    }
    eprintln!("five policies and the baseline in turns: {} pairs", plan.pairs);
    let body = Bytes::from(review(Size::Usual));
    let per_second = |server: &Server| {
        let target = Target::new(server.webhook, &ca)?;
        server.resume()?;
        let seen =
            runtime.block_on(load::steady(&target, Protocol::Http1, HEADLINE_CLIENTS, &body, plan.time))?;
        server.pause()?;
        anyhow::Ok(seen.per_second())
    };
    let mut five_to_baseline = Figure::default();
    for _ in 0..plan.pairs {
        let baseline = per_second(&servers[BASELINE])?;
        five_to_baseline.push(per_second(&servers[FIVE])? / baseline);
    }
    let mut fresh = BTreeMap::new();
    let mut resident = BTreeMap::new();
    for (name, server) in SERVERS.into_iter().zip(&servers) {
        let target = Target::new(server.webhook, &ca)?;
        server.resume()?;
        let seen = runtime.block_on(load::fresh(&target, Protocol::Http1, plan.connections, &body))?;
        server.pause()?;
        let at = |quantile| microseconds(seen.times.value_at_quantile(quantile));
        fresh.insert(
            name,
            Fresh { p50_us: at(0.5), p99_us: at(0.99), max_us: microseconds(seen.times.max()) },
        );
        resident.insert(name, mib(cores::resident(server.process())?));
    }
    let goals = goals(&rows, &five_to_baseline, &fresh, &resident, &inside, &life);
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
    println!("five policies / no-op baseline: {:.2}", five_to_baseline.median());
    Ok(())
}

fn cells(plan: &Plan) -> impl Iterator<Item = (Size, Protocol, usize)> {
    plan.sizes.iter().flat_map(|size| {
        plan.protocols
            .iter()
            .flat_map(|protocol| plan.clients.iter().map(|clients| (*size, *protocol, *clients)))
    })
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

impl Row {
    #[expect(clippy::cast_precision_loss, reason = "counts of requests")]
    fn take(&mut self, Measured { seen, cpu, load_cpu }: Measured) {
        let answers = seen.times.len() as f64;
        let at = |quantile| microseconds(seen.times.value_at_quantile(quantile));
        self.per_second.push(seen.per_second());
        self.p50_us.push(at(0.5));
        self.p90_us.push(at(0.9));
        self.p99_us.push(at(0.99));
        self.max_us.push(microseconds(seen.times.max()));
        self.cpu_us.push(cpu.as_secs_f64() * 1e6 / answers);
        self.load_share.push(load_cpu.as_secs_f64() / seen.took.as_secs_f64());
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
    rows.get(&Key { size, protocol: Protocol::Http1, clients, server })
}

fn goals(
    rows: &BTreeMap<Key, Row>,
    five_to_baseline: &Figure,
    fresh: &BTreeMap<&'static str, Fresh>,
    resident: &BTreeMap<&'static str, f64>,
    inside: &Inside,
    life: &Life,
) -> Vec<Goal> {
    let p99 = |server| find(rows, Size::Usual, 1, server).map_or(f64::NAN, |row| row.p99_us.median());
    let cpu = |size| find(rows, size, HEADLINE_CLIENTS, FIVE).map_or(f64::NAN, |row| row.cpu_us.median());
    #[expect(clippy::cast_precision_loss, reason = "sizes of reviews")]
    let larger = review(Size::Large).len() as f64 / review(Size::Usual).len() as f64;
    let first = fresh.get("5 policies").map_or(f64::NAN, |fresh| fresh.p99_us / fresh.p50_us);
    let mut goals = vec![
        Goal::at_least("5 policies / baseline, requests/s, 32 clients", five_to_baseline.median(), 1.0, ""),
        Goal::at_most("5 policies / baseline, p99, 1 client", p99(FIVE) / p99(BASELINE), 2.0, ""),
        Goal::at_least("two threads / one, reviews decided in process", inside.two_threads.median(), 1.8, ""),
        Goal::at_most(
            "a sandbox that adds labels, tolerations and affinity",
            inside.all_in_one_us(),
            12.0,
            "µs",
        ),
        Goal::at_most(
            "resident memory, 10 policies, after the load",
            resident.get("10 policies").copied().unwrap_or(f64::NAN),
            64.0,
            "MiB",
        ),
        Goal::at_most("ready with 10 policies, warm cache", life.ready_ms("10 policies, warm"), 60.0, "ms"),
        Goal::at_most("ready with 10 policies, cold cache", life.ready_ms("10 policies, cold"), 1500.0, "ms"),
        Goal::at_most("first request of a fresh connection, p99 / p50", first, 3.0, ""),
    ];
    if !cpu(Size::Large).is_nan() {
        let growth =
            Goal::at_most("100 KB / 7 KB, CPU, 5 policies", cpu(Size::Large) / cpu(Size::Usual), larger, "");
        goals.insert(3, growth);
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
        "protocol",
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
            text(key.protocol.label()),
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
        "Five policies and the baseline in turns, {HEADLINE_CLIENTS} clients: {:.2} times as many requests/s, in the middle \
         of {} pairs; {:.2} to {:.2}.\n",
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
            Cell::new(format!("{sign} {:.1}{unit}", goal.goal)).set_alignment(CellAlignment::Right),
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
