//! PostgreSQL, driven on the core that asks.
//!
//! Owns: the core's connections ([`pool`]), which statements are sent again after a fault, transactions.
//! Never: tokio's runtime, or a wake-up from another thread; tokio-postgres runs over the core's own streams.
//! Invariants: a write whose outcome is unknown is an error unless it is declared repeatable; a transaction is run
//! again only if it was certainly not committed. Implements `design.md` §5.

mod connection;
mod convert;
mod pool;
mod settings;
mod stream;
mod tls;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use self::connection::in_order;
use self::convert::FaultKind;
use super::db::Tx;
use super::error::Error;
use super::statement::Statement;
use super::value::{Row, Value};
use crate::runtime::post::CorePost;

pub(super) use connection::{Connection, Connector};
pub(super) use convert::Fault;
pub(super) use pool::Usage;
pub use settings::{Certificates, Host, Settings, TlsMode};

/// Pauses before the second, third … attempt after a conflict or a lost connection.
const PAUSES_MS: [u64; 4] = [20, 50, 100, 200];
/// The longest one attempt of a transaction may take (`data.md` §10).
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// One core's access to PostgreSQL.
pub struct Postgres {
    connections: pool::Connections,
}

impl Postgres {
    /// Prepares up to `connections` connections; none is made before it is needed. Call it on the core, whose `post`
    /// it takes for the answers of the name resolver.
    pub fn new(settings: Settings, connections: usize, post: Arc<dyn CorePost>) -> Result<Self, Error> {
        Ok(Self { connections: pool::Connections::new(Connector::new(settings, post)?, connections)? })
    }

    /// How many connections there are, and how many of them have work.
    pub(super) fn usage(&self) -> Usage {
        self.connections.usage()
    }

    pub(super) fn transactions(&self) -> usize {
        self.connections.transactions()
    }

    pub(super) fn concurrency(&self) -> usize {
        self.connections.concurrency()
    }

    pub(super) async fn query(&self, statement: &'static Statement, params: &[Value]) -> Result<Vec<Row>, Error> {
        self.repeat(statement, async |connection| connection.query_alone(statement.postgres, params).await).await
    }

    pub(super) async fn execute(&self, statement: &'static Statement, params: &[Value]) -> Result<u64, Error> {
        self.repeat(statement, async |connection| connection.execute_alone(statement.postgres, params).await).await
    }

    /// Runs a single statement until it succeeds or must not be sent again.
    async fn repeat<T>(
        &self,
        statement: &Statement,
        run: impl AsyncFn(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let mut pauses = PAUSES_MS.iter();
        loop {
            let connection = self.connections.for_statement().await?;
            let fault = match run(&connection).await {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            drop(connection);
            let again = match fault.kind {
                FaultKind::Final => false,
                // The server undid it, and it was alone in its transaction.
                FaultKind::Conflict => true,
                FaultKind::Lost => statement.is_repeatable(),
            };
            match pauses.next() {
                Some(pause_ms) if again => monoio::time::sleep(Duration::from_millis(*pause_ms)).await,
                _ => return Err(fault.error),
            }
        }
    }

    pub(super) async fn transaction<T, E, F>(&self, f: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Tx<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        let mut pauses = PAUSES_MS.iter();
        loop {
            let connection = self.connections.for_transaction().await?;
            let mut transaction = Transaction::new(Arc::clone(&connection));
            let attempt = monoio::time::timeout(TRANSACTION_TIMEOUT, transaction.run(&f)).await;
            // A connection whose transaction has not ended for certain is thrown away here.
            drop((transaction, connection));
            let error = match attempt {
                Ok(Attempt::Done(result)) => return result,
                Ok(Attempt::Again(error)) => error,
                Err(_) => {
                    let text = format!("the transaction was not done within {TRANSACTION_TIMEOUT:?}");
                    return Err(Error::Timeout(text).into());
                }
            };
            match pauses.next() {
                Some(pause_ms) => monoio::time::sleep(Duration::from_millis(*pause_ms)).await,
                None => return Err(error.into()),
            }
        }
    }
}

/// A transaction under way.
pub(super) struct Transaction {
    connection: Arc<Connection>,
    begun: bool,
    /// Running the transaction again may succeed, and nothing of this attempt remains.
    again: bool,
}

enum Attempt<T, E> {
    Done(Result<T, E>),
    Again(Error),
}

impl Transaction {
    fn new(connection: Arc<Connection>) -> Self {
        Self { connection, begun: false, again: false }
    }

    async fn run<T, E, F>(&mut self, f: &F) -> Attempt<T, E>
    where
        F: AsyncFn(&mut Tx<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        let mut tx = Tx::postgres(self);
        let result = f(&mut tx).await;
        let failure = tx.into_failure();
        match (result, failure) {
            (_, Some(error)) if self.again => {
                self.roll_back().await;
                Attempt::Again(error)
            }
            (Ok(value), None) => self.commit(value).await,
            (Ok(_), Some(error)) => {
                self.roll_back().await;
                Attempt::Done(Err(error.into()))
            }
            (Err(error), _) => {
                self.roll_back().await;
                Attempt::Done(Err(error))
            }
        }
    }

    pub(super) async fn query(&mut self, statement: &'static Statement, params: &[Value]) -> Result<Vec<Row>, Error> {
        let connection = Arc::clone(&self.connection);
        self.in_turn(Box::pin(connection.query(statement.postgres, params))).await
    }

    pub(super) async fn execute(&mut self, statement: &'static Statement, params: &[Value]) -> Result<u64, Error> {
        let connection = Arc::clone(&self.connection);
        self.in_turn(Box::pin(connection.execute(statement.postgres, params))).await
    }

    /// Runs a statement. The first one takes the BEGIN with it, which saves a round trip; a closure that refuses before
    /// it has asked anything costs none.
    async fn in_turn<T>(&mut self, statement: Pin<Box<impl Future<Output = Result<T, Fault>>>>) -> Result<T, Error> {
        let result = if self.begun {
            statement.await
        } else {
            self.begun = true;
            self.connection.mark(true);
            let begin = Box::pin(self.connection.batch(self.connection.begin()));
            let (begun, result) = in_order(begin, statement).await;
            begun.and(result)
        };
        result.map_err(|fault| {
            self.again |= fault.kind != FaultKind::Final;
            fault.error
        })
    }

    async fn commit<T, E: From<Error>>(&mut self, value: T) -> Attempt<T, E> {
        if !self.begun {
            return Attempt::Done(Ok(value));
        }
        match self.connection.batch("COMMIT").await {
            Ok(()) => {
                self.connection.mark(false);
                Attempt::Done(Ok(value))
            }
            Err(Fault { error, kind: FaultKind::Conflict }) => Attempt::Again(error),
            // If the connection was lost now, the commit may have taken place.
            Err(Fault { error, .. }) => Attempt::Done(Err(error.into())),
        }
    }

    async fn roll_back(&self) {
        if self.begun && self.connection.batch("ROLLBACK").await.is_ok() {
            self.connection.mark(false);
        }
    }
}
