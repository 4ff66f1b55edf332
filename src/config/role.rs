//! What a process is: its flavor and its role (configuration.md §1).

use std::fmt;

/// Which backends the server stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// Production: external Postgres, object storage, optional Redis.
    Full,
    /// Self-hosting: everything in a data directory.
    Light,
}

impl Flavor {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "full" => Some(Self::Full),
            "light" => Some(Self::Light),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Light => "light",
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which part of the work a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    All,
    /// Answers clients; leaves timeouts, gauges and pruning to a worker.
    Api,
    /// Answers nobody but the metrics server; needs Redis to reach clients.
    Worker,
}

impl Role {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Self::All),
            "api" => Some(Self::Api),
            "worker" => Some(Self::Worker),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Worker => "worker",
        }
    }

    /// Whether the process serves the API and the realtime endpoint.
    pub fn serves_clients(self) -> bool {
        self != Self::Worker
    }

    /// Whether the process runs timeouts, record gauges and pruning.
    pub fn runs_background_work(self) -> bool {
        self != Self::Api
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for flavor in [Flavor::Full, Flavor::Light] {
            assert_eq!(Flavor::parse(&flavor.to_string()), Some(flavor));
        }
        for (role, clients, background) in
            [(Role::All, true, true), (Role::Api, true, false), (Role::Worker, false, true)]
        {
            assert_eq!(Role::parse(&role.to_string()), Some(role));
            assert_eq!((role.serves_clients(), role.runs_background_work()), (clients, background));
        }
        assert_eq!((Flavor::parse("Full"), Role::parse("")), (None, None));
    }
}
