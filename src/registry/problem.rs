//! The reasons why a pull or push fails, with their remedies.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::CertificateError;

use super::credentials::CredentialsError;

/// A failed operation on a registry.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} `{reference}`{}", in_attempts(*.attempts))]
pub struct RegistryError {
    /// A verb, such as `pull`.
    pub(super) operation: &'static str,
    /// The reference or the repository, as the user wrote it.
    pub(super) reference: String,
    /// Attempts of the request that failed.
    pub(super) attempts: u32,
    /// The cause of the last attempt.
    #[source]
    pub(super) problem: RegistryProblem,
}

impl RegistryError {
    /// Returns the cause.
    #[must_use]
    pub fn problem(&self) -> &RegistryProblem {
        &self.problem
    }

    /// Returns whether the same reference may work later: the network, the registry or the credentials may change. The
    /// content of a digest never does.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        use RegistryProblem as P;
        !matches!(self.problem, P::Layout { .. } | P::NoComponent { .. } | P::TooLarge { .. })
    }
}

/// The cause of a failed operation on a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryProblem {
    /// No address for the host.
    #[error(
        "failed to resolve the host `{host}`; hint: check the host in the reference, and the DNS of this machine{proxy}"
    )]
    UnknownHost {
        /// `HOST:PORT`, as everywhere here.
        host: String,
        /// The end of the hint if the environment names a proxy, which may be the host that fails.
        proxy: String,
    },
    /// Nothing listens there.
    #[error("`{host}` refuses connections; hint: check host and port in the reference{proxy}")]
    Refused {
        /// The registry.
        host: String,
        /// As above.
        proxy: String,
    },
    /// Another failure to connect.
    #[error("failed to connect to `{host}`: {cause}; hint: check the network to the registry{proxy}")]
    Unreachable {
        /// The registry.
        host: String,
        /// As above.
        proxy: String,
        /// The innermost error.
        cause: String,
    },
    /// Its certificate comes from an unknown CA.
    #[error(
        "failed to verify the certificate of `{host}`: no known CA signed it; hint: pass the registry's CA by \
         `--registry-ca FILE`"
    )]
    Untrusted {
        /// The registry.
        host: String,
    },
    /// Its certificate is invalid for another reason.
    #[error(
        "failed to verify the certificate of `{host}`: {cause}; hint: the registry needs a valid certificate for this host"
    )]
    Certificate {
        /// The registry.
        host: String,
        /// The reason.
        cause: String,
    },
    /// The port speaks no TLS.
    #[error(
        "expected TLS from `{host}`, found another protocol; hint: if the registry has plain HTTP only, pass \
         `--insecure-registry {host}`"
    )]
    NoTls {
        /// The registry.
        host: String,
    },
    /// It sends nothing.
    #[error("expected an answer from `{host}` within {} s, found none", .time.as_secs_f32())]
    Silent {
        /// The registry.
        host: String,
        /// The limit.
        time: Duration,
    },
    /// The connection was closed early.
    #[error("the connection to `{host}` ended before the answer was complete: {cause}")]
    Cut {
        /// The registry.
        host: String,
        /// The innermost error.
        cause: String,
    },
    /// The whole operation takes too long.
    #[error("`{host}` needs more than {} s; hint: check the network to the registry", .time.as_secs_f32())]
    Slow {
        /// The registry.
        host: String,
        /// The limit.
        time: Duration,
    },
    /// A redirect that the client does not follow.
    #[error("refused a redirect from `{host}`: {cause}")]
    Redirect {
        /// The registry.
        host: String,
        /// The reason.
        cause: String,
    },
    /// Status 401.
    #[error("{}", unauthorized(.host, .from.as_ref()))]
    Unauthorized {
        /// The registry.
        host: String,
        /// The file of the credentials that it rejected; none if there were none.
        from: Option<PathBuf>,
    },
    /// Status 403.
    #[error(
        "`{host}` denies access to `{repository}` (403){detail}; hint: ask its operator for the right to {operation}"
    )]
    Forbidden {
        /// The registry.
        host: String,
        /// The repository.
        repository: String,
        /// `pull` or `push`.
        operation: &'static str,
        /// The registry's own words.
        detail: String,
    },
    /// Status 404.
    #[error("`{host}` has no {thing} (404){detail}; hint: check name, tag and digest in the reference")]
    NotFound {
        /// The registry.
        host: String,
        /// A manifest or a blob.
        thing: String,
        /// The registry's own words.
        detail: String,
    },
    /// Status 429.
    #[error("`{host}` limits the rate of requests (429){}", wait(*.after))]
    RateLimited {
        /// The registry.
        host: String,
        /// Its `Retry-After`.
        after: Option<Duration>,
    },
    /// A status of 500 or above.
    #[error("`{host}` answered with status {status}{detail}; hint: the registry's own log has the reason")]
    Server {
        /// The registry.
        host: String,
        /// The status.
        status: u16,
        /// Its `Retry-After`.
        after: Option<Duration>,
        /// The registry's own words.
        detail: String,
    },
    /// Any other status or header that the protocol does not have here.
    #[error(
        "expected an answer of the OCI distribution API from `{host}`, found {found}; hint: check host and port"
    )]
    Protocol {
        /// The registry.
        host: String,
        /// Status or header.
        found: String,
    },
    /// Content with another digest.
    #[error(
        "expected content with the digest `{expected}` from `{host}`, found `{found}`; hint: the registry, its storage or \
         a proxy changed it, so don't use it"
    )]
    Digest {
        /// The registry.
        host: String,
        /// As in the reference or the manifest.
        expected: String,
        /// Of the received bytes.
        found: String,
    },
    /// More bytes than allowed.
    #[error("expected at most {most} bytes of {thing}, found {found}")]
    TooLarge {
        /// A manifest, a module or another answer.
        thing: &'static str,
        /// The limit.
        most: u64,
        /// The size, as far as it is known.
        found: String,
    },
    /// Another kind of artifact.
    #[error(
        "expected a manifest with a config of `application/vnd.wasm.config.v0+json` and one layer of `application/wasm`, \
         found {found}; hint: `wardset policy push` writes such artifacts"
    )]
    Layout {
        /// The kind of artifact.
        found: String,
    },
    /// A layer that is no component.
    #[error(
        "expected a WebAssembly component in the layer, found {found}; hint: `wardset policy build` makes components"
    )]
    NoComponent {
        /// The kind of content.
        found: &'static str,
    },
    /// The CA file cannot be used.
    #[error("failed to read the CA of registries `{}`: {cause}; hint: `--registry-ca` needs certificates in PEM", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: String,
    },
    /// The HTTP client does not start.
    #[error(
        "failed to start the client of registries: {cause}; hint: check the variables `HTTPS_PROXY` and `NO_PROXY`"
    )]
    Client {
        /// The reason.
        cause: String,
    },
    /// A credential file cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// Whether and when to repeat a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    /// After the backoff.
    Later,
    /// After the time that the registry asks for.
    After(Duration),
}

impl RegistryProblem {
    pub(super) fn again(&self) -> Again {
        match self {
            Self::UnknownHost { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Cut { .. } => Again::Later,
            Self::RateLimited { after, .. } | Self::Server { after, .. } => {
                after.map_or(Again::Later, Again::After)
            }
            _ => Again::Never,
        }
    }

    /// Returns the problem behind an error of a request to `host`. `idle` is the limit without a byte.
    pub(super) fn of(host: &str, error: reqwest::Error, idle: Duration) -> Self {
        // An address may hold a token in its query.
        let error = error.without_url();
        let host = host.to_owned();
        let causes = causes(&error);
        let innermost = causes.last().map(ToString::to_string).unwrap_or_default();
        if error.is_redirect() {
            return Self::Redirect { host, cause: innermost };
        }
        match causes.iter().find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
            // The signature is bad if another CA has the same name, such as the former one of the registry.
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => return Self::Untrusted { host },
            Some(rustls::Error::InvalidCertificate(cause)) => {
                return Self::Certificate { host, cause: cause.to_string() };
            }
            Some(rustls::Error::InvalidMessage(_)) => return Self::NoTls { host },
            _ => {}
        }
        if error.is_timeout() {
            return Self::Silent { host, time: idle };
        }
        if causes.iter().any(|cause| cause.to_string() == "dns error") {
            return Self::UnknownHost { host, proxy: proxy_hint() };
        }
        let kind = causes.iter().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::ConnectionRefused) => Self::Refused { host, proxy: proxy_hint() },
            _ if error.is_connect() => Self::Unreachable { host, cause: innermost, proxy: proxy_hint() },
            _ => Self::Cut { host, cause: innermost },
        }
    }
}

/// Returns an error and all its causes, those inside of `io::Error` too.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> Vec<&'e (dyn Error + 'static)> {
    let mut all = vec![error];
    let mut next = Some(error);
    while let Some(cause) = next {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
        all.extend(next);
    }
    all
}

/// Returns the end of a hint if the environment names a proxy.
fn proxy_hint() -> String {
    let is_set = |name: &&&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];
    names.iter().find(is_set).map_or_else(String::new, |name| format!(", and the proxy in `{name}`"))
}

fn in_attempts(attempts: u32) -> String {
    if attempts > 1 { format!(" in {attempts} attempts") } else { String::new() }
}

fn unauthorized(host: &str, from: Option<&PathBuf>) -> String {
    match from {
        Some(file) => format!(
            "`{host}` rejects the credentials from `{}` (401); hint: `docker login {host}` or `podman login {host}` \
             renews them",
            file.display()
        ),
        None => format!(
            "`{host}` asks for credentials (401), found none for it; hint: `docker login {host}` or `podman login \
             {host}` stores them where Wardset reads them"
        ),
    }
}

fn wait(after: Option<Duration>) -> String {
    match after {
        Some(after) => format!(" and asks to wait {} s; hint: try again then", after.as_secs()),
        None => "; hint: try again later, or log in if the limit is for anonymous clients".to_owned(),
    }
}
