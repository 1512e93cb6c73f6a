//! Who is at fault if something goes wrong, and the one table from that to HTTP status and metric label.

/// Who has to act.
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
    /// Returns the HTTP status of a review that failed for this cause, unless a more specific one is given.
    ///
    /// Everything but a bad request is 500, so that the webhook's `failurePolicy` decides (webhook contract, point
    /// 5).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Request => 400,
            Self::Guest | Self::Operator | Self::Cluster | Self::Bug => 500,
        }
    }

    /// The value of the label `blame` in logs and metrics.
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
