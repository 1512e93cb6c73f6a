//! Plans the next action on the Secret. The plan depends only on values: the time, the Secret's content, and how long
//! the API server has trusted its CAs.
//!
//! ```text
//!              IssueAll                          (nothing yet, or no CA left that can sign)
//!                 │
//!                 ▼
//!   ┌──► leaf by A, trust A ──────────┐ a third of A's time left, or asked for
//!   │       │      ▲                  ▼ BeginCaRotation
//!   │       └──────┘            leaf by A, trust A and B
//!   │      RenewLeaf                  │ both in the configurations for the overlap
//!   │                                 ▼ SwitchLeafToNextCa
//!   └──────────────────────── leaf by B, trust B and A
//!      DropOldCas, after the retirement
//! ```

use std::time::{Duration, SystemTime};

use super::authority::{Authority, IssueError, is_valid};
use super::contents::{Contents, Leaf, Own, Renew};
use super::lifetimes::Lifetimes;
use crate::certificates::{PairError, trust};

/// An action on the Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing until this time, unless something changes.
    WaitUntil(SystemTime),
    /// Nothing ever, because somebody else put the certificate there.
    LeaveAlone,
    /// Make a CA and a certificate. CAs that were trusted stay trusted for the retirement.
    IssueAll,
    /// Sign a new certificate with the signing CA.
    RenewLeaf,
    /// Make the next CA, and trust it besides the signing CA.
    BeginCaRotation,
    /// Sign a new certificate with the next CA, which becomes the signing CA.
    SwitchLeafToNextCa,
    /// Stop trusting the CAs that nothing needs any more.
    DropOldCas,
    /// Write the readable content again, because some keys are damaged.
    Mend,
}

/// The next action, and whether every replica may take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificatePlan {
    /// The next action.
    pub action: Action,
    /// Whether every replica may act, because none can serve the Secret's content. Otherwise only the leader may. It
    /// never depends on the time: two replicas whose clocks differ must not undo each other's writes.
    pub urgent: bool,
}

/// An error in making or reading a new certificate.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The certificate could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The new certificate could not be read.
    #[error("failed to read a new certificate back")]
    Pair(#[from] PairError),
    /// The plan asked for a signature by a CA that does not exist.
    #[error("expected a CA that can sign, found none")]
    NoAuthority,
}

impl Action {
    /// Returns the action's name in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::WaitUntil(_) => "wait",
            Self::LeaveAlone => "leave-alone",
            Self::IssueAll => "issue-all",
            Self::RenewLeaf => "renew-leaf",
            Self::BeginCaRotation => "begin-ca-rotation",
            Self::SwitchLeafToNextCa => "switch-leaf-to-next-ca",
            Self::DropOldCas => "drop-old-cas",
            Self::Mend => "mend",
        }
    }
}

/// Plans the next action. `names` are the DNS names that the certificate must have; the API server requires the first
/// one. `live_for` is the time for which all configurations have trusted every CA of the Secret, or `None` if they do
/// not yet.
#[must_use]
pub fn plan(
    now: SystemTime,
    contents: &Contents,
    names: &[String],
    lifetimes: &Lifetimes,
    live_for: Option<Duration>,
) -> CertificatePlan {
    match contents {
        Contents::Empty => CertificatePlan { action: Action::IssueAll, urgent: true },
        Contents::Foreign(_) => CertificatePlan { action: Action::LeaveAlone, urgent: false },
        Contents::Own(own) => CertificatePlan {
            action: next_step(now, own, names, lifetimes, live_for),
            urgent: own.leaf.is_none(),
        },
    }
}

fn next_step(
    now: SystemTime,
    own: &Own,
    names: &[String],
    lifetimes: &Lifetimes,
    live_for: Option<Duration>,
) -> Action {
    let current = own.current.as_ref().filter(|current| current.ca.is_valid(now));
    let next = own.next.as_ref().filter(|next| next.ca.is_valid(now));
    let leaf = own.leaf.as_ref().filter(|leaf| serves(leaf, own, names, now)).map(|leaf| &leaf.pair.leaf);

    let Some(leaf) = leaf else {
        return match (current, next) {
            (Some(_), _) => Action::RenewLeaf,
            (None, Some(_)) => Action::SwitchLeafToNextCa,
            (None, None) => Action::IssueAll,
        };
    };

    let leaf_due = leaf.not_after - lifetimes.leaf() / 3;
    // If the signing CA cannot sign any more, its certificate must last until the switch.
    let last_switch = match current {
        Some(current) => current.ca.facts.not_after - lifetimes.leaf() / 3,
        None => leaf_due,
    };
    let mut wake = last_switch;
    if next.is_some() {
        let overlap_left = live_for.map(|live_for| lifetimes.overlap().saturating_sub(live_for));
        if overlap_left == Some(Duration::ZERO) || last_switch <= now {
            return Action::SwitchLeafToNextCa;
        }
        wake = overlap_left.map_or(wake, |left| wake.min(now + left));
    }

    if let Some(current) = current {
        let reachable = (now + lifetimes.leaf()).min(current.ca.facts.not_after);
        let gains = reachable >= leaf.not_after + lifetimes.leaf() / 6;
        if own.renew == Some(Renew::Leaf) || (leaf_due <= now && gains) {
            return Action::RenewLeaf;
        }
        if leaf_due > now {
            wake = wake.min(leaf_due);
        }
    }
    if next.is_none() {
        let Some(current) = current else { return Action::BeginCaRotation };
        let ca_due = current.ca.facts.not_after - lifetimes.ca() / 3;
        if own.renew == Some(Renew::Ca) || ca_due <= now {
            return Action::BeginCaRotation;
        }
        wake = wake.min(ca_due);
    }

    if own.retired().next().is_some() {
        let ended = own.retired().all(|ca| ca.facts.not_after < now);
        match own.retire_at {
            _ if ended => return Action::DropOldCas,
            Some(retire_at) if retire_at <= now => return Action::DropOldCas,
            Some(retire_at) => wake = wake.min(retire_at),
            None => return Action::Mend,
        }
    }
    // If no CA can sign, the rotation rewrites the damaged keys.
    if !own.damaged.is_empty() && current.is_some() { Action::Mend } else { Action::WaitUntil(wake) }
}

/// Returns whether the certificate can be served: signed by a trusted CA, valid, and issued for all of `names`.
fn serves(leaf: &Leaf, own: &Own, names: &[String], now: SystemTime) -> bool {
    let facts = &leaf.pair.leaf;
    // A clock that is slightly behind must not make the certificate untrusted.
    let moment = now.max(facts.not_before);
    is_valid(facts, now)
        && names.iter().all(|name| facts.names.contains(name))
        && names.first().is_some_and(|name| {
            trust::verify(leaf.pair.chain(), own.bundle().as_bytes(), name, moment).is_ok()
        })
}

/// Applies `action` to the Secret's content. Returns the content to write.
///
/// # Errors
///
/// A certificate that cannot be made.
pub(super) fn apply(
    action: Action,
    now: SystemTime,
    mut own: Own,
    names: &[String],
    lifetimes: &Lifetimes,
) -> Result<Own, ApplyError> {
    let sign = |authority: Option<&Authority>| {
        let authority = authority.ok_or(ApplyError::NoAuthority)?;
        Ok::<_, ApplyError>(Leaf::new(authority.sign(names, now, now + lifetimes.leaf())?)?)
    };
    match action {
        Action::WaitUntil(_) | Action::LeaveAlone => {}
        Action::IssueAll => {
            let authority = Authority::make(now, now + lifetimes.ca())?;
            own.leaf = Some(sign(Some(&authority))?);
            own.trusted.retain(|ca| ca.is_valid(now));
            own.trusted.insert(0, authority.ca.clone());
            (own.current, own.next, own.renew) = (Some(authority), None, None);
            own.retire_at = None;
        }
        Action::RenewLeaf => {
            own.leaf = Some(sign(own.current.as_ref())?);
            own.renew = own.renew.filter(|renew| *renew != Renew::Leaf);
        }
        Action::BeginCaRotation => {
            let next = Authority::make(now, now + lifetimes.ca())?;
            own.trusted.push(next.ca.clone());
            own.next = Some(next);
            own.renew = own.renew.filter(|renew| *renew != Renew::Ca);
        }
        Action::SwitchLeafToNextCa => {
            own.leaf = Some(sign(own.next.as_ref())?);
            own.current = own.next.take();
            own.renew = None;
            own.retire_at = None;
        }
        Action::DropOldCas => {
            own.trusted = own.trusted.iter().filter(|ca| own.needs(ca)).cloned().collect();
            own.retire_at = None;
        }
        Action::Mend => {}
    }
    // The signing CA comes first.
    if let Some(current) = &own.current {
        own.trusted.sort_by_key(|ca| *ca != current.ca);
    }
    if own.retired().next().is_none() {
        own.retire_at = None;
    } else if own.retire_at.is_none() {
        own.retire_at = Some(now + lifetimes.retirement());
    }
    own.damaged.clear();
    Ok(own)
}
