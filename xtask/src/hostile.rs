//! `cargo xtask hostile`: the suite of hostile guests, measured, as a table.

use anyhow::{Result, bail};

use crate::repository::Repository;
use crate::{Outcome, process};

/// The test that prints the table.
const TEST: [&str; 9] = [
    "test",
    "--workspace",
    "--test",
    "it",
    "--",
    "--exact",
    "hostile::table::prints_the_table_of_hostile_guests",
    "--nocapture",
    "--test-threads=1",
];

/// Runs each guest and prints the mechanism that contained it, in Markdown.
///
/// # Errors
/// The tests don't compile, or a guest is not contained as the table says.
pub(crate) fn run(repository: &Repository) -> Result<Outcome> {
    let printed = process::stdout(process::cargo(repository.root()).args(TEST))?;
    let table: Vec<&str> = printed.lines().filter(|line| line.starts_with('|')).collect();
    if table.len() < 3 {
        bail!("the test `{}` printed no table", TEST[6]);
    }
    println!("{}", table.join("\n"));
    Ok(Outcome::Fine)
}
