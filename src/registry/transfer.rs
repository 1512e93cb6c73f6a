//! Downloads and uploads of manifests and blobs, with repeats.

use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use wardset_core::policy::OciReference;

use super::artifact::{Descriptor, digest_of};
use super::attempts::Attempts;
use super::http;
use super::problem::RegistryProblem;
use super::session::Session;

/// Maximum size of a manifest, in bytes: the limit that the distribution API recommends.
pub(super) const MAX_MANIFEST: u64 = 4 << 20;

/// The media types of manifests. With an index in the list, registries answer with it instead of an error, so that the
/// message can name it.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json";

/// The header in which a registry names the digest of a manifest. The distribution API does not require it.
const DIGEST: &str = "docker-content-digest";

/// A problem, and the attempts of the request that failed.
pub(super) struct Tried {
    pub(super) attempts: u32,
    pub(super) problem: RegistryProblem,
}

impl From<RegistryProblem> for Tried {
    fn from(problem: RegistryProblem) -> Self {
        Self { attempts: 1, problem }
    }
}

impl From<(u32, RegistryProblem)> for Tried {
    fn from((attempts, problem): (u32, RegistryProblem)) -> Self {
        Self { attempts, problem }
    }
}

/// Returns the bytes and the digest of a reference's manifest.
pub(super) async fn manifest(
    session: &mut Session<'_>,
    reference: &OciReference,
) -> Result<(Vec<u8>, String), Tried> {
    let mut attempts = Attempts::new(&session.options.times);
    let manifest = loop {
        match manifest_once(session, reference).await {
            Ok(manifest) => break manifest,
            Err(problem) => attempts.wait_after(problem).await?,
        }
    };
    let digest = digest_of(&manifest);
    if let Some(expected) = reference.digest() {
        check_digest(session, expected, &digest)?;
    }
    Ok((manifest, digest))
}

async fn manifest_once(
    session: &mut Session<'_>,
    reference: &OciReference,
) -> Result<Vec<u8>, RegistryProblem> {
    let response = ask_for_manifest(session, reference, Method::GET).await?;
    http::body(response, session.host(), "a manifest", MAX_MANIFEST, &session.options.times).await
}

/// Returns the digest that the registry names for a reference's manifest, if it names one. The manifest is not sent, and
/// Docker Hub counts no pull.
pub(super) async fn named_digest(
    session: &mut Session<'_>,
    reference: &OciReference,
) -> Result<Option<String>, Tried> {
    let mut attempts = Attempts::new(&session.options.times);
    let response = loop {
        match ask_for_manifest(session, reference, Method::HEAD).await {
            Ok(response) => break response,
            Err(problem) => attempts.wait_after(problem).await?,
        }
    };
    let digest = response.headers().get(DIGEST).and_then(|digest| digest.to_str().ok());
    Ok(digest.filter(|digest| OciReference::is_digest(digest)).map(str::to_owned))
}

async fn ask_for_manifest(
    session: &mut Session<'_>,
    reference: &OciReference,
    method: Method,
) -> Result<Response, RegistryProblem> {
    let url = session.url(&format!("manifests/{}", reference.version()))?;
    let ask = |http: &reqwest::Client| http.request(method.clone(), url.clone()).header(ACCEPT, MANIFESTS);
    let thing = match reference.digest() {
        Some(digest) => format!("manifest `{digest}` in `{}`", reference.repository()),
        None => format!("manifest `{}:{}`", reference.repository(), reference.version()),
    };
    session.send(&thing, &[StatusCode::OK], ask).await
}

/// Returns the content of a descriptor, which has a checked size. If the connection breaks, the download continues.
pub(super) async fn blob(session: &mut Session<'_>, descriptor: &Descriptor) -> Result<Vec<u8>, Tried> {
    let mut attempts = Attempts::new(&session.options.times);
    let mut bytes = Vec::new();
    while let Err(problem) = continue_blob(session, descriptor, &mut bytes).await {
        attempts.wait_after(problem).await?;
    }
    check_digest(session, &descriptor.digest, &digest_of(&bytes))?;
    Ok(bytes)
}

async fn continue_blob(
    session: &mut Session<'_>,
    descriptor: &Descriptor,
    bytes: &mut Vec<u8>,
) -> Result<(), RegistryProblem> {
    let from = bytes.len();
    let url = session.url(&format!("blobs/{}", descriptor.digest))?;
    let get = |http: &reqwest::Client| match from {
        0 => http.get(url.clone()),
        from => http.get(url.clone()).header(RANGE, format!("bytes={from}-")),
    };
    let thing = format!("blob `{}`, which the manifest names", descriptor.digest);
    let mut response = session.send(&thing, &[StatusCode::OK, StatusCode::PARTIAL_CONTENT], get).await?;
    if response.status() == StatusCode::OK || !continues_at(&response, from) {
        // The registry sends all of it again.
        bytes.clear();
        if response.status() != StatusCode::OK {
            return Err(session.protocol("another part of the blob than the requested one".to_owned()));
        }
    }
    loop {
        let chunk = response.chunk().await.map_err(|error| session.failed(error))?;
        let Some(chunk) = chunk else { break };
        if (bytes.len() + chunk.len()) as u64 > descriptor.size {
            let most = descriptor.size;
            return Err(RegistryProblem::TooLarge { thing: "a module", most, found: "more".to_owned() });
        }
        bytes.extend_from_slice(&chunk);
    }
    if (bytes.len() as u64) < descriptor.size {
        let cause = format!("received {} of {} bytes", bytes.len(), descriptor.size);
        return Err(RegistryProblem::Cut { host: session.host().to_owned(), cause });
    }
    Ok(())
}

/// Returns whether a partial answer starts at this byte.
fn continues_at(response: &Response, from: usize) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range
        .and_then(|range| range.strip_prefix("bytes ")?.split_once('-'))
        .is_some_and(|(start, _)| start.parse() == Ok(from))
}

fn check_digest(session: &Session<'_>, expected: &str, found: &str) -> Result<(), RegistryProblem> {
    if expected == found {
        return Ok(());
    }
    let (host, expected, found) = (session.host().to_owned(), expected.to_owned(), found.to_owned());
    Err(RegistryProblem::Digest { host, expected, found })
}

/// Stores a blob, unless the registry has it.
pub(super) async fn upload(session: &mut Session<'_>, content: &[u8]) -> Result<(), Tried> {
    let mut attempts = Attempts::new(&session.options.times);
    while let Err(problem) = upload_once(session, content).await {
        attempts.wait_after(problem).await?;
    }
    Ok(())
}

async fn upload_once(session: &mut Session<'_>, content: &[u8]) -> Result<(), RegistryProblem> {
    let digest = digest_of(content);
    let url = session.url(&format!("blobs/{digest}"))?;
    let head = |http: &reqwest::Client| http.head(url.clone());
    let found = session.send("blob", &[StatusCode::OK, StatusCode::NOT_FOUND], head).await?;
    if found.status() == StatusCode::OK {
        return Ok(());
    }
    let url = session.url("blobs/uploads/")?;
    let start = |http: &reqwest::Client| http.post(url.clone()).header(CONTENT_LENGTH, 0);
    let started = session.send("repository", &[StatusCode::ACCEPTED], start).await?;
    let mut location = location(session, &started)?;
    location.query_pairs_mut().append_pair("digest", &digest);
    let put = |http: &reqwest::Client| {
        let request = http.put(location.clone()).header(CONTENT_TYPE, "application/octet-stream");
        request.body(content.to_vec())
    };
    session.send("upload", &[StatusCode::CREATED], put).await.map(drop)
}

/// Returns the address of an upload.
fn location(session: &Session<'_>, started: &Response) -> Result<Url, RegistryProblem> {
    let text = started.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let text = text.ok_or_else(|| session.protocol("an upload without `Location`".to_owned()))?;
    let location = started.url().join(text);
    let location =
        location.map_err(|_| session.protocol("a malformed `Location` of an upload".to_owned()))?;
    if started.url().scheme() == "https" && location.scheme() != "https" {
        return Err(session.protocol("an upload to plain HTTP".to_owned()));
    }
    Ok(location)
}

/// Stores a manifest or an index at a path of the repository.
pub(super) async fn put(
    session: &mut Session<'_>,
    path: &str,
    media_type: &str,
    content: &[u8],
) -> Result<Response, Tried> {
    let url = session.url(path)?;
    let put = |http: &reqwest::Client| {
        http.put(url.clone()).header(CONTENT_TYPE, media_type).body(content.to_vec())
    };
    let mut attempts = Attempts::new(&session.options.times);
    loop {
        match session.send("repository", &[StatusCode::CREATED], put).await {
            Ok(stored) => return Ok(stored),
            Err(problem) => attempts.wait_after(problem).await?,
        }
    }
}
