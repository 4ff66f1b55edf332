//! The handle the domains hold: statements, transactions, and which database it is.
//!
//! Owns: the choice between the two databases and the rules both keep.
//! Invariants: a transaction's closure may run several times and must have no effect but on the database; once a
//! statement of a transaction has failed, the transaction can only fail (PostgreSQL would quietly roll back on COMMIT,
//! SQLite would quietly keep the rest).
//! Rule for transactions on PostgreSQL: lock rows before reading what you decide on, session rows ordered by id first,
//! then account rows ordered by id. Transactions run at READ COMMITTED.

use std::any::{Any, TypeId};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::error::Error;
use super::postgres::{self, Postgres};
use super::sqlite::{self, Sqlite};
use super::statement::{Statement, only_reads};
use super::value::{Row, Value};
use crate::observe::metrics::{CoreMetrics, Gauge};
use crate::runtime::post::CorePost;
use crate::runtime::reply::reply;

/// Which database it is, for the few rules that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    Sqlite,
}

/// The database as one core sees it. Clones are the same handle.
#[derive(Clone)]
pub struct Db {
    backend: Backend,
    metrics: Rc<OnceCell<Arc<CoreMetrics>>>,
    locals: Rc<RefCell<HashMap<TypeId, Rc<dyn Any>>>>,
}

#[derive(Clone)]
enum Backend {
    Postgres(Rc<Postgres>),
    Sqlite { handle: Arc<Sqlite>, post: Arc<dyn CorePost> },
}

impl Db {
    /// A core's handle on SQLite. `post` must stand for the core that uses the handle.
    pub fn sqlite(handle: Arc<Sqlite>, post: Arc<dyn CorePost>) -> Self {
        Self::on(Backend::Sqlite { handle, post })
    }

    /// A core's own connections to PostgreSQL. They are made when they are needed.
    pub fn postgres(postgres: Postgres) -> Self {
        Self::on(Backend::Postgres(Rc::new(postgres)))
    }

    fn on(backend: Backend) -> Self {
        Self { backend, metrics: Rc::default(), locals: Rc::default() }
    }

    /// Counts from now on what is counted here. The first call counts; SQLite's one writer counts for the first core.
    pub fn count_in(&self, metrics: &Arc<CoreMetrics>) {
        let _ = self.metrics.set(Arc::clone(metrics));
        if let Backend::Sqlite { handle, .. } = &self.backend {
            handle.count_in(metrics);
        }
    }

    /// Notes that so many writes share a commit.
    pub fn count_batch(&self, writes: usize) {
        if let Some(metrics) = self.metrics.get() {
            metrics.database_batch(writes);
        }
    }

    /// Brings the gauges of the connections up to date, where there are any.
    pub fn count_connections(&self) {
        let (Backend::Postgres(postgres), Some(metrics)) = (&self.backend, self.metrics.get()) else { return };
        let postgres::Usage { open, busy } = postgres.usage();
        for (gauge, count) in [(Gauge::PoolOpen, open), (Gauge::PoolBusy, busy), (Gauge::PoolIdle, open - busy)] {
            metrics.gauge_set(gauge, count.try_into().unwrap_or(i64::MAX));
        }
    }

    pub fn kind(&self) -> Kind {
        match &self.backend {
            Backend::Postgres(_) => Kind::Postgres,
            Backend::Sqlite { .. } => Kind::Sqlite,
        }
    }

    // The futures of PostgreSQL are large and every rule holds several of them, so they are boxed here, once for all.

    /// Runs one statement, committed by itself, and gives its rows.
    pub async fn query(&self, statement: &'static Statement, params: Vec<Value>) -> Result<Vec<Row>, Error> {
        match &self.backend {
            Backend::Postgres(postgres) => Box::pin(postgres.query(statement, &params)).await,
            Backend::Sqlite { handle, post } => Ok(on_sqlite(handle, post, statement, params).await?.rows),
        }
    }

    /// As [`Db::query`], for parameters that are wanted back. SQLite, which runs on threads of its own, gets copies.
    pub async fn query_lent(&self, statement: &'static Statement, params: &[Value]) -> Result<Vec<Row>, Error> {
        match &self.backend {
            Backend::Postgres(postgres) => Box::pin(postgres.query(statement, params)).await,
            Backend::Sqlite { .. } => self.query(statement, params.to_vec()).await,
        }
    }

    /// As [`Db::query`], for a statement that gives one row or none.
    pub async fn query_opt(&self, statement: &'static Statement, params: Vec<Value>) -> Result<Option<Row>, Error> {
        one_or_none(self.query(statement, params).await?)
    }

    /// Runs one statement, committed by itself, and gives the number of rows it changed.
    pub async fn execute(&self, statement: &'static Statement, params: Vec<Value>) -> Result<u64, Error> {
        match &self.backend {
            Backend::Postgres(postgres) => Box::pin(postgres.execute(statement, &params)).await,
            Backend::Sqlite { handle, post } => Ok(on_sqlite(handle, post, statement, params).await?.changed),
        }
    }

    /// Runs `f` in one transaction: committed if it gives `Ok`, rolled back if it gives `Err`.
    ///
    /// `f` may run several times (a connection lost before the commit, a deadlock): it must have no effect but those on
    /// the database, and await nothing but its statements.
    pub async fn transaction<T, E, F>(&self, f: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        match &self.backend {
            Backend::Postgres(postgres) => Box::pin(postgres.transaction(f)).await,
            Backend::Sqlite { handle, post } => {
                let (sender, answer) = reply(post);
                handle.write(Box::new(move |connection| {
                    let result = in_savepoint(connection, f);
                    Box::new(move |committed| {
                        sender.send(match (result, committed) {
                            (Ok(_), Err(error)) => Err(error.into()),
                            (result, _) => result,
                        });
                    })
                }));
                answer.await.unwrap_or_else(|_| Err(lost().into()))
            }
        }
    }

    /// State that belongs to this core's handle, made when it is first asked for: queues of the domains, for example.
    pub fn local<T: Default + 'static>(&self) -> Rc<T> {
        let mut locals = self.locals.borrow_mut();
        let any = Rc::clone(locals.entry(TypeId::of::<T>()).or_insert_with(|| Rc::new(T::default())));
        drop(locals);
        any.downcast().unwrap_or_else(|_| unreachable!("the entry is found by its type"))
    }

    /// How many transactions of this core are taken in at a time; more wait for each other here.
    pub fn transactions(&self) -> usize {
        match &self.backend {
            Backend::Postgres(postgres) => postgres.transactions(),
            Backend::Sqlite { .. } => sqlite::WAITING_MAX,
        }
    }

    /// How many calls may usefully run at a time; more would only wait for each other.
    pub fn concurrency(&self) -> usize {
        match &self.backend {
            Backend::Postgres(postgres) => postgres.concurrency(),
            Backend::Sqlite { .. } => usize::MAX,
        }
    }
}

/// Statements inside a transaction.
pub struct Tx<'a> {
    on: On<'a>,
    failed: Option<Error>,
}

enum On<'a> {
    Postgres(&'a mut postgres::Transaction),
    Sqlite(&'a rusqlite::Connection),
}

impl<'a> Tx<'a> {
    pub(super) fn postgres(transaction: &'a mut postgres::Transaction) -> Self {
        Self { on: On::Postgres(transaction), failed: None }
    }

    pub fn kind(&self) -> Kind {
        match self.on {
            On::Postgres(_) => Kind::Postgres,
            On::Sqlite(_) => Kind::Sqlite,
        }
    }

    pub async fn query(&mut self, statement: &'static Statement, params: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.usable()?;
        let rows = match &mut self.on {
            On::Postgres(transaction) => Box::pin(transaction.query(statement, &params)).await,
            On::Sqlite(connection) => sqlite::run(connection, statement.sqlite, &params).map(|answer| answer.rows),
        };
        self.note(rows)
    }

    pub async fn query_opt(&mut self, statement: &'static Statement, params: Vec<Value>) -> Result<Option<Row>, Error> {
        one_or_none(self.query(statement, params).await?)
    }

    /// Parameters that are wanted back may be lent.
    pub async fn execute(&mut self, statement: &'static Statement, params: impl AsRef<[Value]>) -> Result<u64, Error> {
        self.usable()?;
        let params = params.as_ref();
        let changed = match &mut self.on {
            On::Postgres(transaction) => Box::pin(transaction.execute(statement, params)).await,
            On::Sqlite(connection) => sqlite::run(connection, statement.sqlite, params).map(|answer| answer.changed),
        };
        self.note(changed)
    }

    fn usable(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn note<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    /// The first error of a statement, whatever the closure made of it.
    pub(super) fn into_failure(self) -> Option<Error> {
        self.failed
    }
}

fn one_or_none(mut rows: Vec<Row>) -> Result<Option<Row>, Error> {
    if rows.len() > 1 {
        return Err(Error::Internal(format!("{} rows where one was expected", rows.len())));
    }
    Ok(rows.pop())
}

fn lost() -> Error {
    Error::Unavailable("it has ended, or has too much to do".into())
}

async fn on_sqlite(
    handle: &Sqlite,
    post: &Arc<dyn CorePost>,
    statement: &'static Statement,
    params: Vec<Value>,
) -> Result<sqlite::Answer, Error> {
    let (sender, answer) = reply(post);
    let sql = statement.sqlite;
    if only_reads(sql) {
        handle.read(Box::new(move |connection| sender.send(sqlite::run(connection, sql, &params))));
    } else {
        // A single statement needs no savepoint: SQLite undoes a statement that fails by itself.
        handle.write(Box::new(move |connection| {
            let result = sqlite::run(connection, sql, &params);
            Box::new(move |committed| sender.send(committed.and(result)))
        }));
    }
    answer.await.unwrap_or_else(|_| Err(lost()))
}

/// Runs a transaction's closure on the writer's thread, inside the batch's transaction.
fn in_savepoint<T, E, F>(connection: &rusqlite::Connection, f: F) -> Result<T, E>
where
    F: AsyncFn(&mut Tx<'_>) -> Result<T, E>,
    E: From<Error>,
{
    sqlite::run(connection, "SAVEPOINT request", &[])?;
    let mut tx = Tx { on: On::Sqlite(connection), failed: None };
    let polled = {
        let future = pin!(f(&mut tx));
        future.poll(&mut Context::from_waker(Waker::noop()))
    };
    let result = match polled {
        Poll::Ready(result) => result,
        // Every statement completes at once here, so the closure waited for something else.
        Poll::Pending => {
            Err(Error::Internal("a transaction waited for something that is not a statement".into()).into())
        }
    };
    let result = match (result, tx.into_failure()) {
        (Ok(_), Some(error)) => Err(error.into()),
        (result, _) => result,
    };
    if connection.is_autocommit() {
        // The database has given up the whole batch, and the savepoint with it.
        return result;
    }
    if result.is_err() {
        sqlite::run(connection, "ROLLBACK TO request", &[])?;
    }
    sqlite::run(connection, "RELEASE request", &[])?;
    result
}
