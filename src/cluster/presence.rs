//! The queue of signs of life, from the processes that hear them to the worker that writes them
//! (`spec/realtime.md` §10.3).
//!
//! Owns: the key, the group, the fields, when entries are claimed and acknowledged. Never: rows.
//! Invariants: an entry is acknowledged only after its row is written, or if it says nothing that can be written.
//! Limits: [`REPORTS_MAX`] reports wait for Redis, [`UNWRITTEN_MAX`] entries for the worker; beyond that nothing is read.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use protocol::adapter::Millis;
use redis::{Cmd, RedisError, Value};

use super::link::Link;
use super::node::Node;
use super::reader::{Fields, entries};
use crate::observe::metrics::cluster::Count;
use crate::runtime::mailbox::Mailbox;

pub const STREAM: &str = "presence:alive:v1";
pub const GROUP: &str = "presence-worker";

/// Reports that may wait for Redis; the oldest give way.
pub const REPORTS_MAX: usize = 100_000;

/// Entries that may wait for their rows.
pub const UNWRITTEN_MAX: usize = 20_000;

/// Entries of one read.
const COUNT: u64 = 200;
const BLOCK_MS: u64 = 5_000;

/// What another worker has not acknowledged for so long is taken over; how often that is looked for.
const CLAIM_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    Session,
    Machine,
}

/// Somebody was alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub subject: Subject,
    pub id: String,
    /// May be empty for a session.
    pub account: String,
    /// Milliseconds since 1970.
    pub at: i64,
}

/// An entry of the queue. Without a report it says nothing that can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub entry: String,
    pub report: Option<Report>,
}

impl Report {
    /// The command that appends it.
    pub(super) fn append(&self, maxlen: Option<u64>) -> Cmd {
        let mut command = redis::cmd("XADD");
        command.arg(STREAM);
        if let Some(maxlen) = maxlen {
            command.arg("MAXLEN").arg("~").arg(maxlen);
        }
        let kind = match self.subject {
            Subject::Session => "session",
            Subject::Machine => "machine",
        };
        command.arg("*").arg("kind").arg(kind).arg("id").arg(&self.id);
        command.arg("ts").arg(self.at).arg("accountId").arg(&self.account);
        command
    }

    /// What an entry says, if that can be written.
    fn read(fields: &Fields) -> Option<Self> {
        let field = |name: &str| {
            let value = fields.iter().find(|(field, _)| field == name.as_bytes()).map(|(_, value)| value)?;
            std::str::from_utf8(value).ok().map(str::to_string)
        };
        let subject = match field("kind")?.as_str() {
            "session" => Subject::Session,
            "machine" => Subject::Machine,
            _ => return None,
        };
        let id = field("id").filter(|id| !id.is_empty())?;
        let account = field("accountId").unwrap_or_default();
        if subject == Subject::Machine && account.is_empty() {
            return None;
        }
        let at: f64 = field("ts")?.trim().parse().ok()?;
        // Beyond this range no database has a time.
        #[allow(clippy::cast_possible_truncation, reason = "within ± 2^53")]
        let at = (at.abs() < 8.64e15).then_some(at as i64)?;
        Some(Self { subject, id, account, at })
    }
}

/// How a worker takes part.
#[derive(Clone)]
pub struct Consumer {
    pub name: String,
    /// Where entries wait for their rows.
    pub entries: Arc<Mailbox<Received>>,
}

/// Reads the queue until the process stops.
pub(super) async fn consume(node: Rc<Node>, link: Rc<Link>, consumer: Consumer) {
    let mut claim_at: Millis = 0;
    while !node.is_stopping() {
        if consumer.entries.depth() >= UNWRITTEN_MAX {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        if let Err(error) = step(&node, &link, &consumer, &mut claim_at).await {
            if !node.is_stopping() {
                log::warn!("the presence queue cannot be read: {error}");
            }
            link.failed(&error).await;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

async fn step(node: &Node, link: &Link, consumer: &Consumer, claim_at: &mut Millis) -> Result<(), RedisError> {
    let mut connection = link.get().await?;
    if node.now() >= *claim_at {
        ensure_group(&mut connection).await?;
        *claim_at = node.now() + CLAIM_MS;
        let mut command = redis::cmd("XAUTOCLAIM");
        command.arg(STREAM).arg(GROUP).arg(&consumer.name).arg(CLAIM_MS).arg("0-0").arg("COUNT").arg(COUNT);
        match command.query_async::<Value>(&mut connection).await {
            // The next position, the entries, and from Redis 7 on those that were deleted.
            Ok(Value::Array(mut parts)) if parts.len() > 1 => take(node, consumer, entries(parts.swap_remove(1))),
            Ok(_) => {}
            Err(error) if error.code().is_some() => log::warn!("entries of other workers cannot be claimed: {error}"),
            Err(error) => return Err(error),
        }
    }
    let mut command = redis::cmd("XREADGROUP");
    command.arg("GROUP").arg(GROUP).arg(&consumer.name).arg("COUNT").arg(COUNT);
    command.arg("BLOCK").arg(BLOCK_MS).arg("STREAMS").arg(STREAM).arg(">");
    match command.query_async::<Value>(&mut connection).await {
        Ok(Value::Array(streams)) => {
            for stream in streams {
                if let Value::Array(mut parts) = stream
                    && parts.len() == 2
                {
                    take(node, consumer, entries(parts.swap_remove(1)));
                }
            }
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(error) => {
            // Redis has lost the group with everything else.
            if error.code() == Some("NOGROUP") {
                *claim_at = 0;
            }
            Err(error)
        }
    }
}

async fn ensure_group(connection: &mut redis::aio::MultiplexedConnection) -> Result<(), RedisError> {
    let mut command = redis::cmd("XGROUP");
    command.arg("CREATE").arg(STREAM).arg(GROUP).arg("$").arg("MKSTREAM");
    match command.query_async::<Value>(connection).await {
        Err(error) if error.code() != Some("BUSYGROUP") => Err(error),
        _ => Ok(()),
    }
}

fn take(node: &Node, consumer: &Consumer, entries: Vec<(String, Fields)>) {
    for (entry, fields) in entries {
        let report = Report::read(&fields);
        node.count(if report.is_some() { Count::PresenceConsumed } else { Count::PresenceInvalid });
        // The reader stops long before the mailbox is full.
        let _ = consumer.entries.send(Received { entry, report });
    }
}

/// The command that acknowledges entries.
pub(super) fn acknowledge(entries: &[String]) -> Cmd {
    let mut command = redis::cmd("XACK");
    command.arg(STREAM).arg(GROUP).arg(entries);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Option<Report> {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        Report::read(&fields)
    }

    #[test]
    fn entries_are_read_and_what_says_nothing_is_told_apart() {
        let report = |subject, account: &str, at| {
            Some(Report { subject, id: "x".to_string(), account: account.to_string(), at })
        };
        assert_eq!(
            read(&[("kind", "session"), ("id", "x"), ("ts", "5"), ("accountId", "")]),
            report(Subject::Session, "", 5)
        );
        assert_eq!(
            read(&[("ts", "1795410952682.7"), ("kind", "machine"), ("accountId", "a"), ("id", "x")]),
            report(Subject::Machine, "a", 1_795_410_952_682)
        );
        assert_eq!(read(&[("kind", "session"), ("id", "x"), ("ts", "5")]), report(Subject::Session, "", 5));
        for fields in [
            &[("id", "x"), ("ts", "5")][..],
            &[("kind", "session"), ("ts", "5")],
            &[("kind", "session"), ("id", ""), ("ts", "5")],
            &[("kind", "session"), ("id", "x"), ("ts", "soon")],
            &[("kind", "session"), ("id", "x"), ("ts", "1e300")],
            &[("kind", "session"), ("id", "x"), ("ts", "NaN")],
            &[("kind", "machine"), ("id", "x"), ("ts", "5"), ("accountId", "")],
            &[("kind", "other"), ("id", "x"), ("ts", "5")],
        ] {
            assert_eq!(read(fields), None, "{fields:?}");
        }
    }

    #[test]
    fn reports_are_appended_as_they_are_read() {
        let report = Report { subject: Subject::Machine, id: "m".to_string(), account: "a".to_string(), at: 7 };
        let text = |command: Cmd| String::from_utf8_lossy(&command.get_packed_command()).replace("\r\n", " ");
        assert!(
            text(report.append(Some(9))).contains("MAXLEN $1 ~ $1 9 $1 * $4 kind $7 machine $2 id $1 m $2 ts $1 7")
        );
        assert!(!text(report.append(None)).contains("MAXLEN"));
    }
}
