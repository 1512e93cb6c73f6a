//! Generated requests. The same seed and number give the same request.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::dice::Dice;
use crate::support;

/// One request.
pub(super) struct Request {
    /// The generator that made it.
    pub(super) what: &'static str,
    pub(super) path: &'static str,
    pub(super) media_type: Option<String>,
    pub(super) body: Vec<u8>,
    /// The required status, if only one is correct.
    pub(super) expected: Option<u16>,
}

/// Maximum size of a body, in bytes.
const MAX_BODY: usize = 8 << 20;

impl Request {
    /// Returns request number `n`.
    pub(super) fn generated(seed: u64, n: u64) -> Self {
        let mut dice = Dice::new(seed, n);
        let review = review(&mut dice, &format!("uid-{n}"));
        let path = if dice.one_in(5) { "/validate" } else { "/mutate" };
        let mut request = Self {
            what: "whole",
            path,
            media_type: Some("application/json".to_owned()),
            body: review.to_string().into_bytes(),
            expected: None,
        };
        // Only a few are huge, because each takes as long as a thousand others.
        match n {
            1007 => request.huge(0, "x"),
            3007 => request.huge(0, r#",{"a":[2]}"#),
            5007 => request.huge(1, "x"),
            7007 => request.huge(1 << 20, "x"),
            _ => match dice.below(20) {
                0..4 => request.expected = Some(200),
                4..8 => request.mutated(&mut dice),
                8..11 => request.truncated(&mut dice),
                11..12 => request.deep(&mut dice, review),
                12..14 => request.odd_text(&mut dice, review),
                14..16 => request.repeated_key(&mut dice),
                16..17 => request.odd_number(&mut dice, review),
                17..19 => request.wrong_type(&mut dice, review),
                _ => request.wrong_media_type(&mut dice),
            },
        }
        request
    }

    fn mutated(&mut self, dice: &mut Dice) {
        self.what = "mutated";
        for _ in 0..=dice.below(4) {
            let at = dice.below(self.body.len());
            let until = (at + 1 + dice.below(12)).min(self.body.len());
            match dice.below(5) {
                0 => self.body[at] ^= 1 << dice.below(8),
                1 => self.body[at] = *dice.pick(b"\"\\{}[]:,0-eE.\0\x1f\x7f\xc0\xff nft"),
                2 => drop(self.body.drain(at..until)),
                3 => {
                    let piece = self.body[at..until].to_vec();
                    self.body.splice(at..at, piece);
                }
                _ => {
                    let other = dice.below(self.body.len());
                    self.body.swap(at, other);
                }
            }
        }
    }

    fn truncated(&mut self, dice: &mut Dice) {
        self.what = "truncated";
        self.body.truncate(dice.below(self.body.len()));
        self.expected = Some(400);
    }

    fn deep(&mut self, dice: &mut Dice, mut review: Value) {
        self.what = "deep";
        let levels = *dice.pick(&[100, 120, 127, 128, 129, 500, 10_000, 200_000]);
        let place = *dice.pick(&[
            "/request/object/spec/template/spec/unknown",
            "/request/object/metadata/labels/deep",
            "/request/object/spec/template/spec/tolerations",
            "/request/unknown",
            "/request/userInfo/extra",
            "/request/uid",
            "/unknown",
        ]);
        let nested = if dice.one_in(2) {
            "[".repeat(levels) + &"]".repeat(levels)
        } else {
            r#"{"a":"#.repeat(levels) + "1" + &"}".repeat(levels)
        };
        self.put_raw(&mut review, place, &nested);
    }

    fn odd_text(&mut self, dice: &mut Dice, mut review: Value) {
        self.what = "odd text";
        let texts: [&[u8]; 16] = [
            br#""\ud83e\udd80""#,
            br#""\ud83e""#,
            br#""\udd80\ud83e""#,
            br#""\u0000\u001f\u007f""#,
            br#""\u202e\u2066\u2028\ufeff\ufffe""#,
            "\"\u{202e}\u{feff}\u{1f980}\u{10ffff}\"".as_bytes(),
            b"\"\xc0\xaf\"",
            b"\"\xed\xa0\x80\"",
            b"\"\xf5\x80\x80\x80\"",
            b"\"\xff\xfe\"",
            b"\"\x00\"",
            b"\"\n\r\t\"",
            br#""\x41""#,
            br#""\u00""#,
            br#""line\nbreak\r\nWarning: forged""#,
            b"\"\x1b[2J\"",
        ];
        let text = *dice.pick(&texts);
        let place = if dice.one_in(3) { place(dice, &review) } else { String::new() };
        match dice.below(4) {
            // At the start of the body, as a byte order mark.
            0 => {
                let mark = *dice.pick(&[b"\xef\xbb\xbf".as_slice(), b"\xff\xfe", b"\xfe\xff", b"\0"]);
                self.body.splice(0..0, mark.iter().copied());
                self.expected = Some(400);
            }
            // As a key.
            1 => {
                self.put_raw(&mut review, "/request/object/metadata/annotations/@KEY@", "1");
                self.replace(b"\"@KEY@\"", text);
            }
            _ => {
                let places = [
                    "/request/object/metadata/name",
                    "/request/uid",
                    "/request/userInfo/username",
                    "/request/operation",
                    "/request/object/metadata/labels/odd",
                    "/kind",
                ];
                let place = if place.is_empty() { dice.pick(&places) } else { place.as_str() };
                self.put_raw(&mut review, place, "\"@TEXT@\"");
                self.replace(b"\"@TEXT@\"", text);
            }
        }
    }

    fn repeated_key(&mut self, dice: &mut Dice) {
        self.what = "duplicate key";
        let opened: Vec<usize> = self
            .body
            .windows(2)
            .enumerate()
            .filter(|(_, two)| *two == b"{\"")
            .map(|(at, _)| at + 1)
            .collect();
        let at = *dice.pick(&opened);
        let key = self.body[at + 1..].iter().position(|byte| *byte == b'"').unwrap();
        let key = String::from_utf8(self.body[at + 1..][..key].to_vec()).unwrap();
        // A duplicate key, either identical or with an escaped first letter.
        let spelt = match key.chars().next() {
            Some(first) if dice.one_in(3) && first.is_ascii_alphanumeric() => {
                format!("\\u{:04x}{}", u32::from(first), &key[1..])
            }
            _ => key,
        };
        let value = *dice.pick(&["null", "1", "{}", "\"x\""]);
        self.body.splice(at..at, format!("\"{spelt}\":{value},").into_bytes());
    }

    fn odd_number(&mut self, dice: &mut Dice, mut review: Value) {
        self.what = "odd number";
        let numbers = [
            "1e999",
            "-1e999",
            "1e-999",
            "-0",
            "-0.0",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551616",
            "123456789012345678901234567890",
            "0.1234567890123456789012345678901234567890",
            "1E400",
            "00",
            "01",
            "+1",
            "1.",
            ".5",
            "1e",
            "0x10",
            "NaN",
            "Infinity",
            "-",
            "1_000",
        ];
        let number = *dice.pick(&numbers);
        let long = "9".repeat(5000);
        let number = if dice.one_in(20) { &long } else { number };
        let place = place(dice, &review);
        self.put_raw(&mut review, &place, number);
    }

    fn wrong_type(&mut self, dice: &mut Dice, mut review: Value) {
        self.what = "wrong type";
        let values =
            ["null", "true", "0", "-1.5", "\"\"", "\"x\"", "[]", "[1,\"x\",null]", "{}", "{\"a\":{}}"];
        for _ in 0..=dice.below(2) {
            let place = place(dice, &review);
            let text = *dice.pick(&values);
            let value: Value = serde_json::from_str(text).unwrap();
            if let Some(found) = review.pointer_mut(&place) {
                *found = value;
            }
        }
        self.body = review.to_string().into_bytes();
    }

    fn wrong_media_type(&mut self, dice: &mut Dice) {
        self.what = "media type";
        let (media_type, expected) = *dice.pick(&[
            (Some("text/plain"), 415),
            (Some("application/yaml"), 415),
            (Some("application/json-patch+json"), 415),
            (Some("application/jsonx"), 415),
            (Some("*/*"), 415),
            (Some(""), 415),
            (None, 415),
            (Some("Application/JSON ; charset=utf-8"), 200),
        ]);
        self.media_type = media_type.map(str::to_owned);
        self.expected = Some(expected);
    }

    /// Makes the body `over` bytes larger than the maximum, with one long text or with the maximum number of members.
    fn huge(&mut self, over: usize, filling: &str) {
        self.what = "huge";
        let mut object = support::daemonset();
        object["metadata"]["annotations"] = json!({"filling": "@FILLING@"});
        let body = String::from_utf8(support::admission_review(&object, None)).unwrap();
        let room = MAX_BODY + over - (body.len() - "@FILLING@".len());
        let (head, tail) = if filling.starts_with(',') { (r#"","k":[1"#, r#"],"end":""#) } else { ("", "") };
        let mut text = head.to_owned() + &filling.repeat((room - 100) / filling.len()) + tail;
        text.push_str(&"y".repeat(room - text.len()));
        self.body = body.replace("@FILLING@", &text).into_bytes();
        assert_eq!(self.body.len(), MAX_BODY + over);
        self.expected = Some(if over == 0 { 200 } else { 413 });
    }

    /// Puts raw text at a pointer, which `Value` may be unable to represent. Creates missing parents.
    fn put_raw(&mut self, review: &mut Value, place: &str, raw: &str) {
        let mut at = &mut *review;
        for token in place.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            at = match at {
                Value::Array(elements) => match token.parse::<usize>().ok().filter(|n| *n < elements.len()) {
                    Some(n) => &mut elements[n],
                    None => return,
                },
                other => {
                    if !other.is_object() {
                        *other = json!({});
                    }
                    &mut other[token.as_str()]
                }
            };
        }
        *at = json!("@RAW@");
        self.body = review.to_string().into_bytes();
        self.replace(b"\"@RAW@\"", raw.as_bytes());
    }

    fn replace(&mut self, what: &[u8], with: &[u8]) {
        if let Some(at) = self.body.windows(what.len()).position(|window| window == what) {
            self.body.splice(at..at + what.len(), with.iter().copied());
        }
    }
}

/// Returns a well-formed review. It may be denied.
fn review(dice: &mut Dice, uid: &str) -> Value {
    static DAEMONSET: LazyLock<Value> = LazyLock::new(support::daemonset);
    let object = daemonset(dice, DAEMONSET.clone());
    let mut review: Value = serde_json::from_slice(&support::admission_review(&object, None)).unwrap();
    let request = &mut review["request"];
    request["uid"] = json!(uid);
    match dice.below(20) {
        0..8 => {
            request["operation"] = json!("UPDATE");
            request["oldObject"] = if dice.one_in(2) { object } else { daemonset(dice, DAEMONSET.clone()) };
        }
        8 => {
            request["operation"] = json!("DELETE");
            request["oldObject"] = request["object"].take();
        }
        9 => request["kind"] = json!({"group": "", "version": "v1", "kind": "Pod"}),
        10 => request["subResource"] = json!("status"),
        _ => {}
    }
    review
}

fn daemonset(dice: &mut Dice, mut object: Value) -> Value {
    let metadata = [
        (
            "labels",
            vec![
                Value::Null,
                json!({}),
                json!({"app.kubernetes.io/component": "x"}),
                json!({"t": "\u{202e}\u{0}"}),
            ],
        ),
        ("annotations", vec![Value::Null, json!({"a/b~c": "\\\"\u{1f980}\n"})]),
        ("finalizers", vec![json!(["f"]), json!([])]),
        ("deletionTimestamp", vec![json!("2026-01-01T00:00:00Z")]),
        ("name", vec![json!(""), json!("\u{feff}name")]),
        ("namespace", vec![json!("kube-system"), json!("other")]),
    ];
    let requirement = json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"});
    let term = json!({"matchExpressions": [requirement], "unknown": -0.0});
    let required = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let pod = [
        (
            "tolerations",
            vec![
                Value::Null,
                json!([]),
                json!([{"operator": "Exists"}]),
                json!([{"key": "nvidia.com/gpu", "operator": "Near"}]),
            ],
        ),
        (
            "affinity",
            vec![
                Value::Null,
                json!({}),
                required(json!([])),
                required(json!([term, {}])),
                json!({"nodeAffinity": null}),
            ],
        ),
        ("nodeSelector", vec![Value::Null, json!({"disk": "ssd"}), json!({"type": "virtual-kubelet"})]),
        ("nodeName", vec![json!("n1"), json!("")]),
        ("hostNetwork", vec![json!(true), Value::Null]),
    ];
    let put = |dice: &mut Dice, object: &mut Value, fields: &[(&str, Vec<Value>)]| {
        for (field, values) in fields {
            if dice.one_in(5) {
                object[*field] = dice.pick(values).clone();
            }
        }
    };
    put(dice, &mut object["metadata"], &metadata);
    put(dice, object.pointer_mut("/spec/template/spec").unwrap(), &pod);
    if dice.one_in(10) {
        object["spec"]["selector"] = dice
            .pick(&[
                Value::Null,
                json!({}),
                json!({"matchLabels": {"version": "v1"}}),
                json!({"matchExpressions": [{"key": "k", "operator": "DoesNotExist"}]}),
            ])
            .clone();
    }
    if dice.one_in(10) {
        object["spec"]["minReadySeconds"] = json!(dice.below(10));
    }
    object
}

/// Returns a pointer to a random value inside the review.
fn place(dice: &mut Dice, review: &Value) -> String {
    let mut places = Vec::new();
    let mut pending = vec![(String::new(), review)];
    while let Some((path, value)) = pending.pop() {
        match value {
            Value::Array(elements) => {
                pending
                    .extend(elements.iter().enumerate().map(|(n, element)| (format!("{path}/{n}"), element)));
            }
            Value::Object(members) => pending.extend(members.iter().map(|(key, member)| {
                (format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), member)
            })),
            _ => {}
        }
        places.push(path);
    }
    places[1 + dice.below(places.len() - 1)].clone()
}
