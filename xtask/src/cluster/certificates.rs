//! The keys of one control plane: a CA of its own, made at the start and thrown away with the rest.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

/// The folder of a control plane's keys. Each is readable by its owner only.
#[derive(Debug)]
pub(crate) struct Certificates {
    folder: PathBuf,
}

/// Someone whom the API server knows by a client certificate: a user and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// The user of the cluster; may do everything.
    Admin,
    /// kube-controller-manager, with the role that Kubernetes gives it.
    ControllerManager,
    /// kube-scheduler, with the role that Kubernetes gives it.
    Scheduler,
    /// KWOK, which does the work of kubelets and a cloud; may do everything.
    Kwok,
    /// The API server, towards etcd.
    ApiServer,
    /// The kubelet of the real node, with the role that Kubernetes gives it.
    Kubelet,
}

impl Client {
    /// All that get a certificate.
    const ALL: [Self; 6] =
        [Self::Admin, Self::ControllerManager, Self::Scheduler, Self::Kwok, Self::ApiServer, Self::Kubelet];

    /// The name of its files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Kwok => "kwok",
            Self::ApiServer => "apiserver-etcd-client",
            Self::Kubelet => "kubelet",
        }
    }

    fn user(self) -> &'static str {
        match self {
            Self::Admin => "kubernetes-admin",
            Self::ControllerManager => "system:kube-controller-manager",
            Self::Scheduler => "system:kube-scheduler",
            Self::Kwok => "kwok",
            Self::ApiServer => "kube-apiserver-etcd-client",
            // The API server lets a kubelet with the name of its node read the Secrets of its pods.
            Self::Kubelet => "system:node:real-1",
        }
    }

    fn group(self) -> Option<&'static str> {
        match self {
            Self::Admin | Self::Kwok => Some("system:masters"),
            Self::Kubelet => Some("system:nodes"),
            Self::ControllerManager | Self::Scheduler | Self::ApiServer => None,
        }
    }
}

impl Certificates {
    /// Makes all keys and certificates in `folder`, which exists.
    ///
    /// # Errors
    /// A file cannot be written, or the library refuses.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let certificates = Self { folder: folder.to_owned() };
        certificates.write_all().context("cannot make certificates")?;
        Ok(certificates)
    }

    /// The CA that signed all of them.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The certificate and the key that all servers of the control plane have in common: for loopback, and for the
    /// names that the API server has inside a cluster.
    pub(crate) fn server(&self) -> (PathBuf, PathBuf) {
        self.pair("server")
    }

    /// The certificate and the key of a client.
    pub(crate) fn client(&self, client: Client) -> (PathBuf, PathBuf) {
        self.pair(client.name())
    }

    /// The key that signs the tokens of service accounts.
    pub(crate) fn service_account_key(&self) -> PathBuf {
        self.folder.join("service-account.key")
    }

    /// The key that checks the tokens of service accounts.
    pub(crate) fn service_account_public_key(&self) -> PathBuf {
        self.folder.join("service-account.pub")
    }

    fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.folder.join(format!("{name}.crt")), self.folder.join(format!("{name}.key")))
    }

    fn write_all(&self) -> Result<()> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.distinguished_name = name("wardset test control plane", None);
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        write(&self.ca(), &ca.self_signed(&ca_key)?.pem())?;
        let issuer = Issuer::new(ca, ca_key);

        let mut server = CertificateParams::new(SERVER_NAMES.map(str::to_owned))?;
        server
            .subject_alt_names
            .extend([IpAddr::from(Ipv4Addr::LOCALHOST), SERVICE_ADDRESS.into()].map(SanType::IpAddress));
        server.distinguished_name = name("kube-apiserver", None);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign("server", &server, &issuer)?;

        for client in Client::ALL {
            let mut params = CertificateParams::new(Vec::new())?;
            params.distinguished_name = name(client.user(), client.group());
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            self.sign(client.name(), &params, &issuer)?;
        }

        let tokens = KeyPair::generate()?;
        write(&self.service_account_key(), &tokens.serialize_pem())?;
        write(&self.service_account_public_key(), &tokens.public_key_pem())
    }

    fn sign(&self, name: &str, params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
        let key = KeyPair::generate()?;
        let (certificate, private) = self.pair(name);
        write(&certificate, &params.signed_by(&key, issuer)?.pem())?;
        write(&private, &key.serialize_pem())
    }
}

fn name(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// The names of the API server, outside and inside a cluster.
const SERVER_NAMES: [&str; 4] = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];

/// The address of the service `kubernetes`: the first of the range that `--service-cluster-ip-range` says.
const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn each_key_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(folder.path()).unwrap();
        for path in [
            certificates.ca(),
            certificates.server().1,
            certificates.client(Client::Kwok).0,
            certificates.client(Client::Admin).1,
            certificates.service_account_key(),
            certificates.service_account_public_key(),
        ] {
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
    }
}
