//! The plain admin port: `/livez`, `/readyz` and `/metrics`. It never handles a review.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::{Readiness, ServerStatus};

/// Media type of `/metrics`.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn router(status: Arc<ServerStatus>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(async || (StatusCode::NOT_FOUND, "expected GET /livez, /readyz or /metrics\n"))
        .with_state(status)
}

async fn readyz(State(status): State<Arc<ServerStatus>>) -> impl IntoResponse {
    let readiness = status.readiness.load(Ordering::Relaxed);
    if readiness == Readiness::Ready as u8 {
        (StatusCode::OK, "ok\n")
    } else if readiness == Readiness::Starting as u8 {
        (StatusCode::SERVICE_UNAVAILABLE, "starting: waiting for policies and a certificate\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    }
}

async fn metrics(State(status): State<Arc<ServerStatus>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], status.metrics.to_text())
}
