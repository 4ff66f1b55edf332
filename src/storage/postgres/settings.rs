//! How to reach PostgreSQL: what `DATABASE_URL` says, already taken apart (`configuration.md` §2.2).

use std::path::PathBuf;
use std::time::Duration;

use crate::config::postgres as url;
use crate::config::secret::Secret;

/// For time-outs that the URL switches off.
const WITHOUT_END: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone)]
pub struct Settings {
    pub host: Host,
    pub port: u16,
    pub user: String,
    pub password: Option<Secret>,
    pub database: String,
    pub schema: String,
    pub application_name: Option<String>,
    /// `options` of the URL, as the server wants them (`-c name=value`).
    pub options: Option<String>,
    pub tls: TlsMode,
    pub certificates: Certificates,
    /// `sslidentity`: a file with our own certificate, those between it and its authority, and its key, for servers that
    /// ask for one.
    pub identity: Option<PathBuf>,
    /// For the whole process; see [`Settings::connections_of_core`].
    pub connection_limit: usize,
    pub pool_timeout: Duration,
    pub connect_timeout: Duration,
    /// The longest a statement may take.
    pub socket_timeout: Option<Duration>,
    /// Whether statements are prepared once per connection. Off for a pooler in transaction mode (`pgbouncer=true`) and
    /// for `statement_cache_size=0`. Then nothing is left in a session either; every transaction brings what it needs.
    pub prepare: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The directory of the server's socket.
    Unix(PathBuf),
}

/// `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    Disable,
    /// TLS if the server offers it.
    Prefer,
    Require,
}

/// `sslaccept` and `sslcert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// Any certificate will do: the line is encrypted, the server is not identified.
    AcceptInvalid,
    /// The certificate must be for the host and signed by an authority of this file, or by one the system trusts.
    Strict { authorities: Option<PathBuf> },
}

impl From<&url::Postgres> for Settings {
    fn from(url: &url::Postgres) -> Self {
        Self {
            host: match &url.host {
                url::Host::Name(name) => Host::Tcp(name.clone()),
                url::Host::Socket(directory) => Host::Unix(directory.clone()),
            },
            port: url.port,
            user: url.user.clone(),
            password: url.password.clone(),
            database: url.database.clone(),
            schema: url.schema.clone(),
            application_name: Some(url.application_name.clone()).filter(|name| !name.is_empty()),
            options: url.options.clone(),
            tls: match url.tls.mode {
                url::TlsMode::Disable => TlsMode::Disable,
                url::TlsMode::Prefer => TlsMode::Prefer,
                url::TlsMode::Require => TlsMode::Require,
            },
            certificates: if url.tls.verify {
                Certificates::Strict { authorities: url.tls.root_certificate.clone() }
            } else {
                Certificates::AcceptInvalid
            },
            identity: url.tls.identity.clone(),
            connection_limit: url
                .connection_limit
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or_else(Self::connection_limit_default),
            pool_timeout: url.pool_timeout.unwrap_or(WITHOUT_END),
            connect_timeout: url.connect_timeout.unwrap_or(WITHOUT_END),
            socket_timeout: url.socket_timeout,
            prepare: !url.pgbouncer && url.statement_cache_size > 0,
        }
    }
}

impl Settings {
    /// The default limit: 2 × CPUs + 1, as many as the reference server takes.
    pub fn connection_limit_default() -> usize {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get) * 2 + 1
    }

    /// How many of the connections belong to a core. Every core gets one even when the limit is below the number of
    /// cores: a core without a connection could not answer anything.
    pub fn connections_of_core(&self, core: usize, cores: usize) -> usize {
        let cores = cores.max(1);
        (self.connection_limit / cores + usize::from(core < self.connection_limit % cores)).max(1)
    }
}

impl Default for Settings {
    /// The defaults of the URL's parameters.
    fn default() -> Self {
        Self {
            host: Host::Tcp("localhost".into()),
            port: 5432,
            user: "postgres".into(),
            password: None,
            database: "postgres".into(),
            schema: "public".into(),
            application_name: None,
            options: None,
            tls: TlsMode::Prefer,
            certificates: Certificates::AcceptInvalid,
            identity: None,
            connection_limit: Self::connection_limit_default(),
            pool_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            socket_timeout: None,
            prepare: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_shared_out() {
        let settings = Settings { connection_limit: 5, ..Settings::default() };
        assert_eq!((0..2).map(|core| settings.connections_of_core(core, 2)).collect::<Vec<_>>(), [3, 2]);
        assert_eq!((0..8).map(|core| settings.connections_of_core(core, 8)).collect::<Vec<_>>(), [1; 8]);
    }
}
