//! How long certificates are good for, and when they are renewed.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How far in the past a new certificate begins, and how far in the future one may begin and still be taken for valid: as much
/// as clocks in one cluster may differ.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// How long certificates are good for. Both are renewed when a third of their time is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    leaf: Duration,
    ca: Duration,
    overlap: Duration,
    retirement: Duration,
}

/// Lifetimes that don't go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LifetimesError {
    /// Certificates know whole seconds only, and something has to be left between two renewals.
    #[error("expected a certificate's lifetime of at least 3s, found {0:?}")]
    Leaf(Duration),
    /// A leaf that is made just before its CA is renewed would outlive the CA.
    #[error("expected a lifetime of the CA of at least three times the certificate's {leaf:?}, found {ca:?}")]
    Ca {
        /// The certificate's lifetime.
        leaf: Duration,
        /// The CA's.
        ca: Duration,
    },
    /// The new CA would come into use too late.
    #[error(
        "expected an overlap of at most a third of the certificate's lifetime {leaf:?}, found {overlap:?}"
    )]
    Overlap {
        /// The certificate's lifetime.
        leaf: Duration,
        /// The overlap.
        overlap: Duration,
    },
}

impl Default for Lifetimes {
    /// A certificate for 90 days, as public ones have, so that a renewal that fails has a month to be seen. A CA for two years:
    /// its key never leaves the Secret, and its rotation, which nobody has to do by hand, is not something that only happens
    /// after everybody who knew of it has gone. An overlap of 1 minute, many times what an API server takes to hear of a
    /// configuration, and a day for the CA before.
    fn default() -> Self {
        Self { leaf: 90 * DAY, ca: 730 * DAY, overlap: Duration::from_secs(60), retirement: DAY }
    }
}

impl Lifetimes {
    /// `leaf` and `ca` say how long each is valid; `overlap` how long both CAs must have been in the configurations before the
    /// new one signs; `retirement` how long the old one stays trusted after that.
    ///
    /// # Errors
    ///
    /// Lifetimes with which some certificate would end before its successor is in use.
    pub fn new(
        leaf: Duration,
        ca: Duration,
        overlap: Duration,
        retirement: Duration,
    ) -> Result<Self, LifetimesError> {
        if leaf < Duration::from_secs(3) {
            return Err(LifetimesError::Leaf(leaf));
        }
        if ca / 3 < leaf {
            return Err(LifetimesError::Ca { leaf, ca });
        }
        if overlap > leaf / 3 {
            return Err(LifetimesError::Overlap { leaf, overlap });
        }
        Ok(Self { leaf, ca, overlap, retirement })
    }

    /// How long the server's certificate is valid. Default: 90 days.
    #[must_use]
    pub fn leaf(&self) -> Duration {
        self.leaf
    }

    /// How long a CA is valid. Default: 730 days.
    #[must_use]
    pub fn ca(&self) -> Duration {
        self.ca
    }

    /// How long both CAs are in the configurations before the new one signs. Default: 1 minute.
    #[must_use]
    pub fn overlap(&self) -> Duration {
        self.overlap
    }

    /// How long a CA that signs no more stays trusted, at most to its end. Default: 1 day.
    #[must_use]
    pub fn retirement(&self) -> Duration {
        self.retirement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_go_together() {
        let default = Lifetimes::default();
        let Lifetimes { leaf, ca, overlap, retirement } = default;
        assert_eq!(Lifetimes::new(leaf, ca, overlap, retirement), Ok(default));
    }

    #[test]
    fn a_leaf_that_could_outlive_its_ca_is_refused() {
        let second = Duration::from_secs(1);
        let error = Lifetimes::new(10 * second, 29 * second, second, second).unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected a lifetime of the CA of at least three times the certificate's 10s, found 29s"
        );
        assert!(Lifetimes::new(10 * second, 30 * second, 4 * second, second).is_err());
        assert!(Lifetimes::new(second, 30 * second, second, second).is_err());
    }
}
