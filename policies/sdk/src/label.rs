//! The syntax of label keys and values (apimachinery `validation.IsQualifiedName`, `IsValidLabelValue`).

use std::fmt;

/// Why a text is not a label key or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidLabel {
    /// The name part of a key is empty, too long or has other characters.
    Name,
    /// The part before `/` is not a DNS subdomain.
    Prefix,
    /// The value is too long or has other characters.
    Value,
}

impl fmt::Display for InvalidLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => {
                "expected a name of at most 63 letters, digits, `-`, `_` and `.` that begins and ends \
                 with a letter or digit"
            }
            Self::Prefix => "expected a lower-case DNS name of at most 253 characters before the `/`",
            Self::Value => {
                "expected nothing, or at most 63 letters, digits, `-`, `_` and `.` that begin and end \
                 with a letter or digit"
            }
        })
    }
}

/// Checks the key of a label, taint or annotation: `name` or `dns.prefix/name`.
///
/// # Errors
/// The malformed part.
pub fn check_key(key: &str) -> Result<(), InvalidLabel> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            let is_dns = prefix.len() <= 253 && prefix.split('.').all(is_dns_label);
            if !is_dns {
                return Err(InvalidLabel::Prefix);
            }
            name
        }
        None => key,
    };
    if is_name(name) { Ok(()) } else { Err(InvalidLabel::Name) }
}

/// Checks the value of a label or taint.
///
/// # Errors
/// The expected form.
pub fn check_value(value: &str) -> Result<(), InvalidLabel> {
    if value.is_empty() || is_name(value) { Ok(()) } else { Err(InvalidLabel::Value) }
}

fn is_name(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 63
        && edge(name.chars().next())
        && edge(name.chars().next_back())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_dns_label(label: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    edge(label.chars().next())
        && edge(label.chars().next_back())
        && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_keys_and_values_that_kubernetes_accepts() {
        for key in ["app", "a", "App_1.x", "app.kubernetes.io/name", "1/2", &"a".repeat(63)] {
            assert_eq!(check_key(key), Ok(()), "{key}");
        }
        for value in ["", "v1", "A-b_c.d", &"a".repeat(63)] {
            assert_eq!(check_value(value), Ok(()), "{value}");
        }
    }

    #[test]
    fn refuses_the_keys_and_values_that_kubernetes_refuses() {
        for key in ["", "-a", "a-", "a b", "a/b/c", "x.io/", &"a".repeat(64)] {
            assert_eq!(check_key(key), Err(InvalidLabel::Name), "{key}");
        }
        for key in ["/a", "Upper.io/a", "x..io/a", "-x.io/a", "a_b/c"] {
            assert_eq!(check_key(key), Err(InvalidLabel::Prefix), "{key}");
        }
        for value in ["-", "a b", "a/b", "ä", &"a".repeat(64)] {
            assert_eq!(check_value(value), Err(InvalidLabel::Value), "{value}");
        }
    }
}
