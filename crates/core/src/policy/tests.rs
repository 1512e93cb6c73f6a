use serde_json::json;

use super::*;
use crate::review::{Context, Question, Review};
use crate::text;

fn policy(spec: serde_json::Value) -> Result<Policy, PolicyError> {
    let resource =
        json!({"apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": "p"}, "spec": spec});
    Policy::try_from(serde_json::from_value::<Resource>(resource).unwrap())
}

fn review(object: serde_json::Value, operation: &str) -> Review {
    let request = json!({
        "uid": "u", "kind": {"group": "apps", "version": "v1", "kind": "DaemonSet"}, "operation": operation,
        "namespace": "team-a", "userInfo": {"username": "jo", "groups": ["g"]}, "object": object, "oldObject": object,
    });
    let bytes = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
        .to_string();
    match Question::parse(bytes.as_bytes()).unwrap() {
        Question::Decide(review) => *review,
        Question::PassOver { reason, .. } => panic!("passed over: {reason}"),
    }
}

fn applies(r#match: serde_json::Value, review: &Review) -> Result<bool, Mismatch> {
    applies_in(&Context::default(), r#match, review)
}

fn applies_in(context: &Context, r#match: serde_json::Value, review: &Review) -> Result<bool, Mismatch> {
    let policy = policy(json!({"module": "builtin:x", "match": r#match})).unwrap();
    policy.scope.excludes(&LazyVariables::new(review, context)).map(|excluded| excluded.is_none())
}

#[test]
fn a_policy_with_only_a_module_has_the_documented_defaults() {
    let policy = policy(json!({"module": "builtin:x"})).unwrap();
    assert_eq!(policy.module, ModuleRef::Builtin("x".into()));
    assert_eq!((policy.order, policy.mode, policy.on_error), (0, Mode::Enforce, OnError::Fail));
    assert_eq!(policy.template, TemplateRule::OnChange);
    assert_eq!(policy.limits, PolicyLimits { timeout: Duration::from_secs(1), memory: 16 << 20 });
    assert_eq!(&*policy.settings, "{}");
    assert!(policy.cluster_data.is_empty());
}

#[test]
fn errors_name_the_invalid_field_and_the_expected_value() {
    for (spec, message) in [
        (
            json!({"module": "x"}),
            "`spec.module`: expected `builtin:NAME`, `file:PATH` or `oci://HOST/NAME@sha256:…`, found `x`",
        ),
        (
            json!({"module": "builtin:"}),
            "`spec.module`: expected `builtin:NAME`, `file:PATH` or `oci://HOST/NAME@sha256:…`, found `builtin:`",
        ),
        (
            json!({"module": "oci://r/x"}),
            "`spec.module`: expected a digest after `x`, found none; hint: `@sha256:…` names one artifact for ever, and \
             a tag such as `:1.0.0` works too",
        ),
        (
            json!({"module": "builtin:x", "limits": {"timeout": "1m"}}),
            "`spec.limits.timeout`: expected `1ms` to `10s`, found `1m`",
        ),
        (
            json!({"module": "builtin:x", "limits": {"timeout": "11s"}}),
            "`spec.limits.timeout`: expected `1ms` to `10s`, found `11s`",
        ),
        (
            json!({"module": "builtin:x", "limits": {"memory": "33Mi"}}),
            "`spec.limits.memory`: expected `1Mi` to `32Mi`, found `33Mi`",
        ),
        (
            json!({"module": "builtin:x", "limits": {"memory": "99999999999999999999Mi"}}),
            "`spec.limits.memory`: expected `1Mi` to `32Mi`, found `99999999999999999999Mi`",
        ),
        (json!({"module": "builtin:x", "settings": []}), "`spec.settings`: expected a mapping, found `[]`"),
        (
            json!({"module": "builtin:x", "match": {"operations": []}}),
            "`spec.match.operations`: expected `CREATE`, `UPDATE` or both, found none",
        ),
        (
            json!({"module": "builtin:x", "match": {"objectSelector": {"matchExpressions": [{"key": "k", "operator": "In"}]}}}),
            "`spec.match.objectSelector`: `k`: `In` and `NotIn` need at least one value",
        ),
        (
            json!({"module": "builtin:x", "match": {"conditions": [{"name": "c", "expression": "[1].all(n, n == objct)"}]}}),
            "`spec.match.conditions`: condition `c`: there is no variable `objct`; did you mean `object`?",
        ),
        (
            json!({"module": "builtin:x", "match": {"conditions": [{"name": "c", "expression": "variables.x == 1"}]}}),
            "`spec.match.conditions`: condition `c`: there is no variable `variables`; write one of `object`, `oldObject`, `request`, `namespaceObject`",
        ),
        (
            json!({"module": "builtin:x", "match": {"conditions": [{"name": "c", "expression": "object.metadata.name.startWith('a')"}]}}),
            "`spec.match.conditions`: condition `c`: there is no function `startWith`; did you mean `startsWith`?",
        ),
        (
            json!({"module": "builtin:x", "match": {"conditions": [{"name": "c", "expression": "object.metadata.name.matches('(')"}]}}),
            "`spec.match.conditions`: condition `c`: `(` is not a regular expression: found open group without closing ')'; correct it; docs/cel.md has the syntax",
        ),
    ] {
        assert_eq!(text::with_causes(&policy(spec).unwrap_err(), 1000), message);
    }
    let error =
        policy(json!({"module": "builtin:x", "match": {"conditions": [{"name": "c", "expression": "1 +"}]}}));
    let error = text::with_causes(&error.unwrap_err(), 1000);
    assert!(error.starts_with(
        "`spec.match.conditions`: condition `c`: the expression is not CEL: line 1, column 4: "
    ));
}

#[test]
fn limits_the_number_and_total_size_of_conditions() {
    let of = |n: usize, expression: &str| {
        let conditions = vec![json!({"name": "c", "expression": expression}); n];
        policy(json!({"module": "builtin:x", "match": {"conditions": conditions}}))
    };
    let quarter = format!("{:4096}", "true");
    assert!(of(64, "true").is_ok() && of(4, &quarter).is_ok());
    for (refused, found) in [(of(65, "true"), "65 with 260"), (of(5, &quarter), "5 with 20480")] {
        let error = text::with_causes(&refused.unwrap_err(), 1000);
        let expected =
            "`spec.match.conditions`: expected at most 64 conditions with 16384 bytes in total, found ";
        assert!(error.starts_with(expected) && error.contains(found), "{error}");
    }
}

#[test]
fn rejects_unknown_fields_at_every_level() {
    for resource in [
        json!({"apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": "p"}, "spec": {"module": "m"}, "sepc": {}}),
        json!({"apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": "p"}, "spec": {"module": "m", "mdoe": 1}}),
        json!({"apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": "p"}, "spec": {"module": "m", "match": {"namespaces": []}}}),
        json!({"apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": "p"}, "spec": {"module": "m", "limits": {"cpu": 1}}}),
    ] {
        let error = serde_json::from_value::<Resource>(resource).unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{error}");
    }
}

#[test]
fn accepts_only_dns_labels_as_names() {
    for (name, good) in [("a", true), ("a-1", true), ("A", false), ("-a", false), ("", false), ("a.b", false)]
    {
        assert_eq!(is_dns_label(name), good, "{name}");
    }
    assert!(!is_dns_label(&"a".repeat(64)));
}

#[test]
fn matches_by_operation_names_and_labels() {
    let create = review(json!({"metadata": {"name": "n", "labels": {"a": "1"}}}), "CREATE");
    for (r#match, expected) in [
        (json!({}), true),
        (json!({"operations": ["UPDATE"]}), false),
        (json!({"excludeNamespaces": ["team-a"]}), false),
        (json!({"excludeNamespaces": ["team"]}), true),
        (json!({"excludeNames": ["n"]}), false),
        (json!({"objectSelector": {"matchLabels": {"a": "1"}}}), true),
        (json!({"objectSelector": {"matchLabels": {"a": "2"}}}), false),
        (
            json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}}),
            false,
        ),
        (
            json!({"objectSelector": {"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}}),
            true,
        ),
        (json!({"objectSelector": {"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}}), true),
        (json!({"objectSelector": {"matchExpressions": [{"key": "b", "operator": "Exists"}]}}), false),
        (json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "team-a"}}}), true),
    ] {
        assert_eq!(applies(r#match.clone(), &create), Ok(expected), "{}", r#match);
    }
}

#[test]
fn fails_to_match_if_it_needs_unknown_namespace_labels() {
    let by_label = json!({"namespaceSelector": {"matchLabels": {"tier": "prod"}}});
    let review = review(json!({"metadata": {"name": "n"}}), "CREATE");
    let namespace = "team-a".to_owned();
    assert_eq!(applies(by_label.clone(), &review), Err(Mismatch::NamespaceLabels { namespace }));
    let labels = [("tier".to_owned(), "prod".to_owned())].into();
    let context = Context { namespace_labels: NamespaceLabels::Known(Arc::new(labels)), nodes: None };
    assert_eq!(applies_in(&context, by_label, &review), Ok(true));
    let other = json!({"namespaceSelector": {"matchLabels": {"tier": "dev"}}});
    assert_eq!(applies_in(&context, other, &review), Ok(false));
}

#[test]
fn conditions_can_use_object_request_and_namespace() {
    let review = review(json!({"metadata": {"name": "n"}, "spec": {"minReadySeconds": 7}}), "UPDATE");
    for (expression, expected) in [
        ("object.spec.minReadySeconds > 5", Ok(true)),
        ("object.metadata.name == 'm'", Ok(false)),
        ("oldObject.spec.minReadySeconds == 7 && request.operation == 'UPDATE'", Ok(true)),
        ("'g' in request.userInfo.groups && request.userInfo.username != 'root'", Ok(true)),
        ("namespaceObject.metadata.labels['kubernetes.io/metadata.name'] == 'team-a'", Ok(true)),
        ("has(object.spec.template)", Ok(false)),
        (
            "object.spec.template.x == 1",
            Err(
                "condition `c` could not be evaluated: no such key `template`; ask for it first: `has(….template)`",
            ),
        ),
        (
            "request.kind.group == 'apps' && request.resource.resource == 'daemonsets' && request.uid != ''",
            Ok(true),
        ),
        ("namespaceObject.metadata.name == request.namespace && !request.dryRun", Ok(true)),
        (
            "quantity('1Gi').isGreaterThan(quantity('1Mi')) && '%d'.format([object.spec.minReadySeconds]) == '7'",
            Ok(true),
        ),
        ("object.metadata.?labels.?tier.orValue('none') == 'none'", Ok(true)),
        ("[1, 2].all(n, n < 3) && object.spec.minReadySeconds in [7].map(x, x)", Ok(true)),
        ("1", Err("condition `c`: expected true or false, found `int`")),
    ] {
        let found = applies(json!({"conditions": [{"name": "c", "expression": expression}]}), &review);
        assert_eq!(
            found.map_err(|error| text::with_causes(&error, 1000)),
            expected.map_err(str::to_owned),
            "{expression}"
        );
    }
}

#[test]
fn rejects_conditions_that_could_overflow_the_stack() {
    let refused = |expression: String| {
        let conditions = json!({"conditions": [{"name": "c", "expression": expression}]});
        let error = policy(json!({"module": "builtin:x", "match": conditions})).unwrap_err();
        text::with_causes(&error, 1000)
    };
    for (expression, problem) in [
        (
            format!("{} > 0", vec!["1"; 200].join("+")),
            "the expression has more than 100 operators or members in one chain",
        ),
        (
            format!("object{} == 1", ".a".repeat(2000)),
            "the expression has more than 100 operators or members in one chain",
        ),
        (
            format!("object{} == 1", "[0]".repeat(300)),
            "the expression has more than 100 operators or members in one chain",
        ),
        (
            format!("{}1{} != []", "[".repeat(101), "]".repeat(101)),
            "the expression nests more than 100 levels deep",
        ),
        ("1 + ".repeat(4000) + "1 > 0", "expected at most 4096 bytes, found 16005"),
    ] {
        let message =
            format!("`spec.match.conditions`: condition `c`: {problem}; split it into several conditions");
        assert_eq!(refused(expression), message);
    }
}

/// Returns a review of a DaemonSet of more than 1 MiB.
fn large_review() -> Review {
    let variables: Vec<_> =
        (0..30_000).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "x"})).collect();
    let container = json!({"name": "c", "env": variables});
    let spec = json!({"template": {"spec": {"containers": [container]}}});
    review(json!({"metadata": {"name": "n"}, "spec": spec}), "CREATE")
}

#[test]
fn a_condition_that_explodes_ends_at_its_budget() {
    let review = large_review();
    assert!(review.object.text().len() > 1 << 20);
    let env = "object.spec.template.spec.containers[0].env";
    let doubling = (0..24).fold("s24 != ''".to_owned(), |inside, n| {
        let n = 23 - n;
        format!("cel.bind(s{}, s{n} + s{n}, {inside})", n + 1)
    });
    for (expression, limit) in [
        (
            format!("{env}.all(a, {env}.all(b, {env}.all(c, a.value == b.value && b.value == c.value)))"),
            "needs more than 1000000 steps",
        ),
        (format!("{env}.map(a, {env}.map(b, b.name + a.name)).size() > 0"), ""),
        (
            format!("{env}.exists(a, {env}.exists(b, a.name.contains(b.value + b.name)))"),
            "needs more than 1000000 steps",
        ),
        (format!("{env}.exists(a, {env} == {env} && false)"), "needs more than 1000000 steps"),
        (
            format!("{env}.map(e, e.name).join('|').matches('(VARIABLE_[0-9]+.?){{200}}')"),
            "needs more than 1000000 steps",
        ),
        (format!("cel.bind(s0, 'abcdefgh', {doubling})"), "builds values of more than 8388608 bytes"),
        (format!("'%s'.format([{env}.map(e, {env})]) == ''"), ""),
        (format!("{env}.all(a, {env}.all(b, 1 / 0 == 1)) || true"), "needs more than 1000000 steps"),
    ] {
        let conditions = json!({"conditions": [{"name": "c", "expression": expression}]});
        let error = text::with_causes(&applies(conditions, &review).unwrap_err(), 1000);
        assert!(error.starts_with(&format!("condition `c` {limit}")), "{expression}: {error}");
        assert!(error.ends_with("; all conditions of a policy share this budget"), "{expression}: {error}");
    }
    // One look at each element is cheap enough.
    let once = format!("{env}.all(e, e.name.startsWith('VARIABLE_') && e.value == 'x')");
    assert_eq!(applies(json!({"conditions": [{"name": "c", "expression": once}]}), &review), Ok(true));
}

#[test]
fn the_conditions_of_a_policy_share_their_budget() {
    let once = "object.spec.template.spec.containers[0].env.all(e, e.name.startsWith('VARIABLE_') && e.value == 'x')";
    let conditions: Vec<_> = (0..64).map(|n| json!({"name": format!("c{n}"), "expression": once})).collect();
    let error = applies(json!({"conditions": conditions}), &large_review()).unwrap_err().to_string();
    assert!(error.contains(" needs more than 1000000 steps; ") && !error.contains("`c0`"), "{error}");
}

#[test]
fn only_conditions_that_mention_the_namespace_look_at_it() {
    let looks = |expression: &str| {
        let conditions = json!({"conditions": [{"name": "c", "expression": expression}]});
        policy(json!({"module": "builtin:x", "match": conditions})).unwrap().scope.looks_at_namespace()
    };
    assert!(looks("namespaceObject.metadata.labels.a == 'b'") && !looks("object.metadata.name == 'a'"));
}

/// A test's thread has as much stack as a server's. A condition that needs more aborts the process, and the test
/// fails.
#[test]
fn parses_or_rejects_conditions_with_any_nesting() {
    let nested = |open: &str, close: &str, middle: &str| {
        let room = 4096 - middle.len();
        [room / (open.len() + close.len()), 200, 97, 96, 95, 50]
            .map(|levels| open.repeat(levels) + middle + &close.repeat(levels))
    };
    for (open, close, middle) in [
        ("(", ")", "true"),
        ("[", "]", "1"),
        ("{1:", "}", "1"),
        ("{", ":1}", "1"),
        ("!", "", "true"),
        ("-", "", "1"),
        ("- ", "", "1"),
        ("true?", ":false", "true"),
        ("true?true:", "", "true"),
        ("f(", ")", "1"),
        ("object.f(", ")", "1"),
        ("object[", "]", "1"),
        ("[1].all(x,", ")", "true"),
        ("has(object.", ")", "a"),
        ("a{b:", "}", "1"),
        ("", ".a", "object"),
        ("", "[0]", "object"),
        ("", ".f()", "object"),
        ("1 in ", "", "[1]"),
        ("true&&", "", "true"),
        ("true||", "", "true"),
        ("true&&(", ")", "true"),
        ("", "==1", "1"),
        ("(", "", ""),
        ("", ")", ""),
        ("[[{(", "", ""),
        ("'", "", ""),
        ("\\", "", ""),
    ] {
        for expression in nested(open, close, middle) {
            let conditions = json!({"conditions": [{"name": "c", "expression": expression}]});
            if let Err(error) = policy(json!({"module": "builtin:x", "match": conditions})) {
                let words = text::with_causes(&error, 1000);
                assert!(words.starts_with("`spec.match.conditions`: condition `c`"), "{words}");
            }
        }
    }
}

#[test]
fn a_false_condition_wins_over_one_that_fails() {
    let review = review(json!({"metadata": {"name": "n"}}), "CREATE");
    let conditions = json!({"conditions": [
        {"name": "fails", "expression": "object.nothing.here == 1"}, {"name": "false", "expression": "false"},
    ]});
    assert_eq!(applies(conditions, &review), Ok(false));
}
