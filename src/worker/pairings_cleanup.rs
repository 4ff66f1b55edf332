//! Forgets old pairing requests, which anybody can make without a token (`domain::auth`).

use crate::domain::{Context, auth};
use crate::storage::Error;

pub const INTERVAL_MS: u64 = 3_600_000;

pub async fn pass(ctx: &Context) -> Result<(), Error> {
    let forgotten = auth::forget_old_pairings(ctx).await?;
    if forgotten > 0 {
        log::info!("{forgotten} old pairing requests were forgotten");
    }
    Ok(())
}
