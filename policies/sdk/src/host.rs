//! The host that a module runs in.

use crate::{
    ClusterData, Edit, Level, NodeCounts, PodEffect,
    wit::wardset::policy::{cluster, document, log, placement},
};

/// The imports of the contract.
#[derive(Debug)]
pub(crate) struct Host;

impl Host {
    pub(crate) fn object(&self, pointer: &str) -> Option<String> {
        document::object(pointer)
    }

    pub(crate) fn old_object(&self, pointer: &str) -> Option<String> {
        document::old_object(pointer)
    }

    pub(crate) fn data(&self, what: ClusterData) -> Option<String> {
        cluster::data(what)
    }

    pub(crate) fn node_counts(&self, edits: &[Edit]) -> Option<NodeCounts> {
        placement::object(edits)
    }

    pub(crate) fn old_node_counts(&self) -> Option<NodeCounts> {
        placement::old_object()
    }

    pub(crate) fn pod_effect(&self) -> Option<PodEffect> {
        placement::effect()
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        log::write(level, message);
    }
}
