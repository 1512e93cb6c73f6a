//! The builder of patches: minimal `add` operations, each with its reason.

use serde::Serialize;

use crate::{Change, Edit, Placed, Review, Stop, pointer};

/// The changes that a policy asks for, in order.
///
/// It reads the document without the changes of the patch, but it remembers the maps and lists that the patch creates.
#[derive(Clone, Debug)]
pub struct Patch<'r> {
    review: &'r Review,
    changes: Vec<Change>,
    /// Pointers to the maps and lists that the changes create.
    created: Vec<String>,
}

impl<'r> Patch<'r> {
    /// Makes a patch without changes.
    #[must_use]
    pub fn new(review: &'r Review) -> Self {
        Self { review, changes: Vec::new(), created: Vec::new() }
    }

    /// Puts `value` at `target`. The same operation creates parents that are missing or null.
    ///
    /// # Errors
    /// [`Stop::Fail`] if `value` is not JSON.
    pub fn add(
        &mut self,
        target: &str,
        value: &impl Serialize,
        reason: impl Into<String>,
    ) -> Result<(), Stop> {
        let value = serde_json::to_string(value)?;
        self.place(target, value, reason.into())
    }

    /// Adds members (key, value, reason) to the map at `map`: one operation each if the map exists, else one
    /// operation that creates it whole. The caller leaves out existing keys.
    ///
    /// # Errors
    /// [`Stop::Fail`] if a value is not JSON.
    pub fn add_members<K: AsRef<str>, V: Serialize>(
        &mut self,
        map: &str,
        members: impl IntoIterator<Item = (K, V, String)>,
    ) -> Result<(), Stop> {
        let mut members = members.into_iter().peekable();
        if members.peek().is_none() {
            return Ok(());
        }
        if self.has(map) {
            for (key, value, reason) in members {
                let path = pointer::join(map, key.as_ref());
                self.changes.push(Change::add(path, serde_json::to_string(&value)?, reason));
            }
            return Ok(());
        }
        let (mut whole, mut reasons) = (String::from("{"), Vec::new());
        for (key, value, reason) in members {
            if whole.len() > 1 {
                whole.push(',');
            }
            whole.push_str(&serde_json::to_string(key.as_ref())?);
            whole.push(':');
            whole.push_str(&serde_json::to_string(&value)?);
            reasons.push(reason);
        }
        whole.push('}');
        self.created.push(map.to_owned());
        self.place(map, whole, join_reasons(reasons))
    }

    /// Appends items (value, reason) to the list at `list`: one operation each if the list exists, else one operation
    /// that creates it whole.
    ///
    /// # Errors
    /// [`Stop::Fail`] if a value is not JSON.
    pub fn append<V: Serialize>(
        &mut self,
        list: &str,
        items: impl IntoIterator<Item = (V, String)>,
    ) -> Result<(), Stop> {
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            return Ok(());
        }
        if self.has(list) {
            return self.append_to(list, items);
        }
        let (values, reasons): (Vec<V>, Vec<String>) = items.unzip();
        self.created.push(list.to_owned());
        self.place(list, serde_json::to_string(&values)?, join_reasons(reasons))
    }

    /// Appends items to a list that the caller has read. It does not ask the host whether the list exists.
    pub(crate) fn append_to<V: Serialize>(
        &mut self,
        list: &str,
        items: impl IntoIterator<Item = (V, String)>,
    ) -> Result<(), Stop> {
        for (value, reason) in items {
            let path = pointer::join(list, "-");
            self.changes.push(Change::add(path, serde_json::to_string(&value)?, reason));
        }
        Ok(())
    }

    /// Replaces the value at `target`, which must exist.
    ///
    /// # Errors
    /// [`Stop::Fail`] if `value` is not JSON.
    pub fn replace(
        &mut self,
        target: impl Into<String>,
        value: &impl Serialize,
        reason: impl Into<String>,
    ) -> Result<(), Stop> {
        let placed = Placed { path: target.into(), value: serde_json::to_string(value)? };
        self.changes.push(Change { edit: Edit::Replace(placed), reason: reason.into() });
        Ok(())
    }

    /// Removes the value at `target`, which must exist.
    pub fn remove(&mut self, target: impl Into<String>, reason: impl Into<String>) {
        self.changes.push(Change { edit: Edit::Remove(target.into()), reason: reason.into() });
    }

    /// Whether the document or an earlier change has a value other than null at `pointer`.
    fn has(&self, pointer: &str) -> bool {
        self.created.iter().any(|created| created == pointer) || self.review.has(pointer)
    }

    /// Returns the changes so far.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Returns the changes in the order of the calls.
    #[must_use]
    pub fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    fn place(&mut self, target: &str, mut value: String, reason: String) -> Result<(), Stop> {
        let mut target = target;
        while let Some((parent, token)) = pointer::split_last(target)
            && !pointer::ALWAYS_THERE.contains(&parent)
            && !self.has(parent)
        {
            value = format!("{{{}:{value}}}", serde_json::to_string(&token)?);
            self.created.push(parent.to_owned());
            target = parent;
        }
        self.changes.push(Change::add(target.to_owned(), value, reason));
        Ok(())
    }
}

/// Joins the reasons of one operation, without duplicates.
fn join_reasons(mut reasons: Vec<String>) -> String {
    reasons.dedup();
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    #[test]
    fn creates_missing_and_null_parents_with_one_operation() {
        for object in [json!({}), json!({"a": null}), json!({"a": {"b": null}})] {
            let review = testing::review(&object);
            let mut patch = Patch::new(&review);
            patch.add("/a/b/x~1y", &1, "why").expect("a number is JSON");
            let changes = patch.into_changes();
            assert_eq!(changes.len(), 1);
            let after = testing::apply(&object, &changes).expect("the parents are created");
            assert_eq!(after, json!({"a": {"b": {"x/y": 1}}}));
        }
    }

    #[test]
    fn appends_to_a_list_and_creates_it_whole_if_it_is_null() {
        for (object, operations) in [(json!({"l": [0]}), 2), (json!({"l": []}), 2), (json!({"l": null}), 1)] {
            let review = testing::review(&object);
            let mut patch = Patch::new(&review);
            patch.append("/l", [(1, "one".to_owned()), (2, "two".to_owned())]).expect("numbers are JSON");
            let changes = patch.into_changes();
            assert_eq!(changes.len(), operations);
            let after = testing::apply(&object, &changes).expect("the list is there or created");
            let tail: Vec<_> = after["l"].as_array().expect("a list").iter().rev().take(2).rev().collect();
            assert_eq!(tail, [&json!(1), &json!(2)]);
        }
    }

    #[test]
    fn adds_members_one_by_one_and_escapes_their_keys() {
        let object = json!({"metadata": {"labels": {"a": "b"}}});
        let review = testing::review(&object);
        let mut patch = Patch::new(&review);
        patch
            .add_members("/metadata/labels", [("x.io/y~z", "1", "why".to_owned())])
            .expect("a string is JSON");
        let changes = patch.into_changes();
        let after = testing::apply(&object, &changes).expect("the map is there");
        assert_eq!(after, json!({"metadata": {"labels": {"a": "b", "x.io/y~z": "1"}}}));
    }

    #[test]
    fn a_later_call_adds_to_the_map_or_list_that_an_earlier_call_created() {
        let object = json!({"metadata": {}});
        let review = testing::review(&object);
        let mut patch = Patch::new(&review);
        for key in ["a", "b"] {
            patch.add_members("/metadata/labels", [(key, "1", "why".to_owned())]).expect("a string is JSON");
            patch.append("/l", [(key, "why".to_owned())]).expect("a string is JSON");
            patch.add(&format!("/x/y/{key}"), &1, "why").expect("a number is JSON");
        }
        let after = testing::apply(&object, &patch.into_changes()).expect("the parents are created once");
        let labels = json!({"a": "1", "b": "1"});
        let expected = json!({"metadata": {"labels": labels}, "l": ["a", "b"], "x": {"y": {"a": 1, "b": 1}}});
        assert_eq!(after, expected);
    }

    #[test]
    fn replaces_and_removes() {
        let object = json!({"a": 1, "b": 2});
        let review = testing::review(&object);
        let mut patch = Patch::new(&review);
        patch.replace("/a", &3, "why").expect("a number is JSON");
        patch.remove("/b", "why");
        assert_eq!(testing::apply(&object, &patch.into_changes()), Ok(json!({"a": 3})));
    }

    #[test]
    fn makes_no_change_without_members_or_items() {
        let review = testing::review(&json!({}));
        let mut patch = Patch::new(&review);
        patch.add_members::<&str, u8>("/m", []).expect("nothing to write");
        patch.append::<u8>("/l", []).expect("nothing to write");
        assert!(patch.into_changes().is_empty());
    }
}
