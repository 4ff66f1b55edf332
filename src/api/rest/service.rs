//! What the server says about itself (`spec/http.md` §11.1, §11.2, §15.9).

use std::rc::Rc;

use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::domain::Context;
use crate::model::time::now_ms;
use crate::storage::Statement;

pub async fn root(_: Rc<Context>, (): ()) -> Result<Response, Error> {
    Ok(Response::text(200, "Welcome to Happier Server!"))
}

static PROBE: Statement = Statement::portable("SELECT 1");

/// Answers for the database as well: a server that cannot reach it should get no traffic.
pub async fn health(ctx: Rc<Context>, (): ()) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
        timestamp: String,
        service: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'static str>,
        /// Only while other replicas cannot be reached. Clients of this one are served all the same, so that is no
        /// reason to take traffic away from it, and from all others with it.
        #[serde(skip_serializing_if = "Option::is_none")]
        replicas: Option<&'static str>,
    }
    let replicas = (ctx.events.reaches_replicas() == Some(false)).then_some("unreachable");
    let probe = ctx.db.query(&PROBE, Vec::new()).await;
    let timestamp = protocol::http::date::format_iso(u64::try_from(now_ms()).unwrap_or_default());
    let timestamp = String::from_utf8_lossy(&timestamp).into_owned();
    match probe {
        Ok(_) => Ok(Response::ok(&Health { status: "ok", timestamp, service: "happy-server", error: None, replicas })),
        Err(cause) => {
            let error = Some("Database connectivity failed");
            let health = Health { status: "error", timestamp, service: "happy-server", error, replicas };
            Err(Error::Failure(Response::json(503, &health), cause.to_string()))
        }
    }
}

pub async fn features(_: Rc<Context>, (): ()) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Features {
        session_sharing: bool,
        public_sharing: bool,
        content_keys: bool,
    }
    #[derive(Serialize)]
    struct Body {
        features: Features,
    }
    let features = Features { session_sharing: true, public_sharing: true, content_keys: true };
    Ok(Response::ok(&Body { features }))
}
