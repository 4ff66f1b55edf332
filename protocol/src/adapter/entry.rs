//! An entry of the stream: its fields, and what can be told of a broadcast without reading its payload
//! (`spec/cluster.md` §3).

use super::message::{self, Error, Kind, Message, Opts};
use super::name::{RequestId, Uid};
use crate::json::{self, DEPTH_MAX};

/// The stream.
pub const STREAM: &str = "socket.io";

/// Its approximate length, as everybody who appends to it says.
pub const LENGTH_MAX: u64 = 10_000;

/// The only namespace.
pub const NAMESPACE: &str = "/";

/// The fields of an entry, in the order in which they are written.
#[must_use]
pub fn fields(uid: &Uid, message: &Message<'_>) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("uid", uid.as_str().to_string()),
        ("nsp", NAMESPACE.to_string()),
        ("type", message.kind().number().to_string()),
    ];
    fields.extend(message.encode_data().map(|data| ("data", data)));
    fields
}

/// An entry that has been read and not looked into yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Who wrote it.
    pub uid: Uid,
    /// What it is.
    pub kind: Kind,
    /// Its data.
    pub data: Option<&'a str>,
}

/// What a broadcast says about its recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// Whom it addresses.
    pub opts: Opts<'a>,
    /// Set if it is to be acknowledged.
    pub request: Option<RequestId>,
}

impl<'a> Entry<'a> {
    /// Finds the fields that matter. Nothing if the entry is of another namespace, of an unknown kind, or has no uid:
    /// nobody does anything with such an entry.
    pub fn read(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Option<Self> {
        let (mut uid, mut namespace, mut kind, mut data) = (None, None, None, None);
        for (name, value) in fields {
            let slot = match name {
                b"uid" => &mut uid,
                b"nsp" => &mut namespace,
                b"type" => &mut kind,
                b"data" => &mut data,
                _ => continue,
            };
            *slot = Some(std::str::from_utf8(value).ok()?);
        }
        (namespace? == NAMESPACE).then_some(())?;
        Some(Self { uid: Uid::parse(uid?)?, kind: Kind::parse(kind?)?, data })
    }

    /// Reads the whole message.
    ///
    /// # Errors
    /// What [`message::decode`] says.
    pub fn message(&self) -> Result<Message<'a>, Error> {
        message::decode(self.kind, self.data)
    }

    /// Whom a broadcast addresses, read from the end of its data, where every known writer puts it, without a look at
    /// the packet before it. Nothing if that is not possible; then the message has to be read.
    ///
    /// If the data is JSON at all, what is returned is what [`Self::message`] would say: `,"opts":{` with an unescaped
    /// quote cannot stand inside a string, so the last one is a member, and that nothing but one brace follows its
    /// value makes it a member of the outermost object. The same holds for the request id right before it.
    #[must_use]
    pub fn address(&self) -> Option<Address<'a>> {
        const OPTS: &str = r#","opts":{"#;
        const REQUEST: &str = r#","requestId":""#;
        if self.kind != Kind::Broadcast {
            return None;
        }
        let data = self.data?;
        let at = data.rfind(OPTS)?;
        let (before, tail) = data.split_at_checked(at)?;
        let tail = tail.get(OPTS.len().checked_sub(1)?..)?;
        let end = json::skip_value(tail.as_bytes(), 0, DEPTH_MAX).ok()?;
        let (raw, rest) = tail.split_at_checked(end)?;
        (rest == "}" && before.starts_with(r#"{"packet":{"#)).then_some(())?;
        let request = match before.strip_suffix('"') {
            None => None,
            Some(before) => {
                let (packet, id) = before.rsplit_once('"')?;
                let request = RequestId::parse(id).filter(|_| !id.contains('\\'))?;
                let packet = packet.strip_suffix(REQUEST.strip_suffix('"')?)?;
                packet.ends_with('}').then_some(())?;
                Some(request)
            }
        };
        (request.is_some() || before.ends_with('}')).then_some(())?;
        Some(Address { opts: message::opts_of_json(raw)?, request })
    }
}
