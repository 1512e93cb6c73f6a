//! Sends reviews to a server that runs already, and says how fast it answered: for a look with a profiler.
#![expect(clippy::print_stdout, reason = "a figure on stdout")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use hyper::body::Bytes;
use wardset_bench::load::{self, Target};
use wardset_bench::reviews::{Size, review};

#[derive(Parser)]
struct Args {
    /// Address of the server's reviews, such as 127.0.0.1:8443
    server: SocketAddr,
    /// The CA of its certificate, which must be for `localhost`
    ca: PathBuf,
    /// Clients at once
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// How long
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Reviews of 100 KB instead of 7 KB
    #[arg(long)]
    large: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let target = Target::new(args.server, &std::fs::read(args.ca)?)?;
    let body = Bytes::from(review(if args.large { Size::Large } else { Size::Usual }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let time = Duration::from_secs(args.seconds);
    let seen = runtime.block_on(load::steady(&target, args.clients, &body, time))?;
    let microseconds = |quantile| seen.times.value_at_quantile(quantile) / 1000;
    println!(
        "{:.0} requests/s, p50 {} µs, p99 {} µs",
        seen.per_second(),
        microseconds(0.5),
        microseconds(0.99)
    );
    Ok(())
}
