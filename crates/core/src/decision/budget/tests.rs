use super::*;

#[test]
fn limits_warnings_to_the_sizes_that_the_api_server_accepts() {
    let long = fit(vec!["é".repeat(400)]);
    assert!(long[0].len() <= WARNING && long[0].ends_with('…'), "{}", long[0].len());
    let many = fit(vec!["x".repeat(200); 64]);
    assert!(many.iter().map(String::len).sum::<usize>() <= WARNINGS);
    assert_eq!(many.last().map(String::as_str), Some("wardset: 44 further warnings are left out"));
    assert_eq!(many.len(), 21);
    assert_eq!(fit(vec!["x".repeat(200); 20]).len(), 20);
}

#[test]
fn replaces_characters_that_could_break_a_line_or_a_header() {
    let fitted = fit(vec![at("p", "Warning: a\r\nb\tc\u{7f}\u{2028}d\u{1b}[1m", "/x")]);
    assert_eq!(fitted, ["p: a  b c  d [1m (/x)"]);
}

#[test]
fn lists_several_denials_within_the_size_limit() {
    let lines: Vec<String> = (0..64).map(|n| format!("{n} {}", "y".repeat(1000))).collect();
    let text = message(&lines);
    assert!(text.len() <= MESSAGE && text.starts_with("\n- 0 yyy") && text.ends_with('…'));
    assert_eq!(message(&["only".to_owned()]), "only");
}

#[test]
fn merges_equal_warnings_and_counts_their_pointers() {
    let mut all = Merged::default();
    for (message, pointer) in
        [("dead", "/a/0"), ("dead", "/a/1"), ("other", "/b"), ("dead", "/a/2"), ("other", "/b")]
    {
        all.add("p", message.to_owned(), pointer);
    }
    let lines: Vec<String> = all.0.iter().map(Mergeable::line).collect();
    assert_eq!(lines, ["p: dead (/a/0 and 2 more places)", "p: other (/b)"]);
}
