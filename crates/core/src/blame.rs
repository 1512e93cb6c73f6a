//! The party that has to act on a failure, and the one table from it to HTTP status and metric label.

/// The party that has to act on a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blame {
    /// The sender of the request.
    Request,
    /// The author of a policy module.
    Guest,
    /// The author of a `Policy`, or the person who started the server.
    Operator,
    /// The cluster around the server, or its load.
    Cluster,
    /// Wardset's developers.
    Bug,
}

impl Blame {
    /// Returns the HTTP status of a failed review, unless the caller has a more specific one.
    ///
    /// Every failure but a bad request gives 500, so that the webhook's `failurePolicy` decides (webhook contract,
    /// point 5).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Request => 400,
            Self::Guest | Self::Operator | Self::Cluster | Self::Bug => 500,
        }
    }

    /// Returns the value of the label `blame` in logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Guest => "guest",
            Self::Operator => "operator",
            Self::Cluster => "cluster",
            Self::Bug => "bug",
        }
    }
}
