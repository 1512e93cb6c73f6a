//! A certificate from a folder, as kubelet mounts a Secret: `tls.crt` and `tls.key`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wardset_core::text;

use super::{Pair, PairError, ServedCertificate};
use crate::folder::Folder;

/// Maximum number of reads of the pair if the folder changes in the meantime.
const READS: usize = 3;
/// Maximum length of an error in the log, in bytes.
const MAX_ERROR: usize = 512;

/// An error in a folder of certificates.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The folder does not hold a usable certificate.
    #[error("failed to load a certificate from `{}`", folder.display())]
    Pair {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        source: PairError,
    },
}

/// The folder that supplies the served certificate. If the folder's pair is unusable, the server keeps the previous
/// one.
#[derive(Debug)]
pub struct CertificateFolder {
    path: PathBuf,
    files: Folder,
    served: Arc<ServedCertificate>,
    /// The error of the last poll, as logged.
    wrong: Option<String>,
}

impl CertificateFolder {
    /// Reads `tls.crt`, which holds the full chain, and `tls.key`, and serves the pair.
    ///
    /// # Errors
    ///
    /// A file that is missing or unusable; the error names it.
    pub fn open(path: &Path, served: Arc<ServedCertificate>) -> Result<Self, FolderError> {
        let files = Folder::new(["tls.crt", "tls.key"].map(|name| path.join(name)));
        let mut folder = Self { path: path.to_owned(), files, served, wrong: None };
        let pair = folder.read()?;
        folder.served.replace(pair);
        Ok(folder)
    }

    /// Polls the folder once, and serves a new pair. It logs the result. An unusable pair is retried at every poll,
    /// and each distinct error is logged once.
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
                tracing::info!(folder, serial, "loaded a new certificate for new connections");
            }
            Err(error) => {
                let error = text::with_causes(&error, MAX_ERROR);
                if self.wrong.as_ref() != Some(&error) {
                    self.served.refuse();
                    tracing::error!(
                        folder,
                        error,
                        "failed to load the certificate; the server keeps the previous one and retries at \
                         every poll; hint: write a matching pair of `tls.crt` and `tls.key`"
                    );
                    self.wrong = Some(error);
                }
            }
        }
    }

    /// Polls the folder every `period` until the future is dropped.
    pub async fn watch(mut self, period: Duration) {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // A folder may be on a disk that does not respond; only this task waits for it.
            let looked = tokio::task::spawn_blocking(move || {
                self.check();
                self
            });
            match looked.await {
                Ok(looked) => self = looked,
                // The runtime is shutting down.
                Err(_) => return,
            }
        }
    }

    /// Reads the pair. If a swap happens between the two files, the key does not match the chain, and it reads again.
    fn read(&mut self) -> Result<Pair, FolderError> {
        let mut read = self.read_once();
        for _ in 1..READS {
            if read.is_ok() || !self.files.changed() {
                break;
            }
            read = self.read_once();
        }
        read
    }

    fn read_once(&self) -> Result<Pair, FolderError> {
        let text = |name| {
            let path = self.path.join(name);
            std::fs::read(&path).map_err(|source| FolderError::Read { path, source })
        };
        let (chain, key) = (text("tls.crt")?, text("tls.key")?);
        Pair::from_pem(&chain, &key).map_err(|source| FolderError::Pair { folder: self.path.clone(), source })
    }
}
