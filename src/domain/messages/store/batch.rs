//! Messages on their way to PostgreSQL: several share one call, so one commit.
//!
//! A message that finds a connection free is sent at once. What arrives while the connections are busy waits and goes
//! out together. Messages that would only wait for each other's row locks are not sent at the same time: of one session
//! or one writing account at most one call is under way, which also keeps their cursors in the order of the answers.
//! Which messages go next is for the [`Queue`] to say.
//! Owns: the calls under way, what happens when one fails.
//! Invariants: each message is answered exactly once; a message is sent again only with "repeated" set, by which the
//! function finds out that it is stored already; one that cannot be stored does not harm those it travelled with.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use super::queue::{self, Full, Queue, STALLED_AFTER, WAITING_MAX};
use super::{Message, NewMessage, Participant, Stored, content, message};
use crate::storage::{Db, Error, Row, Statement, Value};

/// For how long a batch is sent again after its connection was lost.
const REPEAT_FOR: Duration = Duration::from_secs(15);
/// Pauses before it is.
const PAUSES_MS: [u64; 4] = [20, 50, 100, 200];

static STORE: Statement = Statement::portable(
    "SELECT place, outcome, id, seq, local_id, created_at, updated_at, content, accounts, cursors
    FROM happier_store_messages($1, $2, $3, $4, $5, $6, $7)",
)
.once();

type Waiting = queue::Waiting<oneshot::Sender<Result<Stored, Error>>>;

/// What this core sends.
#[derive(Default)]
struct Sender {
    queue: RefCell<Queue<oneshot::Sender<Result<Stored, Error>>>>,
    /// A task that will look at the queue is on its way.
    scheduled: Cell<bool>,
    /// A task will look at the queue when the calls under way are stalled.
    watched: Cell<bool>,
}

pub(super) async fn store(db: &Db, new: NewMessage) -> Result<Stored, Error> {
    // PostgreSQL would refuse the whole batch for it.
    for text in [&new.account, &new.session, &new.ciphertext, &new.id].into_iter().chain(&new.local_id) {
        if text.as_bytes().contains(&0) {
            return Err(Error::Invalid("U+0000 in text".into()));
        }
    }
    let (answer, answered) = oneshot::channel();
    let sender = db.local::<Sender>();
    let pushed = sender.queue.borrow_mut().push(Waiting { new, answer });
    if let Err(Full) = pushed {
        return Err(Error::Unavailable(format!("{WAITING_MAX} messages are waiting to be stored")));
    }
    schedule(db, &sender);
    answered.await.unwrap_or_else(|_| Err(Error::Unavailable("the core is shutting down".into())))
}

/// Has the queue looked at once the tasks that are ready now have run: they may bring more messages for the same call.
fn schedule(db: &Db, sender: &Rc<Sender>) {
    if sender.scheduled.replace(true) {
        return;
    }
    let (db, sender) = (db.clone(), Rc::clone(sender));
    monoio::spawn(async move {
        sender.scheduled.set(false);
        while let Some((call, batch)) = sender.take(db.concurrency()) {
            let (db, sender) = (db.clone(), Rc::clone(&sender));
            monoio::spawn(async move {
                send(&db, batch).await;
                sender.queue.borrow_mut().done(call);
                schedule(&db, &sender);
            });
        }
        watch(&db, &sender);
    });
}

/// Has the queue looked at again if nothing happens for a while: calls may be stalled, and others go beside them.
fn watch(db: &Db, sender: &Rc<Sender>) {
    if sender.queue.borrow().is_empty() || sender.watched.replace(true) {
        return;
    }
    let (db, sender) = (db.clone(), Rc::clone(sender));
    monoio::spawn(async move {
        monoio::time::sleep(STALLED_AFTER).await;
        sender.watched.set(false);
        schedule(&db, &sender);
    });
}

impl Sender {
    fn take(&self, calls_max: usize) -> Option<(queue::Call, Vec<Waiting>)> {
        self.queue.borrow_mut().take(calls_max, Instant::now())
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
