//! The events `rpc-register`, `rpc-unregister` and `rpc-call` (`spec/realtime.md` §9).

use super::Door;
use super::data::{Data, truthy};
use crate::domain::approvals::{self, Callee};
use crate::model::ids::{AccountId, SessionId};
use crate::realtime::application::{Caller, Incoming};
use crate::realtime::rpc::methods::METHOD_BYTES_MAX;
use crate::realtime::rpc::{Call, Outcome};

const METHOD_REQUIRED: &str = r#"{"ok":false,"error":"Invalid parameters: method is required"}"#;
const INTERNAL_ERROR: &str = r#"{"ok":false,"error":"Internal error"}"#;

/// Why there is no method to work with.
enum Invalid {
    NoData,
    Name,
}

impl Door {
    pub(super) fn rpc_register(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        match method(&Data::new(incoming.data)) {
            // The reference server has no limit; an account that comes near this one names its methods differently.
            Ok(method) if method.len() > METHOD_BYTES_MAX => self.rpc_error(caller, "register", &Invalid::Name),
            Ok(method) => self.hub.rpc_register(caller.account, method, caller.key, caller.socket),
            Err(invalid) => self.rpc_error(caller, "register", &invalid),
        }
    }

    pub(super) fn rpc_unregister(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        match method(&Data::new(incoming.data)) {
            Ok(method) => self.hub.rpc_unregister(caller.account, method, caller.key, caller.socket),
            Err(invalid) => self.rpc_error(caller, "unregister", &invalid),
        }
    }

    fn rpc_error(&self, caller: &Caller<'_>, kind: &str, invalid: &Invalid) {
        let text = match invalid {
            Invalid::NoData => "Internal error",
            Invalid::Name => "Invalid method name",
        };
        self.hub.emit_event(caller.key, "rpc-error", &format!(r#"{{"type":"{kind}","error":"{text}"}}"#));
    }

    pub(super) fn rpc_call(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        let ack = self.ack(caller, incoming);
        let data = Data::new(incoming.data);
        let method = match method(&data) {
            Ok(method) => method,
            Err(Invalid::NoData) => return ack.send(INTERNAL_ERROR),
            Err(Invalid::Name) => return ack.send(METHOD_REQUIRED),
        };
        let session = approvals::session_of(&method);
        let call = Call {
            account: caller.account.clone(),
            method,
            on_behalf_of: None,
            params: data.member("params").map(str::to_string),
            caller: self.hub.peer(caller.key, caller.socket),
            ack: incoming.ack,
        };
        match session {
            None => self.hub.rpc_call(call),
            Some(session) => match self.enter(caller, incoming) {
                Some(slot) => self.spawn(slot, self.delegated(caller.account.clone(), session, call)),
                None => self.hub.rpc_refuse(&call, Outcome::Failed),
            },
        }
    }

    /// A call that may address another account: the share is read, now and whenever the call has waited.
    pub(super) fn delegated(
        &self,
        caller: AccountId,
        session: SessionId,
        call: Call,
    ) -> impl Future<Output = ()> + use<> {
        let door = self.me();
        async move {
            match approvals::callee(&door.ctx, &caller, &session).await {
                Ok(Callee::Account(account)) => {
                    let on_behalf_of = Some(caller).filter(|caller| *caller != account);
                    door.hub.rpc_call(Call { account, on_behalf_of, ..call });
                }
                Ok(Callee::Forbidden) => door.hub.rpc_refuse(&call, Outcome::Forbidden),
                Err(error) => {
                    log::error!("looking up who may be called failed: {error}");
                    door.hub.rpc_refuse(&call, Outcome::Failed);
                }
            }
        }
    }
}

fn method(data: &Data<'_>) -> Result<String, Invalid> {
    if data.is_missing() {
        return Err(Invalid::NoData);
    }
    data.member("method").filter(|raw| truthy(raw)).ok_or(Invalid::Name)?;
    // A name with half a surrogate pair cannot be stored or compared, so it is no name either.
    data.text("method").and_then(Result::ok).ok_or(Invalid::Name)
}
