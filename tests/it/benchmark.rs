//! Checks the parts of the benchmarks that only they use.

use std::fs;

use crate::support;

/// `benches/all-in-one.wat` is built by the benchmark alone, so a change of the contract breaks it unseen.
#[tokio::test]
async fn the_guest_of_the_benchmark_fits_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("all-in-one.wasm");
    fs::write(&module, wat::parse_str(include_str!("../../benches/all-in-one.wat")).unwrap()).unwrap();
    let policy = format!(
        "apiVersion: wardset.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p}}\nspec: {{module: 'file:{}'}}\n",
        module.display()
    );
    let decision = support::decide(&support::snapshot(&policy).await, &support::daemonset(), None).await;
    let paths: Vec<_> = decision.patch.iter().map(|operation| operation.path().to_string()).collect();
    assert_eq!(
        paths,
        [
            "/metadata/labels/wardset.dev~1bench",
            "/spec/template/spec/tolerations",
            "/spec/template/spec/affinity"
        ]
    );
}
