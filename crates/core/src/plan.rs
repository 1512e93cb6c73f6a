//! The plan of a policy: what a chain needs to know of it.

use std::sync::Arc;

use crate::manifest::Manifest;
use crate::policy::Policy;

/// A policy and its module's manifest.
#[derive(Debug)]
pub struct Plan {
    /// The policy.
    pub policy: Policy,
    /// The module's manifest.
    pub manifest: Arc<Manifest>,
    /// SHA-256 of the module, in hexadecimal.
    pub digest: String,
}

impl Plan {
    /// Sorts plans into the order in which a chain runs them.
    ///
    /// Mutating policies come first, and validating ones follow, so that these see the final object. Within both
    /// groups, `order` decides, and then the name.
    pub fn sort(plans: &mut [Arc<Self>]) {
        let key =
            |plan: &Arc<Self>| (!plan.manifest.mutates(), plan.policy.order, Arc::clone(&plan.policy.name));
        plans.sort_by_key(key);
    }
}

/// The webhook that sent the review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The mutating webhook. All policies run, and the response may contain a patch.
    Mutate,
    /// The validating webhook. Only validating policies run, on the object after all mutating webhooks. The response
    /// never contains a patch.
    Validate,
}
