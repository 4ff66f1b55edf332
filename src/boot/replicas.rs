//! Joins the cluster, if the settings say so.

use std::sync::Arc;

use super::error::Error;
use crate::cluster::presence::{Consumer, Received};
use crate::cluster::{self, Cluster, Cores, Handle};
use crate::config::{Backend, Config, role::Role};
use crate::model::ids::uuid_v4;
use crate::runtime::mailbox::{Inbox, mailbox};

/// What a process in a cluster has in addition.
pub(super) struct Replicas {
    pub cluster: Arc<Cluster>,
    pub handle: Handle,
    /// In a worker: signs of life that other processes have heard.
    pub presence: Option<Inbox<Received>>,
}

pub(super) fn join(config: &Config, cores: Arc<dyn Cores>) -> Result<Option<Replicas>, Error> {
    let Backend::Full(full) = &config.backend else { return Ok(None) };
    let Some(redis) = &full.redis else { return Ok(None) };
    let given = config.instance_id.clone();
    let (presence, consumer) = match config.role {
        Role::Worker => {
            let (entries, inbox) = mailbox().map_err(Error::Cores)?;
            let name = given.clone().unwrap_or_else(|| format!("worker:{}:{}", std::process::id(), uuid_v4()));
            (Some(inbox), Some(Consumer { name, entries }))
        }
        Role::All | Role::Api => (None, None),
    };
    let settings = cluster::Settings {
        url: redis.url.expose().to_string(),
        instance: given.unwrap_or_else(uuid_v4),
        presence_stream_maxlen: redis.presence_stream_maxlen,
        consumer,
    };
    let (cluster, handle) = cluster::start(settings, cores).map_err(Error::Cluster)?;
    if config.role == Role::Api {
        log::info!(
            "SERVER_ROLE is api: presence is written and timeouts are noticed by a worker, which has to run somewhere"
        );
    }
    Ok(Some(Replicas { cluster, handle, presence }))
}
