//! The arguments of `wardset policy …`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::source_args::{CompileArgs, ListOutput, PolicySources, RegistryArgs, TrustArgs, parse_label};

/// The commands for authors of policies.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Write a new project, which builds and passes its tests as it is
    New(PolicyNew),
    /// Build the module of a project with the tools of its language
    Build(PolicyBuild),
    /// Run the cases of policies in the sandbox, and check laws that every policy should keep
    Test(PolicyTest),
    /// Build, test and serve a project on this machine, again after each save
    Dev(PolicyDev),
    /// Measure the evaluations of cases, and compare them with an earlier measurement
    Bench(PolicyBench),
    /// Show a module: its manifest, settings, imports, size and digest
    Inspect(PolicyInspect),
    /// Compile modules into the cache folder, so that a server with the same folder starts without compiling them
    Compile(PolicyCompile),
    /// Store a module in a registry, and print its reference with the digest
    Push(PolicyPush),
    /// Write a module from a registry to a file
    Pull(PolicyPull),
    /// Sign a module in a registry with a key
    Sign(PolicySign),
    /// Check the signatures of a module in a registry
    Verify(PolicyVerify),
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Languages:
  rust, ts (TypeScript and JavaScript), go, python, c, zig, and cel, which needs no compiler

Example:
  wardset policy new team-label --lang go
  cd team-label && wardset policy build && wardset policy test")]
pub(super) struct PolicyNew {
    /// Name of the policy: lower-case words joined by `-`
    #[arg(value_name = "NAME")]
    pub(super) name: String,

    /// Language of the sources
    #[arg(long, value_name = "LANGUAGE")]
    pub(super) lang: String,

    /// A policy that may change objects. Default
    #[arg(long, conflicts_with = "validating")]
    pub(super) mutating: bool,

    /// A policy that allows or denies, and changes nothing
    #[arg(long)]
    pub(super) validating: bool,

    /// Folder of the project; it must be empty or missing. Default: the folder NAME
    #[arg(long, value_name = "DIR")]
    pub(super) folder: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct PolicyBuild {
    /// Folder of the project
    #[arg(value_name = "DIR", default_value = ".")]
    pub(super) folder: PathBuf,

    /// Print the output of the tools, even if they succeed
    #[arg(short, long)]
    pub(super) verbose: bool,

    /// Print no steps. They are printed only to a terminal
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  wardset policy inspect policy.wasm
  wardset policy inspect oci://registry.example.com/team/policy:1.0.0
  wardset policy inspect builtin:node-affinity --docs  the settings as a Markdown table
  wardset policy inspect oci://… --artifacthub > artifacthub-pkg.yml")]
pub(super) struct PolicyInspect {
    /// Module: `builtin:NAME`, `file:PATH`, `oci://HOST/NAME:TAG`, `oci://HOST/NAME@sha256:…` or the path of a file
    #[arg(value_name = "MODULE")]
    pub(super) module: String,

    /// Print the settings as Markdown
    #[arg(long, conflicts_with = "output")]
    pub(super) docs: bool,

    /// Print `artifacthub-pkg.yml`, the metadata for catalogues in the format of Artifact Hub. The module must be in a
    /// registry
    #[arg(long, conflicts_with_all = ["output", "docs"])]
    pub(super) artifacthub: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = ListOutput::Text)]
    pub(super) output: ListOutput,

    #[command(flatten)]
    pub(super) compile: CompileArgs,

    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  wardset policy compile policy.wasm --cache-dir /var/cache/wardset
  wardset policy compile builtin:node-affinity other.wasm")]
pub(super) struct PolicyCompile {
    /// Modules: `builtin:NAME`, `file:PATH`, `oci://…` or the path of a file
    #[arg(value_name = "MODULE", required = true)]
    pub(super) modules: Vec<String>,

    #[command(flatten)]
    pub(super) compile: CompileArgs,

    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
The command compiles the module first, so a broken one never reaches the registry. Credentials come from the files of
Docker and Podman.

Examples:
  wardset policy push policy.wasm oci://registry.example.com/team/policy:1.0.0
  wardset policy push policy.wasm oci://localhost:5000/policy:dev --insecure-registry localhost:5000")]
pub(super) struct PolicyPush {
    /// Module: `builtin:NAME`, `file:PATH` or the path of a file
    #[arg(value_name = "MODULE")]
    pub(super) module: String,

    /// Name and tag in the registry: `oci://HOST/NAME:TAG`
    #[arg(value_name = "REF")]
    pub(super) reference: String,

    /// Annotation of the artifact's manifest, beside title, version, description and the schema of the settings.
    /// Repeatable
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(super) annotations: Vec<(String, String)>,

    #[command(flatten)]
    pub(super) compile: CompileArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Example:
  wardset policy pull oci://registry.example.com/team/policy:1.0.0 --output policy.wasm")]
pub(super) struct PolicyPull {
    /// Module: `oci://HOST/NAME:TAG` or `oci://HOST/NAME@sha256:…`
    #[arg(value_name = "REF")]
    pub(super) reference: String,

    /// File to write. Default: the last part of NAME, with `.wasm`, in the current folder. It must not exist
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    #[command(flatten)]
    pub(super) registry: RegistryArgs,

    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
The command stores the signature beside the module, in both forms of cosign. If the reference has only a tag, the command
resolves it first. It prints the reference with the digest.

Examples:
  wardset policy sign oci://registry.example.com/team/policy:1.0.0 --key cosign.key
  COSIGN_PASSWORD=… wardset policy sign oci://registry.example.com/team/policy@sha256:… --key cosign.key")]
pub(super) struct PolicySign {
    /// Module: `oci://HOST/NAME@sha256:…` or `oci://HOST/NAME:TAG`
    #[arg(value_name = "REF")]
    pub(super) reference: String,

    /// Private key (PEM): `cosign.key`, whose password is in $COSIGN_PASSWORD, or a key of openssl (PKCS #8)
    #[arg(long, value_name = "FILE")]
    pub(super) key: PathBuf,

    #[command(flatten)]
    pub(super) registry: RegistryArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Exits 1 if the rule needs a signature and none is good.

Examples:
  wardset policy verify oci://registry.example.com/team/policy:1.0.0 --key cosign.pub
  wardset policy verify oci://registry.example.com/team/policy:1.0.0 --trust trust.yaml")]
pub(super) struct PolicyVerify {
    /// Module: `oci://HOST/NAME@sha256:…` or `oci://HOST/NAME:TAG`
    #[arg(value_name = "REF")]
    pub(super) reference: String,

    /// Public key (PEM), such as `cosign.pub`, instead of the rules of `--trust`
    #[arg(long, value_name = "FILE", conflicts_with = "trust", required_unless_present = "trust")]
    pub(super) key: Option<PathBuf>,

    #[command(flatten)]
    pub(super) registry: RegistryArgs,

    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

/// Default of `--policies` of the commands that run cases. The other commands default to the built-in policies.
const POLICIES_OF_CASES: &str = "File or folder with the policies that decide cases without `policies`, instead of a \
module. Repeatable. Default: `policy.yaml` in the current folder, if the project there has no module";

#[derive(Debug, ClapArgs)]
#[command(mut_arg("paths", |arg| arg.help(POLICIES_OF_CASES)))]
#[command(after_long_help = "\
Examples:
  wardset policy test                                  the project in the current folder
  wardset policy test --module file:policy.wasm        the cases in the folder `cases`
  wardset policy test --module builtin:node-affinity policies/node-affinity/cases
  wardset policy test --policies policies.yaml tests   cases that a whole set of policies decides

Exit codes:
  0  every case passed
  1  a case failed, a law is broken, or a case tests nothing
  2  the cases could not run")]
pub(super) struct PolicyTest {
    /// Files and folders with cases
    #[arg(value_name = "FILE|DIR", default_value = "cases")]
    pub(super) cases: Vec<PathBuf>,

    /// Module under test, for cases without `policies`: `builtin:NAME`, `file:PATH` or `oci://…`. Default: the module of the project
    /// in the current folder, if there is one
    #[arg(long, value_name = "MODULE", conflicts_with = "paths")]
    pub(super) module: Option<String>,

    #[command(flatten)]
    pub(super) policies: PolicySources,

    /// Run only the cases whose name contains this text
    #[arg(long, value_name = "TEXT")]
    pub(super) filter: Option<String>,

    /// Write the stored objects to the golden files (`expect.object`) instead of comparing them
    #[arg(long)]
    pub(super) update: bool,

    /// Run again after each change of the case files, their folders, the policies or the module, until interrupted
    #[arg(long, conflicts_with = "update")]
    pub(super) watch: bool,

    /// Format of the results
    #[arg(short, long, value_enum, default_value_t = TestOutput::Text)]
    pub(super) output: TestOutput,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  wardset policy dev                                   the project in the current folder
  wardset policy dev team-label --port 8443

Exit codes:
  0    stopped by SIGTERM, SIGINT or SIGHUP
  2    could not run
  130  aborted by a second SIGINT
  143  aborted by a second SIGTERM")]
pub(super) struct PolicyDev {
    /// Folder of the project
    #[arg(value_name = "DIR", default_value = ".")]
    pub(super) folder: PathBuf,

    /// Port of the webhook on the loopback address. Default: a free one
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub(super) port: u16,

    /// Print no steps of the build. Without this option, they appear on a terminal only
    #[arg(short, long)]
    pub(super) quiet: bool,

    #[command(flatten)]
    pub(super) compile: CompileArgs,
}

#[derive(Debug, ClapArgs)]
#[command(mut_arg("paths", |arg| arg.help(POLICIES_OF_CASES)))]
#[command(after_long_help = "\
Examples:
  wardset policy bench                                 the cases of the project in the current folder
  wardset policy bench --save base.json                also write the figures to a file
  wardset policy bench --compare base.json             exit 1 if a case became slower by more than 20 %
  wardset policy bench --module builtin:node-affinity policies/node-affinity/cases

Exit codes:
  0  the cases were measured
  1  the median of a case is slower than --threshold allows
  2  failed to measure the cases, or to read or write the baseline")]
pub(super) struct PolicyBench {
    /// Files and folders with cases
    #[arg(value_name = "FILE|DIR", default_value = "cases")]
    pub(super) cases: Vec<PathBuf>,

    /// Module to measure, for cases without `policies`: `builtin:NAME`, `file:PATH` or `oci://…`. Default: the module of the project
    /// in the current folder, if there is one
    #[arg(long, value_name = "MODULE", conflicts_with = "paths")]
    pub(super) module: Option<String>,

    #[command(flatten)]
    pub(super) policies: PolicySources,

    /// Measure only the cases whose name contains this text
    #[arg(long, value_name = "TEXT")]
    pub(super) filter: Option<String>,

    /// Time for the evaluations of all cases together. Each case is evaluated at least 10 times
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse_bench_time)]
    pub(super) time: Duration,

    /// Write the figures to this file, as a baseline for --compare
    #[arg(long, value_name = "FILE")]
    pub(super) save: Option<PathBuf>,

    /// Compare with the baseline in this file. Run the command in the same folder as for --save
    #[arg(long, value_name = "FILE")]
    pub(super) compare: Option<PathBuf>,

    /// Maximum slowdown of a median, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 20, requires = "compare",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) threshold: u32,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = ListOutput::Text)]
    pub(super) output: ListOutput,

    /// Print no steps. They are printed only to a terminal
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TestOutput {
    Text,
    Json,
    Junit,
}

fn parse_bench_time(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected 0.1 to 600 seconds".to_owned())
}
