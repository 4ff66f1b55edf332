//! The stream in: one connection that reads, from the end at the start, and from its last position after a loss.
//!
//! Entries go to [`Node::entry`] in their order. A position that has left the stream means that entries were trimmed
//! before they were read; then all clients of this process are told to come again (`spec/cluster.md` §3).

use std::rc::Rc;
use std::time::Duration;

use protocol::adapter::entry::{Entry, STREAM};
use redis::{RedisResult, Value};

use super::link::Link;
use super::node::Node;
use crate::observe::metrics::cluster::{Count, Level};

/// Entries of one read.
const COUNT: usize = 100;
const BLOCK_MS: u64 = 100;

/// A read that took longer than this was not only a read that waited: entries may have come and gone meanwhile.
const DOUBT_MS: u64 = 500;

/// After so long without a read the others can no longer be judged by what was heard of them.
pub(super) const STALL_MS: u64 = 2_000;

/// Names and values of an entry.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Where the stream has been read to.
pub(super) struct Position {
    id: String,
    /// Whether `id` is an entry that was read, which is how long it can be looked for.
    was_read: bool,
}

/// The end of the stream. Asked for once, so that nothing between two reads is missed (closes C-1).
pub(super) async fn end(connection: &mut redis::aio::MultiplexedConnection) -> RedisResult<Position> {
    let mut command = redis::cmd("XINFO");
    command.arg("STREAM").arg(STREAM);
    let id = match command.query_async::<Value>(connection).await {
        Ok(Value::Array(parts)) => {
            let at = parts.iter().position(|part| text(part) == Some("last-generated-id"));
            at.and_then(|at| parts.get(at + 1)).and_then(text).unwrap_or("0-0").to_string()
        }
        Ok(_) => "0-0".to_string(),
        // There is no stream yet.
        Err(error) if error.code() == Some("ERR") => "0-0".to_string(),
        Err(error) => return Err(error),
    };
    Ok(Position { id, was_read: false })
}

pub(super) async fn run(node: Rc<Node>, link: Rc<Link>, mut position: Position) {
    let mut was_away = false;
    // Whether clients were told of a gap with the last read.
    let mut told = false;
    let mut read_at = node.now();
    while !node.is_stopping() {
        let mut connection = link.wait().await;
        match read(&mut connection, &position).await {
            Ok(entries) => {
                let now = node.now();
                let took = now.saturating_sub(read_at);
                read_at = now;
                // A reader that is behind, was away or stood still may have been overtaken by the trimming. If the entry
                // before those that were read is still there, it was not.
                let in_doubt = std::mem::take(&mut was_away) || took > DOUBT_MS || entries.len() == COUNT;
                // One gap shows twice if what came before it is gone by now as well. Whoever is told once, and comes again,
                // catches up with all that was trimmed until then.
                let was_told = std::mem::take(&mut told);
                let is_gap = in_doubt && position.was_read && !was_told && is_trimmed(&mut connection, &position).await;
                told = is_gap;
                if took > STALL_MS || node.metrics().level(Level::RedisUp) == 0 {
                    node.resumed();
                }
                node.read_at(now);
                // Who has come since is known before anything is looked at.
                node.drain();
                if is_gap {
                    log::error!(
                        "entries were trimmed before they were read: all clients are disconnected and catch up"
                    );
                    node.count(Count::Gaps);
                    node.resync();
                    // Known to be gone, so not looked for again.
                    position = Position { was_read: false, ..not_beyond_the_end(&mut connection, position).await };
                }
                for (id, fields) in entries {
                    let pairs = fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
                    match Entry::read(pairs) {
                        Some(entry) => node.entry(&entry),
                        None => node.count(Count::EntriesMalformed),
                    }
                    node.lag(&id);
                    position = Position { id, was_read: true };
                }
                node.conclude();
            }
            Err(error) => {
                if node.is_stopping() {
                    return;
                }
                node.deaf(&error);
                link.failed(&error).await;
                was_away = true;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Waits for entries behind a position.
async fn read(
    connection: &mut redis::aio::MultiplexedConnection,
    position: &Position,
) -> RedisResult<Vec<(String, Fields)>> {
    let mut command = redis::cmd("XREAD");
    command.arg("BLOCK").arg(BLOCK_MS).arg("COUNT").arg(COUNT).arg("STREAMS").arg(STREAM).arg(&position.id);
    let answer: Value = command.query_async(connection).await?;
    let mut found = Vec::new();
    if let Value::Array(streams) = answer {
        for stream in streams {
            if let Value::Array(mut parts) = stream
                && parts.len() == 2
            {
                found.append(&mut entries(parts.swap_remove(1)));
            }
        }
    }
    Ok(found)
}

/// A Redis that has lost its memory, or another one in its place, may have a clock that is behind: what is appended there
/// would be in front of this position for a while, and never read.
async fn not_beyond_the_end(connection: &mut redis::aio::MultiplexedConnection, position: Position) -> Position {
    match end(connection).await {
        Ok(end) if order(&end.id) < order(&position.id) => end,
        _ => position,
    }
}

/// Ids of entries in their order.
fn order(id: &str) -> (u64, u64) {
    let (ms, number) = id.split_once('-').unwrap_or((id, "0"));
    (ms.parse().unwrap_or(0), number.parse().unwrap_or(0))
}

/// Whether the entry at a position has left the stream, or nobody can say.
async fn is_trimmed(connection: &mut redis::aio::MultiplexedConnection, position: &Position) -> bool {
    let mut command = redis::cmd("XRANGE");
    command.arg(STREAM).arg(&position.id).arg(&position.id).arg("COUNT").arg(1);
    command.query_async::<Value>(connection).await.map_or(true, |answer| entries(answer).is_empty())
}

/// The entries of an answer. What has no fields was deleted.
pub(super) fn entries(answer: Value) -> Vec<(String, Fields)> {
    let Value::Array(entries) = answer else { return Vec::new() };
    entries.into_iter().filter_map(entry).collect()
}

fn entry(value: Value) -> Option<(String, Fields)> {
    let Value::Array(parts) = value else { return None };
    let mut parts = parts.into_iter();
    let id = text(&parts.next()?)?.to_string();
    let Value::Array(flat) = parts.next()? else { return None };
    let mut fields = Vec::with_capacity(flat.len() / 2);
    let mut flat = flat.into_iter();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        if let (Value::BulkString(name), Value::BulkString(value)) = (name, value) {
            fields.push((name, value));
        }
    }
    Some((id, fields))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_compared_as_numbers() {
        assert!(order("0-0") < order("9-1") && order("9-1") < order("10-0") && order("10-2") < order("10-10"));
        assert_eq!(order("1795410952682-3"), (1_795_410_952_682, 3));
    }
}
