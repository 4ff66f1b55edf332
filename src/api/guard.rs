//! Who calls (`spec/http.md` §7). Never touches the database: a token is a signed statement.

use std::cell::RefCell;
use std::rc::Rc;

use protocol::http::head::RequestHead;

use super::error::Error;
use super::request::Request;
use crate::crypto::token::{TokenCache, Tokens};
use crate::model::ids::AccountId;
use crate::model::time::now_ms;

/// Judges bearer tokens. The cache belongs to the core and is shared with the socket door.
#[derive(Clone)]
pub struct Guard {
    tokens: Rc<Tokens>,
    cache: Rc<RefCell<TokenCache>>,
}

impl Guard {
    pub fn new(tokens: Rc<Tokens>, cache: Rc<RefCell<TokenCache>>) -> Self {
        Self { tokens, cache }
    }

    /// The account that a protected route is called by.
    pub fn bearer(&self, request: &Request) -> Result<AccountId, Error> {
        let token = bearer_token(request).ok_or(Error::Unauthorized("Missing authorization header"))?;
        self.verify(token).ok_or(Error::Unauthorized("Invalid token"))
    }

    /// The caller of a route that is open to everybody: any problem with the token means anonymous.
    pub fn optional(&self, request: &Request) -> Option<AccountId> {
        self.verify(bearer_token(request)?)
    }

    /// Whether a request of which only the head is here comes with a valid token.
    pub fn knows(&self, head: &RequestHead) -> bool {
        token_in(head).is_some_and(|token| self.verify(token).is_some())
    }

    fn verify(&self, token: &str) -> Option<AccountId> {
        self.cache.borrow_mut().verify(&self.tokens, token, now_ms())
    }
}

fn bearer_token(request: &Request) -> Option<&str> {
    token_in(&request.head)
}

/// The scheme is compared case-sensitively and is followed by exactly one space.
fn token_in(head: &RequestHead) -> Option<&str> {
    head.header("authorization")?.strip_prefix("Bearer ").filter(|token| !token.is_empty())
}
