//! Makes an object smaller for as long as it breaks the same law.

use std::time::{Duration, Instant};

use serde_json::Value;

/// Time for one object. The smallest one so far is printed after that.
const TIME: Duration = Duration::from_secs(2);

/// Members without which an object is no DaemonSet.
const KEPT: [&str; 2] = ["/apiVersion", "/kind"];

/// An object that breaks a law.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// The object.
    pub object: Value,
    /// The way in which it breaks the law.
    pub detail: String,
    /// Whether it breaks the law no more without any of its parts. Otherwise the time was up.
    pub is_smallest: bool,
}

/// Removes members and entries, the large ones first, for as long as `breaks` returns a detail.
pub(super) async fn shrink(
    object: &Value,
    detail: String,
    breaks: impl AsyncFn(&Value) -> Option<String>,
) -> Shrunk {
    let started = Instant::now();
    let (mut object, mut detail) = (object.clone(), detail);
    let mut paths = pointers(&object);
    let mut at = 0;
    while at < paths.len() && started.elapsed() < TIME {
        let smaller = without(&object, &paths[at]);
        match breaks(&smaller).await {
            Some(found) => {
                (object, detail) = (smaller, found);
                // What lay before was needed; the rest of the list has other pointers now.
                paths = pointers(&object);
            }
            None => at += 1,
        }
    }
    Shrunk { object, detail, is_smallest: at >= paths.len() }
}

/// Returns the pointers of all values but the object itself, parents before their children.
fn pointers(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![(String::new(), object)];
    while let Some((pointer, value)) = pending.pop() {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| {
                    (format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), value)
                })
                .collect(),
            Value::Array(items) => {
                items.iter().enumerate().map(|(at, value)| (format!("{pointer}/{at}"), value)).collect()
            }
            _ => Vec::new(),
        };
        pending.extend(children.into_iter().rev());
        if !pointer.is_empty() && !KEPT.contains(&pointer.as_str()) {
            found.push(pointer);
        }
    }
    found
}

/// Returns the object without the value at a pointer.
fn without(object: &Value, pointer: &str) -> Value {
    let mut smaller = object.clone();
    if let Some((parent, token)) = pointer.rsplit_once('/') {
        match smaller.pointer_mut(parent) {
            Some(Value::Object(members)) => {
                drop(members.remove(&token.replace("~1", "/").replace("~0", "~")))
            }
            Some(Value::Array(items)) => {
                if let Some(at) = token.parse().ok().filter(|at| *at < items.len()) {
                    items.remove(at);
                }
            }
            _ => {}
        }
    }
    smaller
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn finds_the_smallest_object() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"labels": {"a/b": "1", "c": "2"}, "name": "n"},
            "spec": {"list": [1, {"bad": true, "x": 1}, 3]},
        });
        let breaks = async |object: &Value| {
            let list = object["spec"]["list"].as_array()?;
            list.iter().any(|item| item["bad"] == true).then(|| format!("{} items", list.len()))
        };
        let shrunk = shrink(&object, "3 items".to_owned(), breaks).await;
        assert_eq!(
            shrunk.object,
            json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"list": [{"bad": true}]}})
        );
        assert_eq!((shrunk.detail.as_str(), shrunk.is_smallest), ("1 items", true));
    }

    #[test]
    fn removes_members_with_escaped_names_and_items() {
        let object = json!({"a/b": 1, "l": [1, 2]});
        assert_eq!(without(&object, "/a~1b"), json!({"l": [1, 2]}));
        assert_eq!(without(&object, "/l/0"), json!({"a/b": 1, "l": [2]}));
        assert_eq!(without(&object, "/l/7"), object);
    }
}
