//! Reads single members out of the server's JSON by looking for their names.
//!
//! Good enough for answers whose shape is fixed by the contract and whose strings are ids and tokens; it does not parse.
//! The first member of that name counts, at whatever depth.

/// The text of the string member `name`, if it needs no unescaping.
pub(crate) fn string<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = member(text, name)?.strip_prefix('"')?;
    let (value, _) = value.split_once('"')?;
    (!value.contains('\\')).then_some(value)
}

/// The value of the non-negative integer member `name`.
pub(crate) fn integer(text: &str, name: &str) -> Option<u64> {
    let value = member(text, name)?;
    let digits = value.len() - value.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    value.get(..digits)?.parse().ok()
}

/// What follows `"name":`.
fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        rest = rest.get(rest.find(name)?..)?;
        let before = text.len() - rest.len();
        rest = rest.get(name.len()..)?;
        let quoted = before.checked_sub(1).is_some_and(|index| text.as_bytes().get(index) == Some(&b'"'));
        if let (true, Some(after)) = (quoted, rest.strip_prefix('"'))
            && let Some(value) = after.trim_start().strip_prefix(':')
        {
            return Some(value.trim_start());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{integer, string};

    #[test]
    fn finds_members() {
        let ack = r#"[{"ok":true,"id":"m8","seq" : 812,"localId":"l\"1","sequence":9,"x":"seq"}]"#;
        assert_eq!(string(ack, "id"), Some("m8"));
        assert_eq!(integer(ack, "seq"), Some(812));
        assert_eq!(string(ack, "localId"), None);
        assert_eq!(integer(ack, "id"), None);
        assert_eq!(string(ack, "missing"), None);
        assert_eq!(string(r#"{"a":"id","id":"z"}"#, "id"), Some("z"));
        assert_eq!(integer(r#"{"seq":"#, "seq"), None);
    }
}
