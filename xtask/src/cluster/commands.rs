//! The command lines of a control plane, and the ports in them.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::binaries::Program;
use super::certificates::{Certificates, Client};
use super::options::{Extent, Options};
use super::{kubeconfig, network};

/// The command lines of the components. Each setting that differs from a component's own default has its reason here.
#[derive(Debug)]
pub(crate) struct Commands<'a> {
    /// The programs, and the folder of their state.
    pub(crate) options: &'a Options<'a>,
    /// Who each of them is.
    pub(crate) certificates: &'a Certificates,
    /// Their addresses.
    pub(crate) ports: &'a Ports,
}

impl Commands<'_> {
    /// The store, which only holders of a client certificate can read.
    pub(crate) fn etcd(&self) -> Command {
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

    /// The API server: RBAC, service accounts, and the admission plugins that it has by default.
    pub(crate) fn api_server(&self) -> Command {
        let mut command = self.command(Program::KubeApiserver);
        if matches!(self.options.extent, Extent::RealNode) {
            self.serve_pods(&mut command);
        } else {
            self.serve(&mut command, self.ports.api_server);
            // No other machine is to reach it. Loopback can be no endpoint of the service `kubernetes`, which nothing uses.
            flag(&mut command, "advertise-address", "127.0.0.1");
            flag(&mut command, "authorization-mode", "RBAC");
        }
        flag(&mut command, "endpoint-reconciler-type", "none");
        flag(&mut command, "etcd-servers", format!("https://127.0.0.1:{}", self.ports.etcd));
        let (certificate, key) = self.certificates.client(Client::ApiServer);
        flag(&mut command, "etcd-certfile", certificate);
        flag(&mut command, "etcd-keyfile", key);
        flag(&mut command, "etcd-cafile", self.certificates.ca());
        flag(&mut command, "client-ca-file", self.certificates.ca());
        flag(&mut command, "allow-privileged", "true");
        flag(&mut command, "service-cluster-ip-range", SERVICE_RANGE);
        flag(&mut command, "service-account-issuer", "https://kubernetes.default.svc.cluster.local");
        flag(&mut command, "service-account-key-file", self.certificates.service_account_public_key());
        flag(&mut command, "service-account-signing-key-file", self.certificates.service_account_key());
        command
    }

    /// All controllers that are on by default, each with its own account.
    ///
    /// # Errors
    /// Its kubeconfig cannot be written.
    pub(crate) fn controller_manager(&self) -> Result<Command> {
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

    /// The scheduler.
    ///
    /// # Errors
    /// Its kubeconfig cannot be written.
    pub(crate) fn scheduler(&self) -> Result<Command> {
        let mut command = self.command(Program::KubeScheduler);
        self.serve(&mut command, self.ports.scheduler);
        flag(&mut command, "kubeconfig", self.kubeconfig(Client::Scheduler)?);
        flag(&mut command, "leader-elect", "false");
        Ok(command)
    }

    /// KWOK, for the nodes that have its annotation, which renews their leases as a kubelet does.
    ///
    /// # Errors
    /// Its kubeconfig cannot be written.
    pub(crate) fn kwok(&self) -> Result<Command> {
        let mut command = self.command(Program::Kwok);
        // Otherwise it would look for the user's configuration.
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

    /// Lets the API server listen at the address of the Service `kubernetes`, which the bridge has, and lets it reach
    /// pods and the kubelet. The network namespace has no way out, so it listens at every address.
    fn serve_pods(&self, command: &mut Command) {
        self.serve_at(command, "0.0.0.0", self.ports.api_server);
        flag(command, "advertise-address", network::ADDRESS);
        flag(command, "authorization-mode", "Node,RBAC");
        // It dials a pod of a webhook's Service itself, because no kube-proxy runs.
        flag(command, "enable-aggregator-routing", "true");
        // For `kubectl logs` and `kubectl exec`. Nothing resolves the node's name.
        let (certificate, key) = self.certificates.client(Client::Admin);
        flag(command, "kubelet-client-certificate", certificate);
        flag(command, "kubelet-client-key", key);
        flag(command, "kubelet-preferred-address-types", "InternalIP");
    }

    /// Has a component of Kubernetes listen on loopback, with the common certificate.
    fn serve(&self, command: &mut Command, port: u16) {
        self.serve_at(command, "127.0.0.1", port);
    }

    fn serve_at(&self, command: &mut Command, address: &str, port: u16) {
        flag(command, "bind-address", address);
        flag(command, "secure-port", port.to_string());
        let (certificate, key) = self.certificates.server();
        flag(command, "tls-cert-file", certificate);
        flag(command, "tls-private-key-file", key);
    }

    fn kubeconfig(&self, client: Client) -> Result<PathBuf> {
        let path = self.options.folder.path().join(format!("{}.kubeconfig", client.name()));
        kubeconfig::write(&path, self.ports.api_server, self.certificates, client)?;
        Ok(path)
    }
}

fn flag(command: &mut Command, name: &str, value: impl AsRef<Path>) {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(value.as_ref());
    command.arg(flag);
}

/// The addresses of services; `certificates` knows the first.
const SERVICE_RANGE: &str = "10.96.0.0/16";

/// Port of each component on loopback.
#[derive(Debug)]
pub(crate) struct Ports {
    /// For the API server.
    pub(crate) etcd: u16,
    /// For everybody.
    pub(crate) api_server: u16,
    /// For its health.
    pub(crate) controller_manager: u16,
    /// For its health.
    pub(crate) scheduler: u16,
    /// For its health.
    pub(crate) kwok: u16,
}

impl Ports {
    /// Ports that are free now; by the time that they are used, another process can have taken one.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn choose(extent: Extent) -> Result<Self> {
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
                api_server: match extent {
                    // The port of the Service `kubernetes`. The network namespace has no other server.
                    Extent::RealNode => 443,
                    _ => next()?,
                },
                controller_manager: next()?,
                scheduler: next()?,
                kwok: next()?,
            })
        };
        choose().context("cannot find free ports on 127.0.0.1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_no_port_twice() {
        let ports = Ports::choose(Extent::ApiServer).unwrap();
        let mut all = [ports.etcd, ports.api_server, ports.controller_manager, ports.scheduler, ports.kwok];
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
    }
}
