//! Opening the database of the flavor, and handing every core its end of it.

use std::sync::Arc;

use super::error::Error;
use crate::config::{Backend, Config};
use crate::runtime::post::CorePost;
use crate::storage::postgres::{Postgres, Settings};
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
                let mut settings = Settings::from(&full.postgres);
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
