//! The database address: a Postgres URL and its parameters (configuration.md §2.2).
//!
//! Owns: the URL's grammar and every parameter's default. Never: connections, certificates, name resolution.

use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;

/// How to reach the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    pub host: Host,
    pub port: u16,
    pub user: String,
    pub password: Option<Secret>,
    pub database: String,
    /// First in the search path of every connection.
    pub schema: String,
    /// Upper bound of connections of this process; absent means that the number of cores decides.
    pub connection_limit: Option<u32>,
    /// Longest wait for a free connection; absent means without end.
    pub pool_timeout: Option<Duration>,
    /// Longest wait for a new connection; absent means without end.
    pub connect_timeout: Option<Duration>,
    /// Longest wait for an answer; absent means without end.
    pub socket_timeout: Option<Duration>,
    pub tls: Tls,
    /// A pooler in transaction mode sits in between: no named prepared statements.
    pub pgbouncer: bool,
    /// Prepared statements kept per connection; 0 prepares none.
    pub statement_cache_size: usize,
    pub application_name: String,
    /// Command-line options of the server session.
    pub options: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Name(String),
    /// Directory of a Unix socket.
    Socket(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub mode: TlsMode,
    /// Whether the server's certificate is checked.
    pub verify: bool,
    /// Certificate of an authority to trust, PEM or DER.
    pub root_certificate: Option<PathBuf>,
    /// Our own certificate and its key, PEM.
    pub identity: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    Disable,
    /// With TLS if the server offers it.
    Prefer,
    Require,
}

/// What is wrong with a URL, without quoting it: it holds a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

impl Postgres {
    pub fn parse(url: &str) -> Result<Self, Invalid> {
        let rest = ["postgresql://", "postgres://"]
            .into_iter()
            .find_map(|scheme| url.trim().strip_prefix(scheme))
            .ok_or(Invalid("postgresql://user:password@host:port/database?parameters"))?;
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        // A password may contain an unescaped `@`; a host may not.
        let (user_info, host_port) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match user_info.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (user_info, None),
        };
        let (host, port) = host_and_port(host_port)?;
        let mut postgres = Self {
            host,
            port,
            user: or_default(decoded(user)?, "postgres"),
            password: password.map(decoded).transpose()?.map(Secret::new),
            database: or_default(decoded(path)?, "postgres"),
            ..Self::default()
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            postgres.set(&decoded(name)?, decoded(&value.replace('+', " "))?)?;
        }
        Ok(postgres)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), Invalid> {
        match name {
            "schema" => self.schema = value,
            "connection_limit" => {
                let limit = value.parse().ok().filter(|limit| *limit > 0);
                self.connection_limit = Some(limit.ok_or(Invalid("connection_limit to be a positive number"))?);
            }
            "pool_timeout" => self.pool_timeout = seconds(&value, "pool_timeout to be a number of seconds")?,
            "connect_timeout" => self.connect_timeout = seconds(&value, "connect_timeout to be a number of seconds")?,
            "socket_timeout" => self.socket_timeout = seconds(&value, "socket_timeout to be a number of seconds")?,
            "sslmode" => self.set_tls_mode(&value)?,
            "sslaccept" => match value.as_str() {
                "strict" => self.tls.verify = true,
                "accept_invalid_certs" => self.tls.verify = false,
                _ => return Err(Invalid("sslaccept to be strict or accept_invalid_certs")),
            },
            "sslcert" | "sslrootcert" => self.tls.root_certificate = Some(value.into()),
            "sslidentity" => self.tls.identity = Some(value.into()),
            // Opens PKCS#12, which `sslidentity` cannot be here.
            "sslpassword" => {}
            "pgbouncer" => {
                self.pgbouncer = value.parse().map_err(|_| Invalid("pgbouncer to be true or false"))?;
            }
            "statement_cache_size" => {
                self.statement_cache_size =
                    value.parse().map_err(|_| Invalid("statement_cache_size to be a number"))?;
            }
            "application_name" => self.application_name = value,
            "options" => self.options = Some(value),
            "host" if value.starts_with('/') => self.host = Host::Socket(value.into()),
            "host" if !value.is_empty() => self.host = Host::Name(value),
            _ => {}
        }
        Ok(())
    }

    fn set_tls_mode(&mut self, value: &str) -> Result<(), Invalid> {
        (self.tls.mode, self.tls.verify) = match value {
            "disable" => (TlsMode::Disable, self.tls.verify),
            "prefer" | "allow" => (TlsMode::Prefer, self.tls.verify),
            "require" => (TlsMode::Require, self.tls.verify),
            // Unknown to the reference server, which then falls back to `prefer`; whoever writes them wants the check.
            "verify-ca" | "verify-full" => (TlsMode::Require, true),
            _ => return Err(Invalid("sslmode to be disable, prefer, require, verify-ca or verify-full")),
        };
        Ok(())
    }
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            host: Host::Name("localhost".to_owned()),
            port: 5432,
            user: "postgres".to_owned(),
            password: None,
            database: "postgres".to_owned(),
            schema: "public".to_owned(),
            connection_limit: None,
            pool_timeout: Some(Duration::from_secs(10)),
            connect_timeout: Some(Duration::from_secs(5)),
            socket_timeout: None,
            tls: Tls { mode: TlsMode::Prefer, verify: false, root_certificate: None, identity: None },
            pgbouncer: false,
            statement_cache_size: 100,
            application_name: "happier-server".to_owned(),
            options: None,
        }
    }
}

fn host_and_port(text: &str) -> Result<(Host, u16), Invalid> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(Invalid("an IPv6 address in brackets"))?;
        (host, after.strip_prefix(':').unwrap_or_default())
    } else {
        text.split_once(':').unwrap_or((text, ""))
    };
    let port = match port {
        "" => 5432,
        port => port.parse().map_err(|_| Invalid("a port between 0 and 65535"))?,
    };
    let host = or_default(decoded(host)?, "localhost");
    // A percent-encoded directory is a socket, as in libpq.
    Ok((if host.starts_with('/') { Host::Socket(host.into()) } else { Host::Name(host) }, port))
}

fn or_default(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

/// Zero means without end.
fn seconds(text: &str, expected: &'static str) -> Result<Option<Duration>, Invalid> {
    let seconds: u32 = text.parse().map_err(|_| Invalid(expected))?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds.into())))
}

/// Undoes percent-encoding; a `%` that begins no escape stands for itself.
fn decoded(text: &str) -> Result<String, Invalid> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[at + 3..];
            }
            None => {
                bytes.push(b'%');
                rest = &rest[at + 1..];
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| Invalid("percent-encoded UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Postgres {
        Postgres::parse(url).unwrap_or_else(|error| panic!("{url}: {error:?}"))
    }

    #[test]
    fn addresses() {
        let name = |name: &str| Host::Name(name.to_owned());
        let table = [
            ("postgresql://u:p@db:6432/app", name("db"), 6432, "u", Some("p"), "app"),
            ("postgres://u@db/app", name("db"), 5432, "u", None, "app"),
            (" postgresql://db ", name("db"), 5432, "postgres", None, "postgres"),
            ("postgresql://", name("localhost"), 5432, "postgres", None, "postgres"),
            ("postgresql://u%40x:p%3A%2F%25@db/a%20b", name("db"), 5432, "u@x", Some("p:/%"), "a b"),
            ("postgresql://u:p@ss@db/app", name("db"), 5432, "u", Some("p@ss"), "app"),
            ("postgresql://u:@db/app", name("db"), 5432, "u", Some(""), "app"),
            ("postgresql://u:50%@db/app", name("db"), 5432, "u", Some("50%"), "app"),
            ("postgresql://u:p@[::1]:6432/app", name("::1"), 6432, "u", Some("p"), "app"),
            ("postgresql://u:p@[::1]/app", name("::1"), 5432, "u", Some("p"), "app"),
            ("postgresql://u@%2Frun%2Fpg/app", Host::Socket("/run/pg".into()), 5432, "u", None, "app"),
            ("postgresql://u@localhost:1/app?host=/run/pg", Host::Socket("/run/pg".into()), 1, "u", None, "app"),
            ("postgresql:///app?host=db", name("db"), 5432, "postgres", None, "app"),
        ];
        for (url, host, port, user, password, database) in table {
            let postgres = parse(url);
            let found = (&postgres.host, postgres.port, postgres.user.as_str(), postgres.database.as_str());
            assert_eq!(found, (&host, port, user, database), "{url}");
            assert_eq!(postgres.password.as_ref().map(Secret::expose), password, "{url}");
        }
    }

    #[test]
    fn parameters() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        type Change = fn(&mut Postgres);
        let table: [(&str, Change); 21] = [
            ("", |_| {}),
            ("unknown=1&&=2&x", |_| {}),
            ("schema=happy", |p| p.schema = "happy".into()),
            ("connection_limit=7", |p| p.connection_limit = Some(7)),
            ("pool_timeout=0", |p| p.pool_timeout = None),
            ("connect_timeout=0", |p| p.connect_timeout = None),
            ("sslmode=disable", |p| p.tls.mode = TlsMode::Disable),
            ("sslmode=prefer", |p| p.tls.mode = TlsMode::Prefer),
            ("sslmode=require", |p| p.tls.mode = TlsMode::Require),
            ("sslmode=verify-full", |p| (p.tls.mode, p.tls.verify) = (TlsMode::Require, true)),
            ("sslaccept=strict&sslmode=require", |p| (p.tls.mode, p.tls.verify) = (TlsMode::Require, true)),
            ("sslaccept=accept_invalid_certs", |_| {}),
            ("sslcert=/ca.pem", |p| p.tls.root_certificate = Some("/ca.pem".into())),
            ("sslrootcert=%2Fca.pem", |p| p.tls.root_certificate = Some("/ca.pem".into())),
            ("sslidentity=me.pem", |p| p.tls.identity = Some("me.pem".into())),
            ("sslpassword=x%26y", |_| {}),
            ("pgbouncer=true", |p| p.pgbouncer = true),
            ("statement_cache_size=0", |p| p.statement_cache_size = 0),
            ("application_name=my+app", |p| p.application_name = "my app".into()),
            ("options=-c%20a%3Db", |p| p.options = Some("-c a=b".into())),
            ("pgbouncer=false&schema=a&schema=b", |p| p.schema = "b".into()),
        ];
        for (query, change) in table {
            let mut expected = parse("postgresql://u:p@db/app");
            change(&mut expected);
            assert_eq!(parse(&format!("postgresql://u:p@db/app?{query}")), expected, "{query}");
        }
        let timed = parse("postgresql://db/a?pool_timeout=3&connect_timeout=4&socket_timeout=5");
        assert_eq!((timed.pool_timeout, timed.connect_timeout), (seconds(3), seconds(4)));
        assert_eq!(timed.socket_timeout, seconds(5));
    }

    #[test]
    fn mistakes_are_named_without_quoting_the_url() {
        let table = [
            "mysql://u:hunter2@db/app",
            "db:5432",
            "",
            "postgresql://u:hunter2@db:port/app",
            "postgresql://u:hunter2@db:65536/app",
            "postgresql://u:hunter2@[::1/app",
            "postgresql://u:%ff@db/app",
            "postgresql://u:hunter2@db/app?connection_limit=0",
            "postgresql://u:hunter2@db/app?connection_limit=many",
            "postgresql://u:hunter2@db/app?pool_timeout=-1",
            "postgresql://u:hunter2@db/app?sslmode=maybe",
            "postgresql://u:hunter2@db/app?sslaccept=maybe",
            "postgresql://u:hunter2@db/app?pgbouncer=1",
            "postgresql://u:hunter2@db/app?statement_cache_size=x",
        ];
        for url in table {
            let Invalid(expected) = Postgres::parse(url).expect_err(url);
            assert!(!expected.is_empty() && !expected.contains("hunter2"), "{url}: {expected}");
        }
    }
}
