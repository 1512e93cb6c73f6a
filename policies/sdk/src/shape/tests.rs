use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::*;
use crate::{LabelSelector, Labels, Requirement, Toleration};

/// Returns pointer, message and fix of the error.
fn error<'j, T: Deserialize<'j> + Debug>(text: &'j str) -> [String; 3] {
    let error = read::<T>(text).expect_err("another type");
    [error.pointer("/list"), error.message().to_owned(), error.fix("list")]
}

#[test]
fn an_error_points_at_the_field_and_says_what_to_type() {
    for (text, expected) in [
        (
            r#"[{"key": "a"}, {"value": true}]"#,
            [
                "/list/1/value",
                "expected a string, found the boolean `true`",
                "put it in quotes: `value: \"true\"`",
            ],
        ),
        (
            r#"[{"key": 1.50}]"#,
            [
                "/list/0/key",
                "expected a string, found the number `1.50`",
                "put it in quotes: `key: \"1.50\"`",
            ],
        ),
        (
            r#"[{"key": 1e+20}]"#,
            ["/list/0/key", "expected a string, found the number `1e+20`", "put it in quotes"],
        ),
        (
            r#"[{"tolerationSeconds": "300"}]"#,
            [
                "/list/0/tolerationSeconds",
                "expected a whole number, found the string `300`",
                "remove the quotes: `tolerationSeconds: 300`",
            ],
        ),
        (
            r#"[{"tolerationSeconds": "soon"}]"#,
            [
                "/list/0/tolerationSeconds",
                "expected a whole number, found the string `soon`",
                "write a whole number",
            ],
        ),
        (
            r#"[{"tolerationSeconds": 3e2}]"#,
            [
                "/list/0/tolerationSeconds",
                "expected a whole number, found the number `3e2`",
                "write a whole number",
            ],
        ),
        (
            r#"{"key": "a"}"#,
            ["/list", "expected a list, found a mapping", "begin each entry of `list` with `- `"],
        ),
        (
            r#""a""#,
            ["/list", "expected a list, found the string `a`", "begin each entry of `list` with `- `"],
        ),
        (
            r#"["a"]"#,
            [
                "/list/0",
                "expected a mapping, found the string `a`",
                "write the entry of `list` as fields: `- key: …`",
            ],
        ),
        (
            r#"[{"key": ["a"]}]"#,
            [
                "/list/0/key",
                "expected a string, found a list",
                "write one value, without `- ` and without fields",
            ],
        ),
        (
            r#"[{"key": {"a": "b"}}]"#,
            [
                "/list/0/key",
                "expected a string, found a mapping",
                "write one value, without `- ` and without fields",
            ],
        ),
    ] {
        assert_eq!(error::<Vec<Toleration<'_>>>(text), expected, "{text}");
    }
    assert_eq!(
        error::<Labels<'_>>(r#"{"a": "b", "c/d": 1}"#),
        ["/list/c~1d", "expected a string, found the number `1`", "put it in quotes: `c/d: \"1\"`"]
    );
}

/// The fix must be right: typed as it says, the object is accepted.
#[test]
fn the_fix_of_a_list_is_one_that_works() {
    for (written, message, fix) in [
        (r#""ssd""#, "found the string `ssd`", "write it as a list: `values: [ssd]`"),
        (r#""x: y""#, "found the string `x: y`", "write it as a list: `values: [\"x: y\"]`"),
        ("true", "found the boolean `true`", "write it as a list: `values: [\"true\"]`"),
        ("7", "found the number `7`", "write it as a list: `values: [\"7\"]`"),
        (r#"{"a": "b"}"#, "found a mapping", "begin each entry of `values` with `- `"),
    ] {
        let text = format!(r#"[{{"key": "a", "operator": "In", "values": {written}}}]"#);
        let message = format!("expected a list, {message}");
        assert_eq!(error::<Vec<Requirement<'_>>>(&text), ["/list/0/values", &message, fix]);
    }
    let nested = r#"[{"key": "a", "operator": "In", "values": [true, "b"]}]"#;
    assert_eq!(
        error::<Vec<Requirement<'_>>>(nested),
        ["/list/0/values/0", "expected a string, found the boolean `true`", "put it in quotes: `- \"true\"`"]
    );
}

#[test]
fn a_list_is_never_a_struct() {
    assert_eq!(
        error::<Vec<Toleration<'_>>>(r#"[["a", "Exists", "", "NoSchedule", null]]"#),
        ["/list/0", "expected a mapping, found a list", "write the entry of `list` as fields: `- key: …`"]
    );
    assert_eq!(
        error::<LabelSelector<'_>>(r#"[{"a": "b"}, []]"#),
        [
            "/list",
            "expected a mapping, found a list",
            "write fields below `list`, without `- `: `matchLabels: …`"
        ]
    );
    assert_eq!(
        error::<LabelSelector<'_>>(r#"{"matchLabels": [{"a": "b"}]}"#),
        [
            "/list/matchLabels",
            "expected a mapping, found a list",
            "write fields below `matchLabels`, without `- `: `name: …`"
        ]
    );
    assert_eq!(error::<BTreeMap<String, String>>("[]")[1], "expected a mapping, found a list");
    assert_eq!(error::<Setting>(r#"{"rule": {"range": [1, 2]}}"#)[1], "expected a mapping, found a list");
}

#[test]
fn null_is_absent_in_a_struct_and_empty_in_a_map_or_list() {
    let toleration =
        r#"{"key": null, "operator": "Exists", "value": null, "effect": null, "tolerationSeconds": null}"#;
    let toleration: Toleration<'_> = read(toleration).expect("a toleration");
    assert_eq!(toleration, Toleration { operator: "Exists".into(), ..Toleration::default() });
    assert_eq!(read::<Vec<Toleration<'_>>>("[null]"), Ok(vec![Toleration::default()]));
    assert_eq!(read::<Vec<Toleration<'_>>>("null"), Ok(vec![]));
    let labels: Labels<'_> = read(r#"{"team": null}"#).expect("labels");
    assert_eq!(labels.get("team").map(|value| &**value), Some(""));
    let requirement: Requirement<'_> =
        read(r#"{"key": "a", "operator": "In", "values": [null, "b"]}"#).expect("a requirement");
    assert_eq!(requirement.values, ["".into(), "b".into()]);
    // The API server refuses a requirement without an operator.
    let missing = error::<Vec<Requirement<'_>>>(r#"[{"key": "a"}]"#);
    assert_eq!(missing, ["/list/0", "missing field `operator`", "add `operator: …`"]);
    let selector: LabelSelector<'_> =
        read(r#"{"matchLabels": {"a": null}, "matchExpressions": null}"#).expect("a selector");
    assert_eq!((selector.match_labels.len(), selector.match_expressions.len()), (1, 0));
    let maps: BTreeMap<String, Vec<BTreeMap<String, i64>>> =
        read(r#"{"a": null, "b": [null, {"c": null}]}"#).expect("maps of lists of maps");
    assert_eq!((maps["a"].len(), maps["b"][0].len(), maps["b"][1]["c"]), (0, 0, 0));
}

/// Settings of an author's own policy, with most kinds of types.
#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Setting {
    rule: Rule,
    #[serde(default = "seven")]
    weight: u8,
    #[serde(default)]
    ports: BTreeMap<u16, Name>,
    #[serde(default)]
    pair: Option<(String, f64)>,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
enum Rule {
    Plain,
    Regex(String),
    Range { from: i64, to: i64 },
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Name(String);

fn seven() -> u8 {
    7
}

#[test]
fn settings_can_have_every_kind_of_type() {
    let setting = |rule| Setting { rule, weight: 7, ports: BTreeMap::new(), pair: None };
    assert_eq!(read(r#"{"rule": "plain", "weight": null}"#), Ok(setting(Rule::Plain)));
    assert_eq!(read(r#"{"rule": {"regex": "x"}}"#), Ok(setting(Rule::Regex("x".to_owned()))));
    assert_eq!(read(r#"{"rule":{"range":{"from":1,"to":2}}}"#), Ok(setting(Rule::Range { from: 1, to: 2 })));
    let read: Setting =
        read(r#"{"rule": "plain", "weight": 255, "ports": {"80": "web"}, "pair": ["a", 1.5]}"#)
            .expect("settings");
    assert_eq!(
        (read.weight, &read.ports[&80].0, read.pair),
        (255, &"web".to_owned(), Some(("a".to_owned(), 1.5)))
    );
}

#[test]
fn errors_of_settings_have_no_words_of_rust() {
    for (text, expected) in [
        (
            r#"{"rule": "regex"}"#,
            ["/list/rule", "expected a value for `regex`, found none", "write `regex: …`"],
        ),
        (
            r#"{"rule": {"plain": 1}}"#,
            ["/list/rule", "expected `plain` without a value, found one", "write `plain` alone"],
        ),
        (
            r#"{"rule": {"plain": null}}"#,
            ["/list/rule", "expected `plain` without a value, found one", "write `plain` alone"],
        ),
        (r#"{"rule": {"rang": {}}}"#, ["/list/rule", "unknown value `rang`", "did you mean `range`?"]),
        (
            r#"{"rule": {"regex": "x", "plain": null}}"#,
            ["/list/rule", "expected one of `plain`, `regex`, `range`, found several", "keep one of them"],
        ),
        (
            r#"{"rule": 7}"#,
            [
                "/list/rule",
                "expected one of `plain`, `regex`, `range`, found the number `7`",
                "write one of them",
            ],
        ),
        (
            r#"{"rule": {"range": {"from": 1.5}}}"#,
            [
                "/list/rule/range/from",
                "expected a whole number, found the number `1.5`",
                "write a whole number",
            ],
        ),
        (
            r#"{"rule": "plain", "weight": 300}"#,
            [
                "/list/weight",
                "expected a whole number from 0 to 255, found the number `300`",
                "write a whole number from 0 to 255",
            ],
        ),
        (
            r#"{"rule": "plain", "weight": -1}"#,
            [
                "/list/weight",
                "expected a whole number from 0 to 255, found the number `-1`",
                "write a whole number from 0 to 255",
            ],
        ),
        (
            r#"{"rule": {"range": {"from": 1e+20}}}"#,
            [
                "/list/rule/range/from",
                "expected a whole number from -9223372036854775808 to 9223372036854775807, found the number `1e+20`",
                "write a whole number from -9223372036854775808 to 9223372036854775807",
            ],
        ),
        (
            r#"{"rule": "plain", "pair": ["a", 1, 2]}"#,
            ["/list/pair", "expected 2 entries, found 3", "write 2 entries"],
        ),
        (
            r#"{"rule": "plain", "pair": ["a"]}"#,
            ["/list/pair", "expected 2 entries, found 1", "write 2 entries"],
        ),
        (
            r#"{"rule": "plain", "pair": ["a", "b"]}"#,
            ["/list/pair/1", "expected a number, found the string `b`", "write a number"],
        ),
        (
            r#"{"rule": "plain", "weight": 1, "weight": 2}"#,
            ["/list", "duplicate key `weight`", "remove one of the two"],
        ),
        (
            r#"{"rule": "plain", "Weight": 3}"#,
            ["/list/Weight", "unknown field `Weight`", "did you mean `weight`?"],
        ),
    ] {
        assert_eq!(error::<Setting>(text), expected, "{text}");
    }
}

#[test]
fn a_list_of_pairs_says_how_many_entries_a_pair_has() {
    assert_eq!(
        error::<Vec<(String, i64)>>(r#"[["a", 1], null]"#),
        ["/list/1", "expected 2 entries, found null", "write 2 entries"]
    );
    assert_eq!(error::<Vec<(String, i64)>>(r#"[["a", 1], {"a": 1}]"#)[1], "expected a list, found a mapping");
    assert_eq!(
        error::<[bool; 1]>(r#"[true, [1, "]", {"a": []}], {}]"#),
        ["/list", "expected 1 entry, found 3", "write 1 entry"]
    );
}

#[test]
fn malformed_text_is_an_error() {
    for text in [
        "",
        " ",
        "{",
        "[",
        "\"",
        "\"\\",
        "{\"a\"",
        "{\"a\":",
        "[1,",
        "[1 2]",
        "{]",
        "nul",
        "7 7",
        "\"\\ud800\"",
    ] {
        assert!(read::<Value>(text).is_err() || text == "nul", "{text}");
        let _ = read::<LabelSelector<'_>>(text);
    }
    assert!(read::<Value>(&"[".repeat(100_000)).is_err());
    assert!(read::<IgnoredAny>(&("[".repeat(100_000) + &"]".repeat(100_000))).is_ok());
}

fn values() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-4000_i16..4000).prop_map(|n| json!(f64::from(n) / 8.0)),
        any::<String>().prop_map(Value::from),
        "[a\"\\\\{},:\\[\\] \n]{0,8}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c\"\\\\]{0,2}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn reads_every_value_as_a_tree_does(value in values(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.expect("JSON");
        prop_assert_eq!(read::<Value>(&text), Ok(value));
        prop_assert!(read::<IgnoredAny>(&text).is_ok());
        prop_assert_eq!(Json::new(&text).value(), &*text);
    }

    #[test]
    fn survives_any_text(text in "[\\[\\]{},:\"\\\\a-f0-9ntue. -]{0,24}") {
        let _ = read::<Value>(&text);
        let _ = read::<Vec<Toleration<'_>>>(&text);
        let _ = read::<LabelSelector<'_>>(&text);
        let _ = read::<Setting>(&text);
        if serde_json::from_str::<Value>(&text).is_ok() {
            prop_assert!(read::<IgnoredAny>(&text).is_ok());
        }
    }
}
