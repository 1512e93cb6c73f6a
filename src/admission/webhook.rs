//! The HTTP contract of admission webhooks: `POST /mutate`, `POST /validate` and `POST /validate-policy`. It never
//! decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use wardset_core::answer;
use wardset_core::blame::Blame;
use wardset_core::decision::{Decision, Outcome};
use wardset_core::plan::Phase;
use wardset_core::review::{Question, Review};
use wardset_core::text;
use wardset_port::{Bodies, BodyError, MAX_BODY, ReadBody};
use wardset_runtime::{Full, InFlightPermit};

use super::judge::Judge;
use super::overload_log::Overload;
use super::policy_review;
use crate::metrics::Metrics;
use crate::supply::modules::Modules;

/// Maximum length of the line that explains a refused request, in bytes.
const MAX_REASON: usize = 512;

/// Timeout of clients that do not state one: the API server's default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of `Policy` objects checked at the same time. Each check may compile a module for seconds.
const MAX_POLICY_REVIEWS: usize = 4;

/// What answers the requests.
pub struct Desk {
    /// Decides reviews.
    pub judge: Judge,
    /// The modules against which `Policy` objects are checked.
    pub modules: Arc<Modules>,
}

/// The state that all requests share.
pub(crate) struct Webhook {
    desk: Desk,
    metrics: Arc<Metrics>,
    bodies: Bodies,
    /// Maximum time for a body to arrive.
    body_timeout: Duration,
    policy_reviews: Semaphore,
    overload: Overload,
}

impl Webhook {
    /// `bodies` limits the memory of bodies, and `body_timeout` the time that each may take.
    pub(crate) fn new(
        desk: Desk,
        metrics: Arc<Metrics>,
        bodies: Bodies,
        body_timeout: Duration,
    ) -> Arc<Self> {
        let policy_reviews = Semaphore::new(MAX_POLICY_REVIEWS);
        Arc::new(Self { desk, metrics, bodies, body_timeout, policy_reviews, overload: Overload::default() })
    }

    /// Writes one log line per second while requests are refused. Never returns.
    pub(crate) async fn report_overload(&self) {
        self.overload.report().await;
    }
}

/// A request that is answered with an HTTP error instead of a decision.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("expected `Content-Type: application/json`, found `{0}`")]
    MediaType(String),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("expected `timeout` as in `?timeout=10s` (ms or s, above zero), found `{0}`")]
    Timeout(String),
    #[error(transparent)]
    Request(#[from] wardset_core::review::RequestError),
    #[error(transparent)]
    PolicyReview(#[from] policy_review::PolicyReviewError),
    #[error(transparent)]
    Full(#[from] Full),
    #[error("too many policies under review at once; try again")]
    PolicyReviews,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::Slow) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyError::Crowded) | Self::Full(_) | Self::PolicyReviews => {
                StatusCode::TOO_MANY_REQUESTS
            }
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

pub(crate) fn router(webhook: Arc<Webhook>) -> Router {
    let mutate = async |State(webhook): State<Arc<Webhook>>, request: Request| {
        answer(webhook, Phase::Mutate, request).await
    };
    let validate = async |State(webhook): State<Arc<Webhook>>, request: Request| {
        answer(webhook, Phase::Validate, request).await
    };
    let validate_policy = async |State(webhook): State<Arc<Webhook>>, request: Request| {
        answer_for_policy(webhook, request).await
    };
    Router::new()
        .route("/mutate", post(mutate))
        .route("/validate", post(validate))
        .route("/validate-policy", post(validate_policy))
        .fallback(async || {
            (StatusCode::NOT_FOUND, "expected POST /mutate, POST /validate or POST /validate-policy\n")
        })
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "expected POST\n"))
        .with_state(webhook)
}

async fn answer(webhook: Arc<Webhook>, phase: Phase, request: Request) -> Response {
    let received = Instant::now();
    let (head, mut body) = request.into_parts();
    match question(&webhook, &head, &mut body, received).await {
        Ok(Asked::PassedOver(answer)) => json(answer),
        Ok(Asked::Review { review, deadline, body: _body, permit }) => {
            let review = Arc::new(*review);
            response(&webhook.desk.judge.decide(permit, review, phase, received, deadline).await)
        }
        Err(refusal) => refuse(&webhook, refusal, body).await,
    }
}

/// The content of a request.
enum Asked<'s> {
    /// A request without anything to decide, with its answer.
    PassedOver(Vec<u8>),
    /// A review to decide. It holds its body until the answer is written.
    Review { review: Box<Review>, deadline: Instant, body: ReadBody<'s>, permit: InFlightPermit },
}

/// Reads a request and takes a permit for its review. It reads the body first, so that slow clients hold no permits.
async fn question<'s>(
    webhook: &'s Webhook,
    head: &Parts,
    body: &mut Body,
    received: Instant,
) -> Result<Asked<'s>, Refusal> {
    let (body, deadline) = receive(webhook, head, body, received).await?;
    webhook.desk.judge.has_room()?;
    match Question::parse(&body.bytes)? {
        Question::PassOver { uid, reason } => {
            webhook.metrics.passed_over();
            tracing::debug!(uid, %reason, "skipped a request");
            Ok(Asked::PassedOver(answer::passed_over(&uid)))
        }
        Question::Decide(review) => {
            // The permit depends on the review's kind, which is known only after parsing. With permits taken
            // earlier, `kube-system` and dry runs would use all of them for a moment.
            let permit = webhook.desk.judge.admit(&review)?;
            Ok(Asked::Review { review, deadline, body, permit })
        }
    }
}

/// Answers the review of a `Policy`: whether the policy could become active.
async fn answer_for_policy(webhook: Arc<Webhook>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let answered = async {
        let (body, deadline) = receive(&webhook, &head, &mut body, Instant::now()).await?;
        let _permit = webhook.policy_reviews.try_acquire().map_err(|_| Refusal::PolicyReviews)?;
        let answer = policy_review::answer(&webhook.desk.modules, &body.bytes);
        Ok(tokio::time::timeout_at(deadline.into(), answer)
            .await
            .map_err(|_| policy_review::PolicyReviewError::Late)??)
    };
    match answered.await {
        Ok(answer) => json(answer),
        Err(refusal) => refuse(&webhook, refusal, body).await,
    }
}

async fn refuse(webhook: &Webhook, refusal: Refusal, body: Body) -> Response {
    let status = refusal.status();
    webhook.metrics.refused(status.as_u16());
    let reason = text::with_causes(&refusal, MAX_REASON);
    if status == StatusCode::TOO_MANY_REQUESTS {
        // Overload must cost little: the rest of the body is not read, and the log has one line per second.
        webhook.overload.count();
        let mut response = (status, [(header::RETRY_AFTER, "1")], reason + "\n").into_response();
        close_unless(body.is_end_stream(), &mut response);
        return response;
    }
    tracing::warn!(status = status.as_u16(), reason, "refused a request");
    // If the body timed out, the server does not wait for the rest of it.
    let whole = status != StatusCode::REQUEST_TIMEOUT && drain(body).await;
    let mut response = (status, reason + "\n").into_response();
    close_unless(whole, &mut response);
    response
}

/// Closes the connection if a part of the body is unread. Without the header, the client would send its next request
/// on a closed connection.
fn close_unless(whole: bool, response: &mut Response) {
    if !whole {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Checks the media type, sets the deadline and reads the body.
async fn receive<'s>(
    webhook: &'s Webhook,
    head: &Parts,
    body: &mut Body,
    started: Instant,
) -> Result<(ReadBody<'s>, Instant), Refusal> {
    media_type(&head.headers)?;
    let deadline = started + inner_timeout(head.uri.query())?;
    let body = webhook.bodies.read(&head.headers, body, deadline.min(started + webhook.body_timeout)).await?;
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

/// Reads and discards the rest of a refused body, within limits. A client that is still sending when its
/// connection closes reports a broken connection instead of the answer. Returns whether the whole body was read.
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

fn response(decision: &Decision) -> Response {
    match (decision.to_admission_review(), &decision.outcome) {
        (Some(body), _) => json(body),
        (None, Outcome::Failed { blame, message }) => {
            (status(*blame), format!("{message}\n")).into_response()
        }
        (None, _) => (StatusCode::INTERNAL_SERVER_ERROR, "failed to write the decision\n").into_response(),
    }
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
