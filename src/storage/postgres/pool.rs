//! The connections of one core: a few shared ones for single statements, the rest lent out for transactions.
//!
//! Single statements of all callers are pipelined over the shared connections, each going to the one with the fewest
//! answers outstanding, and not to one on which a statement waits for a lock if that can be helped: whatever is behind it
//! waits, too. A transaction has a connection to itself. A core with a single connection lends it for both.
//! Invariant: at most `connections` are open at any time, counting those that are being made.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, PoolError, RecycleError, RecycleResult, Timeouts};
use futures_channel::{mpsc, oneshot};

use super::connection::{Connection, Connector, spawn_connect};
use crate::storage::error::Error;

/// Shared connections per core. More would not help one thread to be faster.
const SHARED_MAX: usize = 4;

/// Statements of one shared connection that wait for their answer. More would wait for seconds.
const OUTSTANDING_MAX: usize = 1 << 14;

/// How long the oldest statement of a connection may take before new ones avoid it. Less than the queue of messages waits
/// before it sends others beside a call, so that those find the call's connection stalled.
const STALLED_AFTER: Duration = Duration::from_millis(20);

type Made = Result<Connection, Error>;

pub(super) struct Connections {
    shared: Vec<Shared>,
    lent: managed::Pool<Manager>,
    wait: Duration,
}

/// A connection that any number of callers use at once.
struct Shared {
    /// Holds one connection. It lets one caller connect while the others wait for that.
    pool: managed::Pool<Manager>,
    current: RefCell<Option<Arc<Connection>>>,
    load: Rc<Load>,
}

/// What a shared connection is doing.
struct Load {
    /// Statements without an answer.
    outstanding: Cell<usize>,
    /// When there were none, or the last answer came.
    progressed: Cell<Instant>,
}

impl Load {
    fn new() -> Rc<Self> {
        Rc::new(Self { outstanding: Cell::new(0), progressed: Cell::new(Instant::now()) })
    }

    fn is_stalled(&self, now: Instant) -> bool {
        self.outstanding.get() > 0 && now.saturating_duration_since(self.progressed.get()) > STALLED_AFTER
    }
}

/// Open connections, and those of them with work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct Usage {
    pub open: usize,
    pub busy: usize,
}

impl Connections {
    pub(super) fn new(connector: Connector, connections: usize) -> Result<Self, Error> {
        let wait = connector.settings().pool_timeout;
        let connector = Rc::new(connector);
        let pool = |size| {
            managed::Pool::builder(Manager::new(Rc::clone(&connector)))
                .max_size(size)
                .build()
                .map_err(|error| Error::Internal(error.to_string()))
        };
        let shared = (connections / 2).min(SHARED_MAX);
        let lent = pool(connections.saturating_sub(shared).max(1))?;
        let shared = (0..shared).map(|_| Ok(Shared { pool: pool(1)?, current: RefCell::default(), load: Load::new() }));
        Ok(Self { shared: shared.collect::<Result<_, Error>>()?, lent, wait })
    }

    pub(super) fn usage(&self) -> Usage {
        let lent = self.lent.status();
        let mut usage = Usage { open: lent.size, busy: lent.size.saturating_sub(lent.available) };
        for shared in &self.shared {
            if shared.current.borrow().as_ref().is_some_and(|connection| connection.is_usable()) {
                usage.open += 1;
                usage.busy += usize::from(shared.load.outstanding.get() > 0);
            }
        }
        usage
    }

    /// How many transactions can run at a time.
    pub(super) fn transactions(&self) -> usize {
        self.lent.status().max_size
    }

    /// How many statements can make progress at a time.
    pub(super) fn concurrency(&self) -> usize {
        self.shared.len().max(1)
    }

    /// A connection for one statement.
    pub(super) async fn for_statement(&self) -> Result<Lease, Error> {
        let now = Instant::now();
        let load = |shared: &&Shared| (shared.load.is_stalled(now), shared.load.outstanding.get());
        let Some(shared) = self.shared.iter().min_by_key(load) else {
            return Ok(Lease::Lent(self.for_transaction().await?));
        };
        if shared.load.is_stalled(now)
            && let Ok(free) = self.lent.timeout_get(&Timeouts { wait: Some(Duration::ZERO), ..Timeouts::new() }).await
        {
            return Ok(Lease::Lent(free));
        }
        if shared.load.outstanding.get() >= OUTSTANDING_MAX {
            return Err(Error::Unavailable(format!("{OUTSTANDING_MAX} statements are waiting for PostgreSQL")));
        }
        // Counted before it is connected, so that callers spread over all of them meanwhile.
        let outstanding = Outstanding::new(&shared.load);
        let current = shared.current.borrow().as_ref().filter(|connection| connection.is_usable()).cloned();
        let connection = match current {
            Some(connection) => connection,
            None => {
                let made = Arc::clone(&*self.get(&shared.pool).await?);
                shared.current.replace(Some(Arc::clone(&made)));
                made
            }
        };
        Ok(Lease::Shared { connection, _outstanding: outstanding })
    }

    /// A connection nobody else uses until it is dropped.
    pub(super) async fn for_transaction(&self) -> Result<managed::Object<Manager>, Error> {
        self.get(&self.lent).await
    }

    async fn get(&self, pool: &managed::Pool<Manager>) -> Result<managed::Object<Manager>, Error> {
        match monoio::time::timeout(self.wait, pool.get()).await {
            Ok(Ok(object)) => Ok(object),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(error)) => Err(Error::Unavailable(error.to_string())),
            Err(_) => Err(Error::Unavailable(format!("no connection to PostgreSQL was free within {:?}", self.wait))),
        }
    }
}

/// A connection for as long as one statement takes.
pub(super) enum Lease {
    Shared { connection: Arc<Connection>, _outstanding: Outstanding },
    Lent(managed::Object<Manager>),
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            Self::Shared { connection, .. } => connection,
            Self::Lent(connection) => connection,
        }
    }
}

pub(super) struct Outstanding(Rc<Load>);

impl Outstanding {
    fn new(load: &Rc<Load>) -> Self {
        if load.outstanding.replace(load.outstanding.get() + 1) == 0 {
            load.progressed.set(Instant::now());
        }
        Self(Rc::clone(load))
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.set(self.0.outstanding.get() - 1);
        self.0.progressed.set(Instant::now());
    }
}

/// deadpool's view of our connections. It asks for futures that could change threads, which nothing on a core can; so
/// it only sends a request to a task of the core and awaits the answer.
pub(super) struct Manager {
    requests: mpsc::UnboundedSender<oneshot::Sender<oneshot::Receiver<Made>>>,
}

impl Manager {
    fn new(connector: Rc<Connector>) -> Self {
        let (requests, mut queue) = mpsc::unbounded::<oneshot::Sender<oneshot::Receiver<Made>>>();
        monoio::spawn(async move {
            while let Ok(request) = queue.recv().await {
                let _ = request.send(spawn_connect(Rc::clone(&connector)));
            }
        });
        Self { requests }
    }
}

impl managed::Manager for Manager {
    type Type = Arc<Connection>;
    type Error = Error;

    async fn create(&self) -> Result<Self::Type, Error> {
        let ended = || Error::Unavailable("the core is shutting down".into());
        let (request, answer) = oneshot::channel();
        self.requests.unbounded_send(request).map_err(|_| ended())?;
        let made = answer.await.map_err(|_| ended())?;
        Ok(Arc::new(made.await.map_err(|_| ended())??))
    }

    async fn recycle(&self, connection: &mut Self::Type, _: &Metrics) -> RecycleResult<Error> {
        if connection.is_usable() { Ok(()) } else { Err(RecycleError::message("closed, or in a transaction")) }
    }
}
