//! The JSON scanner: whatever validates can be taken apart, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::json::{self, DEPTH_MAX, Kind, Token};

fuzz_target!(|text: &str| {
    let valid = json::validate(text, DEPTH_MAX).is_ok();
    let elements = json::elements(text).count();
    let members = json::members(text).count();
    let tokens: Vec<Token<'_>> = json::tokens(text).collect();
    let unescaped = json::unescape(text);
    if !valid {
        return;
    }
    match json::kind(text) {
        Kind::Array => assert_eq!(members, 0),
        Kind::Object => assert_eq!(elements, 0),
        Kind::String => {
            if let Ok(value) = unescaped {
                let mut out = Vec::new();
                json::write_string(&mut out, &value);
                let written = String::from_utf8(out).expect("strings are UTF-8");
                assert_eq!(json::unescape(&written).as_deref(), Ok(value.as_ref()));
            }
        }
        Kind::Null | Kind::Bool | Kind::Number => assert_eq!((elements, members, tokens.len()), (0, 0, 1)),
    }
    let opened = tokens.iter().filter(|token| matches!(token, Token::Open(_))).count();
    let closed = tokens.iter().filter(|token| matches!(token, Token::Close)).count();
    assert_eq!(opened, closed);
    for raw in json::elements(text).chain(json::members(text).flat_map(|(key, value)| [key, value])) {
        assert_eq!(json::validate(raw, DEPTH_MAX), Ok(()));
    }
});
