//! How often a client may call the few routes that are limited (`spec/http.md` §10; the reference server configures
//! these limits and never applies them, O-6).
//!
//! One table for the whole process, because the kernel spreads a client's connections over the cores; it is locked for
//! a moment by the limited routes only. Limits: [`ENTRIES_MAX`] windows; when they are all in use, new clients are let
//! through rather than old ones forgotten.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use super::request::client_address;
use super::response::{JSON, Response};
use crate::config::network::Network;
use protocol::http::head::RequestHead;

/// Length of a window; it begins with its first request.
const WINDOW_MS: i64 = 60_000;

/// Windows kept at the same time, about 4 MiB.
const ENTRIES_MAX: usize = 65_536;

/// Requests per minute and client address on one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMinute(pub u32);

#[derive(Clone, Copy)]
struct Window {
    ends_at: i64,
    count: u32,
}

/// Counts the requests of every client.
pub struct RateLimits {
    windows: Mutex<HashMap<(&'static str, IpAddr), Window>>,
    trusted_proxies: Vec<Network>,
}

/// Where a client stands in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    limit: u32,
    remaining: u32,
    reset_s: i64,
    is_over: bool,
}

impl RateLimits {
    pub fn new(trusted_proxies: Vec<Network>) -> Self {
        Self { windows: Mutex::default(), trusted_proxies }
    }

    /// Counts a request to a limited route.
    pub fn count(
        &self,
        route: &'static str,
        limit: PerMinute,
        head: &RequestHead,
        peer: IpAddr,
        now_ms: i64,
    ) -> Standing {
        let client = whole_network(client_address(head, peer, &self.trusted_proxies));
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (route, client);
        if windows.len() >= ENTRIES_MAX && !windows.contains_key(&key) {
            windows.retain(|_, window| window.ends_at > now_ms);
        }
        let is_full = windows.len() >= ENTRIES_MAX && !windows.contains_key(&key);
        let fresh = Window { ends_at: now_ms + WINDOW_MS, count: 0 };
        let mut window = windows.get(&key).copied().filter(|window| window.ends_at > now_ms).unwrap_or(fresh);
        window.count = window.count.saturating_add(1);
        if !is_full {
            windows.insert(key, window);
        }
        Standing {
            limit: limit.0,
            remaining: limit.0.saturating_sub(window.count),
            reset_s: (window.ends_at - now_ms + 999) / 1000,
            is_over: window.count > limit.0,
        }
    }
}

impl Standing {
    /// The refusal, if the client has called too often.
    pub fn refusal(self) -> Option<Response> {
        const BODY: &[u8] = br#"{"error":"Error","message":"Rate limit exceeded, retry in 1 minute","statusCode":429}"#;
        let response = || Response::bytes(429, JSON, BODY.to_vec()).with("retry-after", self.reset_s.to_string());
        self.is_over.then(response)
    }

    /// Every answer of a limited route says how much is left.
    pub fn tell(self, response: &mut Response) {
        let fields = [
            ("x-ratelimit-limit", i64::from(self.limit)),
            ("x-ratelimit-remaining", i64::from(self.remaining)),
            ("x-ratelimit-reset", self.reset_s),
        ];
        response.headers.extend(fields.map(|(name, value)| (name, Cow::Owned(value.to_string()))));
    }
}

/// An IPv6 client owns its whole /64 and may call from any address in it.
fn whole_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing;

    const LIMIT: PerMinute = PerMinute(2);

    fn head() -> RequestHead {
        testing::head("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    }

    #[test]
    fn windows_of_a_minute_per_route_and_client() {
        let limits = RateLimits::new(Vec::new());
        let call = |route: &'static str, peer: &str, now_ms: i64| {
            let standing = limits.count(route, LIMIT, &head(), peer.parse().expect("an address"), now_ms);
            (standing.remaining, standing.reset_s, standing.is_over)
        };
        assert_eq!(call("/a", "10.0.0.1", 1_000), (1, 60, false));
        assert_eq!(call("/a", "10.0.0.1", 31_001), (0, 30, false));
        assert_eq!(call("/a", "10.0.0.1", 60_999), (0, 1, true));
        assert_eq!(call("/a", "10.0.0.1", 61_000), (1, 60, false));
        assert_eq!(call("/b", "10.0.0.1", 61_000), (1, 60, false));
        assert_eq!(call("/a", "10.0.0.2", 61_000), (1, 60, false));
        assert_eq!(call("/a", "2001:db8::1", 61_000), (1, 60, false));
        assert_eq!(call("/a", "2001:db8::2", 61_000), (0, 60, false));
        assert_eq!(call("/a", "2001:db8:0:1::2", 61_000), (1, 60, false));
    }

    #[test]
    fn the_shape_of_answers() {
        let limits = RateLimits::new(Vec::new());
        let peer = "10.0.0.1".parse().expect("an address");
        let first = limits.count("/a", PerMinute(1), &head(), peer, 0);
        assert_eq!(first.refusal(), None);
        let mut refusal = limits.count("/a", PerMinute(1), &head(), peer, 10_000).refusal().expect("over");
        limits.count("/a", PerMinute(1), &head(), peer, 10_000).tell(&mut refusal);
        assert_eq!(refusal.status, 429);
        let fields = [
            ("retry-after", "50"),
            ("x-ratelimit-limit", "1"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "50"),
        ];
        for (name, value) in fields {
            assert_eq!(refusal.header(name), Some(value), "{name}");
        }
    }

    #[test]
    fn a_trusted_proxy_speaks_for_its_clients() {
        let trusted = RateLimits::new(vec!["10.0.0.0/8".parse().expect("a network")]);
        let head = |forwarded: &str| {
            testing::head(&format!("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {forwarded}\r\n\r\n"))
        };
        let proxy = "10.0.0.1".parse().expect("an address");
        let call =
            |limits: &RateLimits, forwarded: &str| limits.count("/a", LIMIT, &head(forwarded), proxy, 0).remaining;
        assert_eq!(call(&trusted, "192.0.2.1"), 1);
        assert_eq!(call(&trusted, "192.0.2.2"), 1);
        // Only what the proxy has added counts, not what the client says.
        assert_eq!(call(&trusted, "198.51.100.7, 192.0.2.1"), 0);
        assert_eq!(call(&trusted, "192.0.2.1, 10.0.0.9"), 0);
        let none = RateLimits::new(Vec::new());
        assert_eq!(call(&none, "192.0.2.1"), 1);
        assert_eq!(call(&none, "192.0.2.2"), 0);
    }
}
