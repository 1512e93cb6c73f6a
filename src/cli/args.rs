//! The arguments, as typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use wardset_core::review::Operation;

use crate::cluster::certificates::{Lifetimes, LifetimesError};

/// The admission gate for Kubernetes DaemonSets.
#[derive(Debug, Parser)]
#[command(name = "wardset", version, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Decide on manifests without a cluster, by the same code as the server
    Review(Review),
    /// Answer AdmissionReviews over TLS
    Serve(Box<Serve>),
    /// List the policies in force
    Policies(Policies),
    /// Print the CustomResourceDefinition of Policy
    Crd,
    /// What compiles a module for another process of this program
    #[command(hide = true)]
    CompileModule(CompileModule),
}

#[derive(Debug, ClapArgs)]
pub(super) struct CompileModule {
    /// Bytes of memory
    #[arg(long)]
    pub(super) memory: u64,

    /// Seconds of processor time
    #[arg(long)]
    pub(super) seconds: u64,
}

/// Where policies come from, for every command.
#[derive(Debug, ClapArgs)]
pub(super) struct PolicySources {
    /// Policies: a file or a folder. Repeatable. Without it, the built-in default set is in force
    #[arg(long = "policies", value_name = "FILE|DIR")]
    pub(super) paths: Vec<PathBuf>,

    /// Folder for compiled modules. Default: $XDG_CACHE_HOME/wardset, else ~/.cache/wardset
    #[arg(
        long,
        value_name = "DIR",
        env = "WARDSET_CACHE_DIR",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(super) cache_dir: Option<PathBuf>,

    /// Compile modules at every start
    #[arg(long, conflicts_with = "cache_dir", hide_short_help = true)]
    pub(super) no_cache: bool,

    /// The most time that compiling one module may take, in seconds
    #[arg(long, value_name = "1..3600", default_value_t = 30, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(super) compile_seconds: u32,

    /// The most memory that compiling one module may take, in MiB. Default: a quarter of the container's, 128 to 1024
    #[arg(long, value_name = "MIB", hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(16..=65536))]
    pub(super) compile_memory: Option<u32>,
}

#[derive(Debug, ClapArgs)]
#[command(after_long_help = "\
Examples:
  wardset review -f ds.yaml                            what would admission do, and why
  wardset review -f ds.yaml -o yaml | kubectl apply -f -
  kubectl get ds -A -o yaml | wardset review -f -      a whole cluster against the default set
  wardset review -f new.yaml --old stored.yaml         an update: the template gate counts

Exit codes: 0 every DaemonSet is allowed; 1 one is denied, a policy could not decide on it, or --verify found a difference;
2 the review could not run.")]
pub(super) struct Review {
    /// Manifest: a file (YAML or JSON, one document or many, or an AdmissionReview), a folder, or `-`. Repeatable
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub(super) files: Vec<PathBuf>,

    /// Look into folders below a folder too
    #[arg(short = 'R', long)]
    pub(super) recursive: bool,

    #[command(flatten)]
    pub(super) policies: PolicySources,

    /// The stored objects: makes the review an update where names agree
    #[arg(long, value_name = "FILE")]
    pub(super) old: Option<PathBuf>,

    /// Default: update where --old has the object, else create
    #[arg(long, value_name = "create|update", value_parser = parse_operation)]
    pub(super) operation: Option<Operation>,

    /// Labels of the namespace, for policies that select by them. Without it only kubernetes.io/metadata.name is known
    #[arg(long, value_name = "K=V,…", value_delimiter = ',', value_parser = parse_label)]
    pub(super) namespace_labels: Option<Vec<(String, String)>>,

    /// Namespace of manifests that name none
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub(super) namespace: String,

    /// Who asks
    #[arg(long, value_name = "NAME", default_value = "kubernetes-admin")]
    pub(super) user: String,

    /// Ask as a dry run; the decision is the same
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Evaluate each policy twice, and exit 1 where one answers differently
    #[arg(long)]
    pub(super) verify: bool,

    /// Format: `text` for people; `json` with everything; `yaml` the objects as they would be stored; `patch` RFC 6902
    #[arg(short, long, value_enum, default_value_t = Output::Text, hide_possible_values = true)]
    pub(super) output: Output,
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
  wardset serve                                        a development certificate, made under certs/dev
  wardset serve --tls-dir /etc/wardset/tls --policies /etc/wardset/policies
  wardset serve --cluster                              policies, certificates and namespaces of a cluster

Exit codes: 0 stopped by SIGTERM, SIGINT or SIGHUP after the last answer, 2 could not run.")]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) policies: PolicySources,

    /// Address of the webhook (TLS). Default: 0.0.0.0:8443; without --tls-dir 127.0.0.1:8443
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) listen: Option<SocketAddr>,

    /// Address of /livez, /readyz and /metrics (plain HTTP). Default: as --listen, port 8081
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) admin: Option<SocketAddr>,

    /// Folder with tls.crt (full chain) and tls.key; looked at each second
    #[arg(long, value_name = "DIR")]
    pub(super) tls_dir: Option<PathBuf>,

    /// CA of client certificates: clients must show one that it signed. Read at start
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) client_ca: Option<PathBuf>,

    /// The most reviews at once; further ones are answered 429 at once. kube-system and dry runs together have half
    #[arg(long, value_name = "1..65536", default_value_t = 256, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(super) max_in_flight: u32,

    /// The most connections to the webhook at once; at the bound a newcomer takes the place of an idle one
    #[arg(long, value_name = "16..65536", default_value_t = 2048, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(16..=65536))]
    pub(super) max_connections: u32,

    /// How long open requests may go on after SIGTERM, in seconds
    #[arg(long, value_name = "0..3600", default_value_t = 30, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub(super) drain_seconds: u32,

    #[command(flatten)]
    pub(super) cluster: Cluster,

    /// Log lines as text or JSON
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "WARDSET_LOG_FORMAT", hide_env_values = true)]
    pub(super) log_format: LogFormat,
}

/// What a server is called in its cluster. The chart gives all of it.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "In a cluster")]
pub(super) struct Cluster {
    /// Take policies from `Policy` resources and know the labels of namespaces. The cluster is that of the Pod, else of the
    /// kubeconfig. Without --tls-dir the server keeps its own certificates there
    #[arg(long)]
    pub(super) cluster: bool,

    /// The server's namespace. Default: the Pod's, else the kubeconfig's
    #[arg(long, value_name = "NAME", requires = "cluster")]
    pub(super) namespace: Option<String>,

    /// The Service by which the API server reaches this server
    #[arg(
        long,
        value_name = "NAME",
        default_value = "wardset",
        requires = "cluster",
        hide_short_help = true
    )]
    pub(super) service: String,

    /// The Secret with the server's own CA and certificate
    #[arg(
        long,
        value_name = "NAME",
        default_value = "wardset-certificates",
        requires = "cluster",
        hide_short_help = true
    )]
    pub(super) secret: String,

    /// The Mutating- and ValidatingWebhookConfiguration that get the CA
    #[arg(
        long,
        value_name = "NAME",
        default_value = "wardset",
        requires = "cluster",
        hide_short_help = true
    )]
    pub(super) webhooks: String,

    /// The Lease by which replicas agree on who writes
    #[arg(
        long,
        value_name = "NAME",
        default_value = "wardset",
        requires = "cluster",
        hide_short_help = true
    )]
    pub(super) lease: String,

    /// A further DNS name of the server's own certificate. Repeatable
    #[arg(long = "tls-name", value_name = "NAME", requires = "cluster", hide_short_help = true)]
    pub(super) tls_names: Vec<String>,

    /// How long the server's own certificate is valid, in seconds. For tests of its renewal
    #[arg(long, value_name = "SECONDS", requires = "cluster", hide = true)]
    pub(super) certificate_lifetime_seconds: Option<u64>,

    /// How long its CA is valid
    #[arg(long, value_name = "SECONDS", requires = "cluster", hide = true)]
    pub(super) ca_lifetime_seconds: Option<u64>,

    /// How long both CAs are in the configurations before the new one signs
    #[arg(long, value_name = "SECONDS", requires = "cluster", hide = true)]
    pub(super) ca_overlap_seconds: Option<u64>,

    /// How long the old CA stays trusted after that
    #[arg(long, value_name = "SECONDS", requires = "cluster", hide = true)]
    pub(super) ca_retirement_seconds: Option<u64>,
}

impl Cluster {
    /// How long the server's own certificates are good for.
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

    /// Format
    #[arg(short, long, value_enum, default_value_t = ListOutput::Text)]
    pub(super) output: ListOutput,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ListOutput {
    Text,
    Json,
}

fn parse_operation(text: &str) -> Result<Operation, String> {
    match text.to_ascii_lowercase().as_str() {
        "create" => Ok(Operation::Create),
        "update" => Ok(Operation::Update),
        _ => Err("expected `create` or `update`".to_owned()),
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected key=value")?;
    if key.is_empty() { Err("expected key=value".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}
