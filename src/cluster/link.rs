//! One connection to Redis: made when it is needed, made again with growing pauses when it is lost.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Pauses between attempts.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

struct State {
    connection: Option<MultiplexedConnection>,
    /// No attempt before.
    not_before: Option<Instant>,
    pause: Duration,
}

pub(super) struct Link {
    client: Client,
    config: AsyncConnectionConfig,
    state: Mutex<State>,
}

impl Link {
    /// `patience`: how long an answer may take.
    pub(super) fn new(client: Client, patience: Duration) -> Self {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(CONNECT_TIMEOUT).set_response_timeout(patience);
        let state = State { connection: None, not_before: None, pause: PAUSE_MIN };
        Self { client, config, state: Mutex::new(state) }
    }

    /// The connection. Fails at once while a pause after a failed attempt lasts.
    pub(super) async fn get(&self) -> RedisResult<MultiplexedConnection> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        if state.not_before.is_some_and(|at| at > Instant::now()) {
            return Err(unavailable());
        }
        match self.client.get_multiplexed_async_connection_with_config(&self.config).await {
            Ok(connection) => {
                state.pause = PAUSE_MIN;
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                state.not_before = Some(Instant::now() + state.pause);
                state.pause = (state.pause * 2).min(PAUSE_MAX);
                Err(error)
            }
        }
    }

    /// The same, however long it takes.
    pub(super) async fn wait(&self) -> MultiplexedConnection {
        loop {
            match self.get().await {
                Ok(connection) => return connection,
                Err(_) => tokio::time::sleep(self.pause().await).await,
            }
        }
    }

    async fn pause(&self) -> Duration {
        self.state.lock().await.pause
    }

    /// Something went wrong: unless it was a refusal of a Redis that is otherwise well, the next user connects anew.
    pub(super) async fn failed(&self, error: &RedisError) {
        // One that has become a read-only replica refuses everything we want; its name may lead to another one by now.
        let is_refusal = error.code().is_some_and(|code| code != "READONLY");
        if !is_refusal {
            self.state.lock().await.connection = None;
        }
    }
}

fn unavailable() -> RedisError {
    RedisError::from(std::io::Error::new(std::io::ErrorKind::NotConnected, "Redis is not available"))
}
