//! Checks the documents: their commands and output, their links, the README's length and the book's table of contents.
//!
//! `WARDSET_BLESS=1 cargo test --test it docs` rewrites the output below each command that printed something else.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support;

/// Length of the README in lines. Everything else belongs to the book.
const README_LINES: usize = 150;

/// A line of expected output that stands for any number of lines.
const ANY_LINES: &str = "…";

/// Commands of `console` blocks that run elsewhere.
const RUN_ELSEWHERE: [&str; 1] = [
    // The command that runs this test.
    "cargo test --workspace",
];

/// Folders with Markdown that is not the project's, beside those that start with a dot.
const SKIPPED_FOLDERS: [&str; 2] = ["target", "node_modules"];

/// The picture of the README.
const PICTURE: &str = "docs/images/review.svg";

#[test]
fn the_picture_shows_the_output_of_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_wardset"))
        .args(["review", "-f", "examples/fluentd-ds.yaml", "--policies", "examples/policies"])
        .current_dir(root)
        .env("WARDSET_CACHE_DIR", support::cache_folder())
        .env("CLICOLOR_FORCE", "1")
        .env_remove("NO_COLOR")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\u{1b}["), "expected colours: {text}");
    let picture = anstyle_svg::Term::new().render_svg(&text) + "\n";
    if std::env::var_os("WARDSET_BLESS").is_some() {
        fs::create_dir_all(root.join("docs/images")).unwrap();
        fs::write(root.join(PICTURE), &picture).unwrap();
    }
    let committed = fs::read_to_string(root.join(PICTURE)).unwrap();
    assert!(committed == picture, "{PICTURE} is out of date\nhint: WARDSET_BLESS=1 draws it again");
}

#[test]
fn commands_print_the_output_shown() {
    let bless = std::env::var_os("WARDSET_BLESS").is_some();
    let (mut compared, mut differences) = (0, Vec::new());
    for page in pages() {
        let text = read(&page);
        let lines: Vec<&str> = text.lines().collect();
        let (mut blessed, mut copied) = (String::new(), 0);
        for Shown { command, output } in commands(&text) {
            if RUN_ELSEWHERE.contains(&command) {
                continue;
            }
            let printed = run(&page, command);
            let printed: Vec<&str> = printed.lines().collect();
            let expected = &lines[output.clone()];
            if expected.is_empty() {
                continue;
            }
            compared += 1;
            if fits(expected, &printed) {
                continue;
            }
            let (shown, found) = (expected.join("\n"), printed.join("\n"));
            differences.push(format!(
                "{}:{}: `{command}`: expected\n{shown}\n\nfound\n{found}",
                page.display(),
                output.start
            ));
            push_lines(&mut blessed, &lines[copied..output.start]);
            push_lines(&mut blessed, &abridged(expected, &printed));
            copied = output.end;
        }
        if bless && copied > 0 {
            push_lines(&mut blessed, &lines[copied..]);
            fs::write(root().join(&page), blessed).unwrap();
        }
    }
    assert!(compared >= 10, "expected at least 10 commands with output, found {compared}");
    assert!(
        bless || differences.is_empty(),
        "{}\nhint: WARDSET_BLESS=1 writes the output into the documents",
        differences.join("\n\n")
    );
}

#[test]
fn commands_that_run_elsewhere_are_shown() {
    let texts: Vec<String> = pages().iter().map(|page| read(page)).collect();
    for elsewhere in RUN_ELSEWHERE {
        let mut shown = texts.iter().flat_map(|text| commands(text));
        assert!(shown.any(|shown| shown.command == elsewhere), "no document shows `{elsewhere}`");
    }
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut broken = Vec::new();
    for file in markdown(Path::new("")) {
        for link in links(&read(&file)) {
            if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link.as_str(), ""));
            let folder = file.parent().unwrap_or(Path::new(""));
            let target = if path.is_empty() { file.clone() } else { folder.join(path) };
            if !root().join(&target).exists() {
                broken.push(format!("{}: `{link}`: the file does not exist", file.display()));
            } else if !heading.is_empty() && !headings(&target).iter().any(|found| found == heading) {
                broken.push(format!("{}: `{link}`: the heading does not exist", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn readme_is_short() {
    let lines = read(Path::new("README.md")).lines().count();
    assert!(lines <= README_LINES, "expected at most {README_LINES} lines, found {lines}");
}

#[test]
fn summary_lists_every_page_of_the_book() {
    let summary = Path::new("docs/SUMMARY.md");
    let listed = links(&read(summary));
    for page in pages().into_iter().filter(|page| page != summary) {
        let Ok(page) = page.strip_prefix("docs") else { continue };
        assert!(listed.iter().any(|link| Path::new(link) == page), "add `{}` to SUMMARY.md", page.display());
    }
}

/// The policy of the README loads, and warns about the example.
#[test]
fn the_policy_in_the_readme_works() {
    let readme = read(Path::new("README.md"));
    let (_, rest) = readme.split_once("```yaml\n").unwrap();
    let (policy, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    fs::write(&file, policy).unwrap();
    let arguments = ["review", "-f", "examples/fluentd-ds.yaml", "--policies", file.to_str().unwrap()];
    let output = support::wardset(&arguments, "");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("storage-nodes  patch (warns only)\n"), "{text}");
}

/// `tests/it/review.rs` checks that `serve` prints this command, and that it works.
#[test]
fn getting_started_shows_the_curl_command_that_serve_prints() {
    let page = read(Path::new("docs/getting-started.md"));
    for line in [
        "cargo run --quiet -- serve",
        "curl --cacert certs/dev/ca.pem -H 'Content-Type: application/json' --data @certs/dev/review.json https://localhost:8443/mutate",
    ] {
        assert!(page.lines().any(|shown| shown == line), "{line}");
    }
}

#[test]
fn a_line_of_three_dots_fits_any_lines() {
    let fits = |expected: &str, printed: &str| {
        fits(&expected.lines().collect::<Vec<_>>(), &printed.lines().collect::<Vec<_>>())
    };
    assert!(fits("a\nb", "a\nb") && fits("…", "") && fits("…", "a\nb"));
    assert!(fits("a\n…\nd", "a\nb\nc\nd") && fits("a\n…\nd", "a\nd") && fits("…\nd\n…", "a\nd\nd"));
    assert!(
        !fits("a\n…\nd", "a\nb") && !fits("a…", "ab") && !fits("a", "a\nb") && !fits("a\n…\nb\nc", "a\nb")
    );
}

#[test]
fn a_rewritten_output_stays_as_short_as_it_was() {
    assert_eq!(abridged(&["a", "…", "d"], &["1", "2", "3", "4"]), ["1", "…", "4"]);
    assert_eq!(abridged(&["a", "…"], &["1", "2", "3"]), ["1", "…"]);
    assert_eq!(abridged(&["a", "b"], &["1", "2", "3"]), ["1", "2", "3"]);
    assert_eq!(abridged(&["a", "…", "d"], &["1"]), ["1"]);
}

/// A command of a `console` block.
#[derive(Debug)]
struct Shown<'t> {
    command: &'t str,
    /// The lines of output below the command, counted from 0.
    output: Range<usize>,
}

/// Returns the commands of a page's `console` blocks.
fn commands(text: &str) -> Vec<Shown<'_>> {
    let mut commands: Vec<Shown<'_>> = Vec::new();
    let mut is_first = true;
    for (number, (line, language)) in text.lines().zip(languages(text)).enumerate() {
        if language != Some("console") || line.starts_with("```") {
            is_first = true;
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push(Shown { command, output: number + 1..number + 1 });
        } else {
            assert!(!is_first, "line {}: expected `$ ` and a command, found `{line}`", number + 1);
            commands.last_mut().unwrap().output.end = number + 1;
        }
        is_first = false;
    }
    commands
}

/// Runs a command with the program under test instead of `cargo run`, and returns its standard output.
fn run(page: &Path, command: &str) -> String {
    let ours = command.replace("cargo run --quiet --", "\"$WARDSET_PROGRAM\"");
    let ours = ours.replace("cargo run --", "\"$WARDSET_PROGRAM\"");
    assert_ne!(
        ours,
        command,
        "{}: `{command}` has no `cargo run --`: add it to RUN_ELSEWHERE if another test runs it",
        page.display()
    );
    let ran = Command::new("sh")
        .args(["-c", &ours])
        .current_dir(root())
        .env("WARDSET_PROGRAM", env!("CARGO_BIN_EXE_wardset"))
        .env("WARDSET_CACHE_DIR", support::cache_folder())
        .env_remove("WARDSET_LOG")
        .output()
        .unwrap();
    // 1 is a denial. 2 and above mean that the command is wrong.
    assert!(
        matches!(ran.status.code(), Some(0 | 1)),
        "{}: `{command}`: {}\n{}",
        page.display(),
        ran.status,
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8(ran.stdout).unwrap()
}

/// Tells whether a command printed the expected lines.
fn fits(expected: &[&str], printed: &[&str]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((&ANY_LINES, rest)) => (0..=printed.len()).any(|skipped| fits(rest, &printed[skipped..])),
        Some((line, rest)) => printed.first() == Some(line) && fits(rest, &printed[1..]),
    }
}

/// Leaves out the middle of an output if the page shows one `…`: as many first and last lines stay as are shown now.
fn abridged<'t>(expected: &[&'t str], printed: &[&'t str]) -> Vec<&'t str> {
    let mut dots = (0..expected.len()).filter(|&line| expected[line] == ANY_LINES);
    match (dots.next(), dots.next()) {
        (Some(first), None) if printed.len() >= expected.len() => {
            let last = expected.len() - first - 1;
            [&printed[..first], &[ANY_LINES], &printed[printed.len() - last..]].concat()
        }
        _ => printed.to_vec(),
    }
}

fn push_lines(text: &mut String, lines: &[&str]) {
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
}

/// Returns the language of each line's code block, fences included. Lines of text have none.
fn languages(text: &str) -> Vec<Option<&str>> {
    let mut block = None;
    let mut languages = Vec::new();
    for line in text.lines() {
        match (block, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                block = Some(language);
                languages.push(block);
            }
            (Some(_), Some(_)) => {
                languages.push(block);
                block = None;
            }
            (_, None) => languages.push(block),
        }
    }
    languages
}

/// Returns the targets of the links in a text, code left out.
fn links(text: &str) -> Vec<String> {
    let text_only = |(line, language): (&str, Option<&str>)| {
        if language.is_none() { line.to_owned() } else { String::new() }
    };
    let prose: Vec<String> = text.lines().zip(languages(text)).map(text_only).collect();
    let mut links = Vec::new();
    // A backtick without a partner spoils no more than its paragraph.
    for paragraph in prose.join("\n").split("\n\n") {
        let without_code: String = paragraph.split('`').step_by(2).collect();
        let inline = without_code.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        links.extend(inline.map(str::to_owned));
        let definitions = without_code.lines().filter(|line| line.starts_with('['));
        links.extend(definitions.filter_map(|line| line.split_once("]: ")).map(|(_, link)| link.to_owned()));
    }
    links
}

/// Returns the anchors of a document's headings, as GitHub and mdBook make them.
fn headings(document: &Path) -> Vec<String> {
    if document.extension().is_none_or(|end| end != "md") {
        return Vec::new();
    }
    let text = read(document);
    let mut anchors: Vec<String> = Vec::new();
    for (line, language) in text.lines().zip(languages(&text)) {
        let heading = line.trim_start_matches('#');
        if language.is_some() || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let anchor = kept.collect::<String>().to_lowercase().replace(' ', "-");
        // The second heading of a name gets `-1`, the third `-2`.
        let numbered = |n: usize| if n == 0 { anchor.clone() } else { format!("{anchor}-{n}") };
        let free = (0..).map(numbered).find(|candidate| !anchors.contains(candidate));
        anchors.extend(free);
    }
    anchors
}

/// The README and the book. Records of decisions are history: their commands may be out of date.
fn pages() -> Vec<PathBuf> {
    let mut pages = markdown(Path::new("docs"));
    pages.retain(|page| !page.starts_with("docs/adr"));
    pages.push("README.md".into());
    pages
}

/// Returns the Markdown files in a folder and below, as paths from the root of the repository.
fn markdown(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = folder.join(&name);
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && !SKIPPED_FOLDERS.contains(&name.as_str()) {
                files.extend(markdown(&path));
            }
        } else if name.ends_with(".md") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
