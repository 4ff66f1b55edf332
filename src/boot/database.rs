//! Opening the database of the flavor, and handing every core its end of it.

use std::sync::Arc;

use super::error::Error;
use crate::config::{self, Backend, Config};
use crate::runtime::post::CorePost;
use crate::storage::postgres::{Certificates, Host, Postgres, Settings, TlsMode};
use crate::storage::sqlite::Sqlite;
use crate::storage::{Db, migrate};

/// The database as the process holds it.
#[derive(Clone)]
pub(super) enum Database {
    Sqlite(Arc<Sqlite>),
    Postgres(Arc<Settings>),
}

impl Database {
    /// Opens it and brings its schema up to date. Blocks.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        match &config.backend {
            Backend::Light(light) => Ok(Self::Sqlite(Sqlite::open(&light.database_file())?)),
            Backend::Full(full) => {
                let mut settings = settings(&full.postgres);
                let of_cores = config.listen.cores * usize::try_from(full.connections_per_core).unwrap_or(usize::MAX);
                settings.connection_limit = settings.connection_limit.min(of_cores);
                migrate::postgres(settings.clone())?;
                Ok(Self::Postgres(Arc::new(settings)))
            }
        }
    }

    /// The end of one core. `post` leads back to that core.
    pub(super) fn on_core(&self, core: usize, cores: usize, post: Arc<dyn CorePost>) -> Result<Db, Error> {
        Ok(match self {
            Self::Sqlite(sqlite) => Db::sqlite(Arc::clone(sqlite), post),
            Self::Postgres(settings) => {
                let connections = settings.connections_of_core(core, cores);
                Db::postgres(Postgres::new(Settings::clone(settings), connections, post)?)
            }
        })
    }
}

/// The configuration's view of the address, as storage takes it.
fn settings(url: &config::postgres::Postgres) -> Settings {
    use config::postgres as given;
    let unbounded = std::time::Duration::from_secs(24 * 60 * 60);
    Settings {
        host: match &url.host {
            given::Host::Name(name) => Host::Tcp(name.clone()),
            given::Host::Socket(directory) => Host::Unix(directory.clone()),
        },
        port: url.port,
        user: url.user.clone(),
        password: url.password.as_ref().map(|password| password.expose().to_string()),
        database: url.database.clone(),
        schema: url.schema.clone(),
        application_name: Some(url.application_name.clone()),
        options: url.options.clone(),
        tls: match url.tls.mode {
            given::TlsMode::Disable => TlsMode::Disable,
            given::TlsMode::Prefer => TlsMode::Prefer,
            given::TlsMode::Require => TlsMode::Require,
        },
        certificates: if url.tls.verify {
            Certificates::Strict { authorities: url.tls.root_certificate.clone() }
        } else {
            Certificates::AcceptInvalid
        },
        connection_limit: url
            .connection_limit
            .map_or_else(Settings::connection_limit_default, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        pool_timeout: url.pool_timeout.unwrap_or(unbounded),
        connect_timeout: url.connect_timeout.unwrap_or(unbounded),
        socket_timeout: url.socket_timeout,
        prepare: !url.pgbouncer && url.statement_cache_size > 0,
    }
}
