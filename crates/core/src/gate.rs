//! The template gate: the rule that decides whether policies may change `spec.template`.
//!
//! If an update does not touch the template, a policy that changed it would restart every pod. So the gate is closed,
//! unless the policy says `template: always`.

use jsonptr::Pointer;

use crate::document::Document;
use crate::policy::TemplateRule;
use crate::review::Review;

/// The state of the template gate for one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The chain applies changes to the template.
    Open,
    /// The chain drops changes to the template.
    Closed,
}

/// The parts of the object that policies may change in a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A create, or an update whose author changes the template.
    Everything,
    /// An update that does not change the template.
    NotTemplate,
    /// An update that no policy may change or deny.
    Nothing(LeftAlone),
}

/// The reason why no policy may change or deny an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeftAlone {
    /// The stored object is being deleted.
    #[error("the object is being deleted")]
    Deleting,
    /// The update only adds or removes finalizers.
    #[error("only finalizers change")]
    Finalizers,
}

impl Reach {
    /// Returns the parts of the object that policies may change in `review`.
    #[must_use]
    pub fn of(review: &Review) -> Self {
        let Some(old) = &review.old_object else { return Self::Everything };
        // Only the stored object counts. An author who writes the field into the new object deletes nothing.
        if old.get_set(Pointer::from_static("/metadata/deletionTimestamp")).is_some() {
            return Self::Nothing(LeftAlone::Deleting);
        }
        let new = &review.object;
        let finalizers = Pointer::from_static("/metadata/finalizers");
        if new.get_set(finalizers) != old.get_set(finalizers) && same_but_for_bookkeeping(new, old) {
            return Self::Nothing(LeftAlone::Finalizers);
        }
        if new.differs_at(old, Pointer::from_static("/spec/template")) {
            Self::Everything
        } else {
            Self::NotTemplate
        }
    }

    /// Returns the state of the gate for a policy with this rule.
    #[must_use]
    pub fn gate(self, rule: TemplateRule) -> Gate {
        match (self, rule) {
            (Self::Everything, _) | (_, TemplateRule::Always) => Gate::Open,
            _ => Gate::Closed,
        }
    }
}

/// Returns whether the objects differ at most in finalizers and in fields that the API server maintains.
fn same_but_for_bookkeeping(new: &Document, old: &Document) -> bool {
    let bare = |document: &Document| {
        let mut tree = document.to_value();
        if let Some(metadata) = tree.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
            for field in ["finalizers", "managedFields", "resourceVersion", "generation"] {
                metadata.remove(field);
            }
        }
        tree
    };
    bare(new) == bare(old)
}
