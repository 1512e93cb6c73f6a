//! A control plane: etcd, the API server, the controllers, the scheduler, and KWOK in place of kubelets.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::binaries::Program;
use super::certificates::{Certificates, Client};
use super::commands::{Commands, Ports};
use super::component::{Component, Record};
use super::kubeconfig;
use super::kubectl::Kubectl;
use super::nodes::Nodes;
use super::options::{Extent, Options};
use super::state::{Folder, State};
use crate::interrupt::Interrupt;
use crate::message;

/// A running control plane, with ports and keys of its own. It ends with this value, and only the logs stay. Its time
/// and its storage are not bounded.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    folder: Folder,
    kubectl: Kubectl,
    components: Vec<Component>,
}

impl ControlPlane {
    /// Starts a control plane in a folder, after ending the rest of an earlier one, and waits until its nodes are
    /// ready.
    ///
    /// # Errors
    /// A process exits or is not ready in time; the error has the last lines of its log.
    pub(crate) fn start(options: &Options<'_>) -> Result<Self> {
        match Self::attempt(options) {
            // Between choosing a port and listening on it, another process can take it: hardly twice in a row.
            Err(error) if error.downcast_ref::<Ended>().is_some_and(Ended::lost_its_port) => {
                eprintln!("another process took a port; starting again");
                Self::attempt(options)
            }
            result => result,
        }
    }

    /// Its client.
    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The path of its state.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The API server's process.
    pub(crate) fn api_server(&self) -> Option<&Record> {
        self.record(Program::KubeApiserver)
    }

    /// etcd's process.
    pub(crate) fn etcd(&self) -> Option<&Record> {
        self.record(Program::Etcd)
    }

    /// Lets it run on when this process ends. [`Folder::end`] ends it.
    pub(crate) fn detach(mut self) {
        self.components.clear();
    }

    fn attempt(options: &Options<'_>) -> Result<Self> {
        let folder = &options.folder;
        folder.end()?;
        folder.make()?;
        let certificates = Certificates::make(&folder.certificates())?;
        let ports = Ports::choose(options.extent)?;
        kubeconfig::write(&folder.kubeconfig(), ports.api_server, &certificates, Client::Admin)?;
        let program = options.binaries.path(Program::Kubectl);
        let kubectl = Kubectl::new(program, &folder.kubeconfig(), folder.path());
        // From here on, every error ends the started processes.
        let mut plane = Self { folder: folder.clone(), kubectl, components: Vec::new() };
        let interrupt = options.interrupt;

        let commands = Commands { options, certificates: &certificates, ports: &ports };
        plane.add(Program::Etcd, &mut commands.etcd(), ports.etcd)?;
        plane.wait(Program::Etcd, interrupt)?;
        plane.add(Program::KubeApiserver, &mut commands.api_server(), ports.api_server)?;
        plane.wait(Program::KubeApiserver, interrupt)?;
        match options.extent {
            Extent::ApiServer => {}
            Extent::Whole(nodes) => plane.complete(&commands, nodes, interrupt)?,
            Extent::RealNode => {
                plane.add_controllers(&commands)?;
                kubeconfig::write(&folder.kubelet(), ports.api_server, &certificates, Client::Kubelet)?;
                for program in [Program::KubeControllerManager, Program::KubeScheduler] {
                    plane.wait(program, interrupt)?;
                }
            }
        }
        plane.write(true)?;
        Ok(plane)
    }

    /// Starts everything besides etcd and the API server, and waits until the nodes are ready.
    fn complete(&mut self, commands: &Commands<'_>, nodes: Nodes, interrupt: &Interrupt) -> Result<()> {
        self.add_controllers(commands)?;
        self.add(Program::Kwok, &mut commands.kwok()?, commands.ports.kwok)?;
        if nodes.count() > 0 {
            self.kubectl.create(&nodes.manifest()).context("cannot create the nodes")?;
        }
        for program in [Program::KubeControllerManager, Program::KubeScheduler, Program::Kwok] {
            self.wait(program, interrupt)?;
        }
        self.wait_until("the nodes to be ready", Program::Kwok, interrupt, |plane| {
            let found = plane.kubectl.get(&["nodes"])?;
            let ready = ready_nodes(&found);
            if ready < nodes.count() {
                return Err(anyhow!("{ready} of {} are", nodes.count()));
            }
            // Without it, no pod can be made in the namespace.
            plane.kubectl.get(&["serviceaccount", "default", "--namespace=default"]).map(drop)
        })
    }

    fn add_controllers(&mut self, commands: &Commands<'_>) -> Result<()> {
        let ports = commands.ports;
        self.add(
            Program::KubeControllerManager,
            &mut commands.controller_manager()?,
            ports.controller_manager,
        )?;
        self.add(Program::KubeScheduler, &mut commands.scheduler()?, ports.scheduler)
    }

    fn add(&mut self, program: Program, command: &mut Command, port: u16) -> Result<()> {
        let log = self.folder.logs().join(format!("{}.log", program.name()));
        command.current_dir(self.folder.path());
        self.components.push(Component::start(program.name(), command, port, &log)?);
        // Written after each step. If this process is killed, the next one finds its processes.
        self.write(false)
    }

    fn record(&self, program: Program) -> Option<&Record> {
        self.components.iter().map(Component::record).find(|record| record.name == program.name())
    }

    fn write(&self, ready: bool) -> Result<()> {
        self.folder.write(&State {
            ready,
            kubectl: self.kubectl.clone(),
            processes: self.components.iter().map(|component| component.record().clone()).collect(),
        })
    }

    /// Waits until a component says that it is well.
    fn wait(&mut self, program: Program, interrupt: &Interrupt) -> Result<()> {
        let path = health_path(program.name());
        self.wait_until("it to be ready", program, interrupt, |plane| {
            let port = plane.record(program).context("it was not started")?.port;
            // Costs nothing, unlike a kubectl that finds nobody.
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).context("it does not listen")?;
            plane.kubectl.check(port, path)
        })
    }

    /// Retries until it succeeds, unless a component exits meanwhile. If it fails, the log of `program` is the most
    /// helpful.
    fn wait_until(
        &mut self,
        what: &str,
        program: Program,
        interrupt: &Interrupt,
        mut attempt: impl FnMut(&Self) -> Result<()>,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            let result = attempt(self);
            // Looked at after each attempt: who answered may have been another process, on a port that was lost to it.
            for component in &mut self.components {
                if let Some(status) = component.ended() {
                    return Err(Ended { record: component.record().clone(), status }.into());
                }
            }
            let Err(error) = result else { return Ok(()) };
            if start.elapsed() > READY_LIMIT {
                let mut words =
                    format!("`{}`: waited {} s for {what}", program.name(), READY_LIMIT.as_secs());
                if let Some(record) = self.record(program) {
                    words.push_str(&record.log_end());
                }
                return Err(error.context(words));
            }
            interrupt.pause(POLL)?;
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if self.components.is_empty() {
            return;
        }
        for component in self.components.iter_mut().rev() {
            component.stop();
        }
        if let Err(error) = self.folder.keep_logs() {
            eprintln!("warning: {}", message::of(&error));
        }
    }
}

/// A component's health endpoint.
pub(crate) fn health_path(name: &str) -> &'static str {
    match name {
        "etcd" => "/health",
        "kube-controller-manager" => "/healthz",
        _ => "/readyz",
    }
}

/// How many of the nodes are ready, with nothing left of the taints that a node has until then.
pub(crate) fn ready_nodes(nodes: &Value) -> usize {
    let ready = |node: &&Value| {
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            && !taints
                .any(|taint| taint["key"].as_str().is_some_and(|key| key.starts_with("node.kubernetes.io/")))
    };
    nodes["items"].as_array().into_iter().flatten().filter(ready).count()
}

/// A component that ended while it should have run.
#[derive(Debug)]
struct Ended {
    record: Record,
    status: ExitStatus,
}

impl Ended {
    fn lost_its_port(&self) -> bool {
        self.record.last_words().contains("address already in use")
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` ended ({}){}", self.record.name, self.status, self.record.log_end())
    }
}

impl std::error::Error for Ended {}

/// Time limit for each step of a start: seconds if the machine is idle.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// How long to wait between two looks.
const POLL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::super::binaries::Binaries;
    use super::*;
    use crate::repository::Repository;

    #[test]
    fn a_node_with_a_taint_of_its_birth_is_not_ready() {
        let conditions = json!([{ "type": "Ready", "status": "True" }]);
        let nodes = json!({ "items": [
            { "spec": {}, "status": { "conditions": conditions } },
            { "spec": { "taints": [{ "key": "nvidia.com/gpu" }] }, "status": { "conditions": conditions } },
            { "spec": { "taints": [{ "key": "node.kubernetes.io/not-ready" }] },
              "status": { "conditions": conditions } },
            { "spec": {}, "status": { "conditions": [{ "type": "Ready", "status": "False" }] } },
            { "spec": {}, "status": {} },
        ]});
        assert_eq!(ready_nodes(&nodes), 2);
    }

    #[test]
    fn a_lost_port_is_lost_twice_before_it_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let starts = root.path().join("starts");
        let etcd = root.path().join("etcd");
        let script = format!(
            "#!/bin/sh\necho start >> '{}'\necho 'listen tcp: bind: address already in use' >&2\nexit 7\n",
            starts.display()
        );
        fs::write(&etcd, script).unwrap();
        fs::set_permissions(&etcd, fs::Permissions::from_mode(0o700)).unwrap();
        let folder = Folder::at(root.path().join("run"));
        let interrupt = Interrupt::listen().unwrap();
        let options = Options {
            repository: &Repository::at(root.path()),
            binaries: &Binaries::at(Program::ALL.map(|_| etcd.clone())),
            folder: folder.clone(),
            extent: Extent::Whole(Nodes::default()),
            interrupt: &interrupt,
        };
        let error = message::of(&ControlPlane::start(&options).unwrap_err());
        assert_eq!(fs::read_to_string(&starts).unwrap().lines().count(), 2);
        assert_eq!(
            error,
            format!(
                "`etcd` ended (exit status: 7); its log ends in:\n  listen tcp: bind: address already in use\n\
                 hint: the whole log is `{}`",
                folder.logs().join("etcd.log").display()
            )
        );
        assert!(folder.logs().join("etcd.log").is_file() && folder.state().unwrap().is_none());
    }
}
