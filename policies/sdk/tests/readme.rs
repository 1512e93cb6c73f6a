//! The README's example, compiled and run as the policy that it is.

#[expect(unreachable_pub, reason = "in a crate of its own, as the README has it, it is public")]
#[path = "team-label/src/lib.rs"]
mod team_label;

wardset_policy_sdk::test_policy!(
    crate::team_label::TeamLabel,
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/team-label")
);

#[test]
fn the_readme_shows_the_policy_that_is_tested() {
    let (readme, example) = (include_str!("../README.md"), include_str!("team-label/src/lib.rs"));
    assert!(readme.contains(example), "copy tests/team-label/src/lib.rs into README.md");
    let case = include_str!("team-label/cases/denies-a-new-one.yaml");
    assert!(readme.contains(case), "copy tests/team-label/cases/denies-a-new-one.yaml into README.md");
}
