//! The labels of nodes. Thousands of nodes have a few dozen different sets of labels, so equal sets can share their memory.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::Deserialize;

use super::{Labels, Text};

/// The label with the name of the node. Each node has another value.
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";

/// The labels of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Labels<'a>", bound(deserialize = "'de: 'a"))]
pub struct NodeLabels<'a> {
    /// All labels except the hostname.
    set: Arc<LabelSet<'a>>,
    hostname: Option<Text<'a>>,
}

#[derive(Debug, Default)]
struct LabelSet<'a> {
    labels: Labels<'a>,
    /// A hash of the labels: equal sets have equal hashes.
    hash: u64,
}

/// Sets of labels that nodes share.
#[derive(Debug, Default)]
pub struct SharedLabels(HashSet<Arc<LabelSet<'static>>>);

impl<'a> NodeLabels<'a> {
    /// Returns the value of a label.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let value = if key == HOSTNAME { self.hostname.as_ref() } else { self.set.labels.get(key) };
        value.map(|value| &**value)
    }

    /// Returns the keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let hostname = self.hostname.as_ref().map(|_| HOSTNAME);
        self.set.labels.keys().map(|key| &**key).chain(hostname)
    }

    /// Copies the borrowed strings.
    #[must_use]
    pub fn into_owned(self) -> NodeLabels<'static> {
        let labels = self.set.labels.iter();
        let owned =
            |(key, value): (&Text<'a>, &Text<'a>)| (key.clone().into_owned(), value.clone().into_owned());
        let mut labels: NodeLabels<'static> = labels.map(owned).collect();
        labels.hostname = self.hostname.map(Text::into_owned);
        labels
    }

    /// Whether the labels are the same except for the hostname.
    pub(crate) fn alike(&self, other: &Self) -> bool {
        self.set == other.set
    }

    /// Returns a hash of the labels without the hostname.
    pub(crate) fn hash(&self) -> u64 {
        self.set.hash
    }
}

impl PartialEq for NodeLabels<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.hostname == other.hostname && self.set == other.set
    }
}

impl Eq for NodeLabels<'_> {}

impl PartialEq for LabelSet<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || (self.hash == other.hash && self.labels == other.labels)
    }
}

impl Eq for LabelSet<'_> {}

impl Hash for LabelSet<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl<'a> From<Labels<'a>> for NodeLabels<'a> {
    fn from(mut labels: Labels<'a>) -> Self {
        let hostname = labels.remove(HOSTNAME);
        let mut hasher = DefaultHasher::new();
        labels.hash(&mut hasher);
        Self { set: Arc::new(LabelSet { labels, hash: hasher.finish() }), hostname }
    }
}

impl<'a> FromIterator<(Text<'a>, Text<'a>)> for NodeLabels<'a> {
    fn from_iter<I: IntoIterator<Item = (Text<'a>, Text<'a>)>>(labels: I) -> Self {
        Labels::from_iter(labels).into()
    }
}

impl SharedLabels {
    /// Returns labels that are equal to `labels`, and share their memory with those of earlier calls.
    #[must_use]
    pub fn share(&mut self, mut labels: NodeLabels<'static>) -> NodeLabels<'static> {
        match self.0.get(&labels.set) {
            Some(set) => labels.set = Arc::clone(set),
            None => drop(self.0.insert(Arc::clone(&labels.set))),
        }
        labels
    }

    /// Forgets the sets that no node has any more.
    pub fn forget_unused(&mut self) {
        self.0.retain(|set| Arc::strong_count(set) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(hostname: &'static str, zone: &'static str) -> NodeLabels<'static> {
        [(HOSTNAME, hostname), ("zone", zone)]
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    #[test]
    fn the_hostname_is_a_label_like_others() {
        let labels = labels("a", "z");
        assert_eq!((labels.get(HOSTNAME), labels.get("zone"), labels.get("x")), (Some("a"), Some("z"), None));
        assert_eq!(labels.keys().collect::<Vec<_>>(), ["zone", HOSTNAME]);
        assert_eq!(labels.clone().into_owned(), labels);
        assert_ne!(labels, self::labels("b", "z"));
        assert_eq!(NodeLabels::default().keys().count(), 0);
    }

    #[test]
    fn equal_sets_share_their_memory_until_no_node_has_them() {
        let mut shared = SharedLabels::default();
        let [a, b, c] =
            [("a", "x"), ("b", "x"), ("c", "y")].map(|(name, zone)| shared.share(labels(name, zone)));
        assert!(Arc::ptr_eq(&a.set, &b.set) && !Arc::ptr_eq(&a.set, &c.set));
        assert_eq!((a.get(HOSTNAME), b.get(HOSTNAME)), (Some("a"), Some("b")));
        drop((a, b));
        shared.forget_unused();
        assert_eq!(shared.0.len(), 1);
    }
}
