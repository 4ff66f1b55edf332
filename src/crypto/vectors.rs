//! Reads the vector files of `tests/vectors` for the tests of this folder.

use serde_json::Value;

/// The list at `pointer` in the vector file `name`; an empty list would prove nothing and fails.
pub(crate) fn list(name: &str, pointer: &str) -> Vec<Value> {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file: Value = serde_json::from_str(&text).unwrap();
    let list = file.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("{name} has no {pointer}"));
    assert!(!list.is_empty(), "{name}{pointer} is empty");
    list.clone()
}

pub(crate) fn text<'v>(vector: &'v Value, member: &str) -> &'v str {
    vector[member].as_str().unwrap_or_else(|| panic!("{member} is not a text in {vector}"))
}

pub(crate) fn number(vector: &Value, member: &str) -> i64 {
    vector[member].as_i64().unwrap_or_else(|| panic!("{member} is not a number in {vector}"))
}

pub(crate) fn hex(vector: &Value, member: &str) -> Vec<u8> {
    let text = text(vector, member);
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Standard base64 with padding, as the requests in the vectors carry it.
pub(crate) fn base64(vector: &Value, member: &str) -> Vec<u8> {
    protocol::base64::decode_strict(text(vector, member)).unwrap_or_else(|_| panic!("{member} is not base64"))
}
