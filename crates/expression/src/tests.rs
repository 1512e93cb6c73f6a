//! Tests of expressions as a whole.

use super::*;

const LIMITS: ExpressionLimits = ExpressionLimits { length: 4096, levels: 28, chain: 64, advice: "split it" };
const ROOTS: [&str; 4] = ["object", "oldObject", "request", "namespaceObject"];

fn parse(text: &str) -> Result<Expression, ExpressionProblem> {
    let names = KnownNames { roots: &ROOTS, variables: Some(&["one", "broken"]) };
    let parsed = Expression::parse(text, LIMITS, names)?;
    parsed.check_patterns().map(|()| parsed)
}

fn error(text: &str) -> String {
    let problem = parse(text).expect_err(text);
    format!("{}; {}", problem.message, problem.fix)
}

fn evaluate_within(budget: StepBudget, json: &str, text: &str) -> Result<bool, String> {
    let parsed = parse(text).map_err(|problem| problem.message)?;
    let mut variables = Variables::default();
    variables.set("object", serde_json::from_str(json).expect("is JSON"));
    variables.set_variable("one", Ok(Value::Int(1)));
    variables.set_variable("broken", Err(Fault::Key("x".to_owned()).of_variable("broken", "object.x")));
    match parsed.evaluate(&variables, &mut Meter::new(budget)) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(other) => Err(format!("found {other:?}")),
        Err(fault) => Err(fault.to_string()),
    }
}

fn evaluate(json: &str, text: &str) -> Result<bool, String> {
    evaluate_within(StepBudget::EXPRESSION, json, text)
}

fn all_hold(expressions: &[&str]) {
    for expression in expressions {
        assert_eq!(evaluate("{}", expression), Ok(true), "{expression}");
    }
}

fn all_fail(expressions: &[(&str, &str)]) {
    for (expression, part) in expressions {
        let error = evaluate("{}", expression).expect_err(expression);
        assert!(error.contains(part), "{expression}: {error}");
        assert!(!error.contains("Some(") && !error.contains("String("), "{expression}: {error}");
    }
}

#[test]
fn strings_have_the_functions_of_kubernetes() {
    all_hold(&[
        "'TacoCat'.lowerAscii() == 'tacocat'",
        "'TacoCat'.upperAscii() == 'TACOCAT'",
        "'a,b,c'.split(',') == ['a', 'b', 'c']",
        "'a,b,c'.split(',', 2) == ['a', 'b,c'] && 'a,b'.split(',', 0) == [] && 'a,b'.split(',', -1) == ['a', 'b']",
        "'abc'.split('') == ['a', 'b', 'c'] && 'abc'.split('', 2) == ['a', 'bc'] && ''.split('') == []",
        "['a', 'b'].join('-') == 'a-b' && ['a', 'b'].join() == 'ab' && [].join(',') == ''",
        "'hello'.replace('l', 'L') == 'heLLo' && 'hello'.replace('l', 'L', 1) == 'heLlo'",
        "'hello'.replace('l', 'L', -1) == 'heLLo' && 'ab'.replace('', '-') == '-a-b-'",
        "'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco' && 'äöü'.substring(1, 2) == 'ö'",
        "'  x '.trim() == 'x'",
        "'tacocat'.indexOf('c') == 2 && 'tacocat'.lastIndexOf('c') == 4",
        "'hello mellow'.indexOf('') == 0 && 'hello mellow'.indexOf('jello') == -1",
        "'hello mellow'.indexOf('', 2) == 2 && 'abc'.indexOf('', 20) == 3",
        "'ta©o©αT'.indexOf('©', 3) == 4 && 'ta©o©αT'.indexOf('©α', 5) == -1",
        "'hello mellow'.lastIndexOf('') == 12 && ''.lastIndexOf('@@') == -1",
        "'hello mellow'.lastIndexOf('ello', 6) == 1 && 'ta©o©αT'.lastIndexOf('©', 3) == 2",
        "'bananananana'.lastIndexOf('nana', 7) == 6",
        "'hello'.indexOf('l', 20) == -1 && 'hello'.lastIndexOf('l', 20) == -1 && ''.indexOf('a') == -1",
        "'abc'.charAt(1) == 'b' && 'tacocat'.charAt(7) == '' && '©αT'.charAt(1) == 'α'",
        "'abc'.startsWith('a') && 'abc'.endsWith('c') && 'abc'.contains('b')",
        "size('abc') == 3 && 'abc'.size() == 3 && 'äöü'.size() == 3",
        "'abc'.reverse() == 'cba'",
        "strings.quote('a\"b\\n') == '\"a\\\\\"b\\\\n\"'",
        "'a' + 'b' == 'ab' && b'a' + b'b' == b'ab'",
    ]);
    all_fail(&[
        ("'abc'.indexOf('', -1) == 0", "`indexOf`: the index -1 is out of range"),
        ("'tacocat'.charAt(30) == ''", "the index 30 is out of range"),
        ("'abc'.substring(2, 1) == ''", "the start 2 is behind the end 1"),
        ("'abc'.substring(4) == ''", "the index 4 is out of range"),
        ("['hello', 1].join() == ''", "expected a list of strings, found `int` in it"),
        ("'a'.startsWith(1)", "`startsWith` does not take the types `string`, `int`"),
    ]);
}

#[test]
fn formats_as_cel_go_does() {
    all_hold(&[
        "'%s has %d'.format(['x', 2]) == 'x has 2'",
        "'100%%'.format([]) == '100%' && 'none'.format([1]) == 'none'",
        "'%s %s %s'.format([true, null, 1.5]) == 'true null 1.5'",
        "'%s'.format([{'b': [1, 'x'], 'a': 2u}]) == '{\"a\":2, \"b\":[1, \"x\"]}'",
        "'%s'.format([[1.5, b'x', null, [true]]]) == '[1.500000, b\"x\", null, [true]]'",
        "'%s'.format([{1: 'a', true: 'b', 'c': 'd'}]) == '{\"c\":\"d\", 1:\"a\", true:\"b\"}'",
        "'%s'.format([['a\"\\n\\\\']]) == '[\"a\\\\\"\\\\n\\\\\\\\\"]'",
        "'%s'.format([type(1)]) == 'int' && '%s'.format([b'abc']) == 'abc'",
        "'%.2f'.format([3.14159]) == '3.14' && '%f'.format([2.0]) == '2.000000' && '%.3f'.format([1.2345]) == '1.234'",
        "'%.1f'.format([1234567.89]) == '1,234,567.9' && '%.0f'.format([-1234.0]) == '-1,234'",
        "'%f %f %f'.format(['NaN', 'Infinity', '-Infinity']) == 'NaN ∞ -∞'",
        "'%.6e'.format([1052.032911275]) == '1.052033\\u202f×\\u202f10⁰³' && '%.1e'.format([0.00012]) == '1.200000\\u202f×\\u202f10⁻⁰⁴'",
        "'%s %s %s'.format([1e6, 123456.5, 0.00001]) == '1e+06 123456.5 1e-05' && string(0.0001) == '0.0001'",
        "'%s %s'.format([double('NaN'), double('-inf')]) == 'NaN -Inf' && string(1234567.0) == '1.234567e+06'",
        "'%b'.format([5]) == '101' && '%b'.format([-5]) == '-101' && '%b'.format([true]) == '1'",
        "'%x'.format([255]) == 'ff' && '%X'.format([255]) == 'FF' && '%x'.format(['hi']) == '6869'",
        "'%o'.format([8]) == '10'",
    ]);
    all_fail(&[
        ("'%s'.format([]) == ''", "there is no value for `%s`"),
        ("'%d'.format(['x']) == ''", "`%d` does not take the type `string`"),
        ("'%f'.format([1]) == ''", "`%f` does not take the type `int`"),
        ("'%y'.format([1]) == ''", "there is no clause `%y`"),
        ("'%'.format([1]) == ''", "a letter is missing"),
        ("'%.101f'.format([1.0]) == ''", "expected a precision of 0 to 100, found `101`"),
        ("'%s'.format([quantity('1')]) == ''", "`%s` does not take the type `kubernetes.Quantity`"),
    ]);
}

#[test]
fn lists_have_the_functions_of_kubernetes() {
    all_hold(&[
        "[1, 2, 2].isSorted() && ![2, 1].isSorted() && [].isSorted()",
        "['a', 'b'].isSorted()",
        "[1, 2, 3].sum() == 6 && [1.5, 2.5].sum() == 4.0 && [].sum() == 0",
        "[2, 1, 3].min() == 1 && [2, 1, 3].max() == 3",
        "['b', 'a'].max() == 'b'",
        "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [1].indexOf(7) == -1",
        "['a'].lastIndexOf('b') == -1",
        "[1] + [2] == [1, 2] && [1, 2][1] == 2 && size([1]) == 1 && [1, 2].size() == 2",
    ]);
    all_fail(&[
        ("[].min() == 1", "`min`: the list is empty"),
        ("[].max() == 1", "`max`: the list is empty"),
        ("[1, 'a'].max() == 1", "`string` and `int` have no order"),
        ("[1, 'a'].isSorted()", "have no order"),
        ("[true, false].sum() == 1", "have no sum"),
        ("['a', 'b'].sum() == 'ab'", "have no sum"),
        ("[1][1] == 1", "the list has no element with that index"),
        ("[1][-1] == 1", "the list has no element with that index"),
    ]);
}

#[test]
fn sets_compare_lists() {
    all_hold(&[
        "sets.contains([1, 2, 3], [3, 1]) && !sets.contains([1], [2]) && sets.contains([1], [])",
        "sets.equivalent([1, 1, 2], [2, 1]) && !sets.equivalent([1], [1, 2])",
        "sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], [2])",
    ]);
}

#[test]
fn regular_expressions_find_and_match() {
    all_hold(&[
        "'registry.example.com/a:v1'.matches('^registry[.]example[.]com/')",
        "!'docker.io/a'.matches('^registry')",
        "matches('abc', 'b')",
        "'abc 123 456'.find('[0-9]+') == '123' && 'abc'.find('[0-9]+') == ''",
        "'1 22 333'.findAll('[0-9]+') == ['1', '22', '333']",
        "'1 22 333'.findAll('[0-9]+', 2) == ['1', '22'] && '1 2'.findAll('[0-9]', -1) == ['1', '2']",
        "['a1', 'a2'].all(x, x.matches('^a[0-9]$'))",
        "['a', 'b'].all(x, x.matches('^' + x + '$'))",
        "'ä'.matches('^.$') && !'ä'.matches('\\\\w')",
    ]);
    all_fail(&[("'a'.matches('(' + '')", "`matches`: `(` is not a regular expression")]);
    assert!(error("object.x.matches('(')").contains("`(` is not a regular expression"));
    assert!(error("matches(object.x, '[')").contains("`[` is not a regular expression"));
    let nested = |n: usize| format!("'a'.matches('{}a{}')", "(".repeat(n), ")".repeat(n));
    assert!(parse(&nested(15)).is_ok() && parse(&nested(200)).is_err());
    assert!(parse("'a'.matches('(a{1000}){1000}')").is_err());
}

#[test]
fn quantities_compare_and_compute() {
    all_hold(&[
        "quantity('1Gi') == quantity('1024Mi') && quantity('1') != quantity('2')",
        "isQuantity('100m') && !isQuantity('much')",
        "quantity('100Mi').isLessThan(quantity('1Gi')) && quantity('2').isGreaterThan(quantity('1500m'))",
        "quantity('1').compareTo(quantity('2')) == -1 && quantity('1').compareTo(quantity('1')) == 0",
        "quantity('1').add(quantity('500m')) == quantity('1.5') && quantity('1').add(2) == quantity('3')",
        "quantity('1').sub(quantity('2')) == quantity('-1') && quantity('5').sub(2) == quantity('3')",
        "quantity('2k').isInteger() && quantity('2k').asInteger() == 2000 && !quantity('1m').isInteger()",
        "quantity('1500m').asApproximateFloat() == 1.5",
        "quantity('-1').sign() == -1 && quantity('0').sign() == 0 && quantity('1').sign() == 1",
        "quantity('1') < quantity('2')",
        "[quantity('2'), quantity('1')].min() == quantity('1')",
    ]);
    all_fail(&[
        ("quantity('much') == 1", "expected a quantity such as `100m` or `1Gi`, found `much`"),
        ("quantity('1m').asInteger() == 1", "not a 64-bit integer"),
        ("quantity('1').isLessThan(1)", "`isLessThan` does not take the types `kubernetes.Quantity`, `int`"),
    ]);
}

#[test]
fn optional_values_and_types_work() {
    all_hold(&[
        "{'a': {'b': 1}}.?a.?b.orValue(0) == 1 && {'a': 1}.?x.orValue(7) == 7",
        "{'a': 1}[?'a'].hasValue() && !{'a': 1}[?'b'].hasValue() && [1][?0].value() == 1 && ![1][?1].hasValue()",
        "{'a': {'b': 1}}.?a.b.orValue(0) == 1 && !{'a': {}}.?a.b.hasValue() && !{'a': 1}.?x.b.c.hasValue()",
        "has({'a': {'b': 1}}.?a.b) && !has({'a': 1}.?x.b)",
        "optional.of(1).value() == 1 && optional.none().or(optional.of(2)).value() == 2",
        "optional.of(1).orValue(1 / 0) == 1 && optional.of(1).or(optional.of(1 / 0)).value() == 1",
        "!optional.ofNonZeroValue('').hasValue() && optional.ofNonZeroValue('a').hasValue()",
        "{'a': 1}.?a.optMap(x, x + 1).value() == 2 && !{'a': 1}.?b.optMap(x, x + 1).hasValue()",
        "{'a': {'b': 1}}.?a.optFlatMap(x, x.?b).value() == 1 && !{'a': {}}.?a.optFlatMap(x, x.?b).hasValue()",
        "[1, 2].map(x, {'a': x}.?a.optMap(y, x * y).orValue(0)) == [1, 4]",
        "[?optional.of(1), ?optional.none(), 2] == [1, 2] && {?'a': optional.none(), 'b': 1} == {'b': 1}",
        "optional.of(1) == optional.of(1) && optional.of(1) != optional.none()",
        "type(1) == int && type('a') == string && type([]) == list && type({}) == map && type(1.5) == double",
        "type(null) == null_type && type(type(1)) == type && type(optional.none()) == optional_type",
        "int('7') == 7 && string(7) == '7' && double('1.5') == 1.5 && bool('true') && uint(7) == 7u",
        "int(7.9) == 7 && int(7u) == 7 && string(1.5) == '1.5' && string(true) == 'true' && double(2) == 2.0",
        "dyn(1) == 1.0 && size(bytes('abc')) == 3 && string(b'abc') == 'abc'",
    ]);
    all_fail(&[
        ("optional.none().value() == 1", "`value`: the optional value is missing"),
        ("int('x') == 1", "`int`: expected a whole number, found `x`"),
        ("int(1e30) == 1", "`int`: the number is too large for 64 bits"),
        ("uint(-1) == 1u", "`uint`: the number is negative or too large for 64 bits"),
        ("bool('yes')", "`bool`: expected `true` or `false`, found `yes`"),
        ("1.orValue(2) == 1", "`orValue` does not take the types `int`"),
    ]);
}

#[test]
fn macros_work() {
    all_hold(&[
        "[1, 2].all(x, x > 0) && [1, 2].exists(x, x == 2) && [1, 2].exists_one(x, x == 2)",
        "[].all(x, false) && ![].exists(x, true) && ![2, 2].exists_one(x, x == 2)",
        "[1, 2].map(x, x * 2) == [2, 4] && [1, 2, 3].map(x, x > 1, x * 2) == [4, 6]",
        "[1, 2, 3].filter(x, x > 1) == [2, 3]",
        "has({'a': 1}.a) && !has({'a': 1}.b)",
        "!has(null.a) && !has('x'.a) && !has(1.a)",
        "{'a': 1, 'b': 2}.all(k, k in ['a', 'b']) && {'b': 1, 'a': 2}.map(k, k) == ['a', 'b']",
        "[[1, 2], [3]].all(x, x.all(y, [y].exists(z, z == y && y in x)))",
        "[1, 2].map(x, [3].map(x, x * 2)) == [[6], [6]]",
        "[5, 6].all(i, v, v == i + 5) && {'a': 1}.exists(k, v, k == 'a' && v == 1)",
        "[1, 2].existsOne(i, v, i == 1) && [1, 2].existsOne(x, x == 1)",
        "[5, 6].transformList(i, v, i * v) == [0, 6] && [5, 6].transformList(i, v, i > 0, v) == [6]",
        "{'a': 1}.transformMap(k, v, v + 1) == {'a': 2} && ['x'].transformMap(i, v, v) == {0: 'x'}",
        "cel.bind(x, 1 + 1, x * x) == 4 && cel.bind(x, 1, cel.bind(y, x + 1, x + y)) == 3",
    ]);
    all_fail(&[
        ("1.all(x, true)", "expected a list or map for a macro, found `int`"),
        ("[1].exists_one(x, x)", "expected true or false, found `int`"),
        ("[1].filter(x, x) == []", "expected true or false, found `int`"),
    ]);
}

#[test]
fn one_side_decides_even_if_the_other_one_fails() {
    all_hold(&[
        "true || 1 / 0 == 1",
        "1 / 0 == 1 || true",
        "!(false && 1 / 0 == 1)",
        "!(1 / 0 == 1 && false)",
        "[0, 1].exists(x, 1 / x == 1)",
        "![0, 1].all(x, 1 / x == 2)",
        "variables.broken == 1 || true",
        "variables.one == 1",
        "true ? true : 1 / 0 == 1",
    ]);
    all_fail(&[
        ("false || 1 / 0 == 1", "`/` by zero"),
        ("1 / 0 == 1 || false", "`/` by zero"),
        ("1 / 0 == 1 && true", "`/` by zero"),
        ("[0, 1].all(x, 1 / x == 1)", "`/` by zero"),
        ("variables.broken == 1", "`variables.broken`: no such key `x`"),
        ("'a' && true", "expected true or false, found `string`"),
    ]);
}

#[test]
fn numbers_compare_by_value_and_nan_equals_nothing() {
    all_hold(&[
        "1 == 1.0 && 1u == 1 && 1 < 1.5 && 2u > 1.5 && 1 <= 1u && 9007199254740993 != 9007199254740992.0",
        "1 in [1.0] && 1.0 in {1: 2} && {1: 2}[1u] == 2",
        "!(double('NaN') == double('NaN')) && double('NaN') != double('NaN') && !([double('NaN')] == [double('NaN')])",
        "!(double('NaN') < 1.0) && !(double('NaN') > 1.0) && !(1 <= double('NaN')) && !(1u >= double('NaN'))",
        "double('-inf') < -9223372036854775807 && double('inf') > 18446744073709551615u",
        "'a' != 1 && [1] != 'a' && null != false && null == null",
        "'a' < 'b' && false < true && b'a' < b'b'",
        "7 / 2 == 3 && 7 % 2 == 1 && -7 / 2 == -3 && 1.0 / 0.0 == double('inf')",
        "-(1) == -1 && !false",
    ]);
    all_fail(&[
        ("1 < 'a'", "`<` does not take the types `int`, `string`"),
        ("1 + 1.0 == 2.0", "`+` does not take the types `int`, `double`"),
        ("9223372036854775807 + 1 == 0", "the result of `+` is too large for the type"),
        ("1 % 0 == 1", "`%` by zero"),
        ("-'a' == 1", "`-` does not take the types `string`"),
        ("1 in 1", "`in` does not take the types `int`, `int`"),
        ("{[1]: 1} == {}", "expected a string, number or boolean as a key, found `list`"),
        ("{1: 1, 1u: 2} == {}", "the map has the same key twice"),
    ]);
}

#[test]
fn reads_the_document() {
    let object = r#"{"metadata":{"name":"a","annotations":{"b/c":"x","d\n":"y"},"namespace":"n","x-y":1,"p__q":2},
                     "spec":{"replicas":3,"half":0.5,"large":18446744073709551615,"none":null,"list":[1,null]}}"#;
    for text in [
        "object.metadata.name == 'a' && object.spec.replicas == 3 && object.spec.half == 0.5",
        "object.spec.large == 18446744073709551615u && type(object.spec.large) == uint",
        "object.metadata.annotations['b/c'] == 'x' && object.metadata.annotations.`b/c` == 'x'",
        "object.metadata.annotations['d\\n'] == 'y' && 'b/c' in object.metadata.annotations",
        "object.metadata.__namespace__ == 'n' && object.metadata.x__dash__y == 1 && object.metadata.p__q == 2",
        "object.metadata.p__underscores__q == 2 && !has(object.metadata.__other__)",
        "!has(object.spec.none) && object.spec.list == [1, null]",
        "has(object.metadata.name) && !has(object.spec.template)",
        "object.metadata.annotations.all(k, v, v in ['x', 'y'])",
    ] {
        assert_eq!(evaluate(object, text), Ok(true), "{text}");
    }
    for (text, part) in [
        ("object.spec.x.y == 1", "no such key `x`; ask for it first: `has(….x)`"),
        ("object.metadata.annotations['e/f'] == ''", "no such key `e/f`; ask for it first: `'e/f' in …`"),
        ("object.metadata.name.x == 1", "expected a map with the key `x`, found `string`"),
        ("object[0] == 1", "the map has no such key"),
        ("object.metadata.name[0] == 'a'", "`x[…]` does not take the types `string`, `int`"),
        ("request.operation == 'CREATE'", "`request` is unknown here"),
    ] {
        let error = evaluate(object, text).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_syntax_error_names_the_place_the_problem_and_the_fix() {
    for (text, expected) in [
        ("", "expected a CEL expression, found nothing; write one"),
        (
            "object.spec ==",
            "line 1, column 15: mismatched input '<EOF>' expecting expression; correct it after",
        ),
        (
            "has(object.a",
            "line 1, column 13: mismatched input <EOF> expecting ')'; correct it after `has(object.a`",
        ),
        ("a b", "line 1, column 3: mismatched input 'b' expecting <EOF>; correct it after `a `"),
        ("object.x &&\n  (object.y", "line 2, column 12: expected ')'; correct it after `  (object.y`"),
        ("has(object)", "invalid argument to has() macro"),
    ] {
        let error = error(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn an_unknown_name_gets_the_one_that_was_meant() {
    for (text, expected) in [
        ("objekt.spec", "there is no variable `objekt`; did you mean `object`?"),
        ("pod.spec", "there is no variable `pod`; write one of `object`"),
        ("variables.on == 1", "there is no variable `variables.on` here; did you mean `one`?"),
        ("one == 1", "there is no variable `one`; write `variables.one`"),
        ("variables['one'] == 1", "`variables` is not a value of its own; write `variables.NAME`"),
        ("params.x == 1", "there is no variable `params`; write the value into the expression"),
        ("authorizer.path('/')", "`authorizer`; remove it"),
        ("object.name.startWith('a')", "there is no function `startWith`; did you mean `startsWith`?"),
        ("object.x.size2()", "there is no function `size2`"),
        ("startsWith(object.name, 'a')", "write `x.startsWith('start')`"),
        ("object.x.int()", "write `int(x)`"),
        ("optional.some(1)", "there is no function `optional.some`"),
        ("object.list.all(c, d > 0)", "there is no variable `d`"),
        ("object.list.all(c, c > 0) && c > 1", "there is no variable `c`"),
        ("has(variables.one)", "`has(variables.one)` asks for a variable, which always exists; remove it"),
        ("object.?a.optMap(x)", "`optMap` takes a name and an expression"),
        ("object.?a.optFlatMap(1, x)", "`optFlatMap` takes a name first"),
        ("object.?a.optMap(x, y)", "there is no variable `y`"),
        ("Object{metadata: 1}", "there is no type `Object`; write a map"),
        ("cel.bind(1, 2, 3)", "`cel.bind` takes a name, a value and an expression"),
        (
            "object.a.all(x)",
            "`all` takes one or two names and an expression; write it as in `x.all(v, condition)`",
        ),
        ("object.a.all(x, x, true)", "`all` has the name `x` twice"),
        (
            "object.a.filter(x)",
            "`filter` takes a name and an expression; write it as in `x.filter(v, condition)`",
        ),
    ] {
        let error = error(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn the_number_of_arguments_is_checked() {
    for (text, expected) in [
        (
            "object.a.startsWith()",
            "`startsWith` takes 1 argument, found 0; write it as in `x.startsWith('start')`",
        ),
        ("object.a.startsWith('a', 'b')", "`startsWith` takes 1 argument, found 2"),
        ("object.a.trim(1)", "`trim` takes no argument, found 1"),
        ("object.a.split()", "`split` takes 1 to 2 arguments, found 0; write it as in `x.split(',')`"),
        ("sets.contains([1])", "`sets.contains` takes 2 arguments, found 1"),
        ("size()", "`size` takes 1 argument, found 0"),
        ("matches('a')", "`matches` takes 2 arguments, found 1"),
        ("object.?a.orValue()", "`orValue` takes 1 argument, found 0"),
        ("optional.none(1)", "`optional.none` takes no argument, found 1"),
    ] {
        let error = error(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn known_names_pass() {
    for text in [
        "object.metadata.name == oldObject.metadata.name && request.operation == 'CREATE'",
        "namespaceObject.metadata.labels['a'] == 'b' && variables.one",
        "object.list.all(c, c.all(d, d > 0 && c > 0))",
        "type(object.x) == string && object.?x.orValue(optional.none()) == null",
        "sets.intersects(object.a, object.b) || 'a' in object.c || -object.d < 1 || !object.e",
        "object.?a.optMap(x, x.b.all(c, c > 0)).orValue(false)",
        "object.x.matches(object.pattern) && object.`a-b`.size() > 0",
        "object.list.all(variables, variables.x > 0)",
        "object.list.all(object, object.x > 0)",
    ] {
        assert!(parse(text).is_ok(), "{text}");
    }
}

#[test]
fn finds_the_variables_that_an_expression_uses() {
    let parsed = parse("object.list.all(c, c in variables.one.names)").expect("is CEL");
    assert!(parsed.mentions("object") && !parsed.mentions("oldObject"));
    assert!(parsed.reads("one") && !parsed.reads("names"));
}

#[test]
fn an_expression_that_is_too_long_or_deep_is_refused_and_never_overflows() {
    let nested = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    for text in [
        nested("(", ")", 2000),
        nested("[", "]", 2000),
        nested("1+(", ")", 1000),
        nested("[1].all(x,", ")", 300),
        nested("true?", ":1", 500),
        format!("{}1", "true?1:".repeat(500)),
        format!("1{}", "+1".repeat(2000)),
        format!("object{}", ".a".repeat(2000)),
        format!("object{}.all(x, x)", ".a".repeat(1900)),
        format!("object{}", "[0]".repeat(1300)),
        format!("{}true", "!-".repeat(2000)),
        nested("{1:", "}", 1000),
        nested("f(", ")", 1300),
        nested("(", ")", 29),
        format!("object.?a{}", ".optMap(x, x)".repeat(60)),
    ] {
        let error = error(&text);
        assert!(error.contains("levels deep") || error.contains("in one chain"), "{}: {error}", &text[..20]);
        assert!(error.ends_with("; split it"), "{error}");
    }
    let long = format!("'{}'", "a".repeat(LIMITS.length));
    assert!(error(&long).starts_with("expected at most 4096 bytes, found 4098"));
}

#[test]
fn an_expression_of_usual_depth_is_accepted() {
    let chain = (0..40).map(|n| format!("object.a{n} == {n}")).collect::<Vec<_>>().join(" && ");
    let sum = vec!["'a'"; 25].join(" + ");
    let list = format!("object.x in [{}]", vec!["'a.b-c'"; 200].join(", "));
    for text in [
        chain.as_str(),
        sum.as_str(),
        list.as_str(),
        "object.a.all(b, b.c.exists(d, d.e.filter(f, f.g > 1).map(h, h.i).sum() > 3 || has(d.j)))",
        "object.a ? 1 : object.b ? 2 : object.c ? 3 : 4",
    ] {
        assert!(parse(text).is_ok(), "{text}");
    }
}

/// Returns a JSON list of `n` numbers.
fn numbers(n: usize) -> String {
    format!("{{\"list\":{:?}}}", (0..n).collect::<Vec<_>>())
}

#[test]
fn an_explosion_ends_at_the_limit_of_steps() {
    let large = numbers(150_000);
    assert!(large.len() > 1 << 20);
    for text in [
        "object.list.all(a, object.list.all(b, a >= 0 || b >= 0))",
        "object.list.map(a, object.list.filter(b, b > a)).size() > 0",
        "object.list.exists(a, a in object.list && a < 0)",
        "object.list.all(a, object.list == object.list)",
        "sets.equivalent(object.list, object.list)",
        "object.list.all(a, object.list.all(b, 1 / 0 == 1) || true)",
    ] {
        let error = evaluate(&large, text).expect_err(text);
        assert!(error.starts_with("needs more than 1000000 steps; "), "{text}: {error}");
    }
}

#[test]
fn the_budget_is_enough_for_one_look_at_a_large_object() {
    let large = numbers(150_000);
    assert_eq!(evaluate(&large, "object.list.all(a, a >= 0)"), Ok(true));
    assert_eq!(evaluate(&large, "object.list.map(a, a + 1).size() == 150000"), Ok(true));
}

#[test]
fn a_string_that_doubles_ends_at_the_limit_of_bytes() {
    let double = |n: usize| {
        let open: String = (0..n).map(|n| format!("cel.bind(s{}, s{n} + s{n}, ", n + 1)).collect();
        format!("cel.bind(s0, 'abcdefgh', {open}s{n}.size() > 0{})", ")".repeat(n))
    };
    assert_eq!(evaluate("{}", &double(15)), Ok(true));
    let error = evaluate("{}", &double(24)).expect_err("2^27 bytes");
    assert!(error.starts_with("builds values of more than 8388608 bytes; "), "{error}");
    for text in [
        "object.list.map(a, 'abcdefghabcdefghabcdefghabcdefgh').join('abcdefghabcdefghabcdefghabcdefgh') == ''",
        "'%s'.format([object.list.map(a, object.list)]) == ''",
        "object.list.map(a, 'xxxxxxxxxxxxxxxxxxxxxxxx').join().replace('', object.list.map(a, 'y').join()) == ''",
        "object.list.map(a, '%.100f%.100f'.format([1.0, 1.0])).size() == 0",
    ] {
        let error = evaluate(&numbers(100_000), text).expect_err(text);
        assert!(error.contains("needs more than") || error.contains("builds values of"), "{text}: {error}");
    }
}

#[test]
fn a_search_for_a_regular_expression_counts_its_size_and_the_text() {
    let text = format!("{{\"text\":\"{}\"}}", "a".repeat(1 << 20));
    for expression in [
        "object.text.matches('(a|aa|aaa|aaaa|aaaaa){1,50}b')",
        "object.text.findAll('a.*b|a').size() > 0",
        "object.text.matches('(' + 'a?'  + ')' + '{300}b')",
    ] {
        let error = evaluate(&text, expression).expect_err(expression);
        assert!(error.starts_with("needs more than 1000000 steps"), "{expression}: {error}");
    }
    let image = r#"{"images":["registry.example.com/team/agent:v1.2.3"]}"#;
    assert_eq!(
        evaluate(image, "object.images.all(i, i.matches('^registry[.]example[.]com/.+:v[0-9.]+$'))"),
        Ok(true)
    );
}

#[test]
fn no_operator_absorbs_the_end_of_the_budget() {
    let budget = StepBudget { steps: 1000, bytes: 1000 };
    for text in [
        "object.list.all(a, a >= 0) || true",
        "true && object.list.all(a, a >= 0)",
        "[1].exists(x, object.list.all(a, a >= 0) || x == 1)",
        "object.list.map(a, a)[?0].hasValue() || true",
    ] {
        let error = evaluate_within(budget, &numbers(5000), text).expect_err(text);
        assert!(error.contains("more than 1000 "), "{text}: {error}");
    }
}

#[test]
fn json_comes_back_as_it_was_without_null_members() {
    let text = r#"{"a":[1,-2,2.5,"x\n",true,null,{"b":{}}],"n":null,"u":18446744073709551615}"#;
    let expected = serde_json::json!({"a": [1, -2, 2.5, "x\n", true, null, {"b": {}}], "u": u64::MAX});
    let value: Value<'_> = serde_json::from_str(text).expect("is JSON");
    let meter = || Meter::new(StepBudget::EXPRESSION);
    assert_eq!(to_json(&value, &mut meter()), Ok(expected));
    for (value, part) in [
        (Value::Bytes([1_u8].into()), "expected a value that JSON has, found `bytes`"),
        (Value::Double(f64::NAN), "found the number `NaN`"),
        (Value::Optional(None), "found `optional_type`"),
    ] {
        let error = to_json(&value, &mut meter()).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
    // 2^40 elements from 40 lists.
    let mut shared = Value::Null;
    for _ in 0..40 {
        shared = list_of(vec![shared.clone(), shared]);
    }
    assert!(to_json(&shared, &mut meter()).is_err_and(|fault| fault.is_exhausted()));
}

/// The parser is not the library's default one. So it must make the same trees.
#[test]
fn the_parser_agrees_with_the_grammar_of_the_library() {
    use ::cel::parser::{Parser, PrattParser};

    /// Removes the numbers of nodes.
    fn plain(tree: &::cel::IdedExpr) -> String {
        let text = format!("{tree:?}");
        let mut parts = text.split("id: ");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |plain, part| plain + part.trim_start_matches(|c: char| c.is_ascii_digit()))
    }
    for text in [
        "object.spec.template.spec.containers.all(c, has(c.image) && c.image.startsWith('a/'))",
        "!has(object.a.b) || object.a.b != 'x' && 1 + 2 * 3 - 4 / 2 % 2 > -7",
        "a ? b : c ? d : e",
        "(a || b) && (c || d) && e || f",
        "[1, 2u, 2.5, 'x', \"y\", b'z', true, null, 0x1F, -3]",
        "{'a': 1, 'b': {'c': [1]}}['b'].c[0] in [1]",
        "a.?b[?0].orValue(r'\\d') == '\\u00e4\\n\\''",
        "a.filter(x, x > 1).map(x, x * 2).exists_one(x, x == 4)",
        "a.map(x, x > 1, x * 2).exists(y, y < 3)",
        "- -a == !(!b) && a.b.c(d, e.f) >= g(h)",
        "'''multi\nline''' + \"a\" // comment",
        "a.namespace == 'x'",
    ] {
        let ours = PrattParser::new().enable_optional_syntax(true).parse(text).expect(text);
        let library = Parser::new().enable_optional_syntax(true).parse(text).expect(text);
        assert_eq!(plain(&ours), plain(&library), "{text}");
    }
}
