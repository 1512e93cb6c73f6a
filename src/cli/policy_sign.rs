//! `wardset policy sign`.

use std::mem::discriminant;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use wardset_signatures::{Evidence, ManifestDigest, PrivateKey, TrustedSigner, bundle, simple_signing};

use super::policy_args::PolicySign;
use super::setup;
use crate::registry::RegistryClient;
use crate::telemetry;

/// The variable with the password of an encrypted key, as for cosign.
const PASSWORD: &str = "COSIGN_PASSWORD";

pub(super) async fn run(args: PolicySign) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let reference = setup::reference(&args.reference)?;
    let key = private_key(&args.key)?;
    let client = RegistryClient::new(args.registry.into());
    let reference = client.resolve(&reference).await?;
    let digest: ManifestDigest = reference.digest().unwrap_or_default().parse()?;
    let public = Arc::new(key.public_key()?);
    let known = client.signatures(&reference).await?;
    let is_missing = |wanted: &Evidence| {
        let same_form = |known: &&Evidence| discriminant(*known) == discriminant(wanted);
        let is_ours = |known: &Evidence| TrustedSigner::Key(Arc::clone(&public)).signed(known, digest);
        !known.iter().filter(same_form).any(is_ours)
    };
    let mut signatures = vec![
        Evidence::Simple(simple_signing::sign(&key, &reference.location(), digest)?),
        Evidence::Bundle(bundle::sign(&key, digest)?),
    ];
    // Each signature of the same key is another text, and only the first ones are read.
    signatures.retain(is_missing);
    client.attach(&reference, &signatures).await?;
    super::print_data(&format!("{reference}\n"))?;
    super::say_line(&format!("signed by the key {}", public.id()));
    Ok(ExitCode::SUCCESS)
}

fn private_key(path: &Path) -> anyhow::Result<PrivateKey> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let password = std::env::var_os(PASSWORD).map(std::ffi::OsString::into_encoded_bytes);
    let key = PrivateKey::from_pem(&text, password.as_deref());
    key.with_context(|| format!("failed to read the key `{}`", path.display()))
}
