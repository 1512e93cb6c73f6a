//! The command line's arguments, as typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use wardset_core::review::Operation;
use wardset_placement::{KubernetesVersion, VersionError};

use crate::certificates::own::{Lifetimes, LifetimesError};

/// The admission gate for Kubernetes DaemonSets.
#[derive(Debug, Parser)]
#[command(name = "wardset", version, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Review manifests without a cluster, with the same code as the server
    Review(ReviewArgs),
    /// Show on which nodes DaemonSets run, before and after policies, and why other nodes refuse them
    Place(Box<PlaceArgs>),
    /// Answer AdmissionReviews over TLS
    Serve(Box<Serve>),
    /// List the active policies
    Policies(Policies),
    /// Write, build, test and inspect policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Print the CustomResourceDefinition of Policy
    Crd,
    /// Print completions for a shell
    Completions(Completions),
    /// Write manual pages
    Man(Man),
    /// Compile one module, as a child process of this program
    #[command(hide = true)]
    CompileModule(CompileModule),
}

#[derive(Debug, ClapArgs)]
pub(super) struct CompileModule {
    /// Maximum memory, in bytes
    #[arg(long)]
    pub(super) memory: u64,

    /// Maximum processor time, in seconds
    #[arg(long)]
    pub(super) seconds: u64,
}

/// The sources of policies, shared by all commands.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct PolicySources {
    /// File or folder with policies. Repeatable. Default: the built-in policies
    #[arg(long = "policies", value_name = "FILE|DIR")]
    pub(super) paths: Vec<PathBuf>,

    /// Folder for compiled modules and content of registries. Default: $XDG_CACHE_HOME/wardset, else ~/.cache/wardset
    #[arg(
        long,
        value_name = "DIR",
        env = "WARDSET_CACHE_DIR",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(super) cache_dir: Option<PathBuf>,

    /// Pull and compile modules at every start instead of caching them
    #[arg(long, conflicts_with = "cache_dir", hide_short_help = true)]
    pub(super) no_cache: bool,

    /// Maximum time for compiling a module, in seconds for each started 4 MiB of it
    #[arg(long, value_name = "1..3600", default_value_t = 30, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(super) compile_seconds: u32,

    /// Maximum memory for compiling a module, in MiB. Default: a quarter of the container's limit, at least 128 and at
    /// most 1024, and 1024 without a limit; a module of more than 4 MiB may get twice as much
    #[arg(long, value_name = "MIB", hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(16..=65536))]
    pub(super) compile_memory: Option<u32>,

    #[command(flatten)]
    pub(super) registry: RegistryArgs,

    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

/// How to reach registries, shared by all commands that load modules.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct RegistryArgs {
    /// File with CAs of registries (PEM), beside those of the system
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) registry_ca: Option<PathBuf>,

    /// Registry that has plain HTTP only: its host, with the port if the reference has one. Repeatable
    #[arg(long = "insecure-registry", value_name = "HOST", hide_short_help = true)]
    pub(super) insecure_registries: Vec<String>,
}

/// Which signatures modules from registries need.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct TrustArgs {
    /// File with the rules for signatures of modules from registries. Default: modules need no signature
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) trust: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  wardset review -f ds.yaml                            the webhook's decision, with reasons
  wardset review -f ds.yaml -o yaml | kubectl apply -f -
  kubectl get ds -A -o yaml | wardset review -f -      a whole cluster against the built-in policies
  wardset review -f new.yaml --old stored.yaml         an update, with the template gate

Exit codes:
  0  every DaemonSet is allowed
  1  a DaemonSet is denied, a policy failed to decide, or --verify found a difference
  2  the review could not run")]
pub(super) struct ReviewArgs {
    /// Manifests: a file, a folder, or `-` for standard input, with YAML, JSON or AdmissionReviews. Repeatable
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub(super) files: Vec<PathBuf>,

    /// Read the subfolders of a folder, too
    #[arg(short = 'R', long)]
    pub(super) recursive: bool,

    #[command(flatten)]
    pub(super) policies: PolicySources,

    /// File with stored objects. If it has the reviewed object, the review is an update
    #[arg(long, value_name = "FILE")]
    pub(super) old: Option<PathBuf>,

    /// Operation to review. Default: update if --old has the object, else create
    #[arg(long, value_name = "create|update", value_parser = parse_operation)]
    pub(super) operation: Option<Operation>,

    /// Labels of the namespace, for policies that select by them. Default: only kubernetes.io/metadata.name
    #[arg(long, value_name = "K=V,…", value_delimiter = ',', value_parser = parse_label)]
    pub(super) namespace_labels: Option<Vec<(String, String)>>,

    /// Namespace of manifests that do not name one
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub(super) namespace: String,

    /// User who sends the request
    #[arg(long, value_name = "NAME", default_value = "kubernetes-admin")]
    pub(super) user: String,

    /// Mark the review as a dry run; the decision is the same
    #[arg(long)]
    pub(super) dry_run: bool,

    /// List the objects that are not reviewed, instead of their number
    #[arg(short, long)]
    pub(super) verbose: bool,

    /// Evaluate each policy twice, and exit 1 if its two verdicts differ
    #[arg(long)]
    pub(super) verify: bool,

    /// Nodes as `kubectl get nodes -o yaml` prints them. The review then also shows the nodes of the DaemonSet, and the
    /// effect of an update on its pods. `wardset place` shows more. Repeatable
    #[arg(long, value_name = "FILE|DIR|-")]
    pub(super) nodes: Vec<PathBuf>,

    /// Format: `text` for people, `json` with everything, `yaml` for the objects as stored, `patch` for RFC 6902
    #[arg(short, long, value_enum, default_value_t = Output::Text, hide_possible_values = true)]
    pub(super) output: Output,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  kubectl get nodes -o yaml > nodes.yaml
  wardset place -f ds.yaml --nodes nodes.yaml          a table of nodes, with reasons
  wardset place -f ds.yaml --nodes nodes.yaml --node gpu-1
                                                       one node, and the toleration that brings the pods there
  wardset place -f new.yaml --cluster                  an update against the current cluster
  wardset place --cluster                              all DaemonSets and all pools of nodes

Exit codes:
  0  every answer was printed
  1  a DaemonSet is denied, or --fail-on found one
  2  the command could not run")]
pub(super) struct PlaceArgs {
    /// DaemonSets: a file, a folder, or `-` for standard input. Repeatable. Default: the DaemonSets of the cluster or of
    /// the files of --nodes, as a matrix
    #[arg(short, long = "filename", value_name = "FILE|DIR|-")]
    pub(super) files: Vec<PathBuf>,

    /// Read the subfolders of a folder, too
    #[arg(short = 'R', long)]
    pub(super) recursive: bool,

    #[command(flatten)]
    pub(super) policies: PolicySources,

    /// Nodes as `kubectl get nodes -o yaml` prints them: a file, a folder, or `-` for standard input. If it has Pods and
    /// DaemonSets too, they count as those of the cluster. Repeatable. Required without --cluster
    #[arg(long, value_name = "FILE|DIR|-", conflicts_with = "cluster")]
    pub(super) nodes: Vec<PathBuf>,

    /// The same nodes before a change, such as a new taint. The command then compares the nodes before and after the
    /// change, with the same policies. Repeatable
    #[arg(long, value_name = "FILE|DIR|-", requires = "files")]
    pub(super) old_nodes: Vec<PathBuf>,

    /// Read nodes, pods and DaemonSets from the cluster of the current kubeconfig
    #[arg(long)]
    pub(super) cluster: bool,

    /// File with stored objects. Default: the DaemonSets of the cluster or of the files of --nodes
    #[arg(long, value_name = "FILE", requires = "files")]
    pub(super) old: Option<PathBuf>,

    /// Explain one node in full, and print the change that brings the pods there
    #[arg(long, value_name = "NAME", requires = "files")]
    pub(super) node: Option<String>,

    /// Kubernetes version whose rules apply. Default: that of the cluster, else the newest known one
    #[arg(long, value_name = "1.MINOR", value_parser = parse_version)]
    pub(super) kubernetes_version: Option<KubernetesVersion>,

    /// Evaluate the toleration operators `Lt` and `Gt`, as with the feature gate TaintTolerationComparisonOperators
    #[arg(long, hide_short_help = true)]
    pub(super) numeric_tolerations: bool,

    /// Exit 1 if a DaemonSet runs on no node (`zero`) or on fewer nodes than before (`shrink`). Repeatable
    #[arg(long, value_name = "zero|shrink", value_enum, value_delimiter = ',')]
    pub(super) fail_on: Vec<FailOn>,

    /// Labels of the namespace, for policies that select by them. Default: only kubernetes.io/metadata.name
    #[arg(long, value_name = "K=V,…", value_delimiter = ',', value_parser = parse_label)]
    pub(super) namespace_labels: Option<Vec<(String, String)>>,

    /// Namespace of manifests that do not name one
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub(super) namespace: String,

    /// Format: `text` for 80 columns, `wide` with the names of all nodes, `json` with everything
    #[arg(short, long, value_enum, default_value_t = PlaceOutput::Text, hide_possible_values = true)]
    pub(super) output: PlaceOutput,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PlaceOutput {
    Text,
    Wide,
    Json,
}

/// A result that `place` reports by its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FailOn {
    Zero,
    Shrink,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Text,
    Json,
    Yaml,
    Patch,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  wardset serve                                        with a development certificate in certs/dev
  wardset serve --tls-dir /etc/wardset/tls --policies /etc/wardset/policies
  wardset serve --cluster                              with policies and certificates from a cluster

Exit codes:
  0    stopped by SIGTERM, SIGINT or SIGHUP
  2    could not run
  130  aborted by SIGINT during the shutdown
  143  aborted by SIGTERM during the shutdown")]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) policies: PolicySources,

    /// Address of the webhook (TLS). Default: 0.0.0.0:8443; with a development certificate 127.0.0.1:8443
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) listen: Option<SocketAddr>,

    /// Address of /livez, /readyz and /metrics (plain HTTP). Default: 0.0.0.0:8081; with a development certificate
    /// 127.0.0.1:8081
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) admin: Option<SocketAddr>,

    /// Folder with tls.crt (full chain) and tls.key; polled for changes every second
    #[arg(long, value_name = "DIR")]
    pub(super) tls_dir: Option<PathBuf>,

    /// CA file (PEM): clients must present a certificate that this CA signed. Read once, at start
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) client_ca: Option<PathBuf>,

    /// Maximum number of concurrent reviews; any further one gets status 429. Reviews of kube-system and dry runs
    /// together may use half
    #[arg(long, value_name = "1..65536", default_value_t = 256, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(super) max_in_flight: u32,

    /// Maximum number of connections to the webhook. At the limit, a new connection evicts an idle one
    #[arg(long, value_name = "16..65536", default_value_t = 2048, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(16..=65536))]
    pub(super) max_connections: u32,

    /// Time for open requests to finish after SIGTERM, in seconds
    #[arg(long, value_name = "0..3600", default_value_t = 30, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub(super) drain_seconds: u32,

    #[command(flatten)]
    pub(super) cluster: ClusterArgs,

    /// Format of log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "WARDSET_LOG_FORMAT", hide_env_values = true)]
    pub(super) log_format: LogFormat,
}

/// The server's names in its cluster. The chart sets all of them.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "In a cluster")]
pub(super) struct ClusterArgs {
    /// Watch the cluster's `Policy` resources and the labels of its namespaces. The cluster is the Pod's, else the
    /// kubeconfig's. Without --tls-dir, the server issues and renews its own certificates
    #[arg(long)]
    pub(super) cluster: bool,

    /// Namespace of the server. Default: the Pod's, else the kubeconfig's
    #[arg(long, value_name = "NAME", requires = "cluster")]
    pub(super) namespace: Option<String>,

    /// Service through which the API server calls this server
    #[arg(
        long,
        value_name = "NAME",
        default_value = "wardset",
        requires = "cluster",
        hide_short_help = true
    )]
    pub(super) service: String,

    /// Secret that holds the server's own CA and certificate
    #[arg(
        long,
        value_name = "NAME",
        default_value = "wardset-certificates",
        requires = "cluster",
        hide_short_help = true
    )]
    pub(super) secret: String,

    /// MutatingWebhookConfiguration and ValidatingWebhookConfiguration that receive the CA
    #[arg(
        long,
        value_name = "NAME",
        default_value = "wardset",
        requires = "cluster",
        hide_short_help = true
    )]
    pub(super) webhooks: String,

    /// Lease that elects the replica that writes to the cluster
    #[arg(
        long,
        value_name = "NAME",
        default_value = "wardset",
        requires = "cluster",
        hide_short_help = true
    )]
    pub(super) lease: String,

    /// Additional DNS name in the server's own certificate. Repeatable
    #[arg(long = "tls-name", value_name = "NAME", requires = "cluster", hide_short_help = true)]
    pub(super) tls_names: Vec<String>,

    /// Validity of the server's own certificate, in seconds. For tests of its renewal
    #[arg(long, value_name = "SECONDS", requires = "cluster", hide = true)]
    pub(super) certificate_lifetime_seconds: Option<u64>,

    /// Validity of the server's own CA, in seconds
    #[arg(long, value_name = "SECONDS", requires = "cluster", hide = true)]
    pub(super) ca_lifetime_seconds: Option<u64>,

    /// Time for which the configurations hold both CAs before the new one signs, in seconds
    #[arg(long, value_name = "SECONDS", requires = "cluster", hide = true)]
    pub(super) ca_overlap_seconds: Option<u64>,

    /// Time for which the old CA stays trusted after that, in seconds
    #[arg(long, value_name = "SECONDS", requires = "cluster", hide = true)]
    pub(super) ca_retirement_seconds: Option<u64>,
}

impl ClusterArgs {
    /// Returns the lifetimes of the server's own certificates.
    pub(super) fn lifetimes(&self) -> Result<Lifetimes, LifetimesError> {
        let default = Lifetimes::default();
        let or = |typed: Option<u64>, default| typed.map_or(default, Duration::from_secs);
        Lifetimes::new(
            or(self.certificate_lifetime_seconds, default.leaf()),
            or(self.ca_lifetime_seconds, default.ca()),
            or(self.ca_overlap_seconds, default.overlap()),
            or(self.ca_retirement_seconds, default.retirement()),
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Policies {
    #[command(flatten)]
    pub(super) policies: PolicySources,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = ListOutput::Text)]
    pub(super) output: ListOutput,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ListOutput {
    Text,
    Json,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  source <(wardset completions bash)
  wardset completions fish > ~/.config/fish/completions/wardset.fish")]
pub(super) struct Completions {
    /// Shell
    #[arg(value_enum)]
    pub(super) shell: clap_complete::Shell,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Example:
  wardset man ~/.local/share/man/man1")]
pub(super) struct Man {
    /// Folder for the pages; it must exist
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,
}

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

/// The cache of compiled modules, and the limits of compilation.
#[derive(Debug, ClapArgs)]
pub(super) struct CompileArgs {
    /// Folder for compiled modules and content of registries. Default: $XDG_CACHE_HOME/wardset, else ~/.cache/wardset
    #[arg(long, value_name = "DIR", env = "WARDSET_CACHE_DIR", hide_env_values = true)]
    pub(super) cache_dir: Option<PathBuf>,

    /// Maximum time for compiling a module, in seconds for each started 4 MiB of it
    #[arg(long, value_name = "1..3600", default_value_t = 30, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(super) compile_seconds: u32,

    /// Maximum memory for compiling a module, in MiB. Default: a quarter of the container's limit, at least 128 and at
    /// most 1024, and 1024 without a limit; a module of more than 4 MiB may get twice as much
    #[arg(long, value_name = "MIB", hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(16..=65536))]
    pub(super) compile_memory: Option<u32>,

    #[command(flatten)]
    pub(super) registry: RegistryArgs,

    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  wardset policy inspect policy.wasm
  wardset policy inspect oci://registry.example.com/team/policy:1.0.0
  wardset policy inspect builtin:node-affinity --docs  the settings as a Markdown table")]
pub(super) struct PolicyInspect {
    /// Module: `builtin:NAME`, `file:PATH`, `oci://HOST/NAME:TAG`, `oci://HOST/NAME@sha256:…` or the path of a file
    #[arg(value_name = "MODULE")]
    pub(super) module: String,

    /// Print the settings as Markdown
    #[arg(long, conflicts_with = "output")]
    pub(super) docs: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = ListOutput::Text)]
    pub(super) output: ListOutput,

    #[command(flatten)]
    pub(super) compile: CompileArgs,
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
The signature is stored beside the module, in both forms that cosign knows. It is about the digest: if the reference has only
a tag, the command resolves it and prints the digest.

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
Exits 1 if no signature is good.

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

fn parse_operation(text: &str) -> Result<Operation, String> {
    match text.to_ascii_lowercase().as_str() {
        "create" => Ok(Operation::Create),
        "update" => Ok(Operation::Update),
        _ => Err("expected `create` or `update`".to_owned()),
    }
}

fn parse_version(text: &str) -> Result<KubernetesVersion, VersionError> {
    text.parse()
}

fn parse_bench_time(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected 0.1 to 600 seconds".to_owned())
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected key=value")?;
    if key.is_empty() { Err("expected key=value".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}
