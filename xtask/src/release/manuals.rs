//! The commands in the manuals, which must name files that a release has.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::names::Names;
use crate::image::VERSION;
use crate::repository::Repository;

/// Returns the names in commands that no release has, and the files that no manual describes, a line each.
///
/// # Errors
/// A manual cannot be read.
pub(crate) fn problems(repository: &Repository, names: &Names) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for path in pages(repository)? {
        let text =
            fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let page = path.strip_prefix(repository.root()).unwrap_or(&path).display().to_string();
        problems.extend(unknown(&text, names).map(|problem| format!("`{page}`: {problem}")));
        if page == DESCRIPTION {
            for (name, _) in names.all() {
                if !text.contains(&format!("`{name}`")) {
                    problems.push(format!("`{page}`: expected a description of `{name}`, found none"));
                }
            }
        }
    }
    Ok(problems)
}

/// Returns the problems of a page's code blocks.
fn unknown(page: &str, names: &Names) -> impl Iterator<Item = String> {
    let mut is_code = false;
    let mut found = Vec::new();
    for (number, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            let words = line.split(|c: char| c.is_whitespace() || "\"'=()|;`".contains(c));
            found.extend(
                words
                    .filter_map(|word| problem(word, names))
                    .map(|text| format!("line {}: {text}", number + 1)),
            );
        }
    }
    found.into_iter()
}

/// Returns the problem with one word of a command: a file or an image that no release has.
fn problem(word: &str, names: &Names) -> Option<String> {
    let last = word.rsplit(['/', ':']).next().unwrap_or_default();
    let is_file = last.starts_with("wardset-") && ARCHIVES.iter().any(|end| last.ends_with(end));
    let is_manifest = word.starts_with("deploy/") && last.ends_with(".yaml");
    if (is_file || is_manifest) && !names.all().iter().any(|(name, _)| *name == last) {
        return Some(format!("expected a file of the release, found `{last}`"));
    }
    let tag = word.rsplit('/').next()?.strip_prefix("wardset:")?;
    let is_version = tag.starts_with(|c: char| c.is_ascii_digit());
    (is_version && tag != VERSION)
        .then(|| format!("expected the image `wardset:{VERSION}`, found `wardset:{tag}`"))
}

/// The README, the manuals of the manifests, the book, and the page for contributors.
fn pages(repository: &Repository) -> Result<Vec<PathBuf>> {
    let root = repository.root();
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    for folder in [repository.deploy(), root.join("docs")] {
        let context = || format!("failed to list `{}`", folder.display());
        for entry in fs::read_dir(&folder).with_context(context)? {
            let path = entry.with_context(context)?.path();
            if path.extension().is_some_and(|end| end == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    Ok(pages)
}

/// The page with a description of each file.
const DESCRIPTION: &str = "deploy/README.md";

/// The ends of the names of archives and packages.
const ARCHIVES: [&str; 4] = [".tar", ".tar.gz", ".tgz", ".json"];

#[cfg(test)]
mod tests {
    use super::super::names::ARCHITECTURE_OF_MANUALS;
    use super::*;
    use crate::release::chart::Chart;

    fn names() -> Names {
        Names::new(ARCHITECTURE_OF_MANUALS, "0.1.0")
    }

    #[test]
    fn commands_name_files_of_the_release() {
        let repository = Repository::find().unwrap();
        let chart = Chart::read(&repository.chart()).unwrap();
        let names = Names::new(ARCHITECTURE_OF_MANUALS, &chart.version);
        assert_eq!(problems(&repository, &names).unwrap(), [""; 0]);
    }

    #[test]
    fn finds_the_readme_s_lines() {
        let root = Repository::find().unwrap().root().to_owned();
        let readme = fs::read_to_string(root.join("README.md")).unwrap();
        // They are not only accepted because nothing reads them.
        let other = readme.replace("deploy/policies.yaml", "deploy/policy.yaml");
        let other = other.replace(&format!("wardset:{VERSION}"), "wardset:0.0.9");
        let problems: Vec<String> = unknown(&other, &names()).collect();
        assert!(problems.iter().any(|problem| problem.ends_with("found `policy.yaml`")), "{problems:?}");
        assert!(problems.iter().any(|problem| problem.ends_with("found `wardset:0.0.9`")), "{problems:?}");
    }

    #[test]
    fn refuses_names_that_no_release_has() {
        for (line, found) in [
            ("helm install wardset wardset-9.9.9.tgz", "`wardset-9.9.9.tgz`"),
            ("skopeo copy oci-archive:wardset-0.1.0.tar docker://host/wardset", "`wardset-0.1.0.tar`"),
            ("kubectl apply -f deploy/all.yaml", "`all.yaml`"),
            ("docker build -t \"$REGISTRY/wardset:0.0.1\" .", "`wardset:0.0.1`"),
        ] {
            let page = format!("wardset-text.tgz\n```sh\n{line}\n```\n");
            let problems: Vec<String> = unknown(&page, &names()).collect();
            assert_eq!(problems.len(), 1, "{line}: {problems:?}");
            assert!(problems[0].starts_with("line 3: ") && problems[0].ends_with(found), "{problems:?}");
        }
        for line in
            ["tar xzf wardset-0.1.0-linux-amd64.tar.gz", "sed 's|image: wardset:|x|' deploy/install.yaml"]
        {
            assert_eq!(unknown(&format!("```sh\n{line}\n```\n"), &names()).count(), 0, "{line}");
        }
    }
}
