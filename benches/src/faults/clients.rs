//! Slow, idle and misbehaving clients, beside a load whose requests must not fail.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hyper::body::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::steady::{Plan, Steady, answer, exactly};
use super::{Effort, Row};
use crate::cores::resident;
use crate::load::Target;
use crate::policies;
use crate::reviews::{Size, review};
use crate::server::{Lab, Server};

/// Silent and slow clients must be disconnected within this time, with two seconds of reserve for a busy machine.
const CUT: Duration = Duration::from_secs(12);

/// Connections of each kind of slow client.
const SLOW: usize = 200;

/// Runs each kind of client beside a load whose requests must not fail.
///
/// # Errors
///
/// A server that doesn't start.
pub fn run(lab: &Lab, effort: &Effort) -> Result<Vec<Row>> {
    let file = lab.path("clients.yaml");
    policies::write(5, &file)?;
    let server = Server::start(lab.serve(&file, &lab.path("cache-faults"), &[])?)?;
    let hostile = Hostile { address: server.webhook, target: Target::new(server.webhook, &lab.ca()?)? };
    let idle = effort.idle;
    let mut rows = Vec::new();
    let mut beside = |what: &str, act: &dyn Fn(&Hostile) -> Result<String>| -> Result<()> {
        rows.push(undisturbed(lab, &server, what, &|| act(&hostile))?);
        Ok(())
    };
    beside(&format!("{idle} connections that never begin TLS"), &|h| h.silent(idle))?;
    beside(&format!("{idle} connections that are idle after TLS"), &|h| h.idle(idle))?;
    beside(&format!("{SLOW} request headers sent byte by byte"), &|h| h.slow_heads(SLOW))?;
    beside(&format!("{SLOW} bodies that never arrive"), &|h| h.slow_bodies(SLOW))?;
    beside("requests with thousands of headers", &|h| h.header_flood(50))?;
    beside("connections opened and dropped", &|h| h.churn(effort.idle))?;
    Ok(rows)
}

fn undisturbed(lab: &Lab, server: &Server, what: &str, hostile: &dyn Fn() -> Result<String>) -> Result<Row> {
    let target = Target::new(server.webhook, &lab.ca()?)?;
    let body = Bytes::from(review(Size::Usual));
    let judge = exactly(answer(&target, &body)?);
    let pause = Duration::from_millis(2);
    let load = Steady::start(Plan { target, clients: 6, bodies: vec![body], pause, churn: 200, judge });
    load.go_on(100)?;
    let before = resident(server.process())?;
    let outcome = hostile();
    load.go_on(100)?;
    let after = resident(server.process())?;
    let mut row = Row::of(what, load.end()?);
    match outcome {
        Ok(seen) => row.seen = format!("{seen}; {} MiB more memory", after.saturating_sub(before) >> 20),
        Err(error) => row.problems.push(format!("{error:#}")),
    }
    Ok(row)
}

struct Hostile {
    address: SocketAddr,
    target: Target,
}

impl Hostile {
    fn silent(&self, n: usize) -> Result<String> {
        run_async(async {
            let mut clients = JoinSet::new();
            for _ in 0..n {
                let stream = TcpStream::connect(self.address).await?;
                clients.spawn(until_cut(stream, Vec::new()));
            }
            all_cut(clients).await
        })
    }

    fn idle(&self, n: usize) -> Result<String> {
        run_async(async {
            let mut clients = JoinSet::new();
            for _ in 0..n {
                // An evicted connection is closed, even in its handshake.
                if let Ok(stream) = self.tls().await {
                    clients.spawn(until_cut(stream, Vec::new()));
                }
            }
            all_cut(clients).await
        })
    }

    fn slow_heads(&self, n: usize) -> Result<String> {
        run_async(async {
            let mut clients = JoinSet::new();
            for _ in 0..n {
                let mut stream = self.tls().await?;
                stream.write_all(b"POST /mutate HTTP/1.1\r\nHost: loc").await?;
                clients.spawn(until_cut(stream, b"a".repeat(60)));
            }
            all_cut(clients).await
        })
    }

    fn slow_bodies(&self, n: usize) -> Result<String> {
        run_async(async {
            let mut clients = JoinSet::new();
            for _ in 0..n {
                let mut stream = self.tls().await?;
                let head = "POST /mutate?timeout=30s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                            Content-Length: 8000000\r\nConnection: close\r\n\r\n";
                stream.write_all(head.as_bytes()).await?;
                clients.spawn(until_cut(stream, b" ".repeat(60)));
            }
            all_cut(clients).await
        })
    }

    fn header_flood(&self, n: usize) -> Result<String> {
        run_async(async {
            let mut refused = 0;
            for _ in 0..n {
                let mut stream = self.tls().await?;
                let mut head = String::from("POST /mutate HTTP/1.1\r\nHost: localhost\r\n");
                for header in 0..5_000 {
                    head.push_str(&format!("X-{header}: {}\r\n", "x".repeat(40)));
                }
                // The server may also close the connection before the last byte.
                let _ = stream.write_all(head.as_bytes()).await;
                let mut answer = Vec::new();
                let read = tokio::time::timeout(CUT, stream.read_to_end(&mut answer)).await;
                read.context("expected a refusal of 250 KB of headers, found no answer")?.ok();
                let refusal = answer.is_empty()
                    || answer.starts_with(b"HTTP/1.1 431")
                    || answer.starts_with(b"HTTP/1.1 400");
                if !refusal {
                    bail!(
                        "expected a refusal, found `{}`",
                        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default()
                    );
                }
                refused += 1;
            }
            Ok(format!("{refused} refused"))
        })
    }

    fn churn(&self, n: usize) -> Result<String> {
        run_async(async {
            let started = Instant::now();
            for i in 0..n {
                match i % 2 {
                    0 => drop(TcpStream::connect(self.address).await?),
                    _ => drop(self.tls().await?),
                }
            }
            Ok(format!("{n} in {:.1} s", started.elapsed().as_secs_f64()))
        })
    }

    async fn tls(&self) -> Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(self.target.connector().connect(ServerName::try_from("localhost")?, tcp).await?)
    }
}

fn run_async<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Sends a byte of `drip` each half second until the server closes the connection. Returns the time until then.
async fn until_cut<S>(mut stream: S, drip: Vec<u8>) -> Option<Duration>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let started = Instant::now();
    let mut drip = drip.into_iter();
    let mut buffer = [0; 1024];
    while started.elapsed() < CUT {
        match tokio::time::timeout(Duration::from_millis(500), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return Some(started.elapsed()),
            Ok(Ok(_)) => {}
            Err(_) => {
                if let Some(byte) = drip.next() {
                    // A connection that closes meanwhile shows at the next read.
                    let _ = stream.write_all(&[byte]).await;
                    let _ = stream.flush().await;
                }
            }
        }
    }
    None
}

async fn all_cut(mut clients: JoinSet<Option<Duration>>) -> Result<String> {
    let n = clients.len();
    let (mut cut, mut longest) = (0, Duration::ZERO);
    while let Some(client) = clients.join_next().await {
        if let Some(after) = client? {
            cut += 1;
            longest = longest.max(after);
        }
    }
    if cut < n {
        bail!("{} of {n} connections were still open after {CUT:?}", n - cut);
    }
    Ok(format!("all closed after at most {:.1} s", longest.as_secs_f64()))
}
