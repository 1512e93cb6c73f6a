//! The arguments that several commands share: the locations of policies, modules and registries.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

/// The sources of policies, shared by all commands.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct PolicySources {
    /// File or folder with policies. Repeatable. Default: the built-in policies
    #[arg(long = "policies", value_name = "FILE|DIR")]
    pub(super) paths: Vec<PathBuf>,

    /// Pull and compile modules at every start instead of caching them
    // It wins over `cache_dir`. A conflict would count the variable of `cache_dir` as typed.
    #[arg(long, hide_short_help = true)]
    pub(super) no_cache: bool,

    #[command(flatten)]
    pub(super) compile: CompileArgs,

    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

/// The way to registries.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct RegistryArgs {
    /// File with CAs of registries (PEM), beside those of the system
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) registry_ca: Option<PathBuf>,

    /// File with credentials, as `docker login` or `podman login` writes it, or as in a Secret of the type
    /// kubernetes.io/dockerconfigjson. Repeatable; the first file with an entry for the registry wins. Default: the files
    /// of Docker and Podman
    #[arg(long = "registry-auth", value_name = "FILE", hide_short_help = true)]
    pub(super) registry_auth: Vec<PathBuf>,

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

/// The cache, the limits of compilation, and the way to registries: shared by all commands that load modules.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct CompileArgs {
    /// Folder for compiled modules and content of registries. Default: $XDG_CACHE_HOME/wardset, else ~/.cache/wardset
    #[arg(
        long,
        value_name = "DIR",
        env = "WARDSET_CACHE_DIR",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(super) cache_dir: Option<PathBuf>,

    /// Maximum processor time for compiling a module, in seconds per thread for each started 4 MiB of it
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ListOutput {
    Text,
    Json,
}

pub(super) fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected key=value")?;
    if key.is_empty() { Err("expected key=value".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}
