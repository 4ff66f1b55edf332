//! The scanner against what `JSON.parse` accepts, with serde_json as oracle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::arithmetic_side_effects)]

use proptest::prelude::*;
use protocol::json::{
    DEPTH_MAX, Error, Kind, LoneSurrogate, Token, elements, kind, literal_is, members, skip_value, tokens, unescape,
    validate, write_string,
};
use serde::de::IgnoredAny;
use serde_json::Value;

#[test]
fn what_is_json() {
    for text in [
        "0",
        "-0",
        "10",
        "1.5e-3",
        "1E+9",
        "-0.0e0",
        "1e999",
        "\"\"",
        "\"\\ud800\"",
        "\"\\ude00\\ud83d\"",
        "\"\u{7f}\u{2028}\"",
        "[]",
        "{}",
        "[[],{}]",
        " [1 , {\"a\":[ ]}]\n",
        "\t\r\n true ",
        "true",
        "false",
        "null",
        "\"\\u00e9/\\/\\b\\f\\n\\r\\t\\\\\\\"\"",
        "{\"a\":1,\"a\":2}",
        "{\"\":{}}",
        "[1,2,3]",
    ] {
        assert_eq!(validate(text, DEPTH_MAX), Ok(()), "{text}");
    }
    for text in [
        "",
        " ",
        "01",
        "-",
        "-01",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e+",
        "--1",
        "0x1",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u123\"",
        "\"\n\"",
        "\"\u{1f}\"",
        "\"\u{0}\"",
        "[1,]",
        "[,1]",
        "[",
        "]",
        "[1",
        "[1,",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{a:1}",
        "{",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1",
        "}",
        "nul",
        "nulL",
        "truex",
        "1 2",
        "[1 2]",
        "{1:2}",
        "'a'",
        "\u{feff}1",
        "\u{a0}1",
        "\u{b}1",
        "[}",
        "{]",
        "[1}",
        "{\"a\":1]",
        "NaN",
        "Infinity",
        "undefined",
        "[1]]",
        "//",
        "1//",
        "\"a\"\"b\"",
    ] {
        assert!(validate(text, DEPTH_MAX).is_err(), "{text}");
    }
}

#[test]
fn where_it_fails() {
    assert_eq!(validate("", 1), Err(Error::End));
    assert_eq!(validate("[1,", 1), Err(Error::End));
    assert_eq!(validate("[1 2]", 1), Err(Error::Unexpected { at: 3 }));
    assert_eq!(validate("1x", 1), Err(Error::Unexpected { at: 1 }));
    assert_eq!(validate("[[1]]", 1), Err(Error::TooDeep { at: 1 }));
    assert_eq!(validate("1", 0), Ok(()));
    assert_eq!(skip_value(b"x, [1] ,", 2, 1), Ok(6));
    assert_eq!(skip_value(b"[1]", 9, 1), Err(Error::End));
}

#[test]
fn nesting_is_bounded() {
    for open in ["[", "{\"a\":"] {
        let text = open.repeat(1_000_000 / open.len());
        assert!(matches!(validate(&text, DEPTH_MAX), Err(Error::TooDeep { .. })));
        // Whatever a caller asks for.
        assert!(matches!(validate(&text, u16::MAX), Err(Error::TooDeep { .. })));
    }
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(validate(&nested(128), DEPTH_MAX), Ok(()));
    assert_eq!(validate(&nested(129), DEPTH_MAX), Err(Error::TooDeep { at: 128 }));
    // Arrays and objects in turn, so that every bit counts.
    let mixed = "[{\"a\":".repeat(64) + "0" + &"}]".repeat(64);
    assert_eq!(validate(&mixed, DEPTH_MAX), Ok(()));
    assert!(validate(&mixed.replacen("}]", "]}", 1), DEPTH_MAX).is_err());
}

#[test]
fn kinds() {
    for (text, expected) in [
        ("null", Kind::Null),
        (" true", Kind::Bool),
        ("false", Kind::Bool),
        ("-1", Kind::Number),
        ("\n0", Kind::Number),
        ("\"x\"", Kind::String),
        ("[]", Kind::Array),
        (" {}", Kind::Object),
    ] {
        assert_eq!(kind(text), expected, "{text}");
    }
}

#[test]
fn elements_and_members() {
    assert_eq!(elements(r#" [1, "a,]" ,{"b":[2]}] "#).collect::<Vec<_>>(), ["1", "\"a,]\"", "{\"b\":[2]}"]);
    assert_eq!(
        members(r#"{"a":1 , "b" : {"c":"}"}}"#).collect::<Vec<_>>(),
        [("\"a\"", "1"), ("\"b\"", "{\"c\":\"}\"}")]
    );
    for text in ["[]", "{}", "[ ]", "1", "\"[1]\"", "", "[", "{\"a\""] {
        assert_eq!((elements(text).count(), members(text).count()), (0, 0), "{text}");
    }
}

#[test]
fn surrogates() {
    assert_eq!(unescape(r#""\ud83d\ude00""#).unwrap(), "\u{1f600}");
    assert_eq!(unescape(r#""a\u0062\n\"\/""#).unwrap(), "ab\n\"/");
    for text in [
        r#""\ud83d""#,
        r#""\ude00\ud83d""#,
        r#""\ud83dx""#,
        r#""\ud83d\n""#,
        r#""\ud83d\ud83d\ude00""#,
        r#""\ud83d\u0061""#,
    ] {
        assert_eq!(unescape(text), Err(LoneSurrogate), "{text}");
    }
    assert!(literal_is(r#""\u0061""#, "a") && !literal_is(r#""\ud800""#, "\u{fffd}"));
}

#[test]
fn strings_as_json_stringify_writes_them() {
    let mut out = b"x".to_vec();
    write_string(&mut out, "h\u{e9}\u{20ac}\u{1f600}\u{1e}\0\u{1f}\"\\/\u{2028}\u{7f}\u{8}\u{c}\n\r\t");
    let expected = "x\"h\u{e9}\u{20ac}\u{1f600}\\u001e\\u0000\\u001f\\\"\\\\/\u{2028}\u{7f}\\b\\f\\n\\r\\t\"";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

/// Puts a value together again from its tokens.
fn rebuild(raw: &str) -> String {
    let mut out = String::new();
    let mut open = Vec::new();
    for token in tokens(raw) {
        if !matches!(token, Token::Close) && !matches!(out.chars().last(), None | Some('[' | '{' | ':')) {
            out.push(',');
        }
        match token {
            Token::Open(kind) => {
                let (bracket, close) = if kind == Kind::Array { ('[', ']') } else { ('{', '}') };
                out.push(bracket);
                open.push(close);
            }
            Token::Close => out.push(open.pop().unwrap()),
            Token::Key(key) => {
                out.push_str(key);
                out.push(':');
            }
            Token::Scalar(value) => out.push_str(value),
        }
    }
    out
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        "\\PC{0,24}|[\u{0}-\u{ff}]{0,24}|[a\"\\\\,:{}\\[\\]]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec(("[a-c\"\\\\]{0,3}", inner), 0..6)
                .prop_map(|members| members.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_oracle(text in "[\\[\\]{}\",:0-9a-fnrtulse\\\\ .E+\u{e9}-]{0,24}|([\\[\\]{},:]|\"[a\\\\\"u0-9]{0,6}\"|-?[0-9.eE+-]{1,5}|true|null| ){0,12}") {
        // Ignoring values, the oracle accepts halves of surrogate pairs and numbers of any size, as `JSON.parse` does.
        let oracle = serde_json::from_str::<IgnoredAny>(&text).is_ok();
        prop_assert_eq!(validate(&text, DEPTH_MAX).is_ok(), oracle, "{}", text);
    }

    #[test]
    fn values_are_taken_apart_and_put_together(value in value(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        prop_assert_eq!(validate(&text, DEPTH_MAX), Ok(()));
        prop_assert_eq!(skip_value(text.as_bytes(), 0, DEPTH_MAX), Ok(text.len()));
        prop_assert_eq!(serde_json::from_str::<Value>(&rebuild(&text)).unwrap(), value.clone());
        match &value {
            Value::Array(expected) => {
                let found: Vec<Value> = elements(&text).map(|raw| serde_json::from_str(raw).unwrap()).collect();
                prop_assert_eq!(&found, expected);
            }
            Value::Object(expected) => {
                let found: Vec<(String, Value)> = members(&text)
                    .map(|(key, raw)| (unescape(key).unwrap().into_owned(), serde_json::from_str(raw).unwrap()))
                    .collect();
                prop_assert_eq!(found.len(), expected.len());
                prop_assert!(found.iter().all(|(key, value)| expected.get(key) == Some(value)));
            }
            Value::String(expected) => prop_assert_eq!(unescape(&text).unwrap(), expected.as_str()),
            _ => {}
        }
    }

    #[test]
    fn every_prefix_of_a_container_is_incomplete(value in value()) {
        prop_assume!(value.is_array() || value.is_object() || value.is_string());
        let text = value.to_string();
        for (at, _) in text.char_indices() {
            prop_assert_eq!(validate(text.get(..at).unwrap(), DEPTH_MAX), Err(Error::End));
        }
    }

    #[test]
    fn strings_round_trip(text in "\\PC{0,40}|[\u{0}-\u{ff}]{0,40}") {
        let mut out = Vec::new();
        write_string(&mut out, &text);
        let raw = String::from_utf8(out).unwrap();
        prop_assert!(validate(&raw, 1).is_ok());
        prop_assert_eq!(&serde_json::from_str::<String>(&raw).unwrap(), &text);
        prop_assert!(literal_is(&raw, &text));
    }

    #[test]
    fn unescaping_agrees_with_the_oracle(raw in "\"([a-c]|\\\\u[dD][89abAB][0-9]{2}|\\\\u[dD][c-fC-F]{1}[0-9]{2}|\\\\u00[0-9a-f]{2}|\\\\[bfnrt/\\\\\"]){0,6}\"") {
        prop_assert_eq!(validate(&raw, 1), Ok(()));
        prop_assert_eq!(unescape(&raw).ok().map(|text| text.into_owned()), serde_json::from_str::<String>(&raw).ok());
    }

    #[test]
    fn any_text_is_scanned_without_panic(text in "\\PC*|[\\[\\]{}\",:\\\\u0-9 ]{0,30}") {
        let _ = validate(&text, 4);
        let _ = (elements(&text).count(), members(&text).count(), tokens(&text).count(), kind(&text));
        let _ = unescape(&text);
    }
}
