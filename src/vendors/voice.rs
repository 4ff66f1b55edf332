//! Voice: subscriptions at RevenueCat, conversation tokens at ElevenLabs (`spec/http.md` §15.7).

use sonic_rs::{JsonContainerTrait, JsonType, JsonValueTrait, Value};

use super::{Error, Vendors, json};

impl Vendors {
    /// Whether an account has the entitlement that voice asks for. `account` is an id of ours and needs no encoding.
    pub async fn has_pro_entitlement(&self, account: &str, public_key: &str) -> Result<bool, Error> {
        let headers =
            vec![("Authorization", format!("Bearer {public_key}")), ("Content-Type", "application/json".into())];
        let url = format!("{}/v1/subscribers/{account}", self.addresses.revenuecat);
        let answer = self.https.call(self.https.ask(url, headers)).await?;
        Ok(answer.is_success() && is_pro(&json(&answer.body)?))
    }

    /// A token for a conversation with an agent: `None` if the service refuses, `Some(None)` if its answer has none.
    /// `agent` is percent-encoded already.
    pub async fn conversation_token(&self, agent: &str, api_key: &str) -> Result<Option<Option<String>>, Error> {
        let headers = vec![("xi-api-key", api_key.to_owned()), ("Accept", "application/json".into())];
        let url = format!("{}/v1/convai/conversation/token?agent_id={agent}", self.addresses.elevenlabs);
        let answer = self.https.call(self.https.ask(url, headers)).await?;
        if !answer.is_success() {
            return Ok(None);
        }
        token(&json(&answer.body)?).map(Some)
    }
}

/// Whether `subscriber.entitlements.active.pro` is something that JavaScript takes for true.
fn is_pro(answer: &Value) -> bool {
    let mut at = Some(answer);
    for name in ["subscriber", "entitlements", "active", "pro"] {
        at = at.and_then(|value| value.as_object()).and_then(|object| object.get(&name));
    }
    at.is_some_and(|value| match value.get_type() {
        JsonType::Null => false,
        JsonType::Boolean => value.as_bool() == Some(true),
        JsonType::Number => value.as_f64().is_some_and(|number| number != 0.0),
        JsonType::String => value.as_str().is_some_and(|text| !text.is_empty()),
        JsonType::Object | JsonType::Array => true,
    })
}

fn token(answer: &Value) -> Result<Option<String>, Error> {
    match answer.as_object().and_then(|object| object.get(&"token")) {
        None => Ok(None),
        Some(token) => {
            token.as_str().map(|token| Some(token.to_owned())).ok_or(Error::Unexpected("its token is no text"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entitlements() {
        let answer = |pro: &str| format!(r#"{{"subscriber":{{"entitlements":{{"active":{{"pro":{pro}}}}}}}}}"#);
        for (pro, expected) in [
            ("true", true),
            ("{}", true),
            (r#"{"expires_date":null}"#, true),
            ("[]", true),
            ("1", true),
            (r#""yes""#, true),
            ("false", false),
            ("null", false),
            ("0", false),
            (r#""""#, false),
        ] {
            assert_eq!(is_pro(&sonic_rs::from_str(&answer(pro)).unwrap()), expected, "{pro}");
        }
        for body in ["{}", "null", "[]", "3", r#"{"subscriber":null}"#, r#"{"subscriber":{"entitlements":[]}}"#] {
            assert!(!is_pro(&sonic_rs::from_str(body).unwrap()), "{body}");
        }
    }

    #[test]
    fn tokens() {
        let of = |body: &str| token(&sonic_rs::from_str(body).unwrap());
        assert_eq!(of(r#"{"token":"t"}"#), Ok(Some("t".into())));
        assert_eq!(of("{}"), Ok(None));
        assert_eq!(of("[]"), Ok(None));
        assert!(of(r#"{"token":1}"#).is_err());
    }
}
