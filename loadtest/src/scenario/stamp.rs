//! Messages that tell when they were due: the moment travels inside the ciphertext, so that the time until a delivery
//! needs no bookkeeping.

use std::time::{Duration, Instant};

use crate::client::json;

#[derive(Clone, Copy)]
pub(super) struct Stamps {
    epoch: Instant,
    message_bytes: usize,
}

impl Stamps {
    pub(super) fn new(message_bytes: usize) -> Self {
        Self { epoch: Instant::now(), message_bytes }
    }

    /// A ciphertext that begins with the moment it was due, in nanoseconds since the epoch of the run.
    pub(super) fn stamp(self, due: Instant) -> String {
        let mut text = format!("{:016x}", due.saturating_duration_since(self.epoch).as_nanos());
        text.extend(std::iter::repeat_n('Q', self.message_bytes.saturating_sub(text.len())));
        text
    }

    /// How long ago the message with this ciphertext was due; `None` if it was not stamped here.
    pub(super) fn age(self, ciphertext: &str) -> Option<Duration> {
        let due = u64::from_str_radix(ciphertext.get(..16)?, 16).ok()?;
        Instant::now().checked_duration_since(self.epoch + Duration::from_nanos(due))
    }
}

/// The `seq` and ciphertext of the message in a `new-message` update.
pub(super) fn delivery(data: &str) -> Option<(u64, &str)> {
    let body = data.strip_prefix(r#"["update","#)?;
    let message = body.get(body.find(r#""message":"#)?..)?;
    let content = message.get(message.find(r#""content":"#)?..)?;
    Some((json::integer(message, "seq")?, json::string(content, "c")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Instant;

    use super::{Stamps, delivery};

    #[test]
    fn reads_an_update() {
        let update = r#"["update",{"id":"Vt3","seq":31,"body":{"t":"new-message","sid":"s1","id":"s1","message":{"id":"m8","seq":8,"content":{"t":"encrypted","c":"QUJD"},"localId":"l1","createdAt":1,"updatedAt":1}},"createdAt":2}]"#;
        assert_eq!(delivery(update), Some((8, "QUJD")));
        assert_eq!(delivery(r#"["ephemeral",{"type":"activity"}]"#), None);
    }

    #[test]
    fn a_stamp_tells_its_age() {
        let stamps = Stamps::new(64);
        let due = Instant::now();
        let text = stamps.stamp(due);
        assert_eq!(text.len(), 64);
        assert!(stamps.age(&text).unwrap() <= due.elapsed());
        assert!(stamps.age("QUJD").is_none());
    }
}
