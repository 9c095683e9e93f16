//! Tests of decoding to structs and of the messages of mismatches, as in Go.

use super::*;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Default, Deserialize, PartialEq)]
struct Register {
    #[serde(rename = "UID")]
    uid: i64,
    name: String,
    #[serde(default = "five")]
    five: u8,
    tag: Option<String>,
    flag: bool,
    inner: Inner,
    list: Vec<Inner>,
    map: BTreeMap<String, f64>,
    pair: (u8, String),
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
struct Inner {
    b: u8,
    #[serde(default)]
    c: Vec<i8>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Keys {
    key: u8,
    #[serde(rename = "KEY")]
    other: u8,
    #[serde(rename = "gr\u{f6}\u{df}e")]
    size: u8,
    less: u8,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename = "")]
struct Nameless {
    #[serde(rename = "UID")]
    uid: i64,
}

#[derive(Debug, Deserialize, PartialEq)]
enum Shape {
    Point,
    Circle(u8),
    Rect { w: u8, h: u8 },
}

#[derive(Debug, Deserialize, PartialEq)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

/// A struct that does not give serde its members, around maps that are none.
#[derive(Debug, Deserialize, PartialEq)]
struct Loose {
    #[serde(rename = "ID")]
    id: u8,
    map: BTreeMap<String, i64>,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

/// A recursive struct.
#[derive(Debug, Deserialize, PartialEq)]
struct Node {
    value: u8,
    below: Below,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct Below {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Any {
    data: serde_json::Value,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Strict {
    a: u8,
}

#[derive(Debug, Deserialize)]
struct Raw {
    data: Box<RawValue>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Missing {
    shape: Shape,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct Tree {
    value: u8,
    children: Vec<Self>,
}

fn five() -> u8 {
    5
}

fn register() -> Register {
    Register {
        five: 5,
        ..Register::default()
    }
}

#[track_caller]
fn check<T: DeserializeOwned + Debug + PartialEq>(text: &str, expected: T) {
    assert_eq!(read::<T>(text.as_bytes()), Ok(expected), "{text}");
}

#[track_caller]
fn mismatch<T: DeserializeOwned + Debug + PartialEq>(text: &str, value: &str, place: &str) {
    let words = format!("json: cannot unmarshal {value} into Go {place}");
    let expected = Err(TypedError::Mismatch(words));
    assert_eq!(read::<T>(text.as_bytes()), expected, "{text}");
}

#[test]
fn keys_match_in_any_case_and_the_last_of_several_wins() {
    for (text, uid) in [
        (r#"{"UID":5}"#, 5),
        (r#"{"uid":5}"#, 5),
        (r#"{"uId":1,"UID":2,"Uid":5}"#, 5),
        (r#"{"UID":5,"UID":null}"#, 5),
        (r#"{"\u0075id":-7,"x":{"uid":1},"UIDs":3,"":4}"#, -7),
    ] {
        let expected = Register { uid, ..register() };
        check(text, expected);
    }
    let expected = Register {
        tag: Some("k".to_owned()),
        flag: true,
        ..register()
    };
    check("{\"FLAG\":true,\"Tag\":\"k\"}", expected);
    // An equal name takes precedence over one that is equal except for case.
    let text = "{\"KEY\":1,\"key\":2,\"Key\":3,\"GR\u{d6}\u{df}E\":4,\"le\u{17f}\u{17f}\":5}";
    let (key, other, size, less) = (3, 1, 4, 5);
    let keys = Keys {
        key,
        other,
        size,
        less,
    };
    check(text, keys);
    check(
        "{\"\u{212a}ey\":3}",
        Keys {
            key: 3,
            other: 0,
            size: 0,
            less: 0,
        },
    );
}

#[test]
fn what_is_missing_or_null_is_zero_unless_the_type_says_otherwise() {
    for text in [
        "{}",
        "null",
        " null ",
        r#"{"UID":null,"name":null,"five":null,"tag":null,"flag":null,"inner":null,"list":null,
            "map":null,"pair":null}"#,
        r#"{"inner":{},"list":[],"map":{},"pair":[]}"#,
    ] {
        check(text, register());
    }
    check(
        r#"{"five":0}"#,
        Register {
            five: 0,
            ..register()
        },
    );
    let expected = Register {
        tag: None,
        ..register()
    };
    check(r#"{"tag":"a","tag":null}"#, expected);
    let expected = Register {
        list: vec![
            Inner::default(),
            Inner {
                b: 1,
                c: vec![0, -1],
            },
            Inner::default(),
        ],
        map: [("a".to_owned(), 0.0), ("b".to_owned(), 1.5)].into(),
        pair: (7, String::new()),
        ..register()
    };
    check(
        r#"{"list":[null,{"b":1,"c":[null,-1]},{"b":null}],"map":{"a":null,"b":1.5},"pair":[7]}"#,
        expected,
    );
    // Objects for one member are merged.
    let inner = Inner { b: 1, c: vec![2] };
    check(
        r#"{"inner":{"b":1},"inner":{"c":[2]}}"#,
        Register {
            inner,
            ..register()
        },
    );
    check("null", 0_u8);
    check("null", String::new());
    check("null", None::<u8>);
    check("null", Vec::<u8>::new());
    check("[1,2,3]", [1_u8, 2]);
    check("[1]", [1_u8, 0]);
}

#[test]
fn mismatches_have_the_messages_of_the_original() {
    let field = |path: &str, of: &str| format!("struct field Register.{path} of type {of}");
    for (text, value, place) in [
        (r#"{"UID":"5"}"#, "string", field("UID", "int64")),
        (r#"{"uid":"5","uid":5}"#, "string", field("UID", "int64")),
        (r#"{"UID":5.0}"#, "number 5.0", field("UID", "int64")),
        (r#"{"UID":1e2}"#, "number 1e2", field("UID", "int64")),
        (
            r#"{"UID":9223372036854775808}"#,
            "number 9223372036854775808",
            field("UID", "int64"),
        ),
        (r#"{"five":256}"#, "number 256", field("five", "uint8")),
        (r#"{"five":-1}"#, "number -1", field("five", "uint8")),
        (r#"{"name":5}"#, "number", field("name", "string")),
        (r#"{"name":["a"]}"#, "array", field("name", "string")),
        (r#"{"tag":false}"#, "bool", field("tag", "string")),
        (r#"{"flag":"true"}"#, "string", field("flag", "bool")),
        (r#"{"flag":{}}"#, "object", field("flag", "bool")),
        (r#"{"inner":[]}"#, "array", field("inner", "Inner")),
        (r#"{"list":{}}"#, "object", field("list", "[]Inner")),
        (r#"{"map":1}"#, "number", field("map", "map[string]float64")),
        (
            r#"{"map":{"a":1e400}}"#,
            "number 1e400",
            field("map", "float64"),
        ),
        (r#"{"pair":["a"]}"#, "string", field("pair", "uint8")),
    ] {
        mismatch::<Register>(text, value, &place);
    }
    let inner = "struct field Inner.inner.c of type int8";
    mismatch::<Register>(r#"{"inner":{"c":[1,128]}}"#, "number 128", inner);
    let inner = "struct field Inner.list.b of type uint8";
    mismatch::<Register>(r#"{"list":[{},{"b":true}]}"#, "bool", inner);
    mismatch::<Register>("[]", "array", "value of type Register");
    mismatch::<i64>("\"x\"", "string", "value of type int64");
    mismatch::<Vec<Option<i32>>>("5", "number", "value of type []*int32");
    mismatch::<BTreeMap<u8, (bool, f32)>>("5", "number", "value of type map[uint8][2]bool");
    mismatch::<BTreeMap<u8, u8>>(r#"{"256":1}"#, "number 256", "value of type uint8");
    let field = "struct field .UID of type int64";
    mismatch::<Nameless>(r#"{"UID":"5"}"#, "string", field);
}

#[test]
fn numbers_are_exact() {
    check("-128", -128_i8);
    check("18446744073709551615", u64::MAX);
    check("-0", 0_i8);
    check("1e2", 100.0_f32);
    check("0.1", 0.1_f64);
    mismatch::<f32>("1e39", "number 1e39", "value of type float32");
    mismatch::<u64>("-0", "number -0", "value of type uint64");
    let value: serde_json::Value = read(b"[1,-2,1.5,1e2,null,\"a\",{\"b\":true}]").expect("any");
    let expected = serde_json::json!([1, -2, 1.5, 100.0, null, "a", {"b": true}]);
    assert_eq!(value, expected);
}

#[test]
fn text_that_is_not_valid_becomes_replacement_characters() {
    check(r#""cut \ud83d""#, "cut \u{fffd}".to_owned());
    check(r#""\ud83d\ude00""#, "\u{1f600}".to_owned());
    assert_eq!(read(b"\"\xff\""), Ok("\u{fffd}".to_owned()));
    check(r#""a""#, 'a');
}

#[test]
fn what_serde_has_more_is_as_in_serde() {
    check("\"Point\"", Shape::Point);
    check("{\"Circle\":1}", Shape::Circle(1));
    check("{\"Rect\":{\"W\":1}}", Shape::Rect { w: 1, h: 0 });
    mismatch::<Shape>("5", "number", "value of type Shape");
    mismatch::<Shape>("null", "null", "value of type Shape");
    let rest = [("A".to_owned(), 2)].into();
    check(r#"{"ID":1,"A":2}"#, Flat { id: 1, rest });
    let rest = [("A".to_owned(), 2)].into();
    check(r#"{"A":1,"A":2}"#, Flat { id: 0, rest });
    let unknown = TypedError::Mismatch("json: unknown field \"b\"".to_owned());
    assert_eq!(read::<Strict>(br#"{"A":1,"b":2}"#), Err(unknown));
    let raw: Raw = read(br#"{"Data": [1e2, {}] }"#).expect("raw");
    assert_eq!(raw.data.get(), "[1e2, {}]");
    let no_zero = read::<Missing>(b"{}").expect_err("an enum has no zero");
    let text = "json: cannot unmarshal null into Go struct field Missing.shape of type Shape";
    assert_eq!(no_zero, TypedError::Mismatch(text.to_owned()));
}

#[test]
fn what_one_struct_misses_is_given_to_no_map() {
    for (text, map, rest) in [
        (r#"{"A":{"x":1}}"#, json!({}), json!({"A": {"x": 1}})),
        (r#"{"A":{"id":5}}"#, json!({}), json!({"A": {"id": 5}})),
        (
            r#"{"map":{"a":1,"id":2}}"#,
            json!({"a": 1, "id": 2}),
            json!({}),
        ),
    ] {
        let map = serde_json::from_value(map).expect("a map");
        let rest = serde_json::from_value(rest).expect("a map");
        check(text, Loose { id: 0, map, rest });
    }
}

#[test]
fn of_several_values_of_any_type_only_the_last_counts() {
    for (text, data) in [
        (r#"{"data":1,"data":"x"}"#, json!("x")),
        (r#"{"data":{"x":1},"data":{"y":2}}"#, json!({"y": 2})),
        (r#"{"data":[1],"DATA":[]}"#, json!([])),
        (r#"{"data":1,"data":null}"#, json!(null)),
        (r#"{"data":null,"data":1e2}"#, json!(100.0)),
    ] {
        check(text, Any { data });
    }
}

/// Number of reads in the one test that counts them.
static READ_COUNT: AtomicUsize = AtomicUsize::new(0);

/// A type that counts how often it is read.
struct Counted<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Counted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        READ_COUNT.fetch_add(1, Ordering::Relaxed);
        T::deserialize(deserializer).map(Self)
    }
}

/// Independent of the number and depth of a type's values.
#[test]
fn a_text_is_read_again_at_most_twice_for_each_member_of_a_type() {
    #[track_caller]
    fn reads<T: DeserializeOwned>(text: &str, expected: usize) {
        READ_COUNT.store(0, Ordering::Relaxed);
        let Counted(_) = read::<Counted<T>>(text.as_bytes()).expect("it is read");
        assert_eq!(READ_COUNT.load(Ordering::Relaxed), expected, "{text}");
    }
    let mut text = "{}".to_owned();
    for _ in 0..20 {
        text = format!(r#"{{"below":{{"nodes":[{text},{{"value":1}}]}}}}"#);
    }
    reads::<Node>(&text, 4);
    reads::<Vec<Tree>>(r#"[{"value":1,"children":[]}]"#, 1);
    let nulls = r#"[{"value":1,"children":[]},{"value":null,"children":null}]"#;
    reads::<Vec<Tree>>(nulls, 5);
}

#[test]
fn what_is_no_json_is_malformed() {
    for text in ["", "{", "[1,]", "{\"a\":1}}", "nul", "{} x", "'a'"] {
        let result = read::<serde_json::Value>(text.as_bytes());
        assert_eq!(result, Err(TypedError::Malformed), "{text}");
    }
}

/// No type is that deep, and such values cost neither stack nor time.
#[test]
fn depth_is_bounded_and_what_is_ignored_is_not() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    let too_deep = TypedError::Mismatch("exceeded max depth".to_owned());
    for depth in [128, 129, 9_999] {
        let result = read::<serde_json::Value>(nested(depth).as_bytes());
        let expected = (depth > 128).then_some(&too_deep);
        assert_eq!(result.as_ref().err(), expected, "{depth}");
    }
    check(&format!("{{\"x\":{}}}", nested(9_999)), Tree::default());

    // A few passes, whatever is missing.
    let mut text = "{}".to_owned();
    for _ in 0..60 {
        text = format!(r#"{{"children":[{text},{{"x":1}}]}}"#);
    }
    let tree: Tree = read(text.as_bytes()).expect("60 levels");
    assert_eq!((tree.value, tree.children.len()), (0, 2));
}

/// `serde_json` is stricter; values that it accepts are equal here.
#[test]
fn whatever_serde_json_reads_is_read_alike() {
    let mut prng = campanile_tests::prng::Prng::from_seed(7);
    let mut alike = 0;
    for _ in 0..20_000 {
        let text = noise(&mut prng, 4);
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
            check(&text, value);
            alike += 1;
        }
        // Go decodes no struct from an array, and matches "B" with "b".
        let is_alike = text.starts_with('{') && !text.contains('B');
        let read = serde_json::from_str::<Inner>(&text);
        if let Some(value) = read.ok().filter(|_| is_alike) {
            check(&text, value);
        }
    }
    assert!(alike > 5_000, "{alike}");
}

fn noise(prng: &mut campanile_tests::prng::Prng, depth: usize) -> String {
    const LEAVES: [&str; 8] = ["1", "-7", "1.5", "300", "null", "true", "\"a\\n\"", " [ ] "];
    const KEYS: [&str; 4] = ["b", "c", "B", "x"];
    if depth == 0 || prng.chance(1, 3) {
        return (*prng.pick(LEAVES.iter()).expect("some")).to_owned();
    }
    let mut parts = Vec::new();
    let is_object = prng.chance(2, 3);
    for _ in 0..prng.range(0, 3) {
        let value = noise(prng, depth - 1);
        let key = prng.pick(KEYS.iter()).expect("some");
        parts.push(if is_object {
            format!("\"{key}\": {value}")
        } else {
            value
        });
    }
    let inner = parts.join(" ,");
    if is_object {
        format!("{{{inner}}}")
    } else {
        format!("[{inner}]")
    }
}
