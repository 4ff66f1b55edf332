//! The event `usage-report` (`spec/realtime.md` §8.8).
//!
//! The reports of one connection are stored one after the other, so that of two with the same key the later one stays.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::Door;
use super::data::{self, Data, Unstorable, truthy};
use crate::domain::RawJson;
use crate::domain::usage::{self, Report, Reported};
use crate::realtime::application::{Caller, Incoming};

const NOT_SAVED: &str = "Failed to save usage report";

#[derive(Debug)]
struct Refusal(&'static str);

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Refusal", 2)?;
        fields.serialize_field("success", &false)?;
        fields.serialize_field("error", self.0)?;
        fields.end()
    }
}

impl From<Unstorable> for Refusal {
    fn from(_: Unstorable) -> Self {
        Self(NOT_SAVED)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    success: bool,
    report_id: String,
    created_at: i64,
    updated_at: i64,
}

/// An object with a number `total`; what its other members are is nobody's business.
fn amounts(data: &Data<'_>, name: &str) -> Option<RawJson> {
    let raw = data.member(name)?;
    Data::new(Some(raw)).number("total")?;
    Some(RawJson(raw.trim().to_string()))
}

fn read(data: Data<'_>) -> Result<Report, Refusal> {
    if data.is_missing() {
        return Err(Refusal("Internal error"));
    }
    let key = data.member("key").filter(|raw| truthy(raw)).and_then(|_| data.text("key"));
    let key = key.ok_or(Refusal("Invalid key"))?;
    let tokens = amounts(&data, "tokens").ok_or(Refusal("Invalid tokens object - must include total"))?;
    let cost = amounts(&data, "cost").ok_or(Refusal("Invalid cost object - must include total"))?;
    // R-11: a report without a session cannot be stored, and never could.
    let session = data.member("sessionId").filter(|raw| truthy(raw)).ok_or(Refusal(NOT_SAVED))?;
    if !data::is_text(session) {
        return Err(Refusal("Invalid sessionId"));
    }
    let session = data::text(session).ok_or(Unstorable)?;
    Ok(Report { session: session.into(), key: key?, tokens, cost })
}

impl Door {
    pub(super) fn usage_report(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        let ack = self.ack(caller, incoming);
        let report = match read(Data::new(incoming.data)) {
            Ok(report) => report,
            Err(refusal) => return ack.answer(&refusal),
        };
        let (door, account) = (self.me(), caller.account.clone());
        let bytes = incoming.data.map_or(0, str::len);
        let late = self.ack(caller, incoming);
        let job = async move {
            match usage::report(&door.ctx, &account, report).await {
                Ok(Reported::Stored { id, created_at, updated_at }) => {
                    ack.answer_behind_updates(
                        &account,
                        &Answer { success: true, report_id: id, created_at, updated_at },
                    );
                }
                Ok(Reported::TooLarge) => ack.answer(&Refusal(usage::TOO_LARGE)),
                Ok(Reported::SessionNotFound) => ack.answer(&Refusal("Session not found")),
                Err(error) => {
                    log::error!("storing a usage report failed: {error}");
                    ack.answer(&Refusal(NOT_SAVED));
                }
            }
        };
        if self.run_in_line(&self.usage_reports, caller, incoming.name, bytes, job).is_err() {
            late.answer(&Refusal(NOT_SAVED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(data: &str) -> &'static str {
        read(Data::new(Some(data))).map_or_else(|refusal| refusal.0, |_| "accepted")
    }

    #[test]
    fn the_checks_come_in_their_order() {
        const TOKENS: &str = "Invalid tokens object - must include total";
        const COST: &str = "Invalid cost object - must include total";
        for (data, expected) in [
            ("null", "Internal error"),
            ("[]", "Invalid key"),
            (r#"{"key":""}"#, "Invalid key"),
            (r#"{"key":"k"}"#, TOKENS),
            (r#"{"key":"k","tokens":[]}"#, TOKENS),
            (r#"{"key":"k","tokens":{"total":"1"}}"#, TOKENS),
            (r#"{"key":"k","tokens":{"total":1},"cost":{}}"#, COST),
            (r#"{"key":"k","tokens":{"total":1},"cost":{"total":0}}"#, NOT_SAVED),
            (r#"{"key":"k","tokens":{"total":1},"cost":{"total":0},"sessionId":""}"#, NOT_SAVED),
            (r#"{"key":"k","tokens":{"total":1},"cost":{"total":0},"sessionId":[]}"#, "Invalid sessionId"),
            (r#"{"key":"k","tokens":{"total":1},"cost":{"total":0},"sessionId":"\ud800"}"#, NOT_SAVED),
            (r#"{"key":"\ud800","tokens":{"total":1},"cost":{"total":0},"sessionId":"s"}"#, NOT_SAVED),
            (r#"{"key":"k","tokens":{"total":1},"cost":{"total":0},"sessionId":"s"}"#, "accepted"),
        ] {
            assert_eq!(refused(data), expected, "{data}");
        }
        let report =
            read(Data::new(Some(r#"{"key":"k","tokens": {"total":1,"x":"y"},"cost":{"total":-1e0},"sessionId":"s"}"#)));
        let report = report.expect("complete");
        assert_eq!((report.tokens.0.as_str(), report.cost.0.as_str()), (r#"{"total":1,"x":"y"}"#, r#"{"total":-1e0}"#));
    }
}
