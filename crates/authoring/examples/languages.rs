//! Builds the examples in `examples/languages` with the real tools, and checks their cases in a real host.
//!
//! `cargo xtask languages` runs it. Standard output gets a table, and standard error the progress.
//!
//! ```text
//! languages [LANG]… [--setup] [--fresh mutating|validating] [--wardset PATH]
//! ```
//!
//! `--setup` first installs the tools of each example, as its README says. `--fresh` builds new projects instead of the examples, each in two folders, and compares the digests. `--wardset` names the host that runs the cases.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Instant;

use serde_json::{Value, json};
use wardset_authoring::{BuildEvent, Language, PolicyKind, build, create};
use wardset_cases::{
    Case, CaseAnswer, CaseDenial, CaseGate, CaseOperation, CaseOutcome, ExpectedRemark, Remark,
};

/// Number of decisions whose median time counts.
const OBJECTS: u32 = 301;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Builds and checks each language; false if one of them fails.
fn run() -> Result<bool> {
    let (mut languages, mut wardset, mut fresh, mut setup) = (Vec::new(), None, None, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--setup" => setup = true,
            "--fresh" => {
                fresh = Some(match words.next().as_deref() {
                    Some("mutating") => PolicyKind::Mutating,
                    Some("validating") => PolicyKind::Validating,
                    _ => return Err("`--fresh` needs `mutating` or `validating`".into()),
                });
            }
            "--wardset" => wardset = Some(PathBuf::from(words.next().ok_or("`--wardset` needs a path")?)),
            word => match word.parse()? {
                Language::Cel => return Err("expected a language with a compiler, found `cel`".into()),
                language => languages.push(language),
            },
        }
    }
    if languages.is_empty() {
        languages = Language::ALL.into_iter().filter(|language| *language != Language::Cel).collect();
    }
    let root = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
    let mut rows = Vec::new();
    let mut all_fine = true;
    for language in languages {
        eprintln!("==> {language}");
        let installed = if setup { install(&root, language) } else { Ok(()) };
        let row = installed.and_then(|()| check(&root, language, fresh, wardset.as_deref()));
        let row = row.unwrap_or_else(|error| {
            all_fine = false;
            eprintln!("error: {error}");
            format!(
                "| {language} | failed: {} | | | | | |",
                error.to_string().lines().next().unwrap_or_default()
            )
        });
        rows.push(row);
    }
    println!(
        "| language | module, bytes | build, CPU s | build, s | compile, CPU s | evaluation, µs | cases |"
    );
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        println!("{row}");
    }
    Ok(all_fine)
}

/// Runs the command that installs the tools of an example.
fn install(root: &Path, language: Language) -> Result<()> {
    let Some(command) = language.setup() else { return Ok(()) };
    eprintln!("    $ {command}");
    let folder = root.join("examples/languages").join(language.word());
    let output = Command::new("sh").args(["-c", command]).current_dir(folder).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`{command}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

/// Builds one example, runs its cases, and returns a row of the table.
fn check(
    root: &Path,
    language: Language,
    fresh: Option<PolicyKind>,
    wardset: Option<&Path>,
) -> Result<String> {
    let (mut folder, mut again) = (root.join("examples/languages").join(language.word()), None);
    if let Some(kind) = fresh {
        let (example, target) = (folder, root.join("target/languages"));
        let name = format!("{}-{}", language.word(), kind.word());
        folder = target.join(&name);
        new_project(&folder, &example, language, kind)?;
        again = Some(target.join("in another folder").join(name));
        if let Some(again) = &again {
            new_project(again, &example, language, kind)?;
        }
    }
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let built = build(&folder, &mut |event| match event {
        BuildEvent::Step(text) => eprintln!("    {text}"),
        BuildEvent::Command(line) => eprintln!("    $ {line}"),
        BuildEvent::Output(line) => eprintln!("      {line}"),
    })?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    eprintln!("    {} {}", built.digest, built.imports.join(" "));
    if let Some(again) = again.filter(|_| built.is_reproducible) {
        eprintln!("    building it again in another folder");
        let digest = build(&again, &mut |_| {})?.digest;
        if digest != built.digest {
            return Err(format!("expected {}, found {digest} in another folder", built.digest).into());
        }
    }
    let host = match wardset {
        None => "| not run | | |".to_owned(),
        Some(wardset) => {
            let host = Host { wardset, work: root.join("target/languages").join(language.word()) };
            fs::create_dir_all(&host.work)?;
            let (compile, evaluation) = host.measure(&built.path)?;
            let cases = host.run_cases(&folder, &built.path)?;
            format!("| {compile:.1} | {evaluation} | {cases} of {cases} |")
        }
    };
    let size = built.size_bytes;
    Ok(format!("| {language} | {size} | {cpu:.1} | {seconds:.1} {host}"))
}

/// A real host, and a folder for its files.
struct Host<'h> {
    wardset: &'h Path,
    work: PathBuf,
}

/// Makes a new project, which borrows the installed tools of the example.
fn new_project(folder: &Path, example: &Path, language: Language, kind: PolicyKind) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    create(folder, "team-label", language, kind)?;
    for tools in [".venv", "node_modules"] {
        let path = example.join(tools);
        if path.exists() {
            std::os::unix::fs::symlink(path, folder.join(tools))?;
        }
    }
    Ok(())
}

impl Host<'_> {
    /// Returns the seconds of CPU to compile the module, and the median of microseconds to evaluate it in a fresh
    /// sandbox.
    fn measure(&self, module: &Path) -> Result<(f64, u64)> {
        let cache = self.work.join("cache");
        if cache.exists() {
            fs::remove_dir_all(&cache)?;
        }
        let (policy, objects) =
            (self.policy(module, &json!({"team": "platform"}))?, self.work.join("many.json"));
        let object = |index: u32| {
            let labels = json!({"app": "agent"});
            json!({
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": {"name": format!("agent-{index}"), "labels": labels},
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": []}},
                },
            })
        };
        let list =
            |items: Vec<Value>| json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        fs::write(&objects, list(vec![object(0)]))?;
        let start = cpu_seconds()?;
        self.command().arg("--policies").arg(&policy).arg("-f").arg(&objects).output()?;
        let compile = cpu_seconds()? - start;
        fs::write(&objects, list((0..OBJECTS).map(object).collect()))?;
        let output = self.command().arg("--policies").arg(&policy).arg("-f").arg(&objects).output()?;
        let mut times: Vec<u64> = serde_json::Deserializer::from_slice(&output.stdout)
            .into_iter::<Value>()
            .flat_map(|answer| match answer {
                Ok(Value::Array(answers)) => answers,
                Ok(answer) => vec![answer],
                Err(_) => Vec::new(),
            })
            .filter_map(|answer| answer["policies"][0]["duration_us"].as_u64())
            .collect();
        if times.len() != OBJECTS as usize {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("expected {OBJECTS} decisions, found {}: {errors}", times.len()).into());
        }
        times.sort_unstable();
        Ok((compile, times[times.len() / 2]))
    }

    /// Runs all cases of an example and returns their number.
    fn run_cases(&self, folder: &Path, module: &Path) -> Result<usize> {
        let files = wardset_cases::read(&folder.join("cases"), |text| serde_saphyr::from_multiple(text))?;
        let cases: Vec<Case> = files.into_iter().flat_map(|file| file.cases).collect();
        for case in &cases {
            let outcome = self.review(module, case)?;
            case.expect
                .check(outcome)
                .map_err(|difference| format!("the case `{}` differs: {difference}", case.name))?;
        }
        Ok(cases.len())
    }

    /// Returns the command of a review with time and memory for the largest modules.
    fn command(&self) -> Command {
        let mut command = Command::new(self.wardset);
        command
            .args(["review", "-o", "json", "--compile-seconds", "900", "--compile-memory", "2048"])
            .arg("--cache-dir")
            .arg(self.work.join("cache"));
        command
    }

    /// Writes a policy file for the module and returns its path.
    fn policy(&self, module: &Path, settings: &Value) -> Result<PathBuf> {
        let policy = json!({
            "apiVersion": "wardset.dev/v1alpha1",
            "kind": "Policy",
            "metadata": {"name": "example"},
            "spec": {
                "module": format!("file:{}", module.display()),
                "settings": settings,
                // A busy machine delays the first evaluations of large modules.
                "limits": {"timeout": "2s"},
            },
        });
        self.write("policy.json", &policy)
    }

    fn write(&self, name: &str, value: &Value) -> Result<PathBuf> {
        let path = self.work.join(name);
        fs::write(&path, value.to_string())?;
        Ok(path)
    }

    /// Decides on one case.
    fn review(&self, module: &Path, case: &Case) -> Result<CaseOutcome> {
        let (object, old) = case.objects();
        let mut command = self.command();
        command
            .arg("--verify")
            .arg("--policies")
            .arg(self.policy(module, &case.settings())?)
            .arg("-f")
            .arg(self.write("object.json", &whole(object))?);
        if case.operation == CaseOperation::Update || case.gate == CaseGate::Closed {
            command.arg("--old").arg(self.write("old.json", &whole(old.unwrap_or_default()))?);
        }
        outcome(&command.output()?, case)
    }
}

/// Reads the decision on a case.
fn outcome(output: &Output, case: &Case) -> Result<CaseOutcome> {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(2) {
        // The settings are checked when the policy is loaded.
        if case.expect.settings_error.is_some() && errors.contains("spec.settings") {
            return Ok(CaseOutcome::SettingsError(errors));
        }
        return Err(errors.into());
    }
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let policy = &answer["policies"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    if policy["verdict"] == "error" || policy["verdict"] == "fail" {
        return Ok(CaseOutcome::Error(policy.to_string()));
    }
    // The answer has neither the codes of denials nor the pointers of warnings of one policy.
    let code = if answer["code"] == 422 { "invalid" } else { "forbidden" };
    let denials = list(&policy["denials"]).into_iter().map(|denial| CaseDenial {
        code,
        pointer: text(&denial["pointer"]),
        message: text(&denial["message"]),
        fix: text(&denial["fix"]),
    });
    let denials: Vec<CaseDenial> = denials.collect();
    let changes = if denials.is_empty() { list(&policy["patch"]) } else { Vec::new() };
    let warnings = list(&answer["warnings"]).iter().map(text).collect();
    let warnings = pointed(warnings, &case.expect.warnings);
    Ok(CaseOutcome::Answer(CaseAnswer { denials, changes, warnings, notes: Vec::new() }))
}

/// Adds to the warnings of an answer, `POLICY: MESSAGE (POINTER)`, the pointers that the case expects.
fn pointed(warnings: Vec<String>, expected: &[ExpectedRemark]) -> Vec<Remark> {
    let pointer = |index: usize, message: &str| {
        let expected = expected.get(index).map(|remark| remark.pointer.as_str()).unwrap_or_default();
        if message.ends_with(&format!("({expected})")) { expected.to_owned() } else { String::new() }
    };
    let warnings = warnings.into_iter().enumerate();
    warnings.map(|(index, message)| Remark { pointer: pointer(index, &message), message }).collect()
}

/// Adds a name, which the host needs and some cases leave out.
fn whole(mut object: Value) -> Value {
    if object["metadata"]["name"].is_null() {
        object["metadata"]["name"] = json!("case");
    }
    object
}

/// Returns the seconds of CPU of this process, and of all that it has waited for.
fn cpu_seconds() -> Result<f64> {
    // Fields 14 to 17 are times in hundredths of a second. The name, in parentheses, is the second.
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4).collect();
    let ticks = fields.iter().map(|field| field.parse::<u32>()).sum::<std::result::Result<u32, _>>()?;
    Ok(f64::from(ticks) / 100.0)
}
