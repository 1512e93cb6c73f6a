//! A real node: containerd and the kubelet, beside a control plane, in namespaces of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

use super::binaries::{Binaries, Program};
use super::component::Component;
use super::control_plane::{ControlPlane, ready_nodes};
use super::network::{ADDRESS, BRIDGE};
use crate::interrupt::Interrupt;
use crate::process;

/// The running node. Its processes end with the namespaces, or with this value.
#[derive(Debug)]
pub(crate) struct Node {
    containerd: Component,
    kubelet: Option<Component>,
    logs: PathBuf,
}

/// The settings of a node.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    /// Folder of its data and of its configuration.
    pub(crate) home: &'a Path,
    /// Folder of the network plugins.
    pub(crate) plugins: &'a Path,
    /// The cgroup of its pods, which exists.
    pub(crate) cgroup: &'a str,
    /// Ends the start.
    pub(crate) interrupt: &'a Interrupt,
}

/// The images that the node has from the start. It can pull none.
#[derive(Debug)]
pub(crate) struct Images {
    /// Archives of images.
    pub(crate) archives: Vec<PathBuf>,
    /// The image of the process that holds a pod's namespaces.
    pub(crate) pause: String,
    /// Further names of the pause image: pods with these images run it instead.
    pub(crate) stand_ins: Vec<String>,
}

impl Node {
    /// Starts containerd, and imports the images.
    ///
    /// # Errors
    /// containerd does not start, or refuses an image.
    pub(crate) fn start(settings: &Settings<'_>, images: &Images, logs: &Path) -> Result<Self> {
        let home = settings.home;
        let context = || format!("failed to write the node's configuration in `{}`", home.display());
        fs::create_dir_all(home.join("cni")).with_context(context)?;
        fs::write(home.join("cni/10-node.conflist"), network().to_string()).with_context(context)?;
        fs::write(home.join("containerd.toml"), containerd(settings, images)).with_context(context)?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(home.join("containerd.toml"));
        let component = Component::start("containerd", &mut command, 0, &logs.join("containerd.log"))?;
        let mut node = Self { containerd: component, kubelet: None, logs: logs.to_owned() };
        node.wait("containerd to answer", settings.interrupt, || ctr(&["version"]).map(drop))?;
        for archive in &images.archives {
            ctr(&["images", "import", &archive.to_string_lossy()])
                .with_context(|| format!("failed to import the image `{}`", archive.display()))?;
        }
        for name in &images.stand_ins {
            ctr(&["images", "tag", &images.pause, name])?;
        }
        Ok(node)
    }

    /// Starts the kubelet, and waits until the control plane has a ready node.
    ///
    /// # Errors
    /// The node is not ready in time; the error has the end of the kubelet's log.
    pub(crate) fn join(
        &mut self,
        plane: &ControlPlane,
        binaries: &Binaries,
        settings: &Settings<'_>,
    ) -> Result<()> {
        let path = settings.home.join("kubelet.json");
        let text = kubelet(plane, settings).to_string();
        fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
        let mut command = Command::new(binaries.path(Program::Kubelet));
        command.arg("--config").arg(&path).arg("--kubeconfig").arg(plane.folder().kubelet());
        command.arg(format!("--root-dir={STATE}")).arg(format!("--cert-dir={STATE}/pki"));
        command.arg(format!("--hostname-override={NAME}")).arg(format!("--node-ip={ADDRESS}"));
        let log = self.logs.join("kubelet.log");
        self.kubelet = Some(Component::start(Program::Kubelet.name(), &mut command, 0, &log)?);
        self.wait("the node to be ready", settings.interrupt, || {
            let found = plane.kubectl().get(&["nodes"])?;
            if ready_nodes(&found) == 1 { Ok(()) } else { Err(anyhow!("it is not ready")) }
        })
    }

    fn wait(
        &mut self,
        expected: &str,
        interrupt: &Interrupt,
        mut attempt: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            let result = attempt();
            for component in [Some(&mut self.containerd), self.kubelet.as_mut()].into_iter().flatten() {
                if let Some(status) = component.ended() {
                    let record = component.record();
                    bail!("`{}` ended ({status}){}", record.name, record.log_end());
                }
            }
            let Err(error) = result else { return Ok(()) };
            if start.elapsed() > READY_LIMIT {
                let record = self.kubelet.as_ref().unwrap_or(&self.containerd).record();
                let seconds = READY_LIMIT.as_secs();
                return Err(error.context(format!("waited {seconds} s for {expected}{}", record.log_end())));
            }
            interrupt.pause(Duration::from_millis(50))?;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(kubelet) = &mut self.kubelet {
            kubelet.stop();
        }
        self.containerd.stop();
    }
}

/// Runs containerd's client. It never waits long for a containerd that is not there.
fn ctr(args: &[&str]) -> Result<String> {
    let mut ctr = Command::new("ctr");
    ctr.args(["--connect-timeout", "2s", "--namespace", "k8s.io"]).args(args);
    process::stdout(&mut ctr)
}

/// Pods have addresses of the bridge. They reach each other, the API server and the kubelet, and nothing else.
fn network() -> serde_json::Value {
    json!({ "cniVersion": "0.4.0", "name": "node", "plugins": [{
        "type": "bridge", "bridge": BRIDGE, "isGateway": true, "ipMasq": false, "hairpinMode": true,
        "ipam": {
            "type": "host-local", "dataDir": "/run/cni-node", "routes": [{ "dst": "0.0.0.0/0" }],
            "ranges": [[{ "subnet": "10.245.7.0/24", "rangeStart": "10.245.7.10", "gateway": ADDRESS }]],
        },
    }]})
}

fn containerd(settings: &Settings<'_>, images: &Images) -> String {
    // A JSON string is a TOML string, for any path.
    let quoted = |path: &Path| json!(path.to_string_lossy()).to_string();
    format!(
        r#"version = 2
root = {root}
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Less than the process's own value needs CAP_SYS_RESOURCE, which root does not have in every container.
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {plugins}
    conf_dir = {cni}
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#,
        root = quoted(&settings.home.join("containerd")),
        pause = images.pause,
        plugins = quoted(settings.plugins),
        cni = quoted(&settings.home.join("cni")),
    )
}

/// Each setting that differs from the kubelet's default has its reason here, or is about a missing privilege.
fn kubelet(plane: &ControlPlane, settings: &Settings<'_>) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // Some machines have version 1 of cgroups only, which is deprecated.
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", settings.cgroup),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "address": ADDRESS,
        "healthzBindAddress": "127.0.0.1",
        "readOnlyPort": 0,
        "failSwapOn": false,
        // Files with the expected values hide the kernel's settings, so the kubelet changes none of them.
        "protectKernelDefaults": true,
        "makeIPTablesUtilChains": false,
        // Higher limits and lower scores need CAP_SYS_RESOURCE.
        "maxOpenFiles": 20000,
        "oomScoreAdj": 0,
        // Nobody answers there, but without an address the kubelet reports an event for each pod.
        "clusterDomain": "cluster.local",
        "clusterDNS": ["10.96.0.10"],
        // A changed Secret arrives in seconds, not in a minute.
        "syncFrequency": "5s",
        "volumePluginDir": format!("{STATE}/volumeplugins"),
        // The machine's disk may be full.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "1Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": plane.folder().certificates().join("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
    })
}

/// The name of the node; the kubelet's certificate has it too.
const NAME: &str = "real-1";

/// The kubelet's folder. Device plugins have it in their paths, so it can't be elsewhere.
const STATE: &str = "/var/lib/kubelet";

/// Time limit for each step of a start: seconds if the machine is idle.
const READY_LIMIT: Duration = Duration::from_secs(120);
