//! `cargo xtask prose`: counts signs of hard English in comments and documents, and finds banned phrases in messages.
//!
//! A good count proves nothing, but a bad one shows a text that strangers read twice. Code, URLs, headings and text in
//! double quotes don't count. A list item and a table cell are sentences of their own.

mod sentence;
mod source;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::iter::Sum;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;

use self::sentence::Sentence;
use self::source::{Literal, Passage};
use crate::repository::Repository;
use crate::{Outcome, process};

/// The files to count and the detail to print.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// List each sentence that is too long or has `what` or `where`
    #[arg(short, long)]
    verbose: bool,
    /// Only these files and folders, from the root of the repository; all by default
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
}

/// Prefixes of paths that are left out: records of decisions, which don't change, and files that tasks generate.
const SKIPPED: [&str; 4] = [
    "docs/adr/",
    "deploy/install.yaml",
    "deploy/policies.yaml",
    "deploy/chart/wardset/files/policies.wardset.dev.yaml",
];

/// Folders whose string literals are messages to users.
const MESSAGES: [&str; 2] = ["src/", "crates/"];

/// Phrases that hide the operation that failed. [`banned`] adds `is no`.
const BANNED: [&str; 3] = ["can't be had", "can't be taken", "can't be read"];

/// Counts the tracked files, prints a table, and finds fault if a limit is exceeded or a phrase is banned.
///
/// # Errors
/// `git ls-files` fails, or a tracked file is not readable as UTF-8.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<Outcome> {
    let mut git = Command::new("git");
    git.current_dir(repository.root()).args(["ls-files", "-z", "--error-unmatch", "--"]).args(&options.paths);
    let mut areas = Areas::new();
    let (mut sentences, mut phrases) = (String::new(), String::new());
    for file in process::stdout(&mut git)?.split_terminator('\0') {
        let Some((kind, read)) = reader(file) else { continue };
        let text = match fs::read_to_string(repository.root().join(file)) {
            // Deleted, but still in the index.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            text => text.with_context(|| format!("failed to read `{file}`"))?,
        };
        let (passages, literals) = read(&text);
        let total = areas.entry((kind, area(file))).or_default();
        for sentence in passages.iter().flat_map(sentence::split) {
            let counts = Counts::of(&sentence);
            *total = [*total, counts].into_iter().sum();
            if options.verbose && counts.offends() {
                let Sentence { line, text, words } = sentence;
                writeln!(sentences, "{file}:{line}: [{} words] {text}", words.len())?;
            }
        }
        if MESSAGES.iter().any(|folder| file.starts_with(folder)) {
            for literal in literals {
                if let Some(phrase) = banned(&literal.text) {
                    writeln!(phrases, "{file}:{}: banned phrase in a message: `{phrase}`", literal.line)?;
                }
            }
        }
    }

    let output = format!("{sentences}{}{phrases}", table(&areas));
    io::stdout().write_all(output.as_bytes()).context("failed to write to stdout")?;
    let mut outcome = Outcome::Fine;
    for kind in [Kind::Comments, Kind::Docs] {
        for exceeded in total(&areas, kind).exceeded() {
            eprintln!("error: {}: {exceeded}", kind.name());
            outcome = Outcome::Found;
        }
    }
    if !phrases.is_empty() {
        eprintln!("error: banned phrases in messages\nhint: write `failed to VERB` or `expected X, found Y`");
        outcome = Outcome::Found;
    }
    if outcome == Outcome::Found && !options.verbose {
        eprintln!("hint: `cargo xtask prose -v [PATH…]` lists the sentences");
    }
    Ok(outcome)
}

/// The kinds of text. The limits hold for each as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Comments,
    Docs,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Comments => "comments",
            Self::Docs => "docs",
        }
    }
}

type Read = fn(&str) -> (Vec<Passage>, Vec<Literal>);

/// Returns the function that finds the text of a file, by the file's extension.
fn reader(file: &str) -> Option<(Kind, Read)> {
    if SKIPPED.iter().any(|prefix| file.starts_with(prefix)) {
        return None;
    }
    match Path::new(file).extension()?.to_str()? {
        "md" => Some((Kind::Docs, |text| (vec![Passage { line: 1, text: text.to_owned() }], Vec::new()))),
        "rs" | "go" | "wit" => Some((Kind::Comments, source::slashes)),
        "toml" | "yaml" | "sh" | "tpl" => Some((Kind::Comments, |text| (source::hashes(text), Vec::new()))),
        _ => None,
    }
}

/// Returns the folder of a file, two levels deep at most.
fn area(file: &str) -> String {
    let mut folders: Vec<&str> = file.split('/').collect();
    folders.pop();
    folders.truncate(2);
    if folders.is_empty() { ".".to_owned() } else { folders.join("/") }
}

/// Numbers of words and sentences.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    words: usize,
    /// Occurrences of each row of [`COUNTED`].
    counted: [usize; 3],
    sentences: usize,
    long: usize,
}

/// Words that tell hard English from plain English.
const COUNTED: [&[&str]; 3] = [&["what", "whatever"], &["where"], &["if", "when", "unless"]];

/// Most words of a sentence.
const LONGEST: usize = 25;

impl Counts {
    fn of(sentence: &Sentence) -> Self {
        Self {
            words: sentence.words.len(),
            counted: COUNTED.map(|row| sentence.words.iter().filter(|word| is_any(word, row)).count()),
            sentences: 1,
            long: usize::from(sentence.words.len() > LONGEST),
        }
    }

    /// Tells whether a sentence with these counts should be rewritten.
    fn offends(&self) -> bool {
        let [what, place, _] = self.counted;
        what + place + self.long > 0
    }

    /// Returns the rates per 1,000 words in the order of [`COUNTED`], and the percentage of long sentences.
    fn rates(&self) -> [f64; 4] {
        let [what, place, condition] =
            self.counted.map(|count| 1000.0 * count as f64 / self.words.max(1) as f64);
        [what, place, condition, 100.0 * self.long as f64 / self.sentences.max(1) as f64]
    }

    /// Returns a message for each limit that the text exceeds. A text without words exceeds none.
    fn exceeded(&self) -> Vec<String> {
        let [what, place, condition, long] = self.rates();
        let limits = [
            (what > 3.0, format!("expected at most 3 `what` per 1,000 words, found {what:.1}")),
            (place > 2.0, format!("expected at most 2 `where` per 1,000 words, found {place:.1}")),
            (
                condition < 5.0 && self.words > 0,
                format!("expected at least 5 `if`, `when`, `unless` per 1,000 words, found {condition:.1}"),
            ),
            (
                long > 10.0,
                format!("expected at most 10 % of sentences over {LONGEST} words, found {long:.1} %"),
            ),
        ];
        limits.into_iter().filter_map(|(exceeded, message)| exceeded.then_some(message)).collect()
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |one, other| Self {
            words: one.words + other.words,
            counted: std::array::from_fn(|row| one.counted[row] + other.counted[row]),
            sentences: one.sentences + other.sentences,
            long: one.long + other.long,
        })
    }
}

/// Tells whether a word is one of `row`. `what's` is a `what`.
fn is_any(word: &str, row: &[&str]) -> bool {
    word.split(['\'', '’']).next().is_some_and(|stem| row.contains(&stem))
}

type Areas = BTreeMap<(Kind, String), Counts>;

fn total(areas: &Areas, kind: Kind) -> Counts {
    areas.iter().filter(|((of, _), _)| *of == kind).map(|(_, counts)| *counts).sum()
}

/// Renders the counts of each folder, and of each kind as a whole.
fn table(areas: &Areas) -> String {
    let mut table = String::new();
    for kind in [Kind::Comments, Kind::Docs] {
        table += &format!(
            "{:<28} {:>7} {:>6} {:>6} {:>15} {:>10} {:>9}\n",
            kind.name(),
            "words",
            "what",
            "where",
            "if/when/unless",
            "sentences",
            "too long"
        );
        let folders = areas.iter().filter(|((of, _), counts)| *of == kind && counts.words > 0);
        let folders = folders.map(|((_, area), counts)| (area.as_str(), *counts));
        for (area, counts) in folders.chain([("all", total(areas, kind))]) {
            let Counts { words, sentences, .. } = counts;
            let [what, place, condition, long] = counts.rates();
            table += &format!(
                "  {area:<26} {words:>7} {what:>6.1} {place:>6.1} {condition:>15.1} {sentences:>10} {long:>7.1} %\n"
            );
        }
        table.push('\n');
    }
    table
}

/// Returns a banned phrase of a string literal. `there is no X` and `is no longer` are good English.
fn banned(literal: &str) -> Option<String> {
    let literal = literal.replace('"', " ");
    let words: Vec<&str> = literal.split_whitespace().filter(|word| *word != "\\").collect();
    let text = words.join(" ");
    if let Some(phrase) = BANNED.iter().find(|phrase| text.contains(**phrase)) {
        return Some((*phrase).to_owned());
    }
    let at = words.windows(3).enumerate().find(|(at, phrase)| {
        let there = at.checked_sub(1).is_some_and(|at| words[at].to_lowercase().ends_with("there"));
        phrase[..2] == ["is", "no"] && phrase[2] != "longer" && !there
    });
    at.map(|(_, phrase)| phrase.join(" ").trim_end_matches(|end: char| ":;,.".contains(end)).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Counts {
        let sentences = sentence::split(&Passage { line: 1, text: text.to_owned() });
        sentences.iter().map(Counts::of).sum()
    }

    /// Fills a text up to 1,000 words that exceed no limit.
    fn exceeded(text: &str) -> Vec<String> {
        let rest = 1000 - counts(text).words - 5;
        counts(&format!("{text} If if if if if. {}", "Word. ".repeat(rest))).exceeded()
    }

    #[test]
    fn accepts_a_text_at_the_limits() {
        assert_eq!(exceeded("What. What. Whatever. Where. Where."), [""; 0]);
        assert_eq!(Counts::default().exceeded(), [""; 0]);
    }

    #[test]
    fn rejects_more_than_3_what_per_1000_words() {
        let expected = ["expected at most 3 `what` per 1,000 words, found 4.0"];
        assert_eq!(exceeded("What. What's that? Whatever. what"), expected);
    }

    #[test]
    fn rejects_more_than_2_where_per_1000_words() {
        assert_eq!(
            exceeded("Where. Where. Where."),
            ["expected at most 2 `where` per 1,000 words, found 3.0"]
        );
    }

    #[test]
    fn rejects_fewer_than_5_conditions_per_1000_words() {
        let four = counts(&format!("If. When. Unless. If. {}", "Word. ".repeat(996)));
        let expected = ["expected at least 5 `if`, `when`, `unless` per 1,000 words, found 4.0"];
        assert_eq!(four.exceeded(), expected);
    }

    #[test]
    fn rejects_long_sentences_over_10_percent() {
        let sentence = |words: usize| format!("If {}. ", "word ".repeat(words - 1).trim());
        assert_eq!(counts(&format!("{}{}", sentence(26), sentence(25).repeat(9))).exceeded(), [""; 0]);
        let expected = ["expected at most 10 % of sentences over 25 words, found 20.0 %"];
        assert_eq!(counts(&format!("{}{}", sentence(26), sentence(25).repeat(4))).exceeded(), expected);
    }

    #[test]
    fn skips_records_of_decisions_and_generated_files() {
        let kind = |file| reader(file).map(|(kind, _)| kind);
        assert_eq!(kind("docs/faults.md"), Some(Kind::Docs));
        assert_eq!(kind("src/main.rs"), Some(Kind::Comments));
        for file in ["docs/adr/0006-unsafe.md", "deploy/install.yaml", "Cargo.lock", "LICENSE"] {
            assert_eq!(kind(file), None, "{file}");
        }
    }

    #[test]
    fn finds_banned_phrases_across_lines_of_a_literal() {
        assert_eq!(banned("\"the Lease can't be \\\n    had\"").as_deref(), Some("can't be had"));
        assert_eq!(banned("\"`{}` is no YAML: {}\"").as_deref(), Some("is no YAML"));
        assert_eq!(banned("\"is no name\"").as_deref(), Some("is no name"));
        assert_eq!(banned("\"there is no export, and it is no longer read\""), None);
    }

    #[test]
    fn renders_a_row_for_each_folder_and_each_kind() {
        let mut areas = BTreeMap::new();
        areas.insert((Kind::Comments, area("src/server/tls/a.rs")), counts("Count what is here."));
        areas.insert((Kind::Docs, area("README.md")), counts("If so."));
        let table = table(&areas);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["src/server", "4", "250.0", "0.0", "0.0", "1", "0.0", "%"]);
        assert_eq!(rows[2], ["all", "4", "250.0", "0.0", "0.0", "1", "0.0", "%"]);
        assert_eq!(rows[5], [".", "2", "0.0", "0.0", "500.0", "1", "0.0", "%"]);
    }
}
