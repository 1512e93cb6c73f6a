//! Signatures beside an artifact, in both forms in which cosign stores them.
//!
//! ```text
//! NAME:sha256-<hex>.sig            an artifact with a payload for each signature (older)
//! NAME@sha256:… with a subject     an artifact with a bundle (newer), found by the referrers API,
//! NAME:sha256-<hex>                or, if the registry has none, by this index
//! ```

use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use serde::{Deserialize, Serialize};
use serde_json::json;
use wardset_core::policy::OciReference;
use wardset_signatures::{Evidence, Rule, SignatureRefusal, TrustedSigner, bundle, simple_signing};

use super::artifact::{Annotations, Descriptor, MANIFEST, descriptor};
use super::attempts::Attempts;
use super::client::RegistryClient;
use super::content_cache::ContentCache;
use super::http;
use super::problem::{RegistryError, RegistryProblem};
use super::session::Session;
use super::transfer::{self, MAX_MANIFEST, Tried};

/// The media type of a list of manifests.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The header by which a registry confirms that it lists the artifact among the referrers of its subject.
const LISTS_REFERRERS: &str = "oci-subject";
/// The media type of an empty configuration.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// Maximum number of signatures that are read in each form. The rest is left out.
const MAX_SIGNATURES: usize = 32;
/// Maximum size of a payload or bundle, in bytes. A bundle with certificates and a log's proof has about 10 KiB.
const MAX_SIGNATURE: u64 = 1 << 20;

/// The parts of a manifest or an index that matter here.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Listing {
    layers: Vec<Entry>,
    manifests: Vec<Entry>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

impl RegistryClient {
    /// Returns the signatures of an artifact. `reference` has its digest.
    ///
    /// # Errors
    ///
    /// The registry does not answer or refuses, or a signature is too large.
    pub async fn signatures(&self, reference: &OciReference) -> Result<Vec<Evidence>, RegistryError> {
        self.operate("read the signatures of", reference, async {
            let mut session = self.session(reference.in_repository(), "pull").await?;
            let mut found = simple(&mut session, reference).await?;
            found.extend(bundles(&mut session, reference).await?);
            Ok(found)
        })
        .await
    }

    /// Finds a good signature of one of the rule's signers. `reference` has its digest. The inner result is the signer, or
    /// `None` if the rule needs none, or the reason why the rule refuses the artifact.
    ///
    /// Good signatures stay in the cache, so that the next check needs no registry.
    ///
    /// # Errors
    ///
    /// As [`RegistryClient::signatures`].
    pub async fn check<'r>(
        &self,
        reference: &OciReference,
        rule: &'r Rule,
        cache: Option<&ContentCache>,
    ) -> Result<Result<Option<&'r TrustedSigner>, SignatureRefusal>, RegistryError> {
        let digest = reference.digest().unwrap_or_default();
        // Without a digest, there is nothing that a signature could cover.
        let Ok(parsed) = digest.parse() else { return Ok(Err(rule.unsigned())) };
        let known = cache.and_then(|cache| cache.signatures(digest)).unwrap_or_default();
        if let Ok(signer) = rule.check(&known, parsed) {
            return Ok(Ok(signer));
        }
        let found = self.signatures(reference).await?;
        let checked = rule.check(&found, parsed);
        if let (Ok(_), Some(cache)) = (&checked, cache) {
            cache.put_signatures(digest, &found);
        }
        Ok(checked)
    }

    /// Stores signatures of an artifact beside it, and keeps those that are there. `reference` has its digest.
    ///
    /// # Errors
    ///
    /// The registry does not answer or refuses, or has no such artifact.
    pub async fn attach(
        &self,
        reference: &OciReference,
        signatures: &[Evidence],
    ) -> Result<(), RegistryError> {
        self.operate("sign", reference, async {
            let mut session = self.session(reference.in_repository(), "push").await?;
            let (artifact, _) = transfer::manifest(&mut session, reference).await?;
            for signature in signatures {
                match signature {
                    Evidence::Simple(signed) => attach_simple(&mut session, reference, signed).await?,
                    Evidence::Bundle(text) => {
                        attach_bundle(&mut session, reference, &artifact, text.as_bytes()).await?;
                    }
                }
            }
            Ok(())
        })
        .await
    }
}

/// Returns the tag of an artifact's signatures: `sha256-<hex>` and a suffix.
fn tag(reference: &OciReference, suffix: &str) -> String {
    format!("{}{suffix}", reference.digest().unwrap_or_default().replace(':', "-"))
}

async fn simple(session: &mut Session<'_>, reference: &OciReference) -> Result<Vec<Evidence>, Tried> {
    let path = format!("manifests/{}", tag(reference, ".sig"));
    let listing = listing(session, &path, MANIFEST).await?;
    let mut found = Vec::new();
    let layers = listing.into_iter().flat_map(|listing| listing.layers);
    for layer in layers.filter(is_payload).take(MAX_SIGNATURES) {
        let signature = layer.annotations.and_then(|mut all| all.remove(simple_signing::ANNOTATION));
        let Some(signature) = signature else { continue };
        let payload = small_blob(session, &layer.descriptor).await?;
        found.push(Evidence::Simple(simple_signing::Signed { payload, signature }));
    }
    Ok(found)
}

async fn bundles(session: &mut Session<'_>, reference: &OciReference) -> Result<Vec<Evidence>, Tried> {
    let digest = reference.digest().unwrap_or_default();
    let referrers = match listing(session, &format!("referrers/{digest}"), INDEX).await? {
        Some(referrers) => Some(referrers),
        None => listing(session, &format!("manifests/{}", tag(reference, "")), INDEX).await?,
    };
    let mut found = Vec::new();
    let entries = referrers.into_iter().flat_map(|listing| listing.manifests);
    let entries = entries.filter(|entry| OciReference::is_digest(&entry.descriptor.digest));
    let (bundles, others): (Vec<_>, Vec<_>) = entries.partition(is_bundle);
    let unclear = others.into_iter().filter(has_unclear_type);
    for entry in bundles.into_iter().chain(unclear).take(MAX_SIGNATURES) {
        let artifact = reference.clone().pinned(&entry.descriptor.digest);
        let (manifest, _) = transfer::manifest(session, &artifact).await?;
        let layers = read(session, &manifest)?.layers;
        for layer in layers.iter().filter(|layer| layer.descriptor.media_type == bundle::MEDIA_TYPE).take(1) {
            let text = small_blob(session, &layer.descriptor).await?;
            // A bundle that is no text is as good as none that fits: the check says so.
            found.push(Evidence::Bundle(String::from_utf8_lossy(&text).into_owned()));
        }
    }
    Ok(found)
}

fn is_payload(entry: &Entry) -> bool {
    entry.descriptor.media_type == simple_signing::MEDIA_TYPE
}

fn is_bundle(entry: &Entry) -> bool {
    entry.artifact_type.as_deref() == Some(bundle::MEDIA_TYPE)
}

/// Whether only the manifest tells whether it is a bundle. cosign writes the type of the configuration into the index.
fn has_unclear_type(entry: &Entry) -> bool {
    entry.artifact_type.as_deref().is_none_or(|found| found == EMPTY_TYPE)
}

/// Returns a manifest or an index; `None` if there is none.
async fn listing(session: &mut Session<'_>, path: &str, accept: &str) -> Result<Option<Listing>, Tried> {
    let mut attempts = Attempts::new(&session.options.times);
    loop {
        match listing_once(session, path, accept).await {
            Ok(listing) => return Ok(listing),
            Err(problem) => attempts.wait_after(problem).await?,
        }
    }
}

async fn listing_once(
    session: &mut Session<'_>,
    path: &str,
    accept: &str,
) -> Result<Option<Listing>, RegistryProblem> {
    let url = session.url(path)?;
    let get = |http: &reqwest::Client| http.get(url.clone()).header(ACCEPT, accept);
    let response = session.send("list of signatures", &[StatusCode::OK, StatusCode::NOT_FOUND], get).await?;
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let times = &session.options.times;
    let body = http::body(response, session.host(), "a list of signatures", MAX_MANIFEST, times).await?;
    read(session, &body).map(Some)
}

fn read(session: &Session<'_>, body: &[u8]) -> Result<Listing, RegistryProblem> {
    let listing = serde_json::from_slice(body);
    listing.map_err(|error| {
        session.protocol(format!(
            "a malformed list of signatures (line {}, column {})",
            error.line(),
            error.column()
        ))
    })
}

async fn small_blob(session: &mut Session<'_>, descriptor: &Descriptor) -> Result<Vec<u8>, Tried> {
    let most = MAX_SIGNATURE;
    if descriptor.size > most {
        let found = descriptor.size.to_string();
        return Err(RegistryProblem::TooLarge { thing: "a signature", most, found }.into());
    }
    if !OciReference::is_digest(&descriptor.digest) {
        return Err(session.protocol("a signature with a malformed digest".to_owned()).into());
    }
    transfer::blob(session, descriptor).await
}

/// Adds a signature to the artifact under the tag `sha256-<hex>.sig`.
async fn attach_simple(
    session: &mut Session<'_>,
    reference: &OciReference,
    signed: &simple_signing::Signed,
) -> Result<(), Tried> {
    let path = format!("manifests/{}", tag(reference, ".sig"));
    let mut layers = listing(session, &path, MANIFEST).await?.unwrap_or_default().layers;
    let layer = descriptor(simple_signing::MEDIA_TYPE, &signed.payload);
    let signature = Annotations::from([(simple_signing::ANNOTATION.to_owned(), signed.signature.clone())]);
    layers.push(Entry { descriptor: layer, artifact_type: None, annotations: Some(signature) });
    transfer::upload(session, &signed.payload).await?;
    let digests: Vec<&String> = layers.iter().map(|layer| &layer.descriptor.digest).collect();
    // cosign reads it as an image, which must have a config.
    let config = json!({
        "architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": digests},
    });
    let config = config.to_string().into_bytes();
    transfer::upload(session, &config).await?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
    });
    transfer::put(session, &path, MANIFEST, manifest.to_string().as_bytes()).await.map(drop)
}

/// Adds a bundle as a referrer of the artifact.
async fn attach_bundle(
    session: &mut Session<'_>,
    reference: &OciReference,
    artifact: &[u8],
    bundle: &[u8],
) -> Result<(), Tried> {
    const EMPTY: &[u8] = b"{}";
    transfer::upload(session, bundle).await?;
    transfer::upload(session, EMPTY).await?;
    let annotations = Annotations::from([
        ("dev.sigstore.bundle.content".to_owned(), "dsse-envelope".to_owned()),
        ("dev.sigstore.bundle.predicateType".to_owned(), bundle::PREDICATE_TYPE.to_owned()),
    ]);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": bundle::MEDIA_TYPE,
        "config": descriptor(EMPTY_TYPE, EMPTY),
        "layers": [descriptor(bundle::MEDIA_TYPE, bundle)],
        "subject": descriptor(MANIFEST, artifact),
        "annotations": annotations,
    });
    let content = manifest.to_string().into_bytes();
    let descriptor = descriptor(MANIFEST, &content);
    let stored =
        transfer::put(session, &format!("manifests/{}", descriptor.digest), MANIFEST, &content).await?;
    if stored.headers().contains_key(LISTS_REFERRERS) {
        return Ok(());
    }
    // The registry does not list referrers, so the client keeps the list (distribution specification 1.1).
    let path = format!("manifests/{}", tag(reference, ""));
    let mut manifests = listing(session, &path, INDEX).await?.unwrap_or_default().manifests;
    let artifact_type = Some(bundle::MEDIA_TYPE.to_owned());
    manifests.push(Entry { descriptor, artifact_type, annotations: Some(annotations) });
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    transfer::put(session, &path, INDEX, index.to_string().as_bytes()).await.map(drop)
}
