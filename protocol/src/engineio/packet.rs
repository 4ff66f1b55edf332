//! Packets and polling payloads (`spec/socketio.md` §4).

use std::borrow::Cow;

use crate::base64::decode_lenient;

/// One packet as it was received.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Packet<'a> {
    Open,
    Close,
    Ping(Option<&'a str>),
    Pong(Option<&'a str>),
    /// A text message; empty if it came without data.
    Message(&'a str),
    /// A binary message.
    Binary(Cow<'a, [u8]>),
    Upgrade,
    Noop,
}

/// The text is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error;

/// Reads the text form of a packet.
pub fn decode(text: &str) -> Result<Packet<'_>, Error> {
    let mut characters = text.chars();
    let kind = characters.next().ok_or(Error)?;
    let data = characters.as_str();
    let present = (!data.is_empty()).then_some(data);
    Ok(match kind {
        '0' => Packet::Open,
        '1' => Packet::Close,
        '2' => Packet::Ping(present),
        '3' => Packet::Pong(present),
        '4' => Packet::Message(data),
        '5' => Packet::Upgrade,
        '6' => Packet::Noop,
        'b' => Packet::Binary(Cow::Owned(decode_lenient(data))),
        _ => return Err(Error),
    })
}

/// The packets of a polling payload. An empty payload has one packet, which cannot be read.
pub fn payload(body: &str) -> impl Iterator<Item = Result<Packet<'_>, Error>> {
    body.split('\u{1e}').map(decode)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(decode("4"), Ok(Packet::Message("")));
        assert_eq!(decode("42[\"a\"]"), Ok(Packet::Message("2[\"a\"]")));
        assert_eq!(decode("2probe"), Ok(Packet::Ping(Some("probe"))));
        assert_eq!(decode("3"), Ok(Packet::Pong(None)));
        assert_eq!(decode("bAQI"), Ok(Packet::Binary(Cow::Borrowed(&[1, 2]))));
        for text in ["", "7", "x", " 4", "\u{e9}"] {
            assert_eq!(decode(text), Err(Error));
        }
        assert_eq!(payload("").collect::<Vec<_>>(), [Err(Error)]);
        assert_eq!(payload("3\u{1e}4a").collect::<Vec<_>>(), [Ok(Packet::Pong(None)), Ok(Packet::Message("a"))]);
    }
}
