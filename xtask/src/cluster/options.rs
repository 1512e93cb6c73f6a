//! The options of a control plane.

use super::binaries::{Binaries, Program};
use super::nodes::Nodes;
use super::state::Folder;
use crate::interrupt::Interrupt;
use crate::repository::Repository;

/// How a control plane is to be.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    /// KWOK's configuration comes from here.
    pub(crate) repository: &'a Repository,
    /// Its programs.
    pub(crate) binaries: &'a Binaries,
    /// Folder for all of its data. Two in the same folder would end each other: the caller holds a lock.
    pub(crate) folder: Folder,
    /// Its parts.
    pub(crate) extent: Extent,
    /// Ends the start, and all that was started.
    pub(crate) interrupt: &'a Interrupt,
}

/// The parts of a control plane.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    /// etcd and the API server alone.
    ApiServer,
    /// All components, with these nodes.
    Whole(Nodes),
    /// All components for a real kubelet, in namespaces of their own. KWOK is left out.
    RealNode,
}

impl Extent {
    /// The programs that it needs, kubectl included.
    pub(crate) fn programs(self) -> &'static [Program] {
        match self {
            Self::ApiServer => &[Program::KubeApiserver, Program::Kubectl, Program::Etcd],
            Self::Whole(_) => &[
                Program::KubeApiserver,
                Program::KubeControllerManager,
                Program::KubeScheduler,
                Program::Kubectl,
                Program::Etcd,
                Program::Kwok,
            ],
            Self::RealNode => &[
                Program::KubeApiserver,
                Program::KubeControllerManager,
                Program::KubeScheduler,
                Program::Kubectl,
                Program::Etcd,
                Program::Kubelet,
            ],
        }
    }
}
