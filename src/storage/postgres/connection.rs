//! One connection: how it is made, and one statement at a time on it.
//!
//! The connection's own future runs as a task of the core. Statements of several callers may be under way at once; the
//! server answers them in order.
//! Invariant: a connection inside a transaction is marked until the transaction has ended for certain; a marked
//! connection is never given to anybody else.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config};

use super::convert::{self, Fault, FaultKind};
use super::settings::{Host, Settings, TlsMode};
use super::stream;
use super::tls::Tls;
use crate::runtime::post::CorePost;
use crate::storage::error::Error;
use crate::storage::value::{Row, Value};

/// The longest a statement may take unless the URL's `socket_timeout` says otherwise.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// What is needed to make connections.
pub(crate) struct Connector {
    settings: Settings,
    tls: Tls,
    post: Arc<dyn CorePost>,
}

impl Connector {
    pub(crate) fn new(settings: Settings, post: Arc<dyn CorePost>) -> Result<Self, Error> {
        let tls = Tls::new(&settings)?;
        Ok(Self { settings, tls, post })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes one connection, ready for statements.
    pub(crate) async fn connect(&self) -> Result<Connection, Fault> {
        let settings = &self.settings;
        let place = stream::display(&settings.host, settings.port);
        let unreachable = |text: String| Fault {
            error: Error::Unavailable(format!("cannot connect to PostgreSQL at {place}: {text}")),
            kind: FaultKind::Lost,
        };
        let made = monoio::time::timeout(settings.connect_timeout, async {
            let stream = stream::connect(&settings.host, settings.port, &self.post)
                .await
                .map_err(|error| unreachable(error.to_string()))?;
            let (client, task) = self
                .config()
                .connect_raw(stream, self.tls.clone())
                .await
                .map_err(|error| refused(Fault::from(error), &place))?;
            monoio::spawn(async move {
                if let Err(error) = task.await {
                    log::warn!("lost a connection to PostgreSQL: {}", convert::whole(&error));
                }
            });
            let connection = Connection {
                client,
                statements: Mutex::default(),
                prepare: settings.prepare,
                begin: begin(settings),
                timeout: settings.socket_timeout.unwrap_or(STATEMENT_TIMEOUT),
                in_transaction: AtomicBool::new(false),
                stuck: AtomicBool::new(false),
            };
            connection.prepare_session(settings).await?;
            Ok(connection)
        });
        made.await.unwrap_or_else(|_| Err(unreachable(format!("no answer within {:?}", settings.connect_timeout))))
    }

    /// As [`Connector::connect`], but tries again for a while if the server cannot be reached.
    pub(crate) async fn connect_patiently(self) -> Result<Connection, Error> {
        let ended = || Error::Unavailable("the attempt was given up".into());
        spawn_connect(Rc::new(self)).await.map_err(|_| ended())?
    }

    fn config(&self) -> Config {
        let settings = &self.settings;
        let mut config = Config::new();
        config.user(&settings.user).dbname(&settings.database).port(settings.port);
        match &settings.host {
            Host::Tcp(name) => config.host(name),
            Host::Unix(directory) => config.host_path(directory),
        };
        if let Some(password) = &settings.password {
            config.password(password.expose());
        }
        if let Some(name) = &settings.application_name {
            config.application_name(name);
        }
        if let Some(options) = &settings.options {
            config.options(options);
        }
        config.ssl_mode(match settings.tls {
            _ if !self.tls.is_on() => SslMode::Disable,
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require => SslMode::Require,
        });
        config
    }
}

/// Says of an error during the greeting where it came from, and whether trying again makes sense: a server that starts,
/// or has no connection to spare, will answer later; a wrong password stays wrong.
fn refused(fault: Fault, place: &str) -> Fault {
    match fault {
        Fault { error: Error::Unavailable(text), .. } => Fault {
            error: Error::Unavailable(format!("cannot connect to PostgreSQL at {place}: {text}")),
            kind: FaultKind::Lost,
        },
        Fault { error, .. } => {
            Error::Unavailable(format!("PostgreSQL at {place} refuses the connection: {error}")).into()
        }
    }
}

/// What a session is given: the schema of the URL, so that no other one can come first, and times without an offset.
fn session(settings: &Settings, scope: &str) -> String {
    let schema = settings.schema.replace('"', "\"\"");
    format!("SET {scope} search_path TO \"{schema}\"; SET {scope} TIME ZONE 'UTC'")
}

/// How a transaction begins. Behind a pooler it may run on another server connection than the one before, and somebody
/// else's comes after it: so it brings what it needs itself, and leaves nothing.
fn begin(settings: &Settings) -> Cow<'static, str> {
    if settings.prepare { BEGIN.into() } else { format!("{BEGIN}; {}", session(settings, "LOCAL")).into() }
}

/// A connection that answers.
pub(crate) struct Connection {
    client: Client,
    /// By the address of the text. Statements are statics, so their addresses stay.
    statements: Mutex<HashMap<(usize, usize), tokio_postgres::Statement>>,
    prepare: bool,
    begin: Cow<'static, str>,
    timeout: Duration,
    in_transaction: AtomicBool,
    /// An answer did not come in time. Whatever is the matter, later statements would wait behind it.
    stuck: AtomicBool,
}

impl Connection {
    pub(super) fn is_usable(&self) -> bool {
        let spoilt = self.in_transaction.load(Ordering::Relaxed) || self.stuck.load(Ordering::Relaxed);
        !spoilt && !self.client.is_closed()
    }

    pub(super) fn mark(&self, in_transaction: bool) {
        self.in_transaction.store(in_transaction, Ordering::Relaxed);
    }

    /// The statement that begins a transaction.
    pub(crate) fn begin(&self) -> &str {
        &self.begin
    }

    async fn prepare_session(&self, settings: &Settings) -> Result<(), Fault> {
        if self.prepare {
            // The server, too, gives up what nobody waits for any more; the client alone would only stop listening.
            // Whoever has set a limit of their own, for the role or in the URL's `options`, keeps it. Behind a pooler
            // this would be left to others, so there it is theirs to set.
            let limit = self.timeout.as_millis().min(2_147_483_647);
            return self
                .batch(&format!(
                    "{}; SELECT set_config('statement_timeout', '{limit}', false)
                     WHERE current_setting('statement_timeout') = '0'",
                    session(settings, "SESSION")
                ))
                .await;
        }
        // The enums are looked up once: tokio-postgres prepares a statement for that, which has to stay within one
        // transaction and is removed at its end.
        self.batch(&format!("{}; DEALLOCATE ALL", self.begin)).await?;
        let known = "SELECT NULL::\"RelationshipStatus\", NULL::\"ShareAccessLevel\"";
        match self.client.query_typed(known, &[]).await.map_err(Fault::from) {
            Ok(_) => self.batch("DEALLOCATE ALL; COMMIT").await,
            // An empty database has no enums yet, and nothing was prepared.
            Err(Fault { kind: FaultKind::Final, .. }) => self.batch("ROLLBACK").await,
            Err(fault) => Err(fault),
        }
    }

    /// Runs statements without parameters that give no rows.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Fault> {
        self.bounded(Box::pin(self.client.batch_execute(sql))).await
    }

    /// Runs a statement and gives its rows.
    pub(crate) async fn query(&self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, Fault> {
        check(params)?;
        let rows = if self.prepare {
            let statement = self.prepared(sql).await?;
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|value| value as _).collect();
            self.bounded(Box::pin(self.client.query(&statement, &params))).await?
        } else {
            self.bounded(Box::pin(self.client.query_typed(sql, &untyped(params)))).await?
        };
        Ok(rows.iter().map(convert::row).collect::<Result<_, _>>()?)
    }

    /// Runs a statement and gives the number of rows it changed.
    pub(crate) async fn execute(&self, sql: &'static str, params: &[Value]) -> Result<u64, Fault> {
        check(params)?;
        if self.prepare {
            let statement = self.prepared(sql).await?;
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|value| value as _).collect();
            self.bounded(Box::pin(self.client.execute(&statement, &params))).await
        } else {
            self.bounded(Box::pin(self.client.execute_typed(sql, &untyped(params)))).await
        }
    }

    /// As [`Connection::query`], outside of any other transaction.
    pub(super) async fn query_alone(&self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, Fault> {
        if self.prepare { self.query(sql, params).await } else { Box::pin(self.alone(self.query(sql, params))).await }
    }

    /// As [`Connection::execute`], outside of any other transaction.
    pub(super) async fn execute_alone(&self, sql: &'static str, params: &[Value]) -> Result<u64, Fault> {
        if self.prepare {
            self.execute(sql, params).await
        } else {
            Box::pin(self.alone(self.execute(sql, params))).await
        }
    }

    /// Runs a statement in a transaction of its own, which says where its names are found. All of it goes out at once,
    /// so it is one round trip, no caller comes in between, and the server ends it also if nobody waits any more.
    async fn alone<T>(&self, statement: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let rest = in_order(statement, self.batch("COMMIT"));
        let (begun, (result, committed)) = in_order(self.batch(&self.begin), rest).await;
        // After a statement that failed, COMMIT rolls back, which is no failure of its own.
        begun.and(result).and_then(|value| committed.map(|()| value))
    }

    async fn prepared(&self, sql: &'static str) -> Result<tokio_postgres::Statement, Fault> {
        let key = (sql.as_ptr().addr(), sql.len());
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.bounded(Box::pin(self.client.prepare(sql))).await?;
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).insert(key, statement.clone());
        Ok(statement)
    }

    /// Waits for a request of the client, for as long as it may take. tokio-postgres' futures have kilobytes, nearly all
    /// of it for the rare lookup of types; on the heap they do not make every caller's future as large.
    async fn bounded<T>(
        &self,
        run: Pin<Box<impl Future<Output = Result<T, tokio_postgres::Error>>>>,
    ) -> Result<T, Fault> {
        match monoio::time::timeout(self.timeout, run).await {
            Ok(result) => result.map_err(Fault::from),
            Err(_) => {
                self.stuck.store(true, Ordering::Relaxed);
                Err(Error::Timeout(format!("no answer from PostgreSQL within {:?}", self.timeout)).into())
            }
        }
    }
}

/// Runs two futures at once, the first always a step ahead: what it sends goes out before what the second sends.
pub(super) async fn in_order<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> (A, B) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut a, mut b) = (None, None);
    poll_fn(move |cx| {
        if a.is_none()
            && let Poll::Ready(value) = first.as_mut().poll(cx)
        {
            a = Some(value);
        }
        if b.is_none()
            && let Poll::Ready(value) = second.as_mut().poll(cx)
        {
            b = Some(value);
        }
        match (a.take(), b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (left, right) => {
                (a, b) = (left, right);
                Poll::Pending
            }
        }
    })
    .await
}

fn check(params: &[Value]) -> Result<(), Error> {
    params.iter().try_for_each(Value::check)
}

fn untyped(params: &[Value]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    params.iter().map(|value| (value as _, Type::UNKNOWN)).collect()
}

/// Connects for a pool whose interface wants futures that could change threads: the work is a task of this core, and
/// only its result crosses. Tries again while the server cannot be reached, until nobody waits any more.
pub(super) fn spawn_connect(connector: Rc<Connector>) -> futures_channel::oneshot::Receiver<Result<Connection, Error>> {
    let (mut sender, receiver) = futures_channel::oneshot::channel();
    monoio::spawn(async move {
        // The last attempt begins while there is time left for it: whoever waits should hear why it failed, and not only that
        // the time is over.
        let patience = connector.settings.pool_timeout;
        let deadline = std::time::Instant::now() + (patience - patience / 8);
        for pause_ms in [20, 50, 100, 200].into_iter().chain(std::iter::repeat(500)) {
            let made = connector.connect().await;
            let pause = Duration::from_millis(pause_ms);
            match made {
                Err(Fault { kind: FaultKind::Lost, error }) if std::time::Instant::now() + pause < deadline => {
                    log::debug!("{error}; trying again");
                }
                made => {
                    let _ = sender.send(made.map_err(|fault| fault.error));
                    return;
                }
            }
            let mut given_up = sender.cancellation();
            if monoio::time::timeout(pause, &mut given_up).await.is_ok() {
                return;
            }
        }
    });
    receiver
}
