//! Counts the rows of four tables for the metrics (`spec/configuration.md` §9.1).

use crate::domain::Context;
use crate::observe::metrics::Gauge;
use crate::storage::{Error, Statement};

pub const INTERVAL_MS: u64 = 60_000;

pub async fn pass(ctx: &Context) -> Result<(), Error> {
    for (gauge, statement) in COUNTS {
        let row = ctx.db.query_opt(statement, Vec::new()).await?;
        ctx.metrics.gauge_set(gauge, row.map_or(0, |row| row.int(0)));
    }
    Ok(())
}

const COUNTS: [(Gauge, &Statement); 4] = [
    (Gauge::Accounts, &ACCOUNTS),
    (Gauge::Sessions, &SESSIONS),
    (Gauge::Messages, &MESSAGES),
    (Gauge::Machines, &MACHINES),
];

static ACCOUNTS: Statement = Statement::portable(r#"SELECT COUNT(*) FROM "Account""#);
static SESSIONS: Statement = Statement::portable(r#"SELECT COUNT(*) FROM "Session""#);
static MESSAGES: Statement = Statement::portable(r#"SELECT COUNT(*) FROM "SessionMessage""#);
static MACHINES: Statement = Statement::portable(r#"SELECT COUNT(*) FROM "Machine""#);
