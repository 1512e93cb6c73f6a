//! The HTTP client of registries: TLS, proxies, redirects and limits of answers.

use std::path::Path;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::options::RegistryTimes;
use super::problem::RegistryProblem;

/// Maximum number of redirects: from a registry to its storage, and a reserve.
const MAX_REDIRECTS: usize = 5;

/// Returns a client that trusts the CAs of [`roots`]. It uses the proxies that the
/// environment names.
pub(super) fn client(ca: Option<&Path>, times: &RegistryTimes) -> Result<Client, RegistryProblem> {
    let start = |cause: String| RegistryProblem::Client { cause };
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.map_err(|error| start(error.to_string()))?;
    let tls = tls.with_root_certificates(roots(ca)?).with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(Policy::custom(|attempt| match refusal(attempt.previous(), attempt.url()) {
            Some(reason) => Attempt::error(attempt, reason),
            None => attempt.follow(),
        }))
        .connect_timeout(times.connect)
        .read_timeout(times.idle)
        .user_agent(concat!("wardset/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| start(error.to_string()))
}

/// Returns the trusted CAs: those of the system, or Mozilla's if it has none, and those of the file.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, RegistryProblem> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "failed to read a CA of the system");
    }
    let mut roots = public_roots(system.certs);
    let Some(path) = ca else { return Ok(roots) };
    let failed = |cause: String| RegistryProblem::Ca { path: path.to_owned(), cause };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        count += 1;
    }
    if count == 0 {
        return Err(failed("expected at least one certificate, found none".to_owned()));
    }
    Ok(roots)
}

/// Returns the CAs of the system, or Mozilla's if it has none.
fn public_roots(system: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// Returns the reason why a redirect is not followed. reqwest removes credentials if the host changes.
fn refusal(previous: &[Url], next: &Url) -> Option<&'static str> {
    let from_tls = previous.iter().any(|url| url.scheme() == "https");
    if from_tls && next.scheme() != "https" {
        return Some("expected HTTPS, found plain HTTP");
    }
    (previous.len() > MAX_REDIRECTS).then_some("expected at most 5 redirects, found more")
}

/// Reads a body of at most `most` bytes.
pub(super) async fn body(
    mut response: Response,
    host: &str,
    thing: &'static str,
    most: u64,
    times: &RegistryTimes,
) -> Result<Vec<u8>, RegistryProblem> {
    let too_large = |found: String| RegistryProblem::TooLarge { thing, most, found };
    if let Some(size) = response.content_length().filter(|size| *size > most) {
        return Err(too_large(size.to_string()));
    }
    let mut bytes = Vec::new();
    loop {
        let chunk = response.chunk().await;
        let Some(chunk) = chunk.map_err(|error| RegistryProblem::of(host, error, times.idle))? else {
            return Ok(bytes);
        };
        if (bytes.len() + chunk.len()) as u64 > most {
            return Err(too_large("more".to_owned()));
        }
        bytes.extend_from_slice(&chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_never_leads_from_tls_to_plain_http_or_in_circles() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let (tls, plain) = (url("https://r/"), url("http://r/"));
        assert_eq!(refusal(std::slice::from_ref(&tls), &tls), None);
        assert_eq!(refusal(std::slice::from_ref(&plain), &plain), None);
        assert_eq!(refusal(std::slice::from_ref(&plain), &tls), None);
        assert_eq!(refusal(std::slice::from_ref(&tls), &plain), Some("expected HTTPS, found plain HTTP"));
        assert_eq!(refusal(&[plain.clone(), tls.clone()], &plain), Some("expected HTTPS, found plain HTTP"));
        assert_eq!(refusal(&vec![tls.clone(); 5], &tls), None);
        assert!(refusal(&vec![tls.clone(); 6], &tls).is_some());
    }

    #[test]
    fn the_cas_of_mozilla_count_if_the_system_has_none() {
        assert_eq!(public_roots(Vec::new()).len(), webpki_roots::TLS_SERVER_ROOTS.len());
        let own = rcgen::generate_simple_self_signed(["r".to_owned()]).unwrap().cert;
        assert_eq!(public_roots(vec![own.der().clone()]).len(), 1);
    }

    #[test]
    fn a_ca_file_needs_a_certificate() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = roots(Some(file.path())).unwrap_err().to_string();
        assert!(error.contains("expected at least one certificate, found none"), "{error}");
        let error = roots(Some(Path::new("/missing/ca.pem"))).unwrap_err().to_string();
        assert!(error.contains("failed to read the CA of registries `/missing/ca.pem`"), "{error}");
    }
}
