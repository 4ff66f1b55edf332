//! What a connection says it is for, in the payload of its CONNECT packet (`spec/realtime.md` §1–2).
//!
//! Limit: [`ID_BYTES_MAX`] bytes of an identifier, because it is kept for as long as the connection is.

use super::data::{self, Data, truthy};
use crate::model::ids::{MachineId, SessionId};
use crate::realtime::home::Class;

/// The reference server takes whatever fits into a packet. Sessions are named by the server, machines by a UUID.
pub(super) const ID_BYTES_MAX: usize = 1_024;

/// The class that is asked for, or what the client is told that is missing.
pub(super) fn class(auth: &Data<'_>) -> Result<Class, &'static str> {
    let present = |name| auth.member(name).filter(|raw| truthy(raw));
    let client_type = present("clientType").and_then(data::text);
    match client_type.as_deref() {
        Some("session-scoped") => match present("sessionId") {
            Some(raw) => Ok(identifier(raw).map_or(Class::Other, |id| Class::Session(SessionId::from(id)))),
            None => Err("Session ID required for session-scoped clients"),
        },
        Some("machine-scoped") => match present("machineId") {
            Some(raw) => Ok(identifier(raw).map_or(Class::Other, |id| Class::Machine(MachineId::from(id)))),
            None => Err("Machine ID required for machine-scoped clients"),
        },
        Some("user-scoped") => Ok(Class::User),
        // A `clientType` that is present but no text is "any other value".
        None if present("clientType").is_none() => Ok(Class::User),
        _ => Ok(Class::Other),
    }
}

/// Nothing for an identifier that is too long to be anybody's: who is bound to what does not exist hears what goes to
/// every connection of the account, as the class *other* does.
fn identifier(raw: &str) -> Option<String> {
    Some(data::textual(raw)).filter(|id| id.len() <= ID_BYTES_MAX)
}

/// Label of the connection gauge; the class *other* counts as user-scoped.
pub(super) fn label(class: &Class) -> &'static str {
    match class {
        Class::User | Class::Other => "user-scoped",
        Class::Session(_) => "session-scoped",
        Class::Machine(_) => "machine-scoped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(auth: &str) -> Result<Class, &'static str> {
        class(&Data::new(Some(auth)))
    }

    #[test]
    fn classes_by_client_type() {
        let (session, machine) = (|id: &str| Class::Session(id.into()), |id: &str| Class::Machine(id.into()));
        for (auth, expected) in [
            ("{}", Class::User),
            (r#"{"clientType":null,"sessionId":"s"}"#, Class::User),
            (r#"{"clientType":"user-scoped","sessionId":"s"}"#, Class::User),
            (r#"{"clientType":"session-scoped","sessionId":"s"}"#, session("s")),
            (r#"{"clientType":"session-scoped","sessionId":{"a": 1}}"#, session(r#"{"a": 1}"#)),
            (r#"{"clientType":"machine-scoped","machineId":"m"}"#, machine("m")),
            (r#"{"clientType":"machine-scoped","machineId":7}"#, machine("7")),
            (r#"{"clientType":"browser"}"#, Class::Other),
            (r#"{"clientType":["user-scoped"]}"#, Class::Other),
        ] {
            assert_eq!(of(auth), Ok(expected), "{auth}");
        }
        for auth in [r#"{"clientType":"session-scoped"}"#, r#"{"clientType":"session-scoped","sessionId":""}"#] {
            assert_eq!(of(auth), Err("Session ID required for session-scoped clients"));
        }
        assert_eq!(
            of(r#"{"clientType":"machine-scoped","sessionId":"s"}"#),
            Err("Machine ID required for machine-scoped clients")
        );
    }

    #[test]
    fn an_identifier_that_is_too_long_is_not_kept() {
        let longest = "x".repeat(ID_BYTES_MAX);
        for (kind, name) in [("session", "sessionId"), ("machine", "machineId")] {
            let of = |id: &str| of(&format!(r#"{{"clientType":"{kind}-scoped","{name}":"{id}"}}"#)).unwrap();
            assert_ne!(of(&longest), Class::Other);
            assert_eq!(of(&format!("{longest}x")), Class::Other);
        }
    }
}
