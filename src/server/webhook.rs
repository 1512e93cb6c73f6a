//! The HTTP contract of admission webhooks: `POST /mutate`, `POST /validate` and `POST /validate-policy`. It never
//! decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http_body_util::BodyExt as _;
use wardset_core::blame::Blame;
use wardset_core::chain::Phase;
use wardset_core::decision::{self, Decision, Outcome};
use wardset_core::policy::Mode;
use wardset_core::review::{Question, Review};
use wardset_core::text;

use super::bodies::{BodyError, MAX_BODY, Whole};
use super::places::{Full, Place};
use super::{Shared, policy_review};

/// Maximum length of the line that explains a refused request, in bytes.
const MAX_REASON: usize = 512;

/// Maximum length of a name in a log line, in bytes. Kubernetes' own names have at most 253.
const MAX_LOGGED: usize = 256;

/// Maximum length of the changed paths in a log line, in bytes. A policy may request 1,024 paths of a KiB each, and the
/// log's queue is limited by the number of lines.
const MAX_LOGGED_PATHS: usize = 4 << 10;

/// Timeout of clients that do not state one: the API server's default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// A request that is answered with an HTTP error instead of a decision.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("expected `Content-Type: application/json`, found `{0}`")]
    MediaType(String),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("expected `timeout` as in `?timeout=10s` (ms or s, above zero), found `{0}`")]
    Timeout(String),
    #[error(transparent)]
    Request(#[from] wardset_core::review::RequestError),
    #[error(transparent)]
    PolicyReview(#[from] policy_review::RequestError),
    #[error(transparent)]
    Full(#[from] Full),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::Slow) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyError::Crowded) | Self::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Body(BodyError::Broken(_))
            | Self::Timeout(_)
            | Self::Request(_)
            | Self::PolicyReview(_) => status(Blame::Request),
        }
    }
}

fn status(blame: Blame) -> StatusCode {
    StatusCode::from_u16(blame.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mutate = async |State(shared): State<Arc<Shared>>, request: Request| {
        answer(shared, Phase::Mutate, request).await
    };
    let validate = async |State(shared): State<Arc<Shared>>, request: Request| {
        answer(shared, Phase::Validate, request).await
    };
    let validate_policy =
        async |State(shared): State<Arc<Shared>>, request: Request| answer_for_policy(shared, request).await;
    Router::new()
        .route("/mutate", post(mutate))
        .route("/validate", post(validate))
        .route("/validate-policy", post(validate_policy))
        .fallback(async || {
            (StatusCode::NOT_FOUND, "expected POST /mutate, POST /validate or POST /validate-policy\n")
        })
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "expected POST\n"))
        .with_state(shared)
}

async fn answer(shared: Arc<Shared>, phase: Phase, request: Request) -> Response {
    let started = Instant::now();
    let (head, mut body) = request.into_parts();
    let version = head.version;
    match question(&shared, &head, &mut body, started).await {
        Ok(Asked::PassedOver(answer)) => json(answer),
        Ok(Asked::Review { review, deadline, body: _body, place }) => {
            place.others_first().await;
            let deciding = decide(Arc::clone(&shared), phase, review, started, deadline);
            let response = shared.desk.modules.engine().background_once_slow(deciding).await;
            place.decided();
            response
        }
        Err(refusal) => refuse(&shared, refusal, version, body).await,
    }
}

/// The content of a request.
enum Asked<'s> {
    /// A request without anything to decide, with its answer.
    PassedOver(Vec<u8>),
    /// A review to decide. It holds its body and permit until the answer is written.
    Review { review: Box<Review>, deadline: Instant, body: Whole<'s>, place: Place<'s> },
}

/// Reads a request and takes a permit for its review. It reads the body first, so that slow clients hold no permits.
async fn question<'s>(
    shared: &'s Shared,
    head: &Parts,
    body: &mut Body,
    started: Instant,
) -> Result<Asked<'s>, Refusal> {
    let (body, deadline) = receive(shared, head, body, started).await?;
    shared.places.look()?;
    match Question::parse(&body.bytes)? {
        Question::PassOver { uid, reason } => {
            shared.metrics.passed_over();
            tracing::debug!(uid, %reason, "skipped a request");
            Ok(Asked::PassedOver(decision::passed_over(&uid)))
        }
        Question::Decide(review) => {
            // The permit depends on the review's kind, which is known only after parsing. With permits taken
            // earlier, `kube-system` and dry runs would use all of them for a moment.
            let place = shared.places.take(&review)?;
            Ok(Asked::Review { review, deadline, body, place })
        }
    }
}

/// Answers the review of a `Policy`: whether the policy could become active.
async fn answer_for_policy(shared: Arc<Shared>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let answered = async {
        let (body, deadline) = receive(&shared, &head, &mut body, Instant::now()).await?;
        let _place = shared.places.take_for_policy()?;
        let answer = policy_review::answer(&shared.desk.modules, &body.bytes);
        Ok(tokio::time::timeout_at(deadline.into(), answer)
            .await
            .map_err(|_| policy_review::RequestError::Late)??)
    };
    match answered.await {
        Ok(answer) => json(answer),
        Err(refusal) => refuse(&shared, refusal, head.version, body).await,
    }
}

async fn refuse(shared: &Shared, refusal: Refusal, version: Version, body: Body) -> Response {
    let status = refusal.status();
    shared.metrics.refused(status.as_u16());
    let reason = text::with_causes(&refusal, MAX_REASON);
    if status == StatusCode::TOO_MANY_REQUESTS {
        // Overload must cost little: the rest of the body is not read, and the log has one line per second.
        shared.overload.count();
        let mut response = (status, [(header::RETRY_AFTER, "1")], reason + "\n").into_response();
        end_unless(body.is_end_stream(), version, &mut response);
        return response;
    }
    tracing::warn!(status = status.as_u16(), reason, "refused a request");
    // If the body timed out, the server does not wait for the rest of it.
    let whole = status != StatusCode::REQUEST_TIMEOUT && drain(body).await;
    let mut response = (status, reason + "\n").into_response();
    end_unless(whole, version, &mut response);
    response
}

/// Closes the connection if a part of the body is unread. Without the header, the client would send its next request
/// on a closed connection.
fn end_unless(whole: bool, version: Version, response: &mut Response) {
    if !whole && version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Checks the media type, sets the deadline and reads the body.
async fn receive<'s>(
    shared: &'s Shared,
    head: &Parts,
    body: &mut Body,
    started: Instant,
) -> Result<(Whole<'s>, Instant), Refusal> {
    media_type(&head.headers)?;
    let deadline = started + inner_timeout(head.uri.query())?;
    let body = shared.bodies.read(&head.headers, body, deadline.min(started + shared.body)).await?;
    Ok((body, deadline))
}

fn media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let found = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let found = found.unwrap_or_default();
    let essence = found.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Refusal::MediaType(found.chars().take(100).collect()))
}

/// Returns the client's timeout less a tenth. The answer, even "not decided", then arrives before the client times
/// out.
fn inner_timeout(query: Option<&str>) -> Result<Duration, Refusal> {
    let timeout = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("timeout="));
    let timeout = match timeout {
        None => DEFAULT_TIMEOUT,
        Some(text) => wardset_core::policy::parse_duration(text)
            .filter(|timeout| !timeout.is_zero())
            .ok_or_else(|| Refusal::Timeout(text.chars().take(100).collect()))?,
    };
    Ok((timeout - timeout / 10).min(Duration::from_secs(30)))
}

/// Reads and discards the rest of a refused body, within limits. A client that is still sending when its stream
/// closes reports a broken connection instead of the answer. Returns whether the whole body was read.
async fn drain(mut body: Body) -> bool {
    let mut left = 4 * MAX_BODY;
    let drained = async {
        while let Some(frame) = body.frame().await {
            let size = frame.ok().map(|frame| frame.data_ref().map_or(0, Bytes::len));
            match size.and_then(|size| left.checked_sub(size)) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        true
    };
    tokio::time::timeout(Duration::from_secs(1), drained).await.unwrap_or(false)
}

async fn decide(
    shared: Arc<Shared>,
    phase: Phase,
    mut review: Box<Review>,
    started: Instant,
    deadline: Instant,
) -> Response {
    // Loaded once, so that a change of policies during a review does not affect it.
    let policies = shared.desk.policies.load_full();
    if let Some(namespaces) = shared.desk.namespaces.as_ref().filter(|_| policies.looks_at_namespaces()) {
        review.namespace_labels = namespaces.labels(&review.namespace, deadline).await;
    }
    let review = &review;
    let decision = policies.decide(review, phase, deadline).await;
    let elapsed = started.elapsed();
    let webhook = match phase {
        Phase::Mutate => "mutate",
        Phase::Validate => "validate",
    };
    shared.metrics.decided(webhook, review, &decision, elapsed);
    log(webhook, review, &decision, elapsed);
    match (decision.to_admission_review(), &decision.outcome) {
        (Some(body), _) => json(body),
        (None, Outcome::Failed { blame, message }) => {
            (status(*blame), format!("{message}\n")).into_response()
        }
        (None, _) => (StatusCode::INTERNAL_SERVER_ERROR, "failed to write the decision\n").into_response(),
    }
}

/// Logs one line per decision: who asked for what, the outcome, and the verdict of each policy. It holds paths of
/// changes, never values.
fn log(webhook: &'static str, review: &Review, decision: &Decision, elapsed: Duration) {
    let (mut policies, mut paths) = (String::new(), String::new());
    for report in &decision.reports {
        let policy = &report.plan.policy;
        listed(&mut policies, &[&policy.name, "=", report.verdict(), mode(policy.mode)]);
    }
    for operation in &decision.patch {
        listed(&mut paths, &[operation.path().as_str()]);
    }
    let short = |text: &str| text::one_line(text, MAX_LOGGED);
    tracing::info!(
        target: "wardset::decision",
        webhook,
        uid = short(&review.uid),
        kind = review.kind,
        namespace = short(&review.namespace),
        name = short(&review.name),
        user = short(&review.user),
        operation = review.operation.label(),
        dry_run = review.dry_run,
        decision = decision.outcome.label(),
        policies,
        patch = text::one_line(&paths, MAX_LOGGED_PATHS),
        duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
    );
    for report in &decision.reports {
        if let decision::Result::Failed(failure) = &report.result {
            tracing::error!(
                uid = short(&review.uid),
                policy = &*report.plan.policy.name,
                module = report.plan.digest,
                class = failure.class.label(),
                detail = failure.detail,
                "a policy failed to decide: `onError` applies if the policy's mode is `enforce`",
            );
        }
    }
}

/// Appends an item to a comma-separated list.
fn listed(list: &mut String, item: &[&str]) {
    if !list.is_empty() {
        list.push(',');
    }
    list.extend(item.iter().copied());
}

/// Returns a suffix for verdicts that do not count because the policy's mode is not `enforce`.
fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "",
        Mode::Warn => "(warn)",
        Mode::Observe => "(observe)",
    }
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
