//! How often a client may call the few routes that are limited (`spec/http.md` §10; the reference server configures
//! these limits and never applies them, O-6), and how much that is new it may make without a token.
//!
//! One table for the whole process, because the kernel spreads a client's connections over the cores; it is locked for
//! a moment by the limited routes only. Limits: [`ENTRIES_MAX`] windows of single clients; when they are all in use,
//! further clients share [`SHARED_WINDOWS`], chosen by the larger network of their address, so that whoever fills the
//! table from a large network is limited all the same.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::request::client_address;
use super::response::{JSON, Response};
use crate::config::network::Network;
use protocol::http::head::RequestHead;

/// Length of a window; it begins with its first request.
const WINDOW_MS: i64 = 60_000;

/// Windows kept at the same time, about 4 MiB.
const ENTRIES_MAX: usize = 65_536;

/// Windows that clients share while the table is full, about 64 KiB.
const SHARED_WINDOWS: usize = 4_096;

/// How often a full table is searched for windows that have ended, which takes a millisecond.
const SWEEP_INTERVAL_MS: i64 = 1_000;

/// Times per minute and client address on one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMinute(pub u32);

/// What is counted of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Every request.
    Requests(PerMinute),
    /// Every request, each of which means a call to another service.
    Calls(PerMinute),
    /// Those that made a row of the database for somebody without a token ([`Response::creates`]). Asking again and again
    /// for what is there, as a waiting terminal does, is not limited.
    Creations(PerMinute),
}

impl Limit {
    /// Whether it holds in private networks, too. The contract has such limits; the others are against strangers. From
    /// a private address comes our own machine or network, or everybody through a proxy that the settings do not name: an
    /// installation must not lose its logins because of that.
    fn holds_inside(self) -> bool {
        matches!(self, Self::Requests(_))
    }
}

/// One client on one route.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    route: &'static str,
    address: IpAddr,
}

impl Caller {
    /// With the network that its client may have been given as a whole.
    fn in_larger_network(self) -> Self {
        let address = match self.address {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80))),
            IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8))),
        };
        Self { address, ..self }
    }
}

#[derive(Clone, Copy, Default)]
struct Window {
    ends_at: i64,
    count: u32,
}

/// The windows of the process.
#[derive(Default)]
struct Table {
    windows: HashMap<Caller, Window>,
    /// Made when it is first needed.
    shared: Vec<Window>,
    hasher: RandomState,
    swept_at: Option<i64>,
}

impl Table {
    /// Where a client is counted; the window may have ended.
    fn window(&mut self, caller: Caller, now_ms: i64) -> &mut Window {
        if self.windows.len() >= ENTRIES_MAX && !self.windows.contains_key(&caller) {
            if self.swept_at.is_none_or(|at| !(0..SWEEP_INTERVAL_MS).contains(&(now_ms - at))) {
                self.windows.retain(|_, window| window.ends_at > now_ms);
                self.swept_at = Some(now_ms);
            }
            if self.windows.len() >= ENTRIES_MAX {
                self.shared.resize(SHARED_WINDOWS, Window::default());
                let hash = self.hasher.hash_one(caller.in_larger_network());
                let at = usize::try_from(hash % SHARED_WINDOWS as u64).unwrap_or_default();
                return &mut self.shared[at];
            }
        }
        self.windows.entry(caller).or_default()
    }
}

/// Counts what every client does on the routes with a limit.
pub struct RateLimits {
    table: Mutex<Table>,
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
        Self { table: Mutex::default(), trusted_proxies }
    }

    /// Takes in a request to a limited route. `None` if it is not limited all the same.
    pub fn take(
        self: &Arc<Self>,
        route: &'static str,
        limit: Limit,
        (head, peer): (&RequestHead, IpAddr),
        now_ms: i64,
    ) -> Option<Rate> {
        let caller = self.caller(route, head, peer);
        if is_inside(caller.address) && !limit.holds_inside() {
            return None;
        }
        Some(match limit {
            Limit::Requests(limit) | Limit::Calls(limit) => Rate::Counted(self.count(caller, limit, now_ms)),
            Limit::Creations(limit) => match self.ahead(caller, limit, now_ms) {
                standing if standing.is_over => Rate::Counted(standing),
                _ => Rate::Open { rates: Arc::clone(self), caller, limit },
            },
        })
    }

    fn caller(&self, route: &'static str, head: &RequestHead, peer: IpAddr) -> Caller {
        Caller { route, address: whole_network(client_address(head, peer, &self.trusted_proxies)) }
    }

    /// Counts a caller once.
    fn count(&self, caller: Caller, limit: PerMinute, now_ms: i64) -> Standing {
        self.at(caller, limit, now_ms, 1)
    }

    /// Where a caller would stand if it were counted now.
    fn ahead(&self, caller: Caller, limit: PerMinute, now_ms: i64) -> Standing {
        let standing = self.at(caller, limit, now_ms, 0);
        Standing { is_over: standing.remaining == 0, ..standing }
    }

    fn at(&self, caller: Caller, limit: PerMinute, now_ms: i64, more: u32) -> Standing {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let window = table.window(caller, now_ms);
        if window.ends_at <= now_ms {
            *window = Window { ends_at: now_ms + WINDOW_MS, count: 0 };
        }
        window.count = window.count.saturating_add(more);
        Standing {
            limit: limit.0,
            remaining: limit.0.saturating_sub(window.count),
            reset_s: (window.ends_at - now_ms + 999) / 1000,
            is_over: window.count > limit.0,
        }
    }
}

/// What a limit says to one request.
pub enum Rate {
    /// The request is counted, or there is no room for it.
    Counted(Standing),
    /// It will be counted if it makes something new.
    Open { rates: Arc<RateLimits>, caller: Caller, limit: PerMinute },
}

impl Rate {
    /// The refusal, if the client has called too often.
    pub fn refusal(&self) -> Option<Response> {
        match self {
            Self::Counted(standing) => standing.refusal(),
            Self::Open { .. } => None,
        }
    }

    /// What is left to do once the request has its answer.
    pub fn settle(self, response: &mut Response, now_ms: i64) {
        match self {
            Self::Counted(standing) => standing.tell(response),
            Self::Open { rates, caller, limit } if response.creates => {
                rates.count(caller, limit, now_ms);
            }
            Self::Open { .. } => {}
        }
    }
}

impl Standing {
    /// The refusal, if the client has called too often.
    fn refusal(self) -> Option<Response> {
        const BODY: &[u8] = br#"{"error":"Error","message":"Rate limit exceeded, retry in 1 minute","statusCode":429}"#;
        let response = || Response::bytes(429, JSON, BODY.to_vec()).with("retry-after", self.reset_s.to_string());
        self.is_over.then(response)
    }

    /// Every answer of a route whose requests are counted says how much is left.
    fn tell(self, response: &mut Response) {
        let fields = [
            ("x-ratelimit-limit", i64::from(self.limit)),
            ("x-ratelimit-remaining", i64::from(self.remaining)),
            ("x-ratelimit-reset", self.reset_s),
        ];
        response.headers.extend(fields.map(|(name, value)| (name, Cow::Owned(value.to_string()))));
    }
}

/// Whether an address is one of this machine or of a private network.
fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => {
            // A caller stands for its /64, and so does the loopback address.
            address.to_bits() >> 64 == 0 || address.is_unique_local() || address.is_unicast_link_local()
        }
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
            let caller = limits.caller(route, &head(), peer.parse().expect("an address"));
            let standing = limits.count(caller, LIMIT, now_ms);
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
        let caller = limits.caller("/a", &head(), "10.0.0.1".parse().expect("an address"));
        let count = |now_ms| limits.count(caller, PerMinute(1), now_ms);
        assert_eq!(count(0).refusal(), None);
        let mut refusal = count(10_000).refusal().expect("over");
        count(10_000).tell(&mut refusal);
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
        let call = |limits: &RateLimits, forwarded: &str| {
            limits.count(limits.caller("/a", &head(forwarded), proxy), LIMIT, 0).remaining
        };
        assert_eq!(call(&trusted, "192.0.2.1"), 1);
        assert_eq!(call(&trusted, "192.0.2.2"), 1);
        // Only what the proxy has added counts, not what the client says.
        assert_eq!(call(&trusted, "198.51.100.7, 192.0.2.1"), 0);
        assert_eq!(call(&trusted, "192.0.2.1, 10.0.0.9"), 0);
        let none = RateLimits::new(Vec::new());
        assert_eq!(call(&none, "192.0.2.1"), 1);
        assert_eq!(call(&none, "192.0.2.2"), 0);
    }

    #[test]
    fn creations_are_counted_when_they_have_happened() {
        let limits = RateLimits::new(Vec::new());
        let caller = limits.caller("/a", &head(), "10.0.0.1".parse().expect("an address"));
        for _ in 0..10 {
            assert!(limits.ahead(caller, LIMIT, 0).refusal().is_none());
        }
        limits.count(caller, LIMIT, 0);
        assert!(limits.ahead(caller, LIMIT, 0).refusal().is_none());
        limits.count(caller, LIMIT, 0);
        assert!(limits.ahead(caller, LIMIT, 59_999).refusal().is_some());
        assert!(limits.ahead(caller, LIMIT, 60_000).refusal().is_none());
    }

    /// The /64s of a /48 fill the table. Whoever comes then is counted together with its larger network, and found again.
    #[test]
    fn a_full_table_goes_on_counting() {
        let limits = RateLimits::new(Vec::new());
        let head = head();
        let call = |peer: IpAddr, now_ms: i64| limits.count(limits.caller("/a", &head, peer), LIMIT, now_ms);
        let of_network = |network: u128| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | (network << 64)));
        for network in 0..ENTRIES_MAX as u128 {
            assert!(!call(of_network(network), 0).is_over);
        }
        assert_eq!(limits.table.lock().expect("not poisoned").windows.len(), ENTRIES_MAX);
        // Those who are there already keep their own windows.
        assert_eq!((call(of_network(7), 1).is_over, call(of_network(7), 1).is_over), (false, true));
        // More of another /48, each from a /64 of its own.
        let further = |n: u128| of_network(0x5_0000 + n);
        let over = (0..10).map(|n| call(further(n), 2).is_over).collect::<Vec<_>>();
        assert_eq!(over, [[false; 2].as_slice(), &[true; 8]].concat());
        let v4 = |n: u8| IpAddr::from([192, 0, 2, n]);
        assert!(!call(v4(1), 2).is_over);
        assert!(!call(v4(2), 2).is_over);
        assert!(call(v4(3), 2).is_over);
        // The table was looked through once for all of them.
        assert_eq!(limits.table.lock().expect("not poisoned").swept_at, Some(2));
        // When the windows have ended there is room again.
        assert!(!call(further(0), 60_000).is_over);
        assert_eq!(limits.table.lock().expect("not poisoned").windows.len(), 1);
    }

    #[test]
    fn some_limits_are_for_strangers() {
        let limits = |trusted: &[&str]| {
            Arc::new(RateLimits::new(trusted.iter().map(|network| network.parse().expect("a network")).collect()))
        };
        let forwarded =
            |client: &str| testing::head(&format!("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n\r\n"));
        let is_limited = |limits: &Arc<RateLimits>, limit: Limit, head: &RequestHead, peer: &str| {
            limits.take("/a", limit, (head, peer.parse().expect("an address")), 0).is_some()
        };
        for limit in [Limit::Calls(LIMIT), Limit::Creations(LIMIT)] {
            for inside in ["127.0.0.1", "10.1.2.3", "::1", "fd00::1", "fe80::1", "::ffff:192.168.1.1"] {
                assert!(!is_limited(&limits(&[]), limit, &head(), inside), "{inside}");
                assert!(!is_limited(&limits(&[]), limit, &forwarded("192.0.2.1"), inside), "{inside}");
                assert!(is_limited(&limits(&[]), Limit::Requests(LIMIT), &head(), inside), "{inside}");
                let named =
                    limits(&["127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "::1/128", "fd00::/8", "fe80::/10"]);
                assert!(is_limited(&named, limit, &forwarded("192.0.2.1"), inside), "{inside}");
                assert!(!is_limited(&named, limit, &forwarded("172.16.0.1"), inside), "{inside}");
            }
            for outside in ["203.0.113.1", "2001:db8::1", "::ffff:203.0.113.1"] {
                assert!(is_limited(&limits(&[]), limit, &head(), outside), "{outside}");
            }
        }
    }
}
