//! `wardset policy sign`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use wardset_signatures::{Evidence, ManifestDigest, PrivateKey, bundle, simple_signing};

use super::args::PolicySign;
use super::remote_module;
use crate::registry::RegistryClient;
use crate::telemetry;

/// The variable with the password of an encrypted key: the one that cosign reads.
const PASSWORD: &str = "COSIGN_PASSWORD";

pub(super) async fn run(args: PolicySign) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let reference = remote_module::reference(&args.reference)?;
    let key = private_key(&args.key)?;
    let client = RegistryClient::new(args.registry.into());
    let reference = client.resolve(&reference).await?;
    let digest: ManifestDigest = reference.digest().unwrap_or_default().parse()?;
    let repository = format!("{}/{}", reference.host(), reference.repository());
    let signatures = [
        Evidence::Simple(simple_signing::sign(&key, &repository, digest)?),
        Evidence::Bundle(bundle::sign(&key, digest)?),
    ];
    client.attach(&reference, &signatures).await?;
    super::print_data(&format!("{reference}\n"))?;
    super::say_line(&format!("signed by the key {}", key.public_key()?.id()));
    Ok(ExitCode::SUCCESS)
}

fn private_key(path: &Path) -> anyhow::Result<PrivateKey> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let password = std::env::var_os(PASSWORD).map(std::ffi::OsString::into_encoded_bytes);
    let key = PrivateKey::from_pem(&text, password.as_deref());
    key.with_context(|| format!("failed to read the key `{}`", path.display()))
}
