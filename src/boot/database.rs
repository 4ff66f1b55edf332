//! Opening the database of the flavor, and handing every core its end of it.

use std::sync::Arc;

use super::error::Error;
use crate::config::{Backend, Config};
use crate::runtime::post::CorePost;
use crate::storage::Db;
use crate::storage::postgres::{Postgres, Settings};
use crate::storage::sqlite::Sqlite;

/// The database as the process holds it.
#[derive(Clone)]
pub enum Database {
    Sqlite(Arc<Sqlite>),
    Postgres(Arc<Settings>),
}

impl Database {
    /// Opens it and brings its schema up to date. Blocks.
    pub fn open(config: &Config) -> Result<Self, Error> {
        match &config.backend {
            Backend::Light(light) => Ok(Self::Sqlite(Sqlite::open(&light.database_file())?)),
            Backend::Full(full) => {
                let settings = settings(&full.postgres);
                migrate(&settings)?;
                Ok(Self::Postgres(Arc::new(settings)))
            }
        }
    }

    /// The end of one core. `post` leads back to that core.
    pub fn on_core(&self, core: usize, cores: usize, post: Arc<dyn CorePost>) -> Db {
        match self {
            Self::Sqlite(sqlite) => Db::sqlite(Arc::clone(sqlite), post),
            Self::Postgres(settings) => Db::postgres(Postgres::new(settings, core, cores)),
        }
    }
}
