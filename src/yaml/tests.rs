use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::node::Content;
use super::*;

fn values(text: &str) -> Vec<Value> {
    documents(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn error(text: &str) -> String {
    match parse(text) {
        Ok(documents) => panic!("{text:?} was read: {documents:?}"),
        Err(error) => error.to_string(),
    }
}

/// Returns what is said of a text that should be such documents.
fn shape_error(text: &str) -> String {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are of interest")]
    struct Shape {
        spec: Spec,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are of interest")]
    struct Spec {
        order: i32,
        #[serde(default)]
        live: bool,
        #[serde(default)]
        names: Vec<String>,
        #[serde(default)]
        mode: Mode,
    }
    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Mode {
        #[default]
        Enforce,
        Warn,
    }
    documents::<Shape>(text).unwrap_err().to_string()
}

#[test]
fn names_the_field_the_expected_type_and_the_place() {
    for (text, expected) in [
        (
            "spec: {order: high}",
            "`spec.order`: expected a whole number from -2147483648 to 2147483647, found the string `high` at line 1, column 15",
        ),
        (
            "spec: {order: \"3\"}",
            "`spec.order`: expected a whole number from -2147483648 to 2147483647, found the string `3`; remove the quotes at line 1, column 15",
        ),
        (
            "spec: {order: 1}\n---\nspec: {order: 1, live: maybe}",
            "`spec.live`: expected `true` or `false`, found the string `maybe` at line 3, column 24",
        ),
        (
            "spec: {order: 1, names: {}}",
            "`spec.names`: expected a list, found a mapping at line 1, column 25",
        ),
        (
            "spec: {order: 1, names: [a, {}]}",
            "`spec.names[1]`: expected a string, found a mapping at line 1, column 29",
        ),
        (
            "spec: {order: 1, names: [a, on]}",
            "`spec.names[1]`: expected a string, found the boolean `true`; put it in quotes at line 1, column 29",
        ),
        ("spec: 3", "`spec`: expected a mapping, found the number `3` at line 1, column 7"),
        ("spec: {}", "`spec`: missing field `order` at line 1, column 7"),
        (
            "spec: {order: 1, oder: 1}",
            "`spec.oder`: unknown field `oder`; did you mean `order`? at line 1, column 18",
        ),
        (
            "spec: {order: 1, colour: 1}",
            "`spec.colour`: unknown field `colour`, expected one of `order`, `live`, `names`, `mode` at line 1, column 18",
        ),
        (
            "spec: {order: 1, mode: enforced}",
            "`spec.mode`: unknown value `enforced`; did you mean `enforce`? at line 1, column 24",
        ),
        ("- a", "expected a mapping, found a list at line 1, column 1"),
    ] {
        assert_eq!(shape_error(text), expected, "{text}");
    }
}

#[test]
fn positional_lists_are_never_structs() {
    assert_eq!(shape_error("spec: [1]"), "`spec`: expected a mapping, found a list at line 1, column 7");
    assert_eq!(shape_error("[{order: 1}]"), "expected a mapping, found a list at line 1, column 1");
    assert!(shape_error("{\"spec\": [1]}").starts_with("`spec`: expected a mapping, found a list"));
}

#[test]
fn null_counts_as_absent_in_structs_and_as_empty_in_maps_and_lists() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        #[serde(default = "ten")]
        number: i32,
        #[serde(default)]
        labels: std::collections::BTreeMap<String, String>,
        #[serde(default)]
        names: Vec<String>,
    }
    fn ten() -> i32 {
        10
    }
    let read = |text: &str| documents::<Shape>(text).map(|mut all| all.remove(0)).map_err(|e| e.to_string());
    let none = Shape { number: 10, labels: [].into(), names: vec![] };
    assert_eq!(read("number:\nlabels: ~\nnames: null\n"), Ok(none));
    let empty = Shape {
        number: 1,
        labels: [("team".to_owned(), String::new())].into(),
        names: vec![String::new(), "a".to_owned()],
    };
    assert_eq!(read("number: 1\nlabels: {team: }\nnames: [null, a]\n"), Ok(empty));
    assert!(read("numbr: null").is_err_and(|error| error.contains("did you mean `number`?")));
}

#[test]
fn scalars_have_the_types_that_kubectl_sends() {
    for (text, expected) in [
        ("3e+02", json!(300)),
        ("300.0", json!(300)),
        ("1e3", json!(1000)),
        ("-1.5E1", json!(-15)),
        ("1.25", json!(1.25)),
        (".5", json!(0.5)),
        (".1_1", json!(0.11)),
        (".5e1_0", json!(5_000_000_000i64)),
        (".1_", json!(".1_")),
        ("._1", json!("._1")),
        (".1__1", json!(".1__1")),
        (".5e_1", json!(".5e_1")),
        ("1__0", json!(10)),
        ("1_000.5", json!(1000.5)),
        ("0644", json!(420)),
        ("0o644", json!(420)),
        ("0x1F", json!(31)),
        ("0b11", json!(3)),
        ("-0x1f", json!(-31)),
        ("09", json!(9)),
        ("+1", json!(1)),
        ("-0", json!(0)),
        ("18446744073709551615", json!(18446744073709551615.0)),
        ("1e999", json!("1e999")),
        ("1_", json!(1)),
        ("0x", json!("0x")),
        ("--1", json!("--1")),
        ("0x-1", json!("0x-1")),
        ("1.2.3", json!("1.2.3")),
        ("1:30", json!("1:30")),
        ("2001-01-01", json!("2001-01-01")),
        ("nO", json!("nO")),
        ("yEs", json!("yEs")),
        ("tRue", json!("tRue")),
        ("yes", json!(true)),
        ("Off", json!(false)),
        ("y", json!(true)),
        ("~", json!(null)),
        ("NULL", json!(null)),
        ("nULL", json!("nULL")),
        ("\"yes\"", json!("yes")),
        ("'1'", json!("1")),
        ("!!str 1", json!("1")),
        ("!!int \"3\"", json!(3)),
        ("!!float 3", json!(3)),
        ("!!binary aGk=", json!("hi")),
        ("!!binary aGl=", json!("hi")),
        ("!!binary \"aG\\nk=\"", json!("hi")),
        ("!!timestamp 2001-1-1", json!("2001-1-1")),
        ("!!timestamp 2004-02-29t1:2:3.5-07:00", json!("2004-02-29t1:2:3.5-07:00")),
        ("!!timestamp \"2001-01-01 1:2:3,5\"", json!("2001-01-01 1:2:3,5")),
        ("!mine 3", json!("3")),
    ] {
        assert_eq!(values(&format!("a: {text}\n")), [json!({"a": expected})], "{text}");
    }
    assert!(error("a: .nan").contains("expected a finite number"));
    for text in [
        "!!binary \"aG k=\"",
        "!!timestamp 5",
        "!!timestamp soon",
        "!!timestamp 2001-02-29",
        "!!timestamp 2001-13-01",
        "!!timestamp 2001-01-01T24:00:00Z",
        "!!timestamp 2001-01-01T1:2:3",
        "!!timestamp 2001-01-01 1:2:3Z",
    ] {
        assert!(error(&format!("a: {text}")).contains("the value does not fit its tag"), "{text}");
    }
    assert!(error("a: !!int b").contains("the value does not fit its tag `tag:yaml.org,2002:int`"));
    assert_eq!(values(r#"{"a": 3e+02, "b": 300.0, "c": 0.5}"#), [json!({"a": 300, "b": 300, "c": 0.5})]);
}

#[test]
fn keys_are_text_as_sigs_yaml_writes_them() {
    assert_eq!(
        values("1: a\ntrue: b\n1.50: c\n0x10: d\non2: e\n1e21: f\n"),
        [json!({"1": "a", "true": "b", "1.5": "c", "16": "d", "on2": "e", "1e+21": "f"})]
    );
    // An alias is the key that its anchor would be; the number of a value has other digits.
    assert_eq!(
        values(
            "{.inf: 1, -.inf: 2, .nan: 3, a: &x 1, *x : 2, b: &y 1000000.0, *y : 3, &z 7.50 : 4, d: *z, c: &t on, *t : 5}"
        ),
        [json!({
            ".inf": 1, "7.5": 4, "d": 7.5, "-.inf": 2, ".nan": 3, "a": 1, "1": 2, "b": 1_000_000, "1e+06": 3, "c": true, "true": 5
        })]
    );
    assert!(error("{&x .inf : 1, b: *x}").contains("expected a finite number"));
    assert!(error("{18446744073709551615: 1}").contains("found an integer beyond 64 bits"));
    assert!(error("{a: &x [1], *x : 1}").contains("found an alias of a list"));
    for (text, found) in [("? [a]\n: b\n", "a list"), ("{a: 1}: b\n", "a mapping"), ("~: b\n", "null")] {
        assert!(error(text).contains(&format!("expected a string as key, found {found}")), "{}", error(text));
    }
}

#[test]
fn floats_have_the_digits_that_go_writes() {
    for (text, expected) in [
        ("3.652101413983158e+17", "365210141398315800"),
        ("1e20", "100000000000000000000"),
        ("99999999999999999999", "100000000000000000000"),
        ("18446744073709551615", "18446744073709552000"),
        ("9223372036854775808", "9223372036854776000"),
        ("9223372036854775807", "9223372036854775807"),
        ("1e21", "1e+21"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("1e-6", "0.000001"),
        ("-1.5e-7", "-1.5e-7"),
        ("5e-324", "5e-324"),
        ("4.35", "4.35"),
        ("0.00001", "0.00001"),
        ("120.5", "120.5"),
        ("120.5e19", "1.205e+21"),
        // Of two equally short and close texts, the even one.
        ("711695623094422.25", "711695623094422.2"),
        ("-118450862192203.125", "-118450862192203.12"),
        ("-0.0", "0"),
        // Without exact parsing, `serde_json` is one bit off.
        ("61130.13650138121", "61130.13650138121"),
    ] {
        for file in [format!("{{\"a\": {text}}}"), format!("a: {text}")] {
            let value = values(&file).remove(0);
            assert_eq!(to_json(&value), format!("{{\"a\":{expected}}}"), "{file}");
            assert_eq!(to_json(&values(&to_string(&value)).remove(0)), to_json(&value), "{file}");
        }
    }
}

#[test]
fn a_number_of_a_json_file_beyond_the_range_is_no_string() {
    assert_eq!(
        error("{\"a\": 1,\n \"b\": 1e400}"),
        "number too large for a 64-bit float; hint: write a smaller number, or put it in quotes at line 2, column 7"
    );
    assert!(error("{\"a\": 1}\n{\"b\": -1e400}").contains("at line 2, column 7"));
    // This is YAML, in which Go reads a string.
    assert_eq!(values("{a: 1e400}"), [json!({"a": "1e400"})]);
}

#[test]
fn flow_scalars_may_continue_at_any_indentation() {
    let text = "a:\n  note: \"first\n  second\"\n  plain: 'x\n\n y'\n";
    assert_eq!(values(text), [json!({"a": {"note": "first second", "plain": "x\ny"}})]);
}

#[test]
fn a_block_scalar_may_end_with_the_file() {
    assert_eq!(values("a: |\n  x"), [json!({"a": "x\n"})]);
    assert_eq!(values("a: >-\n  x\n  y"), [json!({"a": "x y"})]);
}

#[test]
fn many_comments_after_a_key_are_no_limit() {
    let text = format!("a:\n{}  b: 1\n", "  # why\n".repeat(500));
    assert_eq!(values(&text), [json!({"a": {"b": 1}})]);
}

#[test]
fn aliases_and_merges_are_read_as_in_go() {
    let text = "base: &b {x: 1, z: 2}\nmerged: {<<: *b, z: 3}\nbefore: {z: 3, <<: *b}\nlist: {<<: [{x: 4}, *b]}\nagain: *b\n\"<<\": 1\n";
    assert_eq!(
        values(text),
        [json!({
            "base": {"x": 1, "z": 2}, "merged": {"x": 1, "z": 3}, "before": {"z": 2, "x": 1},
            "list": {"x": 4, "z": 2}, "again": {"x": 1, "z": 2}, "<<": 1,
        })]
    );
    // The anchor of `<<` is the text `<<`.
    assert_eq!(values("{&q <<: {a: 1}, d: *q}"), [json!({"a": 1, "d": "<<"})]);
    assert_eq!(values("a: &x '<<'\nb: {*x : {c: 1}}"), [json!({"a": "<<", "b": {"<<": {"c": 1}}})]);
    assert!(error("a: &x [{b: 1}]\nc: {<<: *x}").contains("expected a mapping or a list of mappings"));
    assert!(error("a: *b").contains("expected an anchor `&b` before the alias `*b`"));
    assert!(error("a: &a [*a]").contains("expected an anchor `&a`"));
    assert!(error("a: {<<: 1}").contains("expected a mapping or a list of mappings after `<<`"));
}

#[test]
fn a_file_is_split_at_its_separators_and_put_together_again() {
    let text = "# licence\n--- # one\na: 1\n---\n# nothing\n---\nb: |\n  ---x\n";
    let found = parse(text).unwrap();
    let again: String = found.iter().map(|document| [document.separator, document.text].concat()).collect();
    assert_eq!(again, text);
    assert_eq!(values(text), [json!({"a": 1}), json!({"b": "---x\n"})]);
    assert!(parse("").unwrap().is_empty());
    assert_eq!(
        error("a: 1\n---apiVersion: v1\n"),
        "expected `---` alone on its line, found `---apiVersion: v1`: put a line break after `---` at line 2, column 4"
    );
    assert!(error("a: 1\n...\nb: 2\n").contains("did not find expected <document start>"));
    assert_eq!(values("\u{feff}a: 1\r\n---\r\nb: 2\r\n"), [json!({"a": 1}), json!({"b": 2})]);
}

#[test]
fn json_objects_may_follow_each_other_and_have_no_duplicate_keys() {
    assert_eq!(values("{\"a\": 1}\n{\"b\": \"\\ud83d\\ude00\"}"), [json!({"a": 1}), json!({"b": "😀"})]);
    assert_eq!(values("{\"a\": 1}\n---\n{\"b\": 2}\n"), [json!({"a": 1}), json!({"b": 2})]);
    assert_eq!(values("{a: 1}"), [json!({"a": 1})]);
    assert!(error("{\"a\":").starts_with("expected JSON: EOF while parsing"), "{}", error("{\"a\":"));
    assert!(error("{\"a\": 1, \"a\": 2}").contains("duplicate key `a`"));
    assert!(error("a: 1\na: 2\n").contains("duplicate key `a`: remove one of the two at line 2, column 1"));
    assert!(error("1: 1\n\"1\": 2\n").contains("duplicate key `1`"));
}

#[test]
fn an_unrendered_template_is_called_a_template() {
    for text in [
        "metadata:\n  name: {{ .Values.name }}\n",
        "{{- if .Values.on }}\nkind: DaemonSet\n{{- end }}\n",
        "{{ include \"labels\" . }}",
        "a:\n  {{- toYaml .Values.x | nindent 4 }}\n",
    ] {
        assert!(
            error(text).starts_with("expected YAML, found template syntax `{{ … }}`: render it first"),
            "{}",
            error(text)
        );
    }
    assert_eq!(values("a: '{{ x }}'"), [json!({"a": "{{ x }}"})]);
}

#[test]
fn syntax_errors_say_where_and_in_which_context() {
    for (text, expected) in [
        ("a: b: c", "mapping values are not allowed in this context at line 1, column 5"),
        (
            "a: [",
            "did not find expected node content (while parsing a flow node that begins at line 2, column 1) at line 2, column 1",
        ),
        (
            "a:\n\tb: 1\n",
            "expected spaces, found a tab: YAML allows no tabs in indentation at line 2, column 1",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn a_panic_of_the_parser_is_an_error_of_the_file() {
    let error = error("a: 1\n---\nb: [!x, 1]\n");
    assert!(
        error.starts_with("failed to parse the document: a defect of the YAML parser; hint: "),
        "{error}"
    );
    assert!(error.ends_with("at line 3, column 1"), "{error}");
    assert_eq!(values("b: [!x 2, !x , 1]"), [json!({"b": ["2", "", 1]})]);
}

#[test]
fn limits_are_called_limits() {
    let many = "---\na: 1\n".repeat(MAX_DOCUMENTS + 1);
    assert!(
        error(&many).starts_with("limit exceeded: a file may have at most 10000 documents"),
        "{}",
        error(&many)
    );
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    assert!(error(&deep).starts_with("limit exceeded: at most 127"), "{}", error(&deep));
    let mut bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for n in 1..9 {
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    }
    assert!(
        error(&bomb).starts_with("limit exceeded: a file may have at most 1000000 values"),
        "{}",
        error(&bomb)
    );
}

#[test]
fn an_anchor_and_its_aliases_share_one_tree() {
    let read = parse("a: &a [&b {x: 1}]\nb: *b\nc: *a\n").unwrap();
    let Some(Content::Mapping(members)) = read[0].tree.as_ref().map(|tree| &tree.content) else { panic!() };
    let list = |at: usize| match &members[at].value.content {
        Content::List(items) => items,
        other => panic!("{other:?}"),
    };
    assert!(Arc::ptr_eq(list(0), list(2)));
    let (Content::Mapping(inner), Content::Mapping(alias)) = (&list(0)[0].content, &members[1].value.content)
    else {
        panic!()
    };
    assert!(Arc::ptr_eq(inner, alias));
}

#[test]
fn aliases_may_repeat_only_so_many_bytes() {
    let long = "k".repeat(1 << 20);
    let aliases =
        |n: usize, alias: &str| format!("a: &x {long}\nb: &y\n  ? {long}\n  : 1\nc:\n{}", alias.repeat(n));
    for alias in ["- *x\n", "- *y\n", "- {*x : 1}\n", "- {<<: *y}\n"] {
        assert!(parse(&aliases(16, alias)).is_ok(), "{alias}");
        let error = error(&aliases(17, alias));
        let expected =
            "limit exceeded: the aliases of a file may repeat at most 16 MiB of text at line 22, column";
        assert!(error.starts_with(expected), "{alias}{error}");
    }
    // All documents of a file share the limit.
    let half = format!("---\n{}", aliases(9, "- *x\n"));
    assert!(error(&half.repeat(2)).starts_with("limit exceeded: the aliases"));
}

#[test]
fn the_documented_limits_are_those_of_the_code() {
    let page = include_str!("../../docs/limits.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let grouped = |n: usize| format!("{},{:03}", n / 1000, n % 1000);
    let values = format!(
        "{},{:03},{:03}",
        limits::MAX_VALUES / 1_000_000,
        limits::MAX_VALUES / 1000 % 1000,
        limits::MAX_VALUES % 1000
    );
    let (documents, levels) = (grouped(MAX_DOCUMENTS), limits::MAX_DEPTH);
    let bytes = limits::MAX_ALIAS_BYTES >> 20;
    for expected in [
        format!("{documents} documents, {values} values and {levels} levels"),
        format!("may repeat {bytes} MiB of text"),
    ] {
        assert!(page.contains(&expected), "{expected}");
    }
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested =
            |levels: usize| format!("{{\"a\": {}1{}}}", open.repeat(levels - 1), close.repeat(levels - 1));
        assert!(parse(&nested(levels)).is_ok());
        assert!(error(&nested(levels + 1)).starts_with("limit exceeded: at most 127"));
    }
}

#[test]
fn an_error_is_one_short_line_whatever_the_names_are() {
    let named = shape_error("spec: {order: 1, \"a\\nb\\e[31mc\": 1}");
    assert!(named.starts_with("`spec.a b [31mc`: unknown field"), "{named:?}");
    let long = shape_error(&format!("spec: {{order: 1, {}: 1}}", "k".repeat(900)));
    assert!(long.len() <= 1024 && long.contains("…`: unknown field"), "{long:?}");
    let tag = error(&format!("a: !<tag:yaml.org,2002:int> {}", "k".repeat(900)));
    for text in [named, long, tag] {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

#[test]
fn encodings_are_named() {
    assert_eq!(decode("a: ä".into()), Ok("a: ä".to_owned()));
    let utf16: Vec<u8> = "\u{feff}a: 1".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(decode(utf16), Err(EncodingError::Utf16));
    let without_mark: Vec<u8> = "a: 1".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(decode(without_mark), Err(EncodingError::Utf16));
    assert_eq!(decode(b"a: 1\nb: \xe4".to_vec()), Err(EncodingError::Latin1 { byte: 0xe4, line: 2 }));
    for (bytes, byte) in [
        // A program, a picture, a module, UTF-8 that was cut, and letters that only Windows has.
        (&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0\xf0"[..], 0xf0),
        (b"\x89PNG", 0x89),
        (b"\0asm\x01\0\0\0\xff", 0xff),
        ("a: ä ö ü\nb: €".as_bytes().split_last().unwrap().1, 0xe2),
        (b"a: \x93quoted\x94 text", 0x93),
        (b"a: \xe4\xf6\xfc", 0xe4),
    ] {
        let line = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(decode(bytes.to_vec()), Err(EncodingError::Binary { byte, line }), "{bytes:?}");
    }
}

#[test]
fn strings_are_quoted_if_kubectl_would_read_another_type() {
    for text in [
        "nO",
        "no",
        "y",
        "on",
        "1",
        "1__0",
        "0x1",
        "1e3",
        ".5",
        "1:30",
        "2001-01-01",
        "~",
        "null",
        "",
        " a",
        "a ",
        "a: b",
        "- a",
        "#a",
        "a #b",
        "{{ x }}",
        "*a",
        "&a",
        "!a",
        "|",
        ">",
        "'",
        "\"",
        "%a",
        "@a",
        "`a",
        "a\nb",
        "a\n",
        "\n",
        "a\tb",
        "\u{85}",
        "\u{feff}a",
        "\u{1b}[1m",
        "ä😀",
        "<<",
        "=",
        "--- a",
        "...",
        "a\r\nb",
        "\u{2028}",
        "a\u{202e}b \u{61c}\u{2066}\n",
        "-",
        "  x\n y\n",
        "\n\n a",
        "trailing \n",
        "?",
        ": a",
        "k: ",
        "0o7",
        "+1",
        ".inf",
        ".NaN",
    ] {
        let value = json!({"k": text, text: [text, {"x": text}]});
        let written = to_string(&value);
        assert_eq!(values(&written), [value], "{written}");
    }
    let value = json!({"a": [], "b": {}, "c": [[1, [2]], {"d": null}], "n": [0.5, -3, 1e300, true]});
    assert_eq!(values(&to_string(&value)), [value]);
    assert_eq!(to_string(&json!({"a": [{"b": "c"}], "d": "no"})), "a:\n- b: c\nd: \"no\"\n");
}

/// A terminal would show such a text in another order than a program reads it.
#[test]
fn directions_are_written_as_escapes() {
    let written = to_string(&json!({"a\u{200f}": "x\u{202e}y", "b": "two\nlines\u{2069}"}));
    assert_eq!(written, "\"a\\u200F\": \"x\\u202Ey\"\nb: \"two\\nlines\\u2069\"\n");
}
