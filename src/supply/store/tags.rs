//! Resolves the tags of policies again while the server runs, so that a moved tag becomes active.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use wardset_core::policy::{ModuleRef, OciReference};

use super::{HeldPolicy, State, Store, said};
use crate::metrics::TagResult;

/// Maximum number of tags that are resolved at the same time. Each needs one request.
const CONCURRENT: usize = 4;

impl Store {
    /// Resolves the tags of all policies again at this interval, until the process ends.
    pub async fn keep_resolving(self: Arc<Self>, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            self.resolve_tags().await;
        }
    }

    /// Resolves the tags of all policies again. If a tag has moved, the policy's module is loaded as after a change of the
    /// policy, in the background: the module that runs stays active until then, and if the new one fails. If a registry does
    /// not answer, nothing changes. Returns once all tags are resolved.
    pub async fn resolve_tags(self: &Arc<Self>) {
        let digests = self.current_digests().await;
        let mut held = self.held.lock().await;
        for (key, policy) in held.iter_mut() {
            let Some((tag, digest)) = policy.tag().and_then(|tag| digests.get_key_value(tag)) else {
                continue;
            };
            if policy.attempt.is_some() || !policy.has_moved(digest) {
                continue;
            }
            tracing::info!(
                policy = &*key.1,
                module = %tag,
                digest,
                active = policy.active_digest().unwrap_or("none"),
                "the tag leads to another digest than that of the active module; loading it"
            );
            policy.moved_to = Some(digest.clone());
            let task = self.attempt(Some(policy), &policy.wanted);
            policy.attempt = Some(self.settle_later(task, key.clone()));
        }
    }

    /// Returns the digests to which the policies' tags lead now, without those that cannot be resolved.
    async fn current_digests(&self) -> HashMap<OciReference, String> {
        let mut tags: HashMap<OciReference, Vec<Option<String>>> = HashMap::new();
        // A failed pull is repeated earlier than any interval.
        for policy in self.held.lock().await.values().filter(|policy| !policy.may_pass) {
            if let Some(tag) = policy.tag() {
                tags.entry(tag.clone()).or_default().push(policy.active_digest().map(str::to_owned));
            }
        }
        let resolved = stream::iter(tags).map(async |(tag, active)| {
            let digest = match self.modules.digest_of_tag(&tag).await {
                Ok(digest) => digest,
                Err(error) => {
                    tracing::warn!(
                        problem = said(&error),
                        "failed to resolve a tag again; its module stays active"
                    );
                    self.metrics.pulls.resolved(TagResult::Failed);
                    return None;
                }
            };
            let has_moved = active.iter().flatten().any(|active| *active != digest);
            self.metrics.pulls.resolved(if has_moved { TagResult::Moved } else { TagResult::Unchanged });
            Some((tag, digest))
        });
        resolved.buffer_unordered(CONCURRENT).filter_map(async |found| found).collect().await
    }
}

impl HeldPolicy {
    /// Returns the digest of the active module's artifact.
    fn active_digest(&self) -> Option<&str> {
        match &self.member.as_ref()?.plan().policy.module {
            ModuleRef::Oci(reference) => reference.digest(),
            ModuleRef::Builtin(_) | ModuleRef::File(_) => None,
        }
    }

    /// Returns whether the module with this digest is not active, and no attempt has failed to load it.
    fn has_moved(&self, digest: &str) -> bool {
        match self.state {
            State::Ready => self.active_digest() != Some(digest),
            _ => self.moved_to.as_deref() != Some(digest),
        }
    }
}
