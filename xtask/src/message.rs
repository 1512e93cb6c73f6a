//! Errors as people read them.

/// The error and its causes in one line, then all hints of the chain, a line each.
///
/// A hint is a line of any message in the chain that begins with `hint: `.
pub(crate) fn of(error: &anyhow::Error) -> String {
    let (mut words, mut hints) = (String::new(), String::new());
    for cause in error.chain() {
        let message = cause.to_string();
        let (what, hint) = match message.find("\nhint: ") {
            Some(at) => message.split_at(at),
            None => (message.as_str(), ""),
        };
        if !words.is_empty() {
            words.push_str(": ");
        }
        words.push_str(what);
        hints.push_str(hint);
    }
    words + &hints
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn hints_come_last() {
        let error =
            anyhow!("no answer\nhint: is there a network?").context("cannot download\nhint: try again");
        assert_eq!(of(&error), "cannot download: no answer\nhint: try again\nhint: is there a network?");
    }
}
