//! Faults on purpose, while a steady load counts every answer.
//!
//! Each fault is a function: it starts its victim, breaks it, and reports in a [`Row`] how many requests were sent,
//! failed, or got a wrong answer.

pub mod burning;
pub mod clients;
pub mod cluster;
pub mod disk;
pub mod edits;
pub mod overload;
pub mod replaced;
pub mod rotation;
pub mod steady;

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use self::steady::Tally;
use crate::server::Lab;

/// One line of the table.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    /// The fault.
    pub what: String,
    /// Requests that were sent.
    pub sent: u64,
    /// Requests without an answer, or with another one than is allowed here.
    pub failed: u64,
    /// How many of them could not be helped: the requests in flight to a server that was killed.
    pub helpless: u64,
    /// Answers that say something wrong.
    pub wrong: u64,
    /// Further observations.
    pub seen: String,
    /// Problems besides failed and wrong requests.
    pub problems: Vec<String>,
}

impl Row {
    /// The counts of a load during `what`.
    #[must_use]
    pub fn of(what: &str, tally: Tally) -> Self {
        let mut row = Self { what: what.to_owned(), ..Self::default() };
        row.add(tally);
        row
    }

    /// The counts of another load.
    pub fn add(&mut self, tally: Tally) {
        self.sent += tally.sent;
        self.failed += tally.failed;
        self.wrong += tally.wrong;
        self.problems.extend(tally.problems);
    }

    /// Whether nothing was lost that could be kept.
    #[must_use]
    pub fn fine(&self) -> bool {
        self.failed <= self.helpless && self.wrong == 0 && self.problems.is_empty()
    }
}

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Servers replaced by SIGTERM.
    pub replacements: usize,
    /// Servers killed.
    pub kills: usize,
    /// Edits of policies.
    pub edits: usize,
    /// Certificates swapped.
    pub rotations: usize,
    /// How long the API server is away.
    pub away: Duration,
    /// How long an overload lasts.
    pub overload: Duration,
    /// Idle connections.
    pub idle: usize,
}

impl Effort {
    /// As the issue of such a tool asks for it, or in two minutes.
    #[must_use]
    pub fn new(quick: bool) -> Self {
        let seconds = Duration::from_secs;
        if quick {
            Self {
                replacements: 4,
                kills: 2,
                edits: 20,
                rotations: 3,
                away: seconds(8),
                overload: seconds(4),
                idle: 400,
            }
        } else {
            Self {
                replacements: 20,
                kills: 5,
                edits: 100,
                rotations: 10,
                away: seconds(150),
                overload: seconds(15),
                idle: 2000,
            }
        }
    }
}

/// A fault: its name on the command line, and its function.
pub type Fault = (&'static str, fn(&Lab, &Effort) -> Result<Vec<Row>>);

/// All of them, in the order in which they run.
pub const FAULTS: [Fault; 8] = [
    ("replaced", replaced::run),
    ("edits", edits::run),
    ("rotation", rotation::run),
    ("cluster", cluster::run),
    ("overload", overload::run),
    ("burning", burning::run),
    ("clients", clients::run),
    ("disk", disk::run),
];
