//! The measurement: rounds that each visit every variant, so that a busy machine affects all alike.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::api_server::ApiServer;
use super::stage::Stage;
use super::variant::Variant;
use crate::cores::process_time;
use crate::load::{Clients, histogram};
use crate::report::Figure;
use crate::reviews::{Size, daemon_set};

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds.
    pub rounds: usize,
    /// Duration of each cell: one variant, one DaemonSet and one number of clients.
    pub time: Duration,
    /// Duration in each round for which the API server is left alone.
    pub idle: Duration,
}

impl Plan {
    /// About four minutes if `quick`, else about 25.
    #[must_use]
    pub fn new(quick: bool) -> Self {
        let seconds = Duration::from_secs;
        if quick {
            Self { rounds: 3, time: Duration::from_millis(700), idle: seconds(2) }
        } else {
            Self { rounds: 7, time: seconds(2), idle: seconds(5) }
        }
    }
}

/// The sizes of the measured DaemonSets.
pub(super) const SIZES: [Size; 2] = [Size::Usual, Size::Large];

/// The numbers of clients.
pub(super) const CLIENTS: [usize; 3] = [1, 8, 64];

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// The DaemonSet.
    pub size: Size,
    /// The number of clients.
    pub clients: usize,
    /// The way of admission.
    pub variant: Variant,
}

/// The measured values of a line.
#[derive(Debug)]
pub struct Row {
    /// Answers a second, by round.
    pub per_second: Figure,
    /// CPU time of API server plus webhook for each answer, by round.
    pub cpu_us: Figure,
    /// The webhook's part of it.
    pub webhook_us: Figure,
    /// Nanoseconds until the answer was there, of all rounds.
    pub times: Histogram<u64>,
}

/// All measured values.
pub struct Measured {
    /// The lines of the table.
    pub rows: BTreeMap<Key, Row>,
    /// CPU time of the API server when idle, in milliseconds a second. Not subtracted from the figures of the rows.
    pub idle_ms: Figure,
}

/// Visits each variant once a round, in the opposite order each other round.
///
/// # Errors
///
/// A variant does not become active, or a request fails.
pub fn measure(runtime: &Runtime, stage: &mut Stage, api_server: u32, plan: &Plan) -> Result<Measured> {
    let mut measured = Measured { rows: BTreeMap::new(), idle_ms: Figure::default() };
    for round in 0..plan.rounds {
        let before = process_time(api_server)?;
        thread::sleep(plan.idle);
        let idle = process_time(api_server)?.saturating_sub(before);
        measured.idle_ms.push(1e3 * idle.as_secs_f64() / plan.idle.as_secs_f64());
        let mut variants = Variant::ALL;
        if round % 2 == 1 {
            variants.reverse();
        }
        for variant in variants {
            runtime.block_on(stage.enter(variant))?;
            runtime.block_on(warm_up(stage))?;
            for key in
                SIZES.into_iter().flat_map(|size| CLIENTS.map(|clients| Key { size, clients, variant }))
            {
                let Key { size, clients, .. } = key;
                let cell = runtime.block_on(cell(stage, api_server, &key, plan.time));
                let cell = cell
                    .with_context(|| format!("{}, {}, {clients} clients", variant.label(), size.label()))?;
                match measured.rows.get_mut(&key) {
                    Some(row) => row.add(cell)?,
                    None => drop(measured.rows.insert(key, Row::new(cell)?)),
                }
            }
        }
    }
    Ok(measured)
}

/// One measurement of a line.
struct Cell {
    api_server: Duration,
    webhook: Duration,
    took: Duration,
    times: Histogram<u64>,
}

/// Handshakes and the first answers are not measured.
async fn cell(stage: &Stage, api_server: u32, key: &Key, time: Duration) -> Result<Cell> {
    let webhook = stage.webhooks.server(key.variant).map(crate::server::Server::process);
    let webhook_time = || webhook.map_or(Ok(Duration::ZERO), process_time);
    let call = ApiServer::call(&daemon_set(key.size));
    let clients = Clients::connect(&stage.api.target, key.clients, call).await?;
    let before = (process_time(api_server)?, webhook_time()?);
    let seen = clients.run(time).await?;
    let after = (process_time(api_server)?, webhook_time()?);
    let cell = Cell {
        api_server: after.0.saturating_sub(before.0),
        webhook: after.1.saturating_sub(before.1),
        took: seen.took,
        times: seen.times,
    };
    ensure!(webhook.is_none() || !cell.webhook.is_zero(), "the webhook was not called");
    Ok(cell)
}

async fn warm_up(stage: &Stage) -> Result<()> {
    let call = ApiServer::call(&daemon_set(Size::Usual));
    let clients = Clients::connect(&stage.api.target, 8, call).await?;
    clients.run(WARM_UP).await.map(drop)
}

/// Time for a new configuration until its code and data are in the caches of the processor.
const WARM_UP: Duration = Duration::from_millis(300);

impl Row {
    fn new(cell: Cell) -> Result<Self> {
        let (per_second, cpu_us, webhook_us) = Default::default();
        let mut row = Self { per_second, cpu_us, webhook_us, times: histogram()? };
        row.add(cell)?;
        Ok(row)
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    fn add(&mut self, cell: Cell) -> Result<()> {
        let answers = cell.times.len() as f64;
        let each_us = |time: Duration| time.as_secs_f64() * 1e6 / answers;
        self.per_second.push(answers / cell.took.as_secs_f64());
        self.cpu_us.push(each_us(cell.api_server + cell.webhook));
        self.webhook_us.push(each_us(cell.webhook));
        Ok(self.times.add(cell.times)?)
    }
}
