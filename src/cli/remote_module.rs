//! What the commands for modules in registries share.

use anyhow::anyhow;
use wardset_core::policy::OciReference;
use wardset_signatures::{ManifestDigest, Rule, SignatureRefusal, TrustedSigner};

use crate::registry::RegistryClient;

/// Returns the reference that the user named.
pub(super) fn reference(named: &str) -> anyhow::Result<OciReference> {
    named.parse().map_err(|problem| anyhow!("failed to parse the reference: {problem}"))
}

/// Checks the signatures of an artifact, whose reference has a digest. The inner error says why the rule refuses it.
pub(super) async fn check<'r>(
    client: &RegistryClient,
    rule: &'r Rule,
    reference: &OciReference,
) -> anyhow::Result<Result<Option<&'r TrustedSigner>, SignatureRefusal>> {
    let digest: ManifestDigest = reference.digest().unwrap_or_default().parse()?;
    Ok(rule.check(&client.signatures(reference).await?, digest))
}
