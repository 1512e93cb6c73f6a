//! The requests of one operation: addresses, credentials, tokens, and the meaning of statuses.

use std::time::{Duration, SystemTime};

use k8s_openapi::jiff;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use wardset_core::policy::OciRepository;
use wardset_core::text::one_line;

use super::challenge::{self, Challenge};
use super::credentials::{self, Credentials, Secret};
use super::http;
use super::options::RegistryOptions;
use super::problem::RegistryProblem;

/// Maximum size of a token's answer, in bytes. Tokens have up to 8 KiB.
const MAX_TOKEN: u64 = 64 << 10;

/// Maximum size of an answer about an error, in bytes.
const MAX_ERROR: u64 = 8 << 10;

/// Bytes of the registry's own words in a message.
const MAX_DETAIL: usize = 200;

/// The requests of one operation.
pub(super) struct Session<'c> {
    pub(super) options: &'c RegistryOptions,
    http: &'c Client,
    repository: &'c OciRepository,
    operation: &'static str,
    authorization: Option<HeaderValue>,
    /// The credentials of the last login, for messages.
    used: Option<Credentials>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl<'c> Session<'c> {
    /// Starts an operation: `pull` or `push`.
    pub(super) fn new(
        options: &'c RegistryOptions,
        http: &'c Client,
        repository: &'c OciRepository,
        operation: &'static str,
    ) -> Self {
        Self { options, http, repository, operation, authorization: None, used: None }
    }

    pub(super) fn host(&self) -> &'c str {
        self.repository.host()
    }

    /// Returns the repository's name.
    pub(super) fn name(&self) -> &'c str {
        self.repository.name()
    }

    /// Returns the address of a path in the repository.
    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryProblem> {
        // Docker Hub has its API at another host.
        let host = if self.host() == "docker.io" { "registry-1.docker.io" } else { self.host() };
        let scheme = if self.is_insecure() { "http" } else { "https" };
        let url = format!("{scheme}://{host}/v2/{}/{path}", self.repository.name());
        url.parse().map_err(|_| self.protocol(format!("the address `{url}`")))
    }

    /// Sends a request, and logs in if the registry asks for it. Returns an answer with one of the statuses `expected`.
    /// `thing` names the content, for a message about its absence.
    pub(super) async fn send(
        &mut self,
        thing: &str,
        expected: &[StatusCode],
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Response, RegistryProblem> {
        let mut response = self.once(request(self.http)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.log_in(response.headers()).await?;
            response = self.once(request(self.http)).await?;
        }
        if expected.contains(&response.status()) {
            Ok(response)
        } else {
            Err(self.refusal(thing, response).await)
        }
    }

    async fn once(&self, request: RequestBuilder) -> Result<Response, RegistryProblem> {
        let (client, request) = request.build_split();
        let mut request = request.map_err(|error| self.failed(error))?;
        // An upload may lead to another host, which must not get the credentials.
        let is_ours = self.url("").is_ok_and(|ours| ours.origin() == request.url().origin());
        if let Some(authorization) = self.authorization.as_ref().filter(|_| is_ours) {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        client.execute(request).await.map_err(|error| self.failed(error))
    }

    /// Answers the registry's challenge.
    async fn log_in(&mut self, headers: &HeaderMap) -> Result<(), RegistryProblem> {
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|header| header.to_str().ok());
        let challenges: Vec<Challenge> = challenges.flat_map(challenge::parse).collect();
        let credentials =
            credentials::find(&self.options.credentials, self.host(), self.repository.name()).await?;
        self.used = credentials.clone();
        let is_bearer = |challenge: &&Challenge| matches!(challenge, Challenge::Bearer { .. });
        let authorization = match challenges.iter().find(is_bearer).or(challenges.first()) {
            Some(Challenge::Bearer { realm, service, scope }) => {
                format!(
                    "Bearer {}",
                    self.token(realm, service.as_deref(), scope.as_deref(), credentials).await?
                )
            }
            Some(Challenge::Basic) => match credentials.map(|found| found.secret) {
                Some(Secret::Password { user, password }) => {
                    use base64::Engine as _;
                    let pair = format!("{user}:{password}");
                    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
                }
                Some(Secret::IdentityToken(_)) | None => return Err(self.unauthorized()),
            },
            None => return Err(self.protocol("status 401 without a known `WWW-Authenticate`".to_owned())),
        };
        let value = HeaderValue::try_from(authorization);
        let mut value = value.map_err(|_| self.protocol("a token with invalid bytes".to_owned()))?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(())
    }

    /// Gets a token from the server `realm`.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
        credentials: Option<Credentials>,
    ) -> Result<String, RegistryProblem> {
        let realm_text = one_line(realm, MAX_DETAIL);
        let mut url: Url =
            realm.parse().map_err(|_| self.protocol(format!("the token server `{realm_text}`")))?;
        // Credentials travel only over TLS, unless the user said that this registry has none.
        if url.scheme() != "https" && !(self.is_insecure() && url.scheme() == "http") {
            return Err(self.protocol(format!("the token server `{realm_text}`, which is not HTTPS")));
        }
        let actions = if self.operation == "push" { "pull,push" } else { "pull" };
        let scope =
            scope.map_or_else(|| format!("repository:{}:{actions}", self.repository.name()), str::to_owned);
        let mut parameters = vec![("scope", &*scope)];
        parameters.extend(service.map(|service| ("service", service)));
        let request = match credentials.map(|found| found.secret) {
            Some(Secret::IdentityToken(token)) => {
                parameters.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "wardset"),
                    ("refresh_token", &token),
                ]);
                let mut form = url.clone();
                form.set_query(None);
                form.query_pairs_mut().extend_pairs(&parameters);
                let form = form.query().unwrap_or_default().to_owned();
                let form_type = "application/x-www-form-urlencoded";
                self.http.post(url).header("Content-Type", form_type).body(form)
            }
            secret => {
                url.query_pairs_mut().extend_pairs(&parameters);
                let request = self.http.get(url);
                match secret {
                    Some(Secret::Password { user, password }) => request.basic_auth(user, Some(password)),
                    _ => request,
                }
            }
        };
        let response = request.send().await.map_err(|error| self.failed(error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.unauthorized());
            }
            _ => return Err(self.refusal("token", response).await),
        }
        let times = &self.options.times;
        let body = http::body(response, self.host(), "a token", MAX_TOKEN, times).await?;
        let token: Option<Token> = serde_json::from_slice(&body).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        token.ok_or_else(|| self.protocol("an answer of the token server without a token".to_owned()))
    }

    /// Returns the problem behind an answer with an unexpected status.
    async fn refusal(&self, thing: &str, response: Response) -> RegistryProblem {
        let (host, status) = (self.host().to_owned(), response.status());
        let after = retry_after(response.headers(), SystemTime::now());
        let times = &self.options.times;
        let body = http::body(response, &host, "an error", MAX_ERROR, times).await.unwrap_or_default();
        let detail = detail(&body);
        let found = format!("status {status}{detail}");
        match status {
            StatusCode::UNAUTHORIZED => self.unauthorized(),
            StatusCode::FORBIDDEN => RegistryProblem::Forbidden {
                host,
                repository: self.repository.name().to_owned(),
                operation: self.operation,
                detail,
            },
            StatusCode::NOT_FOUND => RegistryProblem::NotFound { host, thing: thing.to_owned(), detail },
            StatusCode::TOO_MANY_REQUESTS => RegistryProblem::RateLimited { host, after },
            status if status.is_server_error() => {
                RegistryProblem::Server { host, status: status.as_u16(), after, detail }
            }
            _ => RegistryProblem::Protocol { host, found },
        }
    }

    pub(super) fn protocol(&self, found: String) -> RegistryProblem {
        RegistryProblem::Protocol { host: self.host().to_owned(), found }
    }

    pub(super) fn failed(&self, error: reqwest::Error) -> RegistryProblem {
        let times = &self.options.times;
        RegistryProblem::of(self.host(), error, times.idle)
    }

    fn unauthorized(&self) -> RegistryProblem {
        RegistryProblem::Unauthorized {
            host: self.host().to_owned(),
            from: self.used.as_ref().map(|credentials| credentials.from.clone()),
        }
    }

    fn is_insecure(&self) -> bool {
        self.options.insecure.iter().any(|host| host.eq_ignore_ascii_case(self.host()))
    }
}

/// Returns the time that a registry asks to wait: a number of seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    SystemTime::from(date).duration_since(now).ok()
}

/// Returns the registry's own words about an error, to follow a status.
fn detail(body: &[u8]) -> String {
    let errors: Option<Errors> = serde_json::from_slice(body).ok();
    let Some(ApiError { code, message }) = errors.and_then(|all| all.errors.into_iter().next()) else {
        return String::new();
    };
    let text = one_line(format!("{code} {message}").trim(), MAX_DETAIL);
    if text.is_empty() { text } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_asks_to_wait_in_seconds_or_by_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_480 - 90);
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(90)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", None),
            ("-1", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn the_words_of_a_registry_are_one_short_line() {
        let long = format!(r#"{{"errors": [{{"code": "DENIED", "message": "a\nb{}"}}]}}"#, "x".repeat(1000));
        let text = detail(long.as_bytes());
        assert!(text.starts_with(": DENIED a") && text.len() < 220 && !text.contains('\n'), "{text}");
        for body in ["", "<html>", "{}", r#"{"errors": []}"#, r#"{"errors": [{}]}"#] {
            assert_eq!(detail(body.as_bytes()), "", "{body}");
        }
    }
}
