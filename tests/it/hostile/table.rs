//! The table of hostile guests: action, mechanism that contains it, and time.

use std::fmt;
use std::path::Path;

use super::bombs::{self, BOMBS, Bomb};
use super::*;

/// Number of runs per guest; the longest counts.
const RUNS: usize = 3;

/// One row of the table.
struct Row {
    guest: String,
    purpose: String,
    by: By,
}

impl Row {
    fn all() -> Vec<Self> {
        let guests = GUESTS.iter().map(|Case { guest, by, .. }| Self {
            guest: (*guest).to_owned(),
            purpose: guests::purpose(guest),
            by: *by,
        });
        let bombs = BOMBS.iter().map(|Bomb { name, purpose, by, .. }| Self {
            guest: (*name).to_owned(),
            purpose: (*purpose).to_owned(),
            by: *by,
        });
        guests.chain(bombs).collect()
    }

    /// Returns the row without the time, because times depend on the machine.
    fn line(&self) -> String {
        format!("| `{}` | {} | {} |", self.guest, self.purpose.trim_end_matches('.'), self.by)
    }
}

/// Prints the table with new times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prints_the_table_of_hostile_guests() {
    let rows = Row::all();
    let mut lines = vec!["| guest | action | contained by | ms |".to_owned(), "|---|---|---|---|".to_owned()];
    for (at, row) in rows.iter().enumerate() {
        let took = match GUESTS.get(at) {
            Some(case) => longest(async || case.measure().await).await,
            None => {
                let bomb = &BOMBS[at - GUESTS.len()];
                let (by, took) = bomb.set_off().await;
                assert!(bombs::is_as_expected(row.by, by), "{}: {by:?}", row.guest);
                took
            }
        };
        lines.push(format!("{} {:.1} |", row.line(), took.as_secs_f64() * 1000.0));
    }
    // The test runner has already begun a line.
    println!("\n{}", lines.join("\n"));
}

async fn longest(measure: impl AsyncFn() -> Duration) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..RUNS {
        longest = longest.max(measure().await);
    }
    longest
}

impl Case {
    /// Returns the time from the moment at which the guest gets control until it loses control.
    async fn measure(&self) -> Duration {
        let bytes = guests::component(self.guest);
        let started = Instant::now();
        let module = match Module::load(&ENGINE, &bytes, None).await {
            Ok(module) => Arc::new(module),
            Err(error) => {
                let took = started.elapsed();
                assert_eq!(refused(&error), self.by, "{}", self.guest);
                return took;
            }
        };
        let policies = [(self.policy(Mode::Enforce, OnError::Fail), module)];
        let started = Instant::now();
        let snapshot = match Snapshot::new(Arc::clone(&ENGINE), policies).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let took = started.elapsed();
                assert_eq!(unusable(&error), self.by, "{}", self.guest);
                return took;
            }
        };
        let decision = decide(&snapshot, &review(self.review, true)).await;
        let report = report(&decision, "hostile");
        match (self.by, &report.result) {
            (By::Review(class) | By::EachReview(class), PolicyResult::Failed(failure)) => {
                assert_eq!(failure.class, class, "{}", self.guest);
            }
            (By::Gate(_) | By::Nothing | By::Warnings | By::Notes, PolicyResult::Allowed { .. })
            | (By::Denial, PolicyResult::Denied { .. }) => {}
            (_, found) => panic!("{}: {found:?}", self.guest),
        }
        report.elapsed
    }
}

impl fmt::Display for By {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(refusal) => write!(formatter, "load: {refusal}"),
            Self::Start(class) => write!(formatter, "load: fails with `{class}`"),
            Self::Settings(class) => write!(formatter, "settings: fails with `{class}`"),
            Self::RefusesSettings => formatter.write_str("settings: its rejection, truncated"),
            Self::ClusterData => formatter.write_str("settings: `spec.clusterData` does not allow it"),
            Self::Review(class) => write!(formatter, "review: fails with `{class}`"),
            Self::EachReview(class) => write!(formatter, "each review: fails with `{class}`"),
            Self::Gate(_) => formatter.write_str("review: the template gate drops the change"),
            Self::Nothing => formatter.write_str("has no effect"),
            Self::Denial => formatter.write_str("review: its denial, truncated"),
            Self::Warnings => formatter.write_str("review: its warnings, truncated"),
            Self::Notes => formatter.write_str("review: its notes, truncated"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Compile => "not a component that the engine supports",
            Self::Import => "an import that the host does not offer",
            Self::Version => "another version of the contract",
            Self::World => "does not match the contract",
            Self::ForbiddenWrite => "a forbidden write in the manifest",
            Self::Pointer => "a malformed pointer in the manifest",
            Self::TooMany => "too many or too long entries in the manifest",
            Self::Schema => "a schema that is not a JSON object",
            Self::Text => "a malformed name or text in the manifest",
            Self::Shape => "limits on the number and size of its parts",
            Self::Time => "the deadline of the compiler",
            Self::Compiler => "the compiler's process crashes, the server does not",
        })
    }
}

/// The page in the docs lists the same guests in the same order, with the same actions and mechanisms.
#[test]
fn the_page_in_the_docs_has_this_table() {
    let docs = include_str!("../../../docs/hostile-guests.md");
    let without_time = |line: &str| {
        let (rest, time) = line.strip_suffix(" |")?.rsplit_once(' ')?;
        time.parse::<f64>().is_ok().then(|| rest.to_owned())
    };
    let found: Vec<String> = docs.lines().filter_map(without_time).collect();
    let expected: Vec<String> = Row::all().iter().map(Row::line).collect();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(
            found, expected,
            "hint: run `cargo xtask hostile` and copy its output into docs/hostile-guests.md"
        );
    }
    assert_eq!(found.len(), expected.len());
}

/// Each file of `tests/guests` must be in the table, or another test must name it.
#[test]
fn every_guest_has_a_test() {
    let others = [
        include_str!("bombs.rs"),
        include_str!("cache.rs"),
        include_str!("isolation.rs"),
        include_str!("pool.rs"),
        include_str!("../hostile.rs").split_once("const SOON").unwrap().1,
    ];
    let quoted = |name: &str| format!("\"{name}\"");
    for guest in guests::all() {
        let tested = GUESTS.iter().any(|case| case.guest == guest)
            || others.iter().any(|source| source.contains(&quoted(&guest)));
        assert!(tested, "no test uses the guest `{guest}`");
        assert!(!guests::purpose(&guest).is_empty(), "the guest `{guest}` has no description");
    }
}

#[test]
fn no_guest_is_in_the_table_twice() {
    let rows = Row::all();
    let mut distinct: Vec<&str> = rows.iter().map(|row| &*row.guest).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), rows.len(), "a guest is in the table twice");
}

/// Code generates the modules that attack the compiler, so `tests/guests` has no files for them.
#[test]
fn no_compiler_bomb_has_the_name_of_a_file() {
    for Bomb { name, .. } in BOMBS {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/guests/{name}.wat"));
        assert!(!file.exists(), "{}", file.display());
    }
}
