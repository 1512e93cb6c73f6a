//! Fills in templates.
//!
//! A line `{{#mutating}}` or `{{#validating}}` begins a block that only this kind of policy has, and `{{/…}}` ends it.
//! `{{word}}` stands for a value.

use crate::PolicyKind;

/// Returns the text for one kind of policy, with the values filled in.
pub(crate) fn render(template: &str, kind: PolicyKind, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut wanted = true;
    for line in template.split_inclusive('\n') {
        let marker = line.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        match marker.map(|marker| marker.split_at_checked(1)) {
            Some(Some(("#", block))) => wanted = block == kind.word(),
            Some(Some(("/", _))) => wanted = true,
            _ if wanted => text.push_str(line),
            _ => {}
        }
    }
    for (word, value) in values {
        text = text.replace(&format!("{{{{{word}}}}}"), value);
    }
    text
}

/// Returns the path of a template's file in a project of this kind; none if the kind lacks the file.
///
/// `dot-` stands for a dot. `.in` at the end is dropped: it keeps tools from files that are meant for projects.
pub(crate) fn path(template: &str, kind: PolicyKind) -> Option<String> {
    let (folder, name) = template.rsplit_once('/').map_or(("", template), |(folder, name)| (folder, name));
    let name = match name.split_once('-') {
        Some((word, rest)) if word == kind.word() => rest.to_owned(),
        Some(("mutating" | "validating", _)) => return None,
        Some(("dot", rest)) => format!(".{rest}"),
        _ => name.to_owned(),
    };
    let name = name.strip_suffix(".in").unwrap_or(&name);
    Some(if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_blocks_of_one_kind() {
        let template =
            "a\n  {{#mutating}}\nb {{name}}\n  {{/mutating}}\n{{#validating}}\nc\n{{/validating}}\nd";
        assert_eq!(render(template, PolicyKind::Mutating, &[("name", "x")]), "a\nb x\nd");
        assert_eq!(render(template, PolicyKind::Validating, &[]), "a\nc\nd");
    }

    #[test]
    fn keeps_braces_that_are_no_word_of_the_template() {
        let text = "{{}} {{\"a\":{s}}} {{other}}";
        assert_eq!(render(text, PolicyKind::Mutating, &[("name", "x")]), text);
    }

    #[test]
    fn names_of_templates_choose_kind_and_path() {
        for (template, mutating, validating) in [
            ("dot-gitignore", Some(".gitignore"), Some(".gitignore")),
            ("go.mod.in", Some("go.mod"), Some("go.mod")),
            ("cases/mutating-a-b.yaml", Some("cases/a-b.yaml"), None),
            ("cases/validating-a.yaml", None, Some("cases/a.yaml")),
            ("cases/denies-a.yaml", Some("cases/denies-a.yaml"), Some("cases/denies-a.yaml")),
        ] {
            assert_eq!(path(template, PolicyKind::Mutating).as_deref(), mutating);
            assert_eq!(path(template, PolicyKind::Validating).as_deref(), validating);
        }
    }
}
