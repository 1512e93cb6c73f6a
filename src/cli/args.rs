//! The command line's arguments, as typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use wardset_core::review::Operation;
use wardset_placement::{KubernetesVersion, VersionError};
use wardset_signatures::RepositoryPrefix;

use super::policy_args::PolicyCommand;
use super::source_args::{ListOutput, PolicySources, parse_label};

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

    /// Interval at which the server resolves tags of modules in registries again, in seconds. If a tag has moved, its new
    /// module becomes active. Default: never
    #[arg(long, value_name = "10..604800", hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(10..=604_800))]
    pub(super) tag_interval_seconds: Option<u32>,

    /// Registry from which modules may come, with or without segments of a repository, such as
    /// registry.example.com/team. Repeatable. Default: all registries
    #[arg(long = "allow-registry", value_name = "PREFIX", hide_short_help = true)]
    pub(super) allowed_registries: Vec<RepositoryPrefix>,

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
#[command(after_long_help = "\
Examples:
  wardset policies                                     the built-in policies
  wardset policies --policies policies/
  wardset policies --remote oci://registry.example.com/team/labels
                                                       the tags of a module in a registry")]
pub(super) struct Policies {
    #[command(flatten)]
    pub(super) policies: PolicySources,

    /// List the tags of this repository in a registry instead: `oci://HOST/NAME`
    #[arg(long, value_name = "REPOSITORY", conflicts_with = "paths")]
    pub(super) remote: Option<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = ListOutput::Text)]
    pub(super) output: ListOutput,
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
