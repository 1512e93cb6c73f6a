//! A certificate from a folder, as kubelet mounts a Secret: `tls.crt` and `tls.key`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wardset_core::text;

use super::TlsError;
use crate::certificate::{Pair, ServedCertificate};
use crate::folder::Folder;

/// How often the pair is read again where the folder changes while it is being read.
const READS: usize = 3;
/// The most bytes of an error in the log.
const MAX_ERROR: usize = 512;

/// The folder that the served certificate comes from. A pair that can't be served leaves the one before in force.
#[derive(Debug)]
pub struct CertificateFolder {
    path: PathBuf,
    files: Folder,
    served: Arc<ServedCertificate>,
    /// What was wrong at the last look, as it was logged.
    wrong: Option<String>,
}

impl CertificateFolder {
    /// Reads the pair, `tls.crt` with the full chain and `tls.key`, and serves it.
    ///
    /// # Errors
    ///
    /// A file that is missing or can't be used; the error names it.
    pub fn open(path: &Path, served: Arc<ServedCertificate>) -> Result<Self, TlsError> {
        let files = Folder::new(["tls.crt", "tls.key"].map(|name| path.join(name)));
        let mut folder = Self { path: path.to_owned(), files, served, wrong: None };
        let pair = folder.read()?;
        folder.served.replace(pair);
        Ok(folder)
    }

    /// Looks once, and serves what is new. Says in the log what became of it: a pair that can't be served once for each way in
    /// which it can't, since it is tried again at every look.
    pub fn check(&mut self) {
        if !self.files.changed() && self.wrong.is_none() {
            return;
        }
        let folder = self.path.display().to_string();
        match self.read() {
            Ok(pair) => {
                let serial = pair.leaf.serial.clone();
                self.served.replace(pair);
                self.wrong = None;
                tracing::info!(folder, serial, "a new certificate is in force for new connections");
            }
            Err(error) => {
                let error = text::with_causes(&error, MAX_ERROR);
                if self.wrong.as_ref() != Some(&error) {
                    self.served.refuse();
                    tracing::error!(
                        folder,
                        error,
                        "the certificate before stays in force, and the folder is tried again"
                    );
                    self.wrong = Some(error);
                }
            }
        }
    }

    /// Looks each `period` until it is dropped.
    pub async fn watch(mut self, period: Duration) {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // A folder may be on a disk that doesn't answer; nothing else waits for it.
            let looked = tokio::task::spawn_blocking(move || {
                self.check();
                self
            });
            match looked.await {
                Ok(looked) => self = looked,
                // The runtime is going down.
                Err(_) => return,
            }
        }
    }

    /// A swap between the two files gives a chain with another's key; then it is read again.
    fn read(&mut self) -> Result<Pair, TlsError> {
        let mut read = self.read_once();
        for _ in 1..READS {
            if read.is_ok() || !self.files.changed() {
                break;
            }
            read = self.read_once();
        }
        read
    }

    fn read_once(&self) -> Result<Pair, TlsError> {
        let text = |name| {
            let path = self.path.join(name);
            std::fs::read(&path).map_err(|source| TlsError::Read { path, source })
        };
        let (chain, key) = (text("tls.crt")?, text("tls.key")?);
        Pair::from_pem(&chain, &key).map_err(|source| TlsError::Pair { folder: self.path.clone(), source })
    }
}
