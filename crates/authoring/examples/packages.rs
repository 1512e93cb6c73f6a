//! Packs the SDKs for crates.io, npm and PyPI, installs each file into a new project outside the repository, and builds
//! and tests its policy.
//!
//! `cargo xtask packages` runs it. Standard output gets a table, and standard error the progress. The packed files are in
//! `target/packages`.
//!
//! ```text
//! packages [LANG]… [--wardset PATH]
//! ```
//!
//! `--wardset` names the host that runs the cases. Without it, the policies are only built.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use wardset_authoring::{BuildEvent, Language, PolicyKind, build, files};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The languages whose SDK is a package. Bindings for the others are part of each project.
const LANGUAGES: [Language; 3] = [Language::Rust, Language::Ts, Language::Python];

/// The name of the packages in all registries.
const NAME: &str = "wardset-policy-sdk";

/// The version of the packages.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::from(2)
        }
    }
}

/// Packs and tries each package; false if one of them fails.
fn run() -> Result<bool> {
    let (mut languages, mut wardset) = (Vec::new(), None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--wardset" => wardset = Some(PathBuf::from(words.next().ok_or("`--wardset` needs a path")?)),
            word => match word.parse()? {
                language if LANGUAGES.contains(&language) => languages.push(language),
                language => {
                    let problem =
                        format!("expected a language with a package: rust, ts, python; found `{language}`");
                    return Err(problem.into());
                }
            },
        }
    }
    if languages.is_empty() {
        languages = LANGUAGES.to_vec();
    }
    refuse_missing_tools(&languages)?;
    let root = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
    let out = root.join("target/packages");
    fs::create_dir_all(&out)?;
    let mut all_fine = true;
    let mut rows = Vec::new();
    for language in languages {
        eprintln!("==> {language}");
        let start = Instant::now();
        let checked = check(&root, &out, language, wardset.as_deref());
        let row = checked.unwrap_or_else(|error| {
            all_fine = false;
            eprintln!("error: {}", chain(&*error));
            format!("failed: {} | | |", error.to_string().lines().next().unwrap_or_default())
        });
        rows.push(format!("| {language} | {row} {:.0} |", start.elapsed().as_secs_f64()));
    }
    println!("| language | package | bytes | policy | s |\n|---|---|---|---|---|\n{}", rows.join("\n"));
    Ok(all_fine)
}

/// Packs and tries one package, and returns a part of its row.
fn check(root: &Path, out: &Path, language: Language, wardset: Option<&Path>) -> Result<String> {
    // Outside the repository, so that a package cannot reach a file that it lacks.
    let folder = tempfile::tempdir()?;
    let packed = Packages { root, out, folder: folder.path() }.check(language, wardset)?;
    let name = packed.file_name().unwrap_or_default().display().to_string();
    let policy = if wardset.is_some() { "built, tested" } else { "built" };
    Ok(format!("`{name}` | {} | {policy} |", packed.metadata()?.len()))
}

/// Fails if programs are missing. The error names each of them, and its fix.
fn refuse_missing_tools(languages: &[Language]) -> Result<()> {
    let needed = languages.iter().flat_map(|language| match language {
        Language::Rust => {
            &[("cargo", "install Rust from https://rustup.rs"), ("tar", "apt-get install tar")][..]
        }
        Language::Ts => &[
            ("node", "apt-get install nodejs npm"),
            ("npm", "apt-get install npm"),
            ("tar", "apt-get install tar"),
        ],
        _ => &[("python3", "apt-get install python3 python3-venv")],
    });
    let is_missing = |program: &str| {
        let started =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        started.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    };
    let missing: BTreeMap<_, _> = needed.copied().filter(|(program, _)| is_missing(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.keys().map(|program| format!("`{program}`")).collect();
    let hints: String = missing.values().map(|fix| format!("\nhint: {fix}")).collect();
    Err(format!("failed to find {}{hints}", names.join(", ")).into())
}

/// The folders of one package.
struct Packages<'f> {
    root: &'f Path,
    /// The folder for packed files.
    out: &'f Path,
    /// The folder for the new project, outside the repository.
    folder: &'f Path,
}

impl Packages<'_> {
    /// Packs the SDK, builds a policy with it, and returns the packed file.
    fn check(&self, language: Language, wardset: Option<&Path>) -> Result<PathBuf> {
        let project = self.folder.join("team-label");
        let packed = match language {
            Language::Rust => self.rust(&project),
            Language::Ts => self.typescript(&project),
            _ => self.python(&project),
        }?;
        build(&project, &mut |event| {
            if let BuildEvent::Command(line) = event {
                eprintln!("    $ {line}");
            }
        })?;
        if language == Language::Rust {
            // The SDK has a second runner of cases, which needs no host.
            let mut cargo = cargo();
            output(cargo.args(["test", "--quiet", "--target-dir", "target"]).current_dir(&project))?;
        }
        if let Some(wardset) = wardset {
            let mut wardset = Command::new(wardset);
            // Time and memory for the largest modules on a busy machine.
            wardset.args(["policy", "test", "--compile-seconds", "900", "--compile-memory", "2048"]);
            output(wardset.current_dir(&project))?;
        }
        Ok(packed)
    }

    fn rust(&self, project: &Path) -> Result<PathBuf> {
        let target = self.out.join("cargo");
        let mut cargo = cargo();
        // It also compiles the packed files.
        cargo.args(["package", "--quiet", "--allow-dirty", "--package", NAME, "--target-dir"]).arg(&target);
        output(cargo.current_dir(self.root.join("policies")))?;
        let file = format!("{NAME}-{VERSION}.crate");
        let packed = self.out.join(&file);
        fs::copy(target.join("package").join(&file), &packed)?;
        let unpacked = format!("{NAME}-{VERSION}");
        let within = |path: &str| format!("{unpacked}/{path}");
        expect_files(
            &output(Command::new("tar").arg("-tzf").arg(&packed))?,
            ["LICENSE", "README.md", "src/cases/lib.rs", "src/placement/lib.rs", "wit/policy.wit"]
                .map(within),
        )?;
        output(Command::new("tar").arg("-xzf").arg(&packed).current_dir(self.folder))?;
        write_project(project, Language::Rust, |path, text| match path {
            "Cargo.toml" => {
                let text = replace(text, "{ path = \"vendor/sdk\" }", &format!("\"{VERSION}\""))?;
                let text = replace(&text, "exclude = [\"vendor\"]\n", "")?;
                Ok(Some(text + &format!("\n[patch.crates-io]\n{NAME} = {{ path = \"../{unpacked}\" }}\n")))
            }
            path => Ok((!path.starts_with("vendor/")).then(|| text.to_owned())),
        })?;
        Ok(packed)
    }

    fn typescript(&self, project: &Path) -> Result<PathBuf> {
        write_project(project, Language::Ts, |path, text| match path {
            "src/wardset.ts" | "types/wardset.d.ts" => Ok(None),
            "src/policy.ts" => Ok(Some(replace(text, "\"./wardset\"", &format!("\"{NAME}\""))?)),
            _ => Ok(Some(text.to_owned())),
        })?;
        output(Command::new("npm").args(["install", "--silent"]).current_dir(project))?;
        let staged = self.stage("npm")?;
        // The compiler is the one of the project.
        let mut path = OsString::from(project.join("node_modules/.bin"));
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", "--pack-destination"]).arg(self.out).env("PATH", path);
        output(npm.current_dir(&staged))?;
        let packed = self.out.join(format!("{NAME}-{VERSION}.tgz"));
        expect_files(
            &output(Command::new("tar").arg("-tzf").arg(&packed))?,
            ["LICENSE", "README.md", "contract.d.ts", "dist/index.d.ts", "dist/index.js", "wit/policy.wit"]
                .map(|path| format!("package/{path}")),
        )?;
        output(Command::new("npm").args(["install", "--silent"]).arg(&packed).current_dir(project))?;
        Ok(packed)
    }

    fn python(&self, project: &Path) -> Result<PathBuf> {
        write_project(project, Language::Python, |path, text| match path {
            "app.py" => {
                let (before, rest) = text.split_once("def read(").ok_or("`app.py` has no function `read`")?;
                let (_, after) = rest.split_once("\n\n\n").ok_or("`read` has no end")?;
                let text =
                    replace(&format!("{before}{after}"), "from wit_world.imports import document\n", "")?;
                Ok(Some(replace(
                    &text,
                    "import wit_world\n",
                    "import wit_world\nfrom wardset_policy_sdk import read\n",
                )?))
            }
            _ => Ok(Some(text.to_owned())),
        })?;
        let setup = Language::Python.setup().unwrap_or_default();
        output(Command::new("sh").args(["-c", setup]).current_dir(project))?;
        let bin = project.join(".venv/bin");
        self.check_types(&bin.join("componentize-py"))?;
        let staged = self.stage("pypi")?;
        let mut pip = Command::new(bin.join("pip"));
        pip.args(["wheel", "--quiet", "--no-deps", "--wheel-dir"]).arg(self.out).arg(&staged);
        output(&mut pip)?;
        let name = NAME.replace('-', "_");
        let packed = self.out.join(format!("{name}-{VERSION}-py3-none-any.whl"));
        expect_files(
            &output(Command::new(bin.join("python")).args(["-m", "zipfile", "-l"]).arg(&packed))?,
            [
                "wardset_policy_sdk/policy.wit",
                "wardset_policy_sdk/py.typed",
                "wit_world-stubs/imports/types.pyi",
                "licenses/LICENSE",
            ]
            .map(str::to_owned),
        )?;
        output(Command::new(bin.join("pip")).args(["install", "--quiet", "--no-deps"]).arg(&packed))?;
        Ok(packed)
    }

    /// Compares the types in the package with those that the tool writes for the contract.
    fn check_types(&self, componentize: &Path) -> Result<()> {
        let written = self.folder.join("bindings");
        let mut command = Command::new(componentize);
        command.arg("-d").arg(self.root.join("wit")).args(["-w", "policy", "bindings"]).arg(&written);
        output(&mut command)?;
        let package = self.root.join("crates/authoring/packages/pypi");
        for (from, to) in [
            ("wit_world/__init__.py", "wit_world-stubs/__init__.pyi"),
            ("wit_world/imports/__init__.py", "wit_world-stubs/imports/__init__.pyi"),
            ("wit_world/imports/cluster.py", "wit_world-stubs/imports/cluster.pyi"),
            ("wit_world/imports/document.py", "wit_world-stubs/imports/document.pyi"),
            ("wit_world/imports/log.py", "wit_world-stubs/imports/log.pyi"),
            ("wit_world/imports/types.py", "wit_world-stubs/imports/types.pyi"),
            ("componentize_py_types.py", "componentize_py_types-stubs/__init__.pyi"),
        ] {
            let (new, path) = (fs::read_to_string(written.join(from))?, package.join(to));
            if std::env::var_os("BLESS").is_some() {
                fs::write(&path, &new)?;
            }
            if fs::read_to_string(&path).unwrap_or_default() != new {
                let problem =
                    format!("`{}` is stale\nhint: run `BLESS=1 cargo xtask packages python`", path.display());
                return Err(problem.into());
            }
        }
        Ok(())
    }

    /// Copies a package's folder and the licence, so that packing writes nothing into the repository.
    fn stage(&self, name: &str) -> Result<PathBuf> {
        let staged = self.out.join(name);
        if staged.exists() {
            fs::remove_dir_all(&staged)?;
        }
        copy(&self.root.join("crates/authoring/packages").join(name), &staged)?;
        fs::copy(self.root.join("LICENSE"), staged.join("LICENSE"))?;
        Ok(staged)
    }
}

/// Writes a new project, changed by `change`, which gets each file's path and text.
fn write_project(
    folder: &Path,
    language: Language,
    change: impl Fn(&str, &str) -> Result<Option<String>>,
) -> Result<()> {
    for (path, text) in files("team-label", language, PolicyKind::Mutating)? {
        let Some(text) = change(&path, &text)? else { continue };
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, text)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Replaces a text that must be there.
fn replace(text: &str, from: &str, to: &str) -> Result<String> {
    if text.contains(from) {
        Ok(text.replace(from, to))
    } else {
        Err(format!("the project has no `{from}`").into())
    }
}

/// Fails if a list of a package's files lacks one of these.
fn expect_files<const N: usize>(list: &str, expected: [String; N]) -> Result<()> {
    match expected.iter().find(|file| !list.contains(file.as_str())) {
        Some(file) => Err(format!("expected `{file}` in the package, found:\n{list}").into()),
        None => Ok(()),
    }
}

/// Returns the cargo that runs this program.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command and returns its standard output. The error has all of its output.
fn output(command: &mut Command) -> Result<String> {
    let line: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let line = line.join(" ");
    eprintln!("    $ {line}");
    let ended = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("failed to start `{line}`: {error}"))?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    if ended.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&ended.stderr);
    Err(format!("failed to run `{line}` ({}):\n{text}{errors}", ended.status).into())
}

/// Joins an error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(found) = cause {
        text.push_str(&format!(": {found}"));
        cause = found.source();
    }
    text
}
