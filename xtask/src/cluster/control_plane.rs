//! A control plane: etcd, the API server, the controllers, the scheduler, and KWOK in place of kubelets.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::binaries::{Binaries, Program};
use super::certificates::{Certificates, Client};
use super::component::Component;
use super::kubeconfig;
use super::kubectl::Kubectl;
use super::nodes::Nodes;
use super::state::{Folder, State};
use crate::interrupt::Interrupt;
use crate::message;
use crate::repository::Repository;

/// How a control plane is to be.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    /// What KWOK is configured with comes from here.
    pub(crate) repository: &'a Repository,
    /// Its programs.
    pub(crate) binaries: &'a Binaries,
    /// Where it keeps all that it has. Two in the same folder would end each other: the caller holds a lock.
    pub(crate) folder: Folder,
    /// Its nodes.
    pub(crate) nodes: Nodes,
    /// Ends the start, and all that was started.
    pub(crate) interrupt: &'a Interrupt,
}

/// A control plane that runs, on ports and with keys of its own. It ends with this value, however that comes about;
/// what is left is the logs. Not bounded: how long it runs, and how much it stores.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    folder: Folder,
    kubectl: Kubectl,
    components: Vec<Component>,
}

impl ControlPlane {
    /// Starts a control plane in a folder, after ending what is left in it of an earlier one, and waits until its
    /// nodes are ready.
    ///
    /// # Errors
    /// A process ends or is not ready in time; the error has the last lines of its log.
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

    /// Where its state is.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The number of the API server's process.
    pub(crate) fn api_server(&self) -> Option<u32> {
        let name = Program::KubeApiserver.name();
        let records = self.components.iter().map(Component::record);
        records.filter(|record| record.name == name).map(|record| record.pid).next()
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
        let ports = Ports::choose()?;
        kubeconfig::write(&folder.kubeconfig(), ports.api_server, &certificates, Client::Admin)?;
        let program = options.binaries.path(Program::Kubectl);
        let kubectl = Kubectl::new(program, &folder.kubeconfig(), folder.path());
        // From here on, whatever goes wrong ends what was started.
        let mut plane = Self { folder: folder.clone(), kubectl, components: Vec::new() };
        let interrupt = options.interrupt;

        let commands = Commands { options, certificates: &certificates, ports: &ports };
        plane.add(Program::Etcd, &mut commands.etcd(), ports.etcd)?;
        plane.wait(Program::Etcd, interrupt)?;
        plane.add(Program::KubeApiserver, &mut commands.api_server(), ports.api_server)?;
        plane.wait(Program::KubeApiserver, interrupt)?;
        plane.add(
            Program::KubeControllerManager,
            &mut commands.controller_manager()?,
            ports.controller_manager,
        )?;
        plane.add(Program::KubeScheduler, &mut commands.scheduler()?, ports.scheduler)?;
        plane.add(Program::Kwok, &mut commands.kwok()?, ports.kwok)?;
        if options.nodes.count() > 0 {
            plane.kubectl.create(&options.nodes.manifest()).context("cannot create the nodes")?;
        }
        for program in [Program::KubeControllerManager, Program::KubeScheduler, Program::Kwok] {
            plane.wait(program, interrupt)?;
        }
        plane.wait_until("the nodes to be ready", interrupt, |plane| {
            let nodes = plane.kubectl.get(&["nodes"])?;
            let ready = ready_nodes(&nodes);
            if ready < options.nodes.count() {
                return Err(anyhow!("{ready} of {} are", options.nodes.count()));
            }
            // Without it, no pod can be made in the namespace.
            plane.kubectl.get(&["serviceaccount", "default", "--namespace=default"]).map(drop)
        })?;
        plane.write(true)?;
        Ok(plane)
    }

    fn add(&mut self, program: Program, command: &mut Command, port: u16) -> Result<()> {
        let log = self.folder.logs().join(format!("{}.log", program.name()));
        command.current_dir(self.folder.path());
        self.components.push(Component::start(program, command, port, &log)?);
        // After each of them: should this process be killed, the next one finds what it left.
        self.write(false)
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
        self.wait_until(&format!("`{}` to be ready", program.name()), interrupt, |plane| {
            let records = plane.components.iter().map(Component::record);
            let record = records.filter(|record| record.name == program.name()).next_back();
            let port = record.context("it was not started")?.port;
            // Costs nothing, unlike a kubectl that finds nobody.
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).context("it does not listen")?;
            plane.kubectl.check(port, path)
        })
        .with_context(|| {
            let log = self.folder.logs().join(format!("{}.log", program.name()));
            format!("the control plane did not start\nhint: the whole log is `{}`", log.display())
        })
    }

    /// Tries again until it succeeds, unless a component ends meanwhile.
    fn wait_until(
        &mut self,
        what: &str,
        interrupt: &Interrupt,
        mut attempt: impl FnMut(&Self) -> Result<()>,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            let result = attempt(self);
            // Looked at after each attempt: who answered may have been another process, on a port that was lost to it.
            for component in &mut self.components {
                if let Some(status) = component.ended() {
                    let record = component.record();
                    return Err(
                        Ended { name: record.name.clone(), status, last_words: record.last_words() }.into()
                    );
                }
            }
            let Err(error) = result else { return Ok(()) };
            if start.elapsed() > READY_LIMIT {
                let last_words = self.components.last().map(|component| component.record().last_words());
                return Err(error.context(format!(
                    "waited {} s for {what}{}",
                    READY_LIMIT.as_secs(),
                    last_words.unwrap_or_default()
                )));
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

/// Where a component says whether it is well.
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
    name: String,
    status: ExitStatus,
    last_words: String,
}

impl Ended {
    fn lost_its_port(&self) -> bool {
        self.last_words.contains("address already in use")
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` ended ({}); its log ends in:{}", self.name, self.status, self.last_words)
    }
}

impl std::error::Error for Ended {}

/// Where each component listens on loopback.
#[derive(Debug)]
struct Ports {
    etcd: u16,
    api_server: u16,
    controller_manager: u16,
    scheduler: u16,
    kwok: u16,
}

impl Ports {
    /// Ports that are free now.
    fn choose() -> Result<Self> {
        // All are held until the last is chosen, so that none is chosen twice.
        let mut held = Vec::new();
        let mut next = || -> std::io::Result<u16> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        let mut choose = || {
            Ok::<_, std::io::Error>(Self {
                etcd: next()?,
                api_server: next()?,
                controller_manager: next()?,
                scheduler: next()?,
                kwok: next()?,
            })
        };
        choose().context("cannot find free ports on 127.0.0.1")
    }
}

/// The command lines.
#[derive(Debug)]
struct Commands<'a> {
    options: &'a Options<'a>,
    certificates: &'a Certificates,
    ports: &'a Ports,
}

impl Commands<'_> {
    fn etcd(&self) -> Command {
        let mut command = self.command(Program::Etcd);
        let url = format!("https://127.0.0.1:{}", self.ports.etcd);
        flag(&mut command, "listen-client-urls", &url);
        flag(&mut command, "advertise-client-urls", &url);
        // It has no peers, yet it listens for them.
        flag(&mut command, "listen-peer-urls", "http://127.0.0.1:0");
        flag(&mut command, "data-dir", self.options.folder.path().join("etcd"));
        // The data is thrown away: nothing is won by waiting for the disk.
        flag(&mut command, "unsafe-no-fsync", "true");
        flag(&mut command, "log-level", "warn");
        let (certificate, key) = self.certificates.server();
        flag(&mut command, "cert-file", certificate);
        flag(&mut command, "key-file", key);
        flag(&mut command, "trusted-ca-file", self.certificates.ca());
        flag(&mut command, "client-cert-auth", "true");
        command
    }

    fn api_server(&self) -> Command {
        let mut command = self.command(Program::KubeApiserver);
        self.serve(&mut command, self.ports.api_server);
        // No other machine is to reach it. Loopback can be no endpoint of the service `kubernetes`, which nothing uses.
        flag(&mut command, "advertise-address", "127.0.0.1");
        flag(&mut command, "endpoint-reconciler-type", "none");
        flag(&mut command, "etcd-servers", format!("https://127.0.0.1:{}", self.ports.etcd));
        let (certificate, key) = self.certificates.client(Client::ApiServer);
        flag(&mut command, "etcd-certfile", certificate);
        flag(&mut command, "etcd-keyfile", key);
        flag(&mut command, "etcd-cafile", self.certificates.ca());
        flag(&mut command, "client-ca-file", self.certificates.ca());
        flag(&mut command, "authorization-mode", "RBAC");
        flag(&mut command, "allow-privileged", "true");
        flag(&mut command, "service-cluster-ip-range", SERVICE_RANGE);
        flag(&mut command, "service-account-issuer", "https://kubernetes.default.svc.cluster.local");
        flag(&mut command, "service-account-key-file", self.certificates.service_account_public_key());
        flag(&mut command, "service-account-signing-key-file", self.certificates.service_account_key());
        command
    }

    fn controller_manager(&self) -> Result<Command> {
        let mut command = self.command(Program::KubeControllerManager);
        self.serve(&mut command, self.ports.controller_manager);
        flag(&mut command, "kubeconfig", self.kubeconfig(Client::ControllerManager)?);
        flag(&mut command, "leader-elect", "false");
        flag(&mut command, "use-service-account-credentials", "true");
        flag(&mut command, "root-ca-file", self.certificates.ca());
        flag(&mut command, "service-account-private-key-file", self.certificates.service_account_key());
        flag(&mut command, "service-cluster-ip-range", SERVICE_RANGE);
        // A test that takes a node away should not have to wait for someone to look.
        flag(&mut command, "node-monitor-period", "1s");
        flag(&mut command, "kube-api-qps", "200");
        flag(&mut command, "kube-api-burst", "400");
        Ok(command)
    }

    fn scheduler(&self) -> Result<Command> {
        let mut command = self.command(Program::KubeScheduler);
        self.serve(&mut command, self.ports.scheduler);
        flag(&mut command, "kubeconfig", self.kubeconfig(Client::Scheduler)?);
        flag(&mut command, "leader-elect", "false");
        Ok(command)
    }

    fn kwok(&self) -> Result<Command> {
        let mut command = self.command(Program::Kwok);
        // Where it would look for the configuration of whoever runs this.
        command.env("KWOK_WORKDIR", self.options.folder.path());
        flag(&mut command, "config", self.options.repository.control_plane().join("kwok/stages.yaml"));
        flag(&mut command, "kubeconfig", self.kubeconfig(Client::Kwok)?);
        flag(&mut command, "manage-nodes-with-annotation-selector", "kwok.x-k8s.io/node=fake");
        flag(&mut command, "node-lease-duration-seconds", "40");
        flag(&mut command, "cidr", "10.244.0.0/16");
        flag(&mut command, "server-address", format!("127.0.0.1:{}", self.ports.kwok));
        let (certificate, key) = self.certificates.server();
        flag(&mut command, "tls-cert-file", certificate);
        flag(&mut command, "tls-private-key-file", key);
        Ok(command)
    }

    fn command(&self, program: Program) -> Command {
        Command::new(self.options.binaries.path(program))
    }

    /// Has a component of Kubernetes listen on loopback, with the common certificate.
    fn serve(&self, command: &mut Command, port: u16) {
        flag(command, "bind-address", "127.0.0.1");
        flag(command, "secure-port", port.to_string());
        let (certificate, key) = self.certificates.server();
        flag(command, "tls-cert-file", certificate);
        flag(command, "tls-private-key-file", key);
    }

    fn kubeconfig(&self, client: Client) -> Result<std::path::PathBuf> {
        let path = self.options.folder.path().join(format!("{}.kubeconfig", client.name()));
        kubeconfig::write(&path, self.ports.api_server, self.certificates, client)?;
        Ok(path)
    }
}

fn flag(command: &mut Command, name: &str, value: impl AsRef<Path>) {
    let mut flag = std::ffi::OsString::from(format!("--{name}="));
    flag.push(value.as_ref());
    command.arg(flag);
}

/// The addresses of services; `certificates` knows the first.
const SERVICE_RANGE: &str = "10.96.0.0/16";

/// How long each step of a start may take: seconds where the machine has nothing else to do.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// How long to wait between two looks.
const POLL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn chooses_no_port_twice() {
        let ports = Ports::choose().unwrap();
        let mut all = [ports.etcd, ports.api_server, ports.controller_manager, ports.scheduler, ports.kwok];
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
    }

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
    fn a_component_that_ended_shows_its_last_words() {
        use std::os::unix::process::ExitStatusExt as _;
        let ended = Ended {
            name: "etcd".to_owned(),
            status: ExitStatus::from_raw(256),
            last_words: "\n  listen tcp 127.0.0.1:1: bind: address already in use".to_owned(),
        };
        assert!(ended.lost_its_port());
        assert_eq!(
            ended.to_string(),
            "`etcd` ended (exit status: 1); its log ends in:\n  listen tcp 127.0.0.1:1: bind: address already in use"
        );
    }
}
