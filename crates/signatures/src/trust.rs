//! The operator's rules: which signatures a module from a registry needs.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bundle::{self, Authorities, AuthoritiesError, Identity};
use crate::simple_signing::{self, Signed};
use crate::{BadSignature, KeyError, ManifestDigest, PublicKey, RepositoryPrefix};

/// The file of `--trust`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TrustFile {
    /// The path of a trusted root of sigstore, for identities.
    trusted_root: Option<String>,
    rules: Vec<RuleFile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleFile {
    /// A registry, or a registry and the first segments of a repository. `*` is every registry.
    prefix: String,
    #[serde(default = "yes")]
    require: bool,
    /// Public keys: paths, or texts in PEM.
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    identities: Vec<IdentityFile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IdentityFile {
    issuer: String,
    subject: String,
}

fn yes() -> bool {
    true
}

/// The rules of an operator.
#[derive(Debug, Default)]
pub struct Trust {
    rules: Vec<Rule>,
}

/// The signers that the modules of some repositories need.
#[derive(Debug)]
pub struct Rule {
    /// The registry and the first segments of the repositories; `*` is every registry.
    pub prefix: RepositoryPrefix,
    /// Whether modules need a signature. Otherwise they are exempt from the rule of a shorter prefix.
    pub require: bool,
    /// The signers of which one must have signed. At least one, if a signature is required.
    pub signers: Vec<TrustedSigner>,
    /// Whether the rule is in a file, so that its prefix tells the user something.
    in_file: bool,
}

/// A signer that a rule trusts.
#[derive(Debug, Clone)]
pub enum TrustedSigner {
    /// The owner of a key.
    Key(Arc<PublicKey>),
    /// A person or a workflow that signs without a key.
    Identity(Identity, Arc<Authorities>),
}

/// A signature that a registry has beside an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// The older form.
    Simple(Signed),
    /// A sigstore bundle as JSON.
    Bundle(String),
}

/// Rules that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustRulesError {
    /// The file has another form.
    #[error("`{field}`: {detail}")]
    Form {
        /// The field, such as `rules[0].prefix`.
        field: String,
        /// The problem.
        detail: String,
    },
    /// A key cannot be read.
    #[error("`{field}`")]
    Key {
        /// The field.
        field: String,
        /// The reason.
        source: KeyError,
    },
    /// A file that the rules name cannot be read.
    #[error("`{field}`: failed to read {path}")]
    File {
        /// The field.
        field: String,
        /// The path.
        path: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The trusted root cannot be used.
    #[error("`trustedRoot`")]
    Authorities(#[source] AuthoritiesError),
}

/// A module that a rule refuses.
#[derive(Debug, thiserror::Error)]
pub enum SignatureRefusal {
    /// The registry has no signature of the artifact.
    #[error("expected a signature of {wanted}; found none")]
    Unsigned {
        /// The signers of the rule.
        wanted: String,
    },
    /// No signature is good.
    #[error("expected a signature of {wanted}; found no good one: {}", listed(.problems, "; "))]
    BadSignature {
        /// The signers of the rule.
        wanted: String,
        /// The reason for each signature and signer.
        problems: Vec<BadSignature>,
    },
    /// The signatures are good, and their signers are not those of the rule.
    #[error("expected a signature of {wanted}; found one of {}", listed(.found, ", "))]
    WrongIdentity {
        /// The signers of the rule.
        wanted: String,
        /// The signers.
        found: Vec<Identity>,
    },
}

impl SignatureRefusal {
    /// The reason in one word, for the status of a policy.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unsigned { .. } => "Unsigned",
            Self::BadSignature { .. } => "BadSignature",
            Self::WrongIdentity { .. } => "WrongIdentity",
        }
    }
}

fn listed(all: &[impl fmt::Display], separator: &str) -> String {
    let mut parts: Vec<String> = all.iter().map(ToString::to_string).collect();
    parts.dedup();
    parts.join(separator)
}

impl Trust {
    /// Reads rules. `value` is the content of the file as JSON, and `read` reads a file that it names.
    ///
    /// # Errors
    /// A field is unknown, missing or of another type; a rule needs a signature and trusts nobody; two rules have the same
    /// prefix; a key or the trusted root cannot be read.
    pub fn read(
        value: &serde_json::Value,
        read: impl Fn(&str) -> std::io::Result<String>,
    ) -> Result<Self, TrustRulesError> {
        let file = TrustFile::deserialize(value);
        let file = file.map_err(|error| TrustRulesError::Form {
            field: "trust".to_owned(),
            detail: error.to_string(),
        })?;
        let load = |field: &str, path: &str| {
            let failed =
                |source| TrustRulesError::File { field: field.to_owned(), path: path.to_owned(), source };
            read(path).map_err(failed)
        };
        let authorities = match &file.trusted_root {
            None => None,
            Some(path) => {
                let read = Authorities::from_json(&load("trustedRoot", path)?);
                Some(Arc::new(read.map_err(TrustRulesError::Authorities)?))
            }
        };
        let mut rules: Vec<Rule> = Vec::with_capacity(file.rules.len());
        for (n, rule) in file.rules.into_iter().enumerate() {
            let at = |field: &str| format!("rules[{n}].{field}");
            let form = |field: &str, detail: String| TrustRulesError::Form { field: at(field), detail };
            let prefix: RepositoryPrefix = rule.prefix.parse().map_err(|detail| form("prefix", detail))?;
            if rules.iter().any(|other| other.prefix == prefix) {
                return Err(form("prefix", format!("two rules for `{prefix}`; join them")));
            }
            if rule.require && rule.keys.is_empty() && rule.identities.is_empty() {
                let detail = "the rule trusts nobody; add `keys` or `identities`, or set `require: false`";
                return Err(form("require", detail.to_owned()));
            }
            let mut signers = Vec::new();
            for (k, key) in rule.keys.iter().enumerate() {
                let field = at(&format!("keys[{k}]"));
                let text =
                    if key.trim_start().starts_with("-----BEGIN") { key.clone() } else { load(&field, key)? };
                let key =
                    PublicKey::from_pem(&text).map_err(|source| TrustRulesError::Key { field, source })?;
                signers.push(TrustedSigner::Key(Arc::new(key)));
            }
            for (k, identity) in rule.identities.into_iter().enumerate() {
                let Some(authorities) = &authorities else {
                    let detail = "identities need `trustedRoot`, a file of `cosign trusted-root create`";
                    return Err(form(&format!("identities[{k}]"), detail.to_owned()));
                };
                let IdentityFile { issuer, subject } = identity;
                signers.push(TrustedSigner::Identity(Identity { issuer, subject }, Arc::clone(authorities)));
            }
            rules.push(Rule { prefix, require: rule.require, signers, in_file: true });
        }
        Ok(Self { rules })
    }

    /// Returns one rule: modules of all registries need a signature of this key.
    #[must_use]
    pub fn of_key(key: Arc<PublicKey>) -> Self {
        let signers = vec![TrustedSigner::Key(key)];
        Self {
            rules: vec![Rule { prefix: RepositoryPrefix::every(), require: true, signers, in_file: false }],
        }
    }

    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns the rule for a repository, such as `registry.example/policies/labels`: the one with the longest prefix.
    #[must_use]
    pub fn rule(&self, repository: &str) -> Option<&Rule> {
        let covering = self.rules.iter().filter(|rule| rule.prefix.covers(repository));
        covering.max_by_key(|rule| rule.prefix.length())
    }
}

impl Rule {
    /// Finds a good signature of a trusted signer for the digest. Returns `None` if the rule needs none.
    ///
    /// # Errors
    /// There is no such signature.
    pub fn check(
        &self,
        evidence: &[Evidence],
        digest: ManifestDigest,
    ) -> Result<Option<&TrustedSigner>, SignatureRefusal> {
        if !self.require {
            return Ok(None);
        }
        let (mut problems, mut strangers) = (Vec::new(), Vec::new());
        for evidence in evidence {
            for signer in &self.signers {
                match signer.check(evidence, digest) {
                    Ok(Found::Trusted) => return Ok(Some(signer)),
                    Ok(Found::Stranger(identity)) => strangers.push(identity),
                    Ok(Found::OtherKind) => {}
                    Err(problem) => problems.push(problem),
                }
            }
        }
        Err(match (strangers.is_empty(), problems.is_empty()) {
            (false, _) => SignatureRefusal::WrongIdentity { wanted: self.wanted(), found: strangers },
            (true, false) => SignatureRefusal::BadSignature { wanted: self.wanted(), problems },
            (true, true) => self.unsigned(),
        })
    }

    /// Returns the refusal of a module without a signature.
    #[must_use]
    pub fn unsigned(&self) -> SignatureRefusal {
        SignatureRefusal::Unsigned { wanted: self.wanted() }
    }

    /// Returns the signers as a user knows them.
    fn wanted(&self) -> String {
        let signers = listed(&self.signers, " or ");
        if self.in_file { format!("{signers} (rule for `{}`)", self.prefix) } else { signers }
    }
}

impl fmt::Display for TrustedSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "the key `{}`", key.id()),
            Self::Identity(identity, _) => identity.fmt(f),
        }
    }
}

enum Found {
    Trusted,
    /// A good signature of somebody else.
    Stranger(Identity),
    /// Identities have no signatures in the older form.
    OtherKind,
}

impl TrustedSigner {
    /// Returns whether a signature is a good one of this signer for the digest.
    #[must_use]
    pub fn signed(&self, evidence: &Evidence, digest: ManifestDigest) -> bool {
        matches!(self.check(evidence, digest), Ok(Found::Trusted))
    }

    fn check(&self, evidence: &Evidence, digest: ManifestDigest) -> Result<Found, BadSignature> {
        match (self, evidence) {
            (Self::Key(key), Evidence::Simple(signed)) => {
                simple_signing::verify(signed, key, digest).map(|()| Found::Trusted)
            }
            (Self::Key(key), Evidence::Bundle(text)) => {
                bundle::verify_key(text, key, digest).map(|()| Found::Trusted)
            }
            (Self::Identity(..), Evidence::Simple(_)) => Ok(Found::OtherKind),
            (Self::Identity(wanted, authorities), Evidence::Bundle(text)) => {
                let found = bundle::signer(text, authorities, digest)?;
                Ok(if found == *wanted { Found::Trusted } else { Found::Stranger(found) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::PrivateKey;
    use crate::key::tests::{private_key, public_pem};

    fn trust(value: &Value) -> Result<Trust, TrustRulesError> {
        Trust::read(value, |path| Err(std::io::Error::other(format!("no {path}"))))
    }

    fn digest(byte: &str) -> ManifestDigest {
        format!("sha256:{}", byte.repeat(32)).parse().unwrap()
    }

    fn rule_of(key: &PrivateKey) -> Trust {
        let pem = public_pem(key);
        trust(&json!({"rules": [{"prefix": "registry.example", "keys": [pem]}]})).unwrap()
    }

    #[test]
    fn the_rule_with_the_longest_prefix_counts() {
        let key = public_pem(&private_key());
        let rules = json!({"rules": [
            {"prefix": "*", "keys": [key]},
            {"prefix": "registry.example", "keys": [key]},
            {"prefix": "registry.example/team", "require": false},
        ]});
        let trust = trust(&rules).unwrap();
        let prefix =
            |repository: &str| trust.rule(repository).map(|rule| (rule.prefix.as_str(), rule.require));
        assert_eq!(prefix("registry.example/team/labels"), Some(("registry.example/team", false)));
        assert_eq!(prefix("registry.example/teams"), Some(("registry.example", true)));
        assert_eq!(prefix("registry.example.org/team"), Some(("*", true)));
        assert!(Trust::default().rule("registry.example/team").is_none());
    }

    #[test]
    fn one_good_signature_of_a_trusted_key_is_enough() {
        let (key, stranger) = (private_key(), private_key());
        let trust = rule_of(&key);
        let rule = trust.rule("registry.example/labels").unwrap();
        let simple = |key| Evidence::Simple(simple_signing::sign(key, "r/labels", digest("0a")).unwrap());
        let bundle = |key| Evidence::Bundle(bundle::sign(key, digest("0a")).unwrap());
        for good in [simple(&key), bundle(&key)] {
            let all = [simple(&stranger), good];
            assert!(matches!(rule.check(&all, digest("0a")), Ok(Some(TrustedSigner::Key(_)))));
            let refusal = rule.check(&all, digest("0b")).unwrap_err();
            assert_eq!(refusal.reason(), "BadSignature", "{refusal}");
        }
        let refusal = rule.check(&[bundle(&stranger)], digest("0a")).unwrap_err();
        let id = PublicKey::from_pem(&public_pem(&key)).unwrap().id();
        let wanted = format!("the key `{id}` (rule for `registry.example`)");
        assert_eq!(
            refusal.to_string(),
            format!(
                "expected a signature of {wanted}; found no good one: the key does not verify the signature"
            )
        );
        let refusal = rule.check(&[], digest("0a")).unwrap_err();
        assert_eq!(
            (refusal.reason(), &*refusal.to_string()),
            ("Unsigned", &*format!("expected a signature of {wanted}; found none"))
        );
    }

    #[test]
    fn a_rule_that_needs_no_signature_takes_any_module() {
        let trust = trust(&json!({"rules": [{"prefix": "*", "require": false}]})).unwrap();
        assert!(matches!(trust.rule("r/x").unwrap().check(&[], digest("0a")), Ok(None)));
    }

    #[test]
    fn wrong_rules_are_named() {
        let key = public_pem(&private_key());
        let identity = json!({"issuer": "https://issuer.example", "subject": "a@example.com"});
        for (value, expected) in [
            (json!({"rule": []}), "`trust`: unknown field `rule`, expected `trustedRoot` or `rules`"),
            (json!({"rules": [{"prefix": "r"}]}), "`rules[0].require`: the rule trusts nobody"),
            (
                json!({"rules": [{"prefix": "https://r", "keys": [key]}]}),
                "`rules[0].prefix`: expected a registry",
            ),
            (json!({"rules": [{"prefix": "r/", "keys": [key]}]}), "found `r/`"),
            (
                json!({"rules": [{"prefix": "r", "keys": [key]}, {"prefix": "r", "keys": [key]}]}),
                "`rules[1].prefix`: two rules for `r`",
            ),
            (
                json!({"rules": [{"prefix": "r", "keys": ["cosign.pub"]}]}),
                "`rules[0].keys[0]`: failed to read cosign.pub",
            ),
            (json!({"rules": [{"prefix": "r", "keys": ["-----BEGIN x"]}]}), "`rules[0].keys[0]`"),
            (
                json!({"rules": [{"prefix": "r", "identities": [identity]}]}),
                "`rules[0].identities[0]`: identities need `trustedRoot`",
            ),
            (json!({"trustedRoot": "root.json", "rules": []}), "`trustedRoot`: failed to read root.json"),
        ] {
            let error = trust(&value).unwrap_err().to_string();
            assert!(error.contains(expected), "expected {expected}, found {error}");
        }
    }
}
