//! GitHub: OAuth codes, the signed-in user, avatars (`spec/http.md` §15.1).

use serde::Deserialize;
use serde::Serialize;
use ureq::http::Method;

use super::https::Call;
use super::{Error, Vendors, json};

/// Largest avatar. GitHub itself takes no larger ones than 1 MB.
pub const AVATAR_BYTES_MAX: u64 = 8 << 20;

/// What GitHub gives for an authorisation code.
pub enum Exchange {
    /// The access token; empty if the answer has none.
    Token(String),
    /// GitHub's name for what is wrong.
    Refused(String),
}

/// A GitHub user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Decimal.
    pub id: String,
    pub login: String,
    pub name: Option<String>,
    pub avatar_url: String,
    /// All of it, as it was received.
    pub profile: String,
}

impl Vendors {
    /// Gives an authorisation code for an access token.
    pub async fn exchange_github_code(&self, id: &str, secret: &str, code: &str) -> Result<Exchange, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            client_id: &'a str,
            client_secret: &'a str,
            code: &'a str,
        }
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            error: Option<String>,
            #[serde(default)]
            access_token: Option<String>,
        }
        let body = sonic_rs::to_vec(&Body { client_id: id, client_secret: secret, code });
        let body = body.map_err(|_| Error::Unexpected("the question cannot be written as JSON"))?;
        let headers = vec![("Accept", "application/json".into()), ("Content-Type", "application/json".into())];
        let url = format!("{}/login/oauth/access_token", self.addresses.github);
        let call = Call { method: Method::POST, body: Some(body), ..self.https.ask(url, headers) };
        // Its status is not asked: refusals have an `error` whatever it is.
        let answer: Answer = json(&self.https.call(call).await?.body)?;
        Ok(match answer.error.filter(|error| !error.is_empty()) {
            Some(error) => Exchange::Refused(error),
            None => Exchange::Token(answer.access_token.unwrap_or_default()),
        })
    }

    /// Who an access token belongs to; `None` if GitHub does not say.
    pub async fn github_user(&self, token: &str) -> Result<Option<User>, Error> {
        let headers =
            vec![("Authorization", format!("Bearer {token}")), ("Accept", "application/vnd.github.v3+json".into())];
        let url = format!("{}/user", self.addresses.github_api);
        let answer = self.https.call(self.https.ask(url, headers)).await?;
        if !answer.is_success() {
            return Ok(None);
        }
        user(answer.body).map(Some)
    }

    /// The bytes behind the address of an avatar. Nothing secret is sent, so redirects are followed. Its status is not
    /// asked: what is no image is told by its bytes.
    pub async fn github_avatar(&self, url: &str) -> Result<Vec<u8>, Error> {
        let ask = self.https.ask(url.to_owned(), Vec::new());
        let call = Call { answer_bytes_max: AVATAR_BYTES_MAX, redirects_max: 3, ..ask };
        Ok(self.https.call(call).await?.body)
    }
}

fn user(body: Vec<u8>) -> Result<User, Error> {
    #[derive(Deserialize)]
    struct Fields {
        id: u64,
        login: String,
        #[serde(default)]
        name: Option<String>,
        avatar_url: String,
    }
    let fields: Fields = json(&body)?;
    let profile = String::from_utf8(body).map_err(|_| Error::Unexpected("it is not UTF-8"))?;
    let Fields { id, login, name, avatar_url } = fields;
    Ok(User { id: id.to_string(), login, name, avatar_url, profile })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        let profile = r#"{"login":"octo","id":583231,"avatar_url":"https://a/u/1?v=4","name":null,"more":[1]}"#;
        let found = user(profile.as_bytes().to_vec()).unwrap();
        let expected = User {
            id: "583231".into(),
            login: "octo".into(),
            name: None,
            avatar_url: "https://a/u/1?v=4".into(),
            profile: profile.into(),
        };
        assert_eq!(found, expected);
        for body in ["", "<html>", "[]", "null", "{}", r#"{"login":"octo","id":"1","avatar_url":""}"#, r#"{"login":1}"#]
        {
            assert!(matches!(user(body.as_bytes().to_vec()), Err(Error::Unexpected(_))), "{body}");
        }
    }
}
