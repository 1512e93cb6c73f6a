//! The network of the real node: a bridge in a network namespace without a way out.

/// The address of the bridge, which is the node's.
pub(crate) const ADDRESS: &str = "10.245.7.1";

/// The address of the Service `kubernetes`, which the bridge has too.
pub(crate) const SERVICE: &str = "10.96.0.1";

/// The name of the bridge.
pub(crate) const BRIDGE: &str = "kn0";
