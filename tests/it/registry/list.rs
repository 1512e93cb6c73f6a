//! The list of a repository's tags: `wardset policies --remote`.

use std::path::Path;

use serde_json::{Value, json};
use wardset_core::policy::OciRepository;

use super::policies::{outcome, wardset};
use super::*;
use crate::support;

/// Stores artifacts with these tags, and a signature.
fn fill(registry: &FakeRegistry, tags: &[&str]) -> OciRepository {
    let signature = format!("sha256-{}.sig", "0".repeat(64));
    for tag in tags.iter().chain([&&*signature]) {
        registry.put(&format!("team/labels/manifests/{tag}"), MANIFEST, "{}");
    }
    format!("oci://{}/team/labels", registry.host).parse().unwrap()
}

fn tags(list: &TagList) -> Vec<&str> {
    list.references.iter().map(|reference| reference.tag().unwrap()).collect()
}

#[tokio::test]
async fn all_pages_are_read_and_signatures_are_left_out() {
    let registry = FakeRegistry::start();
    let repository = fill(&registry, &["0.9.0", "1.0.0", "1.1.0", "latest", "not a tag"]);
    registry.fail(1, "tags", &Fault::Status(503, None));
    let list = client(&registry).tags(&repository).await.unwrap();
    assert_eq!((tags(&list), list.is_complete), (vec!["0.9.0", "1.0.0", "1.1.0", "latest"], true));
    assert_eq!(registry.requests(), vec!["GET team/labels/tags/list"; 4], "three pages, and one repeat");
}

#[tokio::test]
async fn a_list_without_an_end_is_cut_and_one_that_continues_at_another_host_is_refused() {
    let registry = FakeRegistry::start();
    let repository = fill(&registry, &["1"]);
    registry.fail(1000, "tags", &Fault::Link("</v2/team/labels/tags/list?n=1000>; rel=\"next\"".to_owned()));
    let list = client(&registry).tags(&repository).await.unwrap();
    assert_eq!((list.references.len(), list.is_complete, registry.requests().len()), (100, false, 100));

    let registry = FakeRegistry::start();
    registry.fail(1, "tags", &Fault::Link("<https://attacker.example/v2/x>; rel=\"next\"".to_owned()));
    let repository = fill(&registry, &[]);
    let error = client(&registry).tags(&repository).await.unwrap_err();
    assert_eq!(error.to_string(), format!("failed to list the tags of `{repository}`"));
    assert!(error.problem().to_string().contains("found a list of tags that continues elsewhere"));
}

#[test]
fn the_command_prints_a_table_or_json_and_says_what_is_wrong() {
    let registry = FakeRegistry::with(Login::Token, true);
    let repository = fill(&registry, &["1.0.0", "latest"]).to_string();
    let run = |arguments: &[&str], login: Option<&Path>| {
        let arguments = [&["policies", "--remote"], arguments].concat();
        outcome(&wardset(&arguments, &registry.ca(), login, &support::cache_folder()))
    };
    let login = registry.credentials(LOGIN.1);
    let table = format!(" TAG     MODULE\n 1.0.0   {repository}:1.0.0\n latest  {repository}:latest\n");
    assert_eq!(run(&[&repository], Some(&login)), (0, table, String::new()));
    let (code, out, _) = run(&[&repository, "-o", "json"], Some(&login));
    let expected = json!([
        {"tag": "1.0.0", "module": format!("{repository}:1.0.0")},
        {"tag": "latest", "module": format!("{repository}:latest")},
    ]);
    assert_eq!((code, serde_json::from_str::<Value>(&out).unwrap()), (0, expected));

    let other = format!("oci://{}/team/other", registry.host);
    let missing = format!("`{}` has no repository `team/other` (404)", registry.host);
    for (arguments, login, problem) in [
        (&*repository, None, "asks for credentials (401), found none for it"),
        (&*other, Some(&*login), &*missing),
        (&*format!("{repository}:1"), None, "expected a repository without a tag and a digest, found `:1`"),
        ("labels", None, "failed to parse the repository: expected `oci://HOST/NAME`, found `labels`"),
    ] {
        let (code, out, said) = run(&[arguments], login);
        assert!(code == 2 && out.is_empty() && said.contains(problem), "{said}");
    }
    fill(&registry, &[]);
    registry.remove("team/labels/manifests/1.0.0");
    registry.remove("team/labels/manifests/latest");
    let (code, out, said) = run(&[&repository], Some(&login));
    assert_eq!((code, &*out, said), (0, "", format!("`{repository}` has no tags\n")));
}
