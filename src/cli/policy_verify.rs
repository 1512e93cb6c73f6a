//! `wardset policy verify`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use wardset_signatures::{PublicKey, Rule, Trust};

use super::policy_args::PolicyVerify;
use super::setup;
use crate::registry::RegistryClient;
use crate::supply::trust_file;
use crate::telemetry;

pub(super) async fn run(args: PolicyVerify) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let reference = setup::reference(&args.reference)?;
    let repository = reference.location();
    let trust = match (&args.key, &args.trust.trust) {
        (Some(key), _) => Trust::of_key(public_key(key)?),
        (None, Some(rules)) => trust_file::read(rules)?,
        (None, None) => Trust::default(),
    };
    let rule: &Rule = trust.rule(&repository).ok_or_else(|| {
        anyhow!("no rule covers `{repository}`; hint: add a rule with a `prefix` of it, or pass `--key`")
    })?;
    let client = RegistryClient::new(args.registry.into());
    let reference = client.resolve(&reference).await?;
    match client.check(&reference, rule, None).await? {
        Ok(signer) => {
            super::print_data(&format!("{reference}\n"))?;
            super::say_line(&match signer {
                Some(signer) => format!("signed by {signer}"),
                None => format!("the rule for `{}` needs no signature", rule.prefix),
            });
            Ok(ExitCode::SUCCESS)
        }
        Err(refusal) => {
            super::say_line(&format!("{reference}: {}: {refusal}", refusal.reason()));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn public_key(path: &Path) -> anyhow::Result<Arc<PublicKey>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let key = PublicKey::from_pem(&text);
    key.map(Arc::new).with_context(|| format!("failed to read the key `{}`", path.display()))
}
