//! The webhook that does nothing: the HTTP and TLS stack of Wardset, a tree of the review, `allowed: true`. With `--floor`
//! it reads the body and doesn't parse it.
#![expect(clippy::print_stderr, reason = "where it says that it is ready, in a line as the product's")]

use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use clap::Parser;
use serde_json::{Value, json};

#[derive(Parser)]
struct Args {
    /// A folder with tls.crt and tls.key
    tls: PathBuf,
    /// Don't parse
    #[arg(long)]
    floor: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    // A second provider would be a mistake of this program.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let tls = RustlsConfig::from_pem_file(args.tls.join("tls.crt"), args.tls.join("tls.key")).await?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    eprintln!("{}", json!({"message": "ready", "webhook": listener.local_addr()?}));
    let answer = if args.floor { post(floor) } else { post(parsed) };
    let router = Router::new().route("/mutate", answer);
    let acceptor = RustlsAcceptor::new(tls).acceptor(NoDelayAcceptor::new());
    axum_server::from_tcp(listener)?.acceptor(acceptor).serve(router.into_make_service()).await?;
    Ok(())
}

async fn parsed(body: Bytes) -> Response {
    let review: Value = match serde_json::from_slice(&body) {
        Ok(review) => review,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    allowed(review["request"]["uid"].as_str().unwrap_or_default())
}

async fn floor(_body: Bytes) -> Response {
    allowed("not read")
}

fn allowed(uid: &str) -> Response {
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": uid, "allowed": true},
    });
    ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}
