//! Certificates that are swapped as kubelet swaps a Secret's files, each signed by a CA of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hyper::body::Bytes;
use wardset::certificates::development;

use super::steady::{Plan, Steady, answer, exactly};
use super::{Effort, Row};
use crate::load::Target;
use crate::policies;
use crate::reviews::{Size, review};
use crate::server::{Lab, Server};

/// Maximum time until the server uses a new certificate.
const SERVED: Duration = Duration::from_secs(30);

/// Rotations.
///
/// # Errors
///
/// A server that doesn't start, and a certificate that isn't served.
pub fn run(lab: &Lab, effort: &Effort) -> Result<Vec<Row>> {
    let folder = lab.path("rotated");
    fs::create_dir(&folder)?;
    let mut trusted = issue(lab, 0)?;
    symlink("0/tls", folder.join("..data"))?;
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), folder.join(file))?;
    }
    let file = lab.path("rotated.yaml");
    policies::write(5, &file)?;
    let server = Server::start(lab.serve_with(&folder, &file, &lab.path("cache-faults"), &[])?)?;
    let target = Target::new(server.webhook, &trusted)?;
    let body = Bytes::from(review(Size::Usual));
    let judge = exactly(answer(&target, &body)?);
    let load = Steady::start(Plan {
        target,
        clients: 10,
        bodies: vec![body.clone()],
        pause: Duration::from_millis(1),
        churn: 50,
        judge,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut longest = Duration::ZERO;
    for n in 1..=effort.rotations {
        let ca = issue(lab, n)?;
        // Trusted before it signs, as `caBundle` is changed before the certificate.
        load.turn_to(Target::new(server.webhook, &[trusted.as_slice(), &ca].concat())?);
        load.go_on(100)?;
        symlink(format!("{n}/tls"), folder.join("..new"))?;
        fs::rename(folder.join("..new"), folder.join("..data"))?;
        let swapped = Instant::now();
        let only = Target::new(server.webhook, &ca)?;
        while runtime.block_on(only.connect()).is_err() {
            ensure!(swapped.elapsed() < SERVED, "certificate {n} is not served after {SERVED:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        longest = longest.max(swapped.elapsed());
        load.go_on(500)?;
        load.turn_to(only);
        trusted = ca;
    }
    let mut row =
        Row::of(&format!("certificate and CA swapped by symlink, {} times", effort.rotations), load.end()?);
    row.seen = format!("served after at most {:.1} s", longest.as_secs_f64());
    Ok(vec![row])
}

/// Makes a CA and a certificate in a folder of their own, and returns the CA to trust.
fn issue(lab: &Lab, n: usize) -> Result<Vec<u8>> {
    let folder = lab.path("rotated").join(n.to_string());
    development::make(&folder)?;
    Ok(fs::read(folder.join("ca.pem"))?)
}
