//! The list of a repository's tags.

use reqwest::header::LINK;
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use wardset_core::policy::{OciReference, OciRepository};

use super::attempts::Attempts;
use super::client::RegistryClient;
use super::http;
use super::problem::{RegistryError, RegistryProblem};
use super::session::Session;
use super::transfer::Tried;

/// Number of tags in one answer, as far as the registry heeds it.
const PAGE: &str = "1000";

/// Maximum size of one answer, in bytes: all of [`MAX_TAGS`], because some registries send one page only.
const MAX_PAGE: u64 = 4 << 20;

/// Maximum number of answers. Some registries send 100 tags at a time.
const MAX_PAGES: usize = 100;

/// Maximum number of tags.
const MAX_TAGS: usize = 10_000;

/// The tags of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList {
    /// Each tag as a reference, in the registry's order. Tags that hold signatures are left out.
    pub references: Vec<OciReference>,
    /// Whether these are all. A list ends after 10,000 tags or 100 answers.
    pub is_complete: bool,
}

#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

impl RegistryClient {
    /// Returns the tags of a repository.
    ///
    /// # Errors
    ///
    /// The registry does not answer, refuses, or has no such repository.
    pub async fn tags(&self, repository: &OciRepository) -> Result<TagList, RegistryError> {
        self.operate_on("list the tags of", repository.host(), repository, async {
            let mut session = self.session(repository, "pull").await?;
            let mut url = session.url("tags/list")?;
            url.query_pairs_mut().append_pair("n", PAGE);
            let mut references = Vec::new();
            for _ in 0..MAX_PAGES {
                let (tags, next) = page(&mut session, &url).await?;
                let tags = tags.iter().filter(|tag| !is_of_signatures(tag));
                // A tag that no reference can have is not shown.
                references.extend(tags.filter_map(|tag| OciReference::of_tag(repository, tag)));
                let Some(next) = next else {
                    let is_complete = references.len() <= MAX_TAGS;
                    references.truncate(MAX_TAGS);
                    return Ok(TagList { references, is_complete });
                };
                if references.len() >= MAX_TAGS {
                    break;
                }
                url = next;
            }
            references.truncate(MAX_TAGS);
            Ok(TagList { references, is_complete: false })
        })
        .await
    }
}

/// Returns a part of the tags, and the address of the next part.
async fn page(session: &mut Session<'_>, url: &Url) -> Result<(Vec<String>, Option<Url>), Tried> {
    let mut attempts = Attempts::new(&session.options.times);
    loop {
        match page_once(session, url).await {
            Ok(page) => return Ok(page),
            Err(problem) => attempts.wait_after(problem).await?,
        }
    }
}

async fn page_once(
    session: &mut Session<'_>,
    url: &Url,
) -> Result<(Vec<String>, Option<Url>), RegistryProblem> {
    let thing = format!("repository `{}`", session.name());
    let response = session.send(&thing, &[StatusCode::OK], |http| http.get(url.clone())).await?;
    let next = next(session, url, &response)?;
    let body =
        http::body(response, session.host(), "a list of tags", MAX_PAGE, &session.options.times).await?;
    let page: Option<Page> = serde_json::from_slice(&body).ok();
    let page = page.ok_or_else(|| session.protocol("a list of tags of another form".to_owned()))?;
    Ok((page.tags.unwrap_or_default(), next))
}

/// Returns the address in the header `Link` that leads to the next part.
fn next(session: &Session<'_>, url: &Url, response: &Response) -> Result<Option<Url>, RegistryProblem> {
    let links = response.headers().get_all(LINK).iter().filter_map(|link| link.to_str().ok());
    let Some(link) = links.filter_map(next_of).next() else { return Ok(None) };
    let next = url.join(link).ok().filter(|next| next.origin() == url.origin());
    let next = next.ok_or_else(|| session.protocol("a list of tags that continues elsewhere".to_owned()))?;
    Ok(Some(next))
}

/// Returns the address of a link whose relation is `next`.
fn next_of(link: &str) -> Option<&str> {
    let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| matches!(parameter.trim(), "rel=\"next\"" | "rel=next");
    parameters.split(';').any(is_next).then_some(address)
}

/// Returns whether a tag holds the signatures of an artifact: `sha256-<hex>`, with or without a suffix.
fn is_of_signatures(tag: &str) -> bool {
    let hex = tag.strip_prefix("sha256-").and_then(|rest| rest.get(..64));
    hex.is_some_and(|hex| OciReference::is_digest(&format!("sha256:{hex}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_link_to_the_next_part() {
        for (link, expected) in [
            ("</v2/a/tags/list?last=1&n=2>; rel=\"next\"", Some("/v2/a/tags/list?last=1&n=2")),
            ("<https://r/v2/a/tags/list?last=1>;rel=next", Some("https://r/v2/a/tags/list?last=1")),
            ("</v2/a>; title=\"x\"; rel=\"next\"", Some("/v2/a")),
            ("</v2/a>; rel=\"prev\"", None),
            ("/v2/a; rel=\"next\"", None),
            ("", None),
        ] {
            assert_eq!(next_of(link), expected, "{link}");
        }
    }

    #[test]
    fn tags_of_signatures_are_no_modules() {
        let digest = "0".repeat(64);
        for suffix in ["", ".sig", ".att"] {
            assert!(is_of_signatures(&format!("sha256-{digest}{suffix}")));
        }
        for tag in ["1.0.0", "sha256-0", "sha256-latest"] {
            assert!(!is_of_signatures(tag), "{tag}");
        }
    }
}
