//! Messages on their way to PostgreSQL: several share one call, so one commit.
//!
//! A message that finds a connection free is sent at once. What arrives while the connections are busy waits and goes
//! out together. Messages that would only wait for each other's row locks are not sent at the same time: of one session
//! or one writing account at most one call is under way, which also keeps their cursors in the order of the answers.
//! Owns: the queue of this core, the calls under way, what happens when one fails.
//! Invariants: each message is answered exactly once; a message is sent again only with "repeated" set, by which the
//! function finds out that it is stored already; one that cannot be stored does not harm those it travelled with.
//! Limits: [`WAITING_MAX`] messages in the queue, [`BATCH_MAX`] and [`BATCH_BYTES_MAX`] per call.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use super::{Message, NewMessage, Participant, Stored, content, message};
use crate::storage::{Db, Error, Row, Statement, Value};

/// Messages per call. Beyond this the function's own work outweighs the commit that is saved.
const BATCH_MAX: usize = 64;
/// Bytes of ciphertext per call, unless a single message has more.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Messages that wait. A core stores some ten thousand a second, so this many would wait for seconds.
const WAITING_MAX: usize = 1 << 16;
/// How far the queue is searched for messages that may go now.
const SEARCHED_MAX: usize = 256;
/// How long a call may take before others are sent beside it: it waits for a row that somebody else has locked.
const STALLED_AFTER: Duration = Duration::from_millis(50);
/// For how long a batch is sent again after its connection was lost.
const REPEAT_FOR: Duration = Duration::from_secs(15);
/// Pauses before it is.
const PAUSES_MS: [u64; 4] = [20, 50, 100, 200];

static STORE: Statement = Statement::portable(
    "SELECT place, outcome, id, seq, local_id, created_at, updated_at, content, accounts, cursors
    FROM happier_store_messages($1, $2, $3, $4, $5, $6, $7)",
)
.once();

/// This core's queue.
#[derive(Default)]
pub(super) struct Queue(RefCell<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Sessions and writing accounts of the calls under way.
    busy: HashSet<String>,
    /// Calls under way, the oldest first.
    calls: Vec<Call>,
    next_call: u64,
    /// A task that will look at the queue is on its way.
    scheduled: bool,
    /// A task will look at the queue when the calls under way are stalled.
    watched: bool,
}

#[derive(Clone, Copy)]
struct Call {
    number: u64,
    began: Instant,
}

struct Waiting {
    new: NewMessage,
    answer: oneshot::Sender<Result<Stored, Error>>,
}

pub(super) async fn store(db: &Db, new: NewMessage) -> Result<Stored, Error> {
    // PostgreSQL would refuse the whole batch for it.
    for text in [&new.account, &new.session, &new.ciphertext, &new.id].into_iter().chain(&new.local_id) {
        if text.as_bytes().contains(&0) {
            return Err(Error::Invalid("U+0000 in text".into()));
        }
    }
    let (answer, answered) = oneshot::channel();
    let queue = db.local::<Queue>();
    queue.push(Waiting { new, answer })?;
    schedule(db, &queue);
    answered.await.unwrap_or_else(|_| Err(Error::Unavailable("the core is shutting down".into())))
}

/// Has the queue looked at once the tasks that are ready now have run: they may bring more messages for the same call.
fn schedule(db: &Db, queue: &Rc<Queue>) {
    if std::mem::replace(&mut queue.0.borrow_mut().scheduled, true) {
        return;
    }
    let (db, queue) = (db.clone(), Rc::clone(queue));
    monoio::spawn(async move {
        queue.0.borrow_mut().scheduled = false;
        while let Some((call, batch)) = queue.take(db.concurrency()) {
            let (db, queue) = (db.clone(), Rc::clone(&queue));
            monoio::spawn(async move {
                let keys = keys(&batch);
                send(&db, batch).await;
                queue.done(call, &keys);
                schedule(&db, &queue);
            });
        }
        watch(&db, &queue);
    });
}

/// Has the queue looked at again if nothing happens for a while: calls may be stalled, and others go beside them.
fn watch(db: &Db, queue: &Rc<Queue>) {
    let state = &mut *queue.0.borrow_mut();
    if state.waiting.is_empty() || std::mem::replace(&mut state.watched, true) {
        return;
    }
    let (db, queue) = (db.clone(), Rc::clone(queue));
    monoio::spawn(async move {
        monoio::time::sleep(STALLED_AFTER).await;
        queue.0.borrow_mut().watched = false;
        schedule(&db, &queue);
    });
}

fn keys(batch: &[Waiting]) -> Vec<String> {
    batch.iter().flat_map(|waiting| [waiting.new.session.clone(), waiting.new.account.clone()]).collect()
}

impl Queue {
    fn push(&self, waiting: Waiting) -> Result<(), Error> {
        let queue = &mut self.0.borrow_mut().waiting;
        if queue.len() >= WAITING_MAX {
            return Err(Error::Unavailable(format!("{WAITING_MAX} messages are waiting to be stored")));
        }
        queue.push_back(waiting);
        Ok(())
    }

    /// The next messages to go, unless `calls_max` calls are under way or everything waits for one of them. Calls that
    /// are stalled do not count, up to as many again.
    fn take(&self, calls_max: usize) -> Option<(Call, Vec<Waiting>)> {
        let state = &mut *self.0.borrow_mut();
        let stalled = state.calls.iter().take_while(|call| call.began.elapsed() > STALLED_AFTER).count();
        if state.calls.len() >= calls_max.saturating_add(stalled.min(calls_max)) {
            return None;
        }
        let mut batch: Vec<Waiting> = Vec::new();
        let mut left = VecDeque::new();
        let mut behind = HashSet::new();
        let mut bytes = 0usize;
        for _ in 0..SEARCHED_MAX {
            let Some(waiting) = state.waiting.pop_front() else { break };
            let new = &waiting.new;
            let size = bytes.saturating_add(new.ciphertext.len());
            if batch.len() == BATCH_MAX || (!batch.is_empty() && size > BATCH_BYTES_MAX) {
                state.waiting.push_front(waiting);
                break;
            }
            let busy = state.busy.contains(&new.session) || state.busy.contains(&new.account);
            // The second of two with the same local id has to see that the first is stored.
            let twin = new.local_id.is_some()
                && batch.iter().any(|one| one.new.session == new.session && one.new.local_id == new.local_id);
            // A message may not overtake one of its session that stays behind.
            if busy || twin || behind.contains(&new.session) {
                behind.insert(new.session.clone());
                left.push_back(waiting);
            } else {
                bytes = size;
                batch.push(waiting);
            }
        }
        while let Some(waiting) = left.pop_back() {
            state.waiting.push_front(waiting);
        }
        if batch.is_empty() {
            return None;
        }
        let call = Call { number: state.next_call, began: Instant::now() };
        state.next_call += 1;
        state.calls.push(call);
        state.busy.extend(keys(&batch));
        Some((call, batch))
    }

    fn done(&self, call: Call, keys: &[String]) {
        let state = &mut *self.0.borrow_mut();
        // Removed in its place: the oldest come first.
        state.calls.retain(|other| other.number != call.number);
        for key in keys {
            state.busy.remove(key);
        }
    }
}

/// Sends a batch until it is stored, and answers its messages. If the batch cannot be stored as it is, each message is
/// sent alone.
async fn send(db: &Db, mut batch: Vec<Waiting>) {
    db.count_batch(batch.len());
    match call_patiently(db, &mut batch).await {
        Ok(rows) => answer(batch, rows),
        Err(error) if batch.len() > 1 && !matches!(error, Error::Unavailable(_) | Error::Timeout(_)) => {
            log::debug!("a batch of {} messages is sent one by one: {error}", batch.len());
            for waiting in batch {
                let mut alone = [waiting];
                match call_patiently(db, &mut alone).await {
                    Ok(rows) => answer(alone.into(), rows),
                    Err(error) => refuse(alone, &error),
                }
            }
        }
        Err(error) => refuse(batch, &error),
    }
}

fn refuse(batch: impl IntoIterator<Item = Waiting>, error: &Error) {
    for waiting in batch {
        // A caller that went away does not need its answer.
        let _ = waiting.answer.send(Err(error.clone()));
    }
}

/// One call, sent again for a while when the connection is lost: whether it took effect is then for the database to say.
async fn call_patiently(db: &Db, batch: &mut [Waiting]) -> Result<Vec<Row>, Error> {
    let mut params = params(batch);
    let result = repeat(db, &mut params).await;
    take_back(batch, params);
    result
}

async fn repeat(db: &Db, params: &mut [Value]) -> Result<Vec<Row>, Error> {
    let began = Instant::now();
    let mut pauses = PAUSES_MS.iter();
    loop {
        let error = match db.query_lent(&STORE, params).await {
            Err(error @ Error::Unavailable(_)) => error,
            result => return result,
        };
        match pauses.next() {
            Some(pause_ms) if began.elapsed() < REPEAT_FOR => {
                monoio::time::sleep(Duration::from_millis(*pause_ms)).await;
            }
            _ => return Err(error),
        }
        params[REPEATED] = true.into();
    }
}

/// Places of parameters.
const REPEATED: usize = 0;
const CIPHERTEXTS: usize = 5;

/// The parameters of a call. Ciphertexts may be long, so they are not copied but lent.
fn params(batch: &mut [Waiting]) -> Vec<Value> {
    let ciphertexts = batch.iter_mut().map(|waiting| std::mem::take(&mut waiting.new.ciphertext)).collect();
    let texts =
        |of: fn(&NewMessage) -> &str| Value::Texts(batch.iter().map(|waiting| of(&waiting.new).to_owned()).collect());
    vec![
        false.into(),
        texts(|new| &new.id),
        texts(|new| &new.account),
        texts(|new| &new.session),
        texts(|new| new.local_id.as_deref().unwrap_or_default()),
        Value::Texts(ciphertexts),
        Value::Ints(batch.iter().map(|waiting| waiting.new.now_ms).collect()),
    ]
}

fn take_back(batch: &mut [Waiting], mut params: Vec<Value>) {
    let Value::Texts(ciphertexts) = params.swap_remove(CIPHERTEXTS) else { unreachable!("made by `params`") };
    for (waiting, ciphertext) in batch.iter_mut().zip(ciphertexts) {
        waiting.new.ciphertext = ciphertext;
    }
}

/// Gives each message its row of the answer.
fn answer(batch: Vec<Waiting>, rows: Vec<Row>) {
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    rows.sort_by_key(|row| row.as_ref().map(|row| row.int(0)));
    for (at, waiting) in batch.into_iter().enumerate() {
        let row = rows.get_mut(at).and_then(Option::take);
        let stored = match row {
            Some(row) => stored(row, &waiting.new),
            None => Err(Error::Internal("the answer lacks a message".into())),
        };
        let _ = waiting.answer.send(stored);
    }
}

fn stored(row: Row, new: &NewMessage) -> Result<Stored, Error> {
    match row.int(1) {
        0 => {
            let participants = row.texts(8).into_iter().zip(row.ints(9));
            let participants = participants.map(|(account, cursor)| Participant { account, cursor: *cursor }).collect();
            let message = if row.is_null(7) {
                Message {
                    id: new.id.clone(),
                    seq: row.int(3),
                    local_id: new.local_id.clone(),
                    created_at: row.time(5),
                    updated_at: row.time(6),
                    content: content(&new.ciphertext),
                }
            } else {
                message(row, 2)
            };
            Ok(Stored::New(message, participants))
        }
        1 => Ok(Stored::Duplicate(message(row, 2))),
        2 => Ok(Stored::SessionNotFound),
        3 => Ok(Stored::Forbidden),
        other => Err(Error::Internal(format!("unknown outcome {other} of a stored message"))),
    }
}
