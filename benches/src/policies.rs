//! The policies that are measured: the built-ins, mutating and validating ones mixed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// A policy's name, its module and its settings.
type Row = (&'static str, &'static str, &'static str);

/// Every one of them has something to do on the reviews of [`reviews`](crate::reviews): the first five change four places
/// and check the selector.
const ROWS: [Row; 10] = [
    ("labels", "default-labels", "{labels: {app.kubernetes.io/component: node-agent}}"),
    (
        "tolerations",
        "default-tolerations",
        "{tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]}",
    ),
    ("virtual-nodes", "node-affinity", "{excludeVirtualNodes: true}"),
    ("workers", "node-affinity", "{workersOnly: true}"),
    ("selectors", "selector-safety", "{}"),
    (
        "owner",
        "default-labels",
        "{labels: {example.com/owner: platform}, templateLabels: {example.com/owner: platform}}",
    ),
    (
        "spot",
        "default-tolerations",
        "{tolerations: [{key: example.com/spot, operator: Exists, effect: NoSchedule}]}",
    ),
    (
        "arm",
        "default-tolerations",
        "{tolerations: [{key: example.com/arm, operator: Exists, effect: NoExecute}]}",
    ),
    ("cost", "default-labels", "{labels: {example.com/cost-centre: \"4711\"}}"),
    ("selectors-again", "selector-safety", "{}"),
];

/// The first `n` of ten, as one YAML file.
#[must_use]
pub fn yaml(n: usize) -> String {
    text(&ROWS[..n.min(ROWS.len())])
}

/// `n` policies that exclude `namespace`.
#[must_use]
pub fn silent(n: usize, namespace: &str) -> String {
    (0..n).fold(String::new(), |mut yaml, n| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            yaml,
            "---\napiVersion: wardset.dev/v1alpha1\nkind: Policy\nmetadata: {{name: silent-{n}}}\nspec:\n  \
             module: builtin:default-labels\n  settings: {{labels: {{a: b}}}}\n  match: {{excludeNamespaces: [{namespace}]}}"
        );
        yaml
    })
}

/// The one of that name.
#[must_use]
pub fn only(name: &str) -> String {
    ROWS.iter().filter(|row| row.0 == name).map(|row| text(std::slice::from_ref(row))).collect()
}

/// A policy of one's own module.
#[must_use]
pub fn file(name: &str, module: &Path) -> String {
    format!(
        "apiVersion: wardset.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}}}\nspec: {{module: 'file:{}'}}\n",
        module.display()
    )
}

fn text(rows: &[Row]) -> String {
    rows.iter().enumerate().fold(String::new(), |mut yaml, (order, (name, module, settings))| {
        // Writing to a String can't fail.
        let _ = write!(
            yaml,
            "---\napiVersion: wardset.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}}}\nspec:\n  \
             module: builtin:{module}\n  order: {order}\n  match: {{excludeNamespaces: [kube-system]}}\n  \
             settings: {settings}\n",
        );
        yaml
    })
}

/// The same, written to a file.
///
/// # Errors
///
/// A file that can't be written.
pub fn write(n: usize, file: &Path) -> Result<()> {
    fs::write(file, yaml(n)).with_context(|| format!("`{}` can't be written", file.display()))
}
