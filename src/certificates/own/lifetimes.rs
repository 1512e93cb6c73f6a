//! Lifetimes of certificates, and the rules that they must follow.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Maximum difference between clocks in a cluster. A new certificate becomes valid this much in the past, and one
/// that becomes valid this much in the future counts as valid.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// Lifetimes of certificates. Both the certificate and the CA are renewed when a third of their lifetime is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    leaf: Duration,
    ca: Duration,
    overlap: Duration,
    retirement: Duration,
}

/// An error about lifetimes that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LifetimesError {
    /// Certificates have a resolution of one second, and some time must be left between two renewals.
    #[error("expected a certificate's lifetime of at least 3s, found {0:?}")]
    Leaf(Duration),
    /// A leaf issued just before its CA's renewal would outlive the CA.
    #[error("expected a lifetime of the CA of at least three times the certificate's {leaf:?}, found {ca:?}")]
    Ca {
        /// The certificate's lifetime.
        leaf: Duration,
        /// The CA's.
        ca: Duration,
    },
    /// The new CA would sign too late.
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
    /// Returns the defaults. A certificate is valid for 90 days, like public ones, so that a failed renewal has a
    /// month to be noticed.
    ///
    /// A CA is valid for two years, because its key never leaves the Secret. Its rotation is automatic, and it
    /// happens often enough that it stays tested. The overlap is 1 minute, many times the delay until an API server
    /// has a new configuration. The old CA stays trusted for a day.
    fn default() -> Self {
        Self { leaf: 90 * DAY, ca: 730 * DAY, overlap: Duration::from_secs(60), retirement: DAY }
    }
}

impl Lifetimes {
    /// Checks and returns lifetimes. `leaf` and `ca` are periods of validity. `overlap` is the time for which the
    /// configurations hold both CAs before the new one signs. `retirement` is the time for which the old one stays
    /// trusted after that.
    ///
    /// # Errors
    ///
    /// Lifetimes with which a certificate could expire before its successor is active.
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

    /// Returns the validity of the server's certificate. Default: 90 days.
    #[must_use]
    pub fn leaf(&self) -> Duration {
        self.leaf
    }

    /// Returns the validity of a CA. Default: 730 days.
    #[must_use]
    pub fn ca(&self) -> Duration {
        self.ca
    }

    /// Returns the time for which the configurations hold both CAs before the new one signs. Default: 1 minute.
    #[must_use]
    pub fn overlap(&self) -> Duration {
        self.overlap
    }

    /// Returns the time for which a CA stays trusted after it stops signing, at most until it expires. Default: 1
    /// day.
    #[must_use]
    pub fn retirement(&self) -> Duration {
        self.retirement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_default_lifetimes() {
        let default = Lifetimes::default();
        let Lifetimes { leaf, ca, overlap, retirement } = default;
        assert_eq!(Lifetimes::new(leaf, ca, overlap, retirement), Ok(default));
    }

    #[test]
    fn rejects_a_leaf_that_could_outlive_its_ca() {
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
