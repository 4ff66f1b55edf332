//! The event `message` (`spec/realtime.md` §7.1).

use super::data::Data;
use super::{Ack, Door};
use crate::domain::messages::{self, Refusal};
use crate::model::ids::SessionId;
use crate::observe::metrics::Counter;
use crate::realtime::application::{Caller, Incoming};
use crate::realtime::event::Publish;

impl Door {
    pub(super) fn message(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        self.ctx.metrics.inc(Counter::WebsocketEvent("message"));
        let ack = self.ack(caller, incoming);
        let data = Data::new(incoming.data);
        let [sid, ciphertext, local_id] = data.texts(["sid", "message", "localId"]);
        let (Some(sid), Some(ciphertext)) = (sid, ciphertext) else {
            return self.refuse(ack, "invalid-params");
        };
        // An unpaired surrogate can be sent but not stored.
        let (Ok(sid), Ok(ciphertext), Ok(local_id)) = (sid, ciphertext, local_id.transpose()) else {
            return self.refuse(ack, "internal");
        };
        if sid.is_empty() || ciphertext.is_empty() {
            return self.refuse(ack, "invalid-params");
        }
        let (door, account, socket) = (self.me(), caller.account.clone(), caller.socket);
        let bytes = sid.len() + ciphertext.len() + local_id.as_ref().map_or(0, String::len);
        let late = self.ack(caller, incoming);
        let job = async move {
            let session = SessionId::from(sid);
            match messages::send(&door.ctx, &account, &session, ciphertext, local_id, Some(socket)).await {
                Ok(sent) => {
                    door.ctx.metrics.inc(Counter::MessageAck("ok", "none"));
                    ack.send(&acknowledgement(&sent));
                    // Ack first, then the updates.
                    for event in sent.events {
                        door.hub.publish(event);
                    }
                }
                Err(refusal) => door.refuse(ack, refusal_text(&refusal)),
            }
        };
        if self.run_in_line(&self.serial, caller, incoming.name, bytes, job).is_err() {
            self.refuse(late, "internal");
        }
    }

    fn refuse(&self, ack: Ack, error: &'static str) {
        self.ctx.metrics.inc(Counter::MessageAck("error", error));
        ack.send(&format!(r#"{{"ok":false,"error":"{error}"}}"#));
    }
}

fn refusal_text(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::SessionNotFound => "session-not-found",
        Refusal::Forbidden => "forbidden",
        Refusal::Storage(error) => {
            log::error!("storing a message failed: {error}");
            "internal"
        }
    }
}

fn acknowledgement(sent: &messages::Sent) -> String {
    let mut out = Vec::with_capacity(96);
    out.extend_from_slice(br#"{"ok":true,"id":"#);
    protocol::json::write_string(&mut out, &sent.message.id);
    out.extend_from_slice(format!(r#","seq":{},"localId":"#, sent.message.seq).as_bytes());
    match &sent.message.local_id {
        Some(local_id) => protocol::json::write_string(&mut out, local_id),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    String::from_utf8(out).expect("written as UTF-8")
}
