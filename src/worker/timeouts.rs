//! Sessions and machines that have been silent for ten minutes become inactive, and their owners are told
//! (`spec/realtime.md` §10.4).

use crate::domain::{Context, presence};
use crate::model::time::now_ms;
use crate::storage::Error;

pub const INTERVAL_MS: u64 = 60_000;

pub async fn pass(ctx: &Context) -> Result<(), Error> {
    let now = now_ms();
    presence::expire_sessions(ctx, now).await?;
    presence::expire_machines(ctx, now).await
}
