//! The functions of rules: CEL's own, its string extension, and those that Kubernetes adds.

use std::{cell::RefCell, cmp::Ordering, rc::Rc};

use ::cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        traits::Iterable,
        types::{CelBool, CelDouble, CelInt, CelList, CelString, DYN_TYPE, INT_TYPE, LIST_TYPE, STRING_TYPE},
        value::{CowVal, FromVal, Val},
    },
    extensions,
};
use regex_lite::{Regex, RegexBuilder};

use crate::quantity::{QUANTITY, Quantity};

/// The names of global functions.
pub(crate) const GLOBAL: [&str; 19] = [
    "bool",
    "bytes",
    "double",
    "dyn",
    "int",
    "isQuantity",
    "matches",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "quantity",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "size",
    "string",
    "strings.quote",
    "type",
    "uint",
];

/// The names of functions that are called on a value, as in `x.f()`.
pub(crate) const MEMBER: [&str; 36] = [
    "add",
    "asApproximateFloat",
    "asInteger",
    "charAt",
    "compareTo",
    "contains",
    "endsWith",
    "find",
    "findAll",
    "format",
    "hasValue",
    "indexOf",
    "isGreaterThan",
    "isInteger",
    "isLessThan",
    "isSorted",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "matches",
    "max",
    "min",
    "or",
    "orValue",
    "replace",
    "reverse",
    "sign",
    "size",
    "split",
    "startsWith",
    "sub",
    "substring",
    "sum",
    "trim",
    "upperAscii",
    "value",
];

/// Bytes of a compiled regular expression.
const MAX_REGEX: usize = 256 * 1024;

/// Levels of nested groups in a regular expression. The parser uses a stack frame per level.
const MAX_GROUPS: u32 = 16;

type Args<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Answer<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// Makes the environment of all rules.
pub(crate) fn environment() -> Result<Env, DeclarationError> {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings)?;
    env.add_extension(lists)?;
    env.add_extension(sets)?;
    env.add_extension(regexes)?;
    env.add_extension(quantities)?;
    Ok(env)
}

fn lists(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_member_overload("isSorted", "list.isSorted()", LIST_TYPE, vec![], is_sorted)?;
    env.add_member_overload("sum", "list.sum()", LIST_TYPE, vec![], sum)?;
    env.add_member_overload("min", "list.min()", LIST_TYPE, vec![], |args| {
        extreme("min", Ordering::Less, args)
    })?;
    env.add_member_overload("max", "list.max()", LIST_TYPE, vec![], |args| {
        extreme("max", Ordering::Greater, args)
    })?;
    env.add_member_overload("indexOf", "list.indexOf(dyn)", LIST_TYPE, vec![DYN_TYPE], index_of)?;
    env.add_member_overload("lastIndexOf", "list.lastIndexOf(dyn)", LIST_TYPE, vec![DYN_TYPE], last_index_of)
}

fn sets(env: &mut Env) -> Result<(), DeclarationError> {
    let lists = || vec![LIST_TYPE, LIST_TYPE];
    env.add_overload("sets.contains", "sets.contains(list,list)", lists(), |args| {
        Ok(bool(has_all(list(&args, 0)?, list(&args, 1)?)))
    })?;
    env.add_overload("sets.equivalent", "sets.equivalent(list,list)", lists(), |args| {
        let (a, b) = (list(&args, 0)?, list(&args, 1)?);
        Ok(bool(has_all(a, b) && has_all(b, a)))
    })?;
    env.add_overload("sets.intersects", "sets.intersects(list,list)", lists(), |args| {
        let (a, b) = (list(&args, 0)?, list(&args, 1)?);
        let mut elements = b.iter();
        while let Some(element) = elements.next() {
            if has(a, element) {
                return Ok(bool(true));
            }
        }
        Ok(bool(false))
    })
}

fn regexes(env: &mut Env) -> Result<(), DeclarationError> {
    let matches = |args: Args<'_, '_>| Ok(bool(regex("matches", text(&args, 1)?)?.is_match(text(&args, 0)?)));
    env.add_overload("matches", "matches", vec![STRING_TYPE, STRING_TYPE], matches)?;
    env.add_member_overload("matches", "string.matches(string)", STRING_TYPE, vec![STRING_TYPE], matches)?;
    env.add_member_overload("find", "string.find(string)", STRING_TYPE, vec![STRING_TYPE], |args| {
        let regex = regex("find", text(&args, 1)?)?;
        let found = regex.find(text(&args, 0)?).map_or("", |found| found.as_str());
        Ok(CowVal::owned(CelString::from(found.to_owned())))
    })?;
    env.add_member_overload("findAll", "string.findAll(string)", STRING_TYPE, vec![STRING_TYPE], |args| {
        find_all(&args, usize::MAX)
    })?;
    env.add_member_overload(
        "findAll",
        "string.findAll(string,int)",
        STRING_TYPE,
        vec![STRING_TYPE, INT_TYPE],
        |args| {
            let limit = *arg::<CelInt>(&args, 2)?.inner();
            // A negative limit is none.
            find_all(&args, usize::try_from(limit).unwrap_or(usize::MAX))
        },
    )
}

fn quantities(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_type(QUANTITY.to_owned())?;
    env.add_overload("quantity", "quantity(string)", vec![STRING_TYPE], |args| {
        let text = text(&args, 0)?;
        let quantity = Quantity::parse(text).ok_or_else(|| {
            let message = format!("expected a quantity such as `100m` or `1Gi`, found `{text}`");
            ExecutionError::function_error("quantity", message)
        });
        quantity.map(CowVal::owned)
    })?;
    env.add_overload("isQuantity", "isQuantity(string)", vec![STRING_TYPE], |args| {
        Ok(bool(Quantity::parse(text(&args, 0)?).is_some()))
    })?;
    let mut method = |name: &str, function: ::cel::common::functions::Function| {
        env.add_member_overload(name, &format!("quantity.{name}()"), QUANTITY.to_owned(), vec![], function)
    };
    method("isInteger", |args| Ok(bool(arg::<Quantity>(&args, 0)?.as_integer().is_some())))?;
    method("asInteger", |args| {
        let integer = arg::<Quantity>(&args, 0)?.as_integer();
        let missing = || ExecutionError::function_error("asInteger", "the quantity is no 64-bit integer");
        integer.map(|integer| CowVal::owned(CelInt::from(integer))).ok_or_else(missing)
    })?;
    method("asApproximateFloat", |args| {
        Ok(CowVal::owned(CelDouble::from(arg::<Quantity>(&args, 0)?.as_float())))
    })?;
    method("sign", |args| Ok(CowVal::owned(CelInt::from(arg::<Quantity>(&args, 0)?.sign()))))?;
    let mut operator = |name: &str, other, function: ::cel::common::functions::Function| {
        let id = format!("quantity.{name}({other:?})");
        env.add_member_overload(name, &id, QUANTITY.to_owned(), vec![other], function)
    };
    operator("isLessThan", QUANTITY.to_owned(), |args| {
        Ok(bool(compare_quantities(&args)? == Ordering::Less))
    })?;
    operator("isGreaterThan", QUANTITY.to_owned(), |args| {
        Ok(bool(compare_quantities(&args)? == Ordering::Greater))
    })?;
    operator("compareTo", QUANTITY.to_owned(), |args| {
        Ok(CowVal::owned(CelInt::from(compare_quantities(&args)? as i64)))
    })?;
    for other in [QUANTITY.to_owned(), INT_TYPE] {
        operator("add", other, |args| computed("add", arg::<Quantity>(&args, 0)?.add(second(&args)?)))?;
    }
    for other in [QUANTITY.to_owned(), INT_TYPE] {
        operator("sub", other, |args| computed("sub", arg::<Quantity>(&args, 0)?.sub(second(&args)?)))?;
    }
    Ok(())
}

/// Returns the second argument: a quantity or an integer.
fn second(args: &[CowVal<'_, '_>]) -> Result<Quantity, ExecutionError> {
    match arg::<CelInt>(args, 1) {
        Ok(integer) => Ok(Quantity::from_integer(*integer.inner())),
        Err(_) => arg::<Quantity>(args, 1).copied(),
    }
}

fn computed<'b, 'v>(function: &str, quantity: Option<Quantity>) -> Answer<'b, 'v> {
    let overflow = || ExecutionError::function_error(function, "the result is too large for a quantity");
    quantity.map(CowVal::owned).ok_or_else(overflow)
}

fn compare_quantities(args: &[CowVal<'_, '_>]) -> Result<Ordering, ExecutionError> {
    Ok(arg::<Quantity>(args, 0)?.cmp(arg::<Quantity>(args, 1)?))
}

fn bool<'b, 'v>(value: bool) -> CowVal<'b, 'v> {
    CowVal::owned(CelBool::from(value))
}

fn at<'a, 'b, 'v>(args: &'a [CowVal<'b, 'v>], n: usize) -> Result<&'a (dyn Val + 'v), ExecutionError> {
    args.get(n).map(AsRef::as_ref).ok_or_else(|| ExecutionError::invalid_argument_count(n + 1, args.len()))
}

/// Returns the argument `n`, which overload resolution has given the type.
fn arg<'a, 'v, T: FromVal<'a, 'v>>(args: &'a [CowVal<'_, 'v>], n: usize) -> Result<&'a T, ExecutionError> {
    let value = at(args, n)?;
    value.downcast_ref::<T>().ok_or_else(|| ExecutionError::UnexpectedType {
        got: value.get_type().name().to_owned(),
        want: "another type".to_owned(),
    })
}

fn text<'a>(args: &'a [CowVal<'_, '_>], n: usize) -> Result<&'a str, ExecutionError> {
    arg::<CelString<'_>>(args, n).map(CelString::inner)
}

fn list<'a, 'v>(args: &'a [CowVal<'_, 'v>], n: usize) -> Result<&'a (dyn Iterable + 'v), ExecutionError> {
    let value = at(args, n)?;
    value.as_iterable().ok_or_else(|| ExecutionError::UnexpectedType {
        got: value.get_type().name().to_owned(),
        want: "list".to_owned(),
    })
}

fn has(list: &dyn Iterable, value: &dyn Val) -> bool {
    let mut elements = list.iter();
    while let Some(element) = elements.next() {
        if element.equals(value) {
            return true;
        }
    }
    false
}

fn has_all(list: &dyn Iterable, values: &dyn Iterable) -> bool {
    let mut values = values.iter();
    while let Some(value) = values.next() {
        if !has(list, value) {
            return false;
        }
    }
    true
}

fn compare(function: &str, a: &dyn Val, b: &dyn Val) -> Result<Ordering, ExecutionError> {
    let incomparable = || {
        let (a, b) = (a.get_type().name(), b.get_type().name());
        ExecutionError::function_error(function, format!("`{a}` and `{b}` have no order"))
    };
    a.as_comparer().ok_or_else(incomparable)?.compare(b).map_err(|_| incomparable())
}

fn is_sorted<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let mut elements = list(&args, 0)?.iter();
    let Some(mut last) = elements.next() else { return Ok(bool(true)) };
    while let Some(element) = elements.next() {
        if compare("isSorted", last, element)? == Ordering::Greater {
            return Ok(bool(false));
        }
        last = element;
    }
    Ok(bool(true))
}

fn sum<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let mut elements = list(&args, 0)?.iter();
    let Some(first) = elements.next() else { return Ok(CowVal::owned(CelInt::from(0))) };
    let mut sum = first.clone_as_boxed();
    while let Some(element) = elements.next() {
        let names = format!("`{}` and `{}` have no sum", sum.get_type().name(), element.get_type().name());
        let adder = sum.as_adder().ok_or_else(|| ExecutionError::function_error("sum", names))?;
        let next = adder.add(element)?.into_owned();
        sum = next;
    }
    Ok(CowVal::Owned(sum))
}

fn extreme<'b, 'v>(function: &str, wanted: Ordering, args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let mut elements = list(&args, 0)?.iter();
    let empty = || ExecutionError::function_error(function, "the list is empty");
    let mut best = elements.next().ok_or_else(empty)?;
    while let Some(element) = elements.next() {
        if compare(function, element, best)? == wanted {
            best = element;
        }
    }
    Ok(CowVal::Owned(best.clone_as_boxed()))
}

fn index_of<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let places = places(&args)?;
    Ok(CowVal::owned(CelInt::from(places.first().copied().unwrap_or(-1))))
}

fn last_index_of<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let places = places(&args)?;
    Ok(CowVal::owned(CelInt::from(places.last().copied().unwrap_or(-1))))
}

/// Returns the indexes of the elements that equal the second argument.
fn places(args: &[CowVal<'_, '_>]) -> Result<Vec<i64>, ExecutionError> {
    let (mut elements, wanted) = (list(args, 0)?.iter(), at(args, 1)?);
    let (mut found, mut n) = (Vec::new(), 0);
    while let Some(element) = elements.next() {
        if element.equals(wanted) {
            found.push(n);
        }
        n += 1;
    }
    Ok(found)
}

fn find_all<'b, 'v>(args: &[CowVal<'b, 'v>], limit: usize) -> Answer<'b, 'v> {
    let regex = regex("findAll", text(args, 1)?)?;
    let found = regex.find_iter(text(args, 0)?).take(limit);
    let found: Vec<Box<dyn Val + 'v>> = found
        .map(|found| Box::new(CelString::from(found.as_str().to_owned())) as Box<dyn Val + 'v>)
        .collect();
    Ok(CowVal::owned(CelList::from(found)))
}

/// Compiles a regular expression.
///
/// # Errors
/// The problem, in one line.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(MAX_REGEX).nest_limit(MAX_GROUPS).build();
    built.map_err(|error| error.to_string())
}

thread_local! {
    /// Compiled expressions, because macros use the same one for each element.
    static COMPILED: RefCell<Vec<(String, Rc<Regex>)>> = const { RefCell::new(Vec::new()) };
}

fn regex(function: &str, pattern: &str) -> Result<Rc<Regex>, ExecutionError> {
    COMPILED.with_borrow_mut(|compiled| {
        if let Some((_, regex)) = compiled.iter().find(|(known, _)| known == pattern) {
            return Ok(Rc::clone(regex));
        }
        let regex = compile(pattern).map_err(|error| {
            ExecutionError::function_error(function, format!("`{pattern}` is no regular expression: {error}"))
        })?;
        let regex = Rc::new(regex);
        compiled.push((pattern.to_owned(), Rc::clone(&regex)));
        Ok(regex)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::cel::{Context, Value};

    use super::*;
    use crate::expression::Expression;

    fn evaluate(expression: &str) -> Result<Value, String> {
        let context = Context::with_env(Arc::new(environment().expect("no name is declared twice")));
        let parsed = Expression::parse(expression).expect(expression);
        Value::resolve(&parsed.tree, &context).map_err(|error| error.to_string())
    }

    fn all_hold(expressions: &[&str]) {
        for expression in expressions {
            assert_eq!(evaluate(expression), Ok(Value::Bool(true)), "{expression}");
        }
    }

    fn all_fail(expressions: &[(&str, &str)]) {
        for (expression, part) in expressions {
            let error = evaluate(expression).expect_err(expression);
            assert!(error.contains(part), "{expression}: {error}");
        }
    }

    #[test]
    fn strings_have_the_functions_of_kubernetes() {
        all_hold(&[
            "'TacoCat'.lowerAscii() == 'tacocat'",
            "'TacoCat'.upperAscii() == 'TACOCAT'",
            "'a,b,c'.split(',') == ['a', 'b', 'c']",
            "'a,b,c'.split(',', 2) == ['a', 'b,c']",
            "['a', 'b'].join('-') == 'a-b' && ['a', 'b'].join() == 'ab'",
            "'hello'.replace('l', 'L') == 'heLLo' && 'hello'.replace('l', 'L', 1) == 'heLlo'",
            "'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco'",
            "'  x '.trim() == 'x'",
            "'tacocat'.indexOf('c') == 2 && 'tacocat'.lastIndexOf('c') == 4",
            "'abc'.charAt(1) == 'b'",
            "'abc'.startsWith('a') && 'abc'.endsWith('c') && 'abc'.contains('b')",
            "'%s has %d'.format(['x', 2]) == 'x has 2'",
            "size('abc') == 3 && 'abc'.size() == 3",
            "'abc'.reverse() == 'cba'",
            "strings.quote('a\"b') == '\"a\\\\\"b\"'",
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
        ]);
        all_fail(&[
            ("[].min()", "the list is empty"),
            ("[].max()", "the list is empty"),
            ("[1, 'a'].max()", "have no order"),
            ("[1, 'a'].isSorted()", "have no order"),
            ("[true, false].sum()", "have no sum"),
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
        ]);
        all_fail(&[("'a'.matches('(')", "`(` is no regular expression"), ("'a'.find('(')", "is no regular")]);
    }

    #[test]
    fn refuses_a_regular_expression_that_nests_or_grows_too_much() {
        assert!(compile(&format!("{}a{}", "(".repeat(15), ")".repeat(15))).is_ok());
        assert!(compile(&format!("{}a{}", "(".repeat(200), ")".repeat(200))).is_err());
        assert!(compile("(a{1000}){1000}").is_err());
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
            ("quantity('much')", "expected a quantity such as `100m` or `1Gi`, found `much`"),
            ("quantity('1m').asInteger()", "no 64-bit integer"),
        ]);
    }

    #[test]
    fn optional_values_and_types_work() {
        all_hold(&[
            "{'a': {'b': 1}}.?a.?b.orValue(0) == 1 && {'a': 1}.?x.orValue(7) == 7",
            "{'a': 1}[?'a'].hasValue() && !{'a': 1}[?'b'].hasValue()",
            "optional.of(1).value() == 1 && optional.none().or(optional.of(2)).value() == 2",
            "!optional.ofNonZeroValue('').hasValue()",
            "{'a': 1}.?a.optMap(x, x + 1).value() == 2 && !{'a': 1}.?b.optMap(x, x + 1).hasValue()",
            "{'a': {'b': 1}}.?a.optFlatMap(x, x.?b).value() == 1 && !{'a': {}}.?a.optFlatMap(x, x.?b).hasValue()",
            "[1, 2].map(x, {'a': x}.?a.optMap(y, x * y).orValue(0)) == [1, 4]",
            "type(1) == int && type('a') == string && type([]) == list && type({}) == map && type(1.5) == double",
            "int('7') == 7 && string(7) == '7' && double('1.5') == 1.5 && bool('true') && uint(7) == 7u",
            "dyn(1) == 1.0 && size(bytes('abc')) == 3",
        ]);
    }

    #[test]
    fn macros_work() {
        all_hold(&[
            "[1, 2].all(x, x > 0) && [1, 2].exists(x, x == 2) && [1, 2].exists_one(x, x == 2)",
            "[1, 2].map(x, x * 2) == [2, 4] && [1, 2, 3].map(x, x > 1, x * 2) == [4, 6]",
            "[1, 2, 3].filter(x, x > 1) == [2, 3]",
            "has({'a': 1}.a) && !has({'a': 1}.b)",
            "{'a': 1, 'b': 2}.all(k, k in ['a', 'b'])",
        ]);
    }

    /// The functions of each name are declared in the environment, so that a rule with a known name never fails for
    /// an undeclared one.
    #[test]
    fn each_known_name_is_declared() {
        let undeclared =
            |call: &str| evaluate(call).is_err_and(|error| error.contains("Undeclared reference"));
        for name in GLOBAL {
            assert!(!undeclared(&format!("{name}([[]], [[]], [[]], [[]])")), "{name}");
        }
        for name in MEMBER {
            assert!(!undeclared(&format!("[].{name}([[]], [[]], [[]], [[]])")), "{name}");
        }
        assert!(undeclared("nothing([[]])"));
    }
}
