//! The header `WWW-Authenticate`: the ways in which a registry accepts credentials.

/// A way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from the server `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// Returns the challenges of a header that Wardset can answer.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(&str, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        match after.strip_prefix('=') {
            Some(after) => {
                let (value, after) = value(after);
                if let Some((_, parameters)) = schemes.last_mut() {
                    parameters.push((word.to_ascii_lowercase(), value));
                }
                rest = after;
            }
            None => {
                schemes.push((word, Vec::new()));
                rest = after;
            }
        }
    }
    schemes.into_iter().filter_map(|(scheme, parameters)| challenge(scheme, parameters)).collect()
}

fn challenge(scheme: &str, parameters: Vec<(String, String)>) -> Option<Challenge> {
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    let get = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    scheme.eq_ignore_ascii_case("bearer").then_some(())?;
    Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") })
}

/// Splits a value, quoted or not, from the text behind it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            letter => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) }
    }

    #[test]
    fn reads_the_challenges_of_real_registries() {
        for (header, expected) in [
            ("Basic realm=\"Registry Realm\"", vec![Challenge::Basic]),
            (
                "Bearer realm=\"https://auth.example/token\",service=\"r.example\",scope=\"repository:a:pull,push\"",
                vec![bearer("https://auth.example/token", Some("r.example"), Some("repository:a:pull,push"))],
            ),
            ("bearer realm=https://a/t, service=r", vec![bearer("https://a/t", Some("r"), None)]),
            (
                "Negotiate, Basic realm=\"a, b\", Bearer realm=\"c\"",
                vec![Challenge::Basic, bearer("c", None, None)],
            ),
            (r#"Bearer realm="a\"b""#, vec![bearer("a\"b", None, None)]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn a_malformed_header_has_no_challenge() {
        for header in ["", ",", "=", "Bearer", "Bearer realm", "realm=\"a\"", "Digest realm=\"a\"", "é"] {
            assert_eq!(parse(header), [], "{header}");
        }
        assert_eq!(parse("Bearer realm=\"open"), [bearer("open", None, None)]);
    }
}
