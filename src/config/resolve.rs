//! From raw texts to the typed configuration (configuration.md §2).
//!
//! Never reads the environment, the clock or files. Values that the reference server quietly replaces by a default are
//! replaced here with a warning; what cannot be meant is an error that names the setting, what it is and what it may be.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::environment::Environment;
use super::error::Error;
use super::keys::{self, Key};
use super::postgres::{Invalid, Postgres};
use super::role::{Flavor, Role};
use super::secret::Secret;
use super::{
    Backend, Config, Full, Github, IoDriver, Light, Limits, Listen, Log, LogFormat, Metrics, ObjectStorage, Redis,
    Resolved, Services, SocketTiming, Ui, Voice,
};

/// More threads than connections of one process can keep busy; a larger number is a slip.
const CORES_MAX: usize = 256;
/// Far beyond any sensible delay; keeps sums of times within range.
const DURATION_MS_MAX: u64 = 366 * 24 * 3600 * 1000;
const KIB: usize = 1024;
const GIB: usize = 1024 * 1024 * 1024;

/// The configuration that these settings describe. `flavor` is what the command line says.
pub fn resolve(flavor: Option<Flavor>, settings: &Environment, cores_available: usize) -> Result<Resolved, Error> {
    let mut reader = Reader { settings, warnings: Vec::new() };
    reader.warn_of_unknown_names();
    let flavor = reader.flavor(flavor)?;
    let role = reader.role();
    let listen = reader.listen(cores_available)?;
    let backend = match flavor {
        Flavor::Full => Backend::Full(Box::new(reader.full(listen.cores)?)),
        Flavor::Light => Backend::Light(reader.light()?),
    };
    if role == Role::Worker && !matches!(&backend, Backend::Full(full) if full.redis.is_some()) {
        return Err(Error::Conflict(WORKER_WITHOUT_REDIS));
    }
    let config = Config {
        role,
        master_secret: reader.master_secret(flavor)?,
        instance_id: reader.trimmed(&keys::INSTANCE_ID),
        limits: reader.limits()?,
        timing: reader.timing()?,
        rpc_grace_ms: reader.duration_ms(&keys::RPC_GRACE_MS, 0, 0)?,
        pairing_ttl_ms: reader.duration_ms(&keys::PAIRING_TTL_MS, 24 * 3600 * 1000, 1000)?,
        ui: reader.ui()?,
        changes_cleanup_interval_ms: reader.changes_cleanup(),
        github: reader.github(),
        voice: reader.voice(),
        services: reader.services()?,
        metrics: reader.metrics(&listen)?,
        log: reader.log()?,
        shutdown_timeout_ms: reader.duration_ms(&keys::SHUTDOWN_TIMEOUT_MS, 10_000, 0)?,
        listen,
        backend,
    };
    Ok(Resolved { config, warnings: reader.warnings })
}

const WORKER_WITHOUT_REDIS: &str = "SERVER_ROLE=worker requires Redis adapter enabled (set REDIS_URL and \
    HAPPY_SOCKET_REDIS_ADAPTER=1) so worker pushes can fan out to connected API sockets";

pub(super) fn missing_master_secret() -> Error {
    Error::Missing { name: keys::MASTER_SECRET.name, needed: "the full flavor cannot start without a master secret" }
}

/// Looks settings up and remembers what the operator should hear.
struct Reader<'s> {
    settings: &'s Environment,
    warnings: Vec<String>,
}

impl<'s> Reader<'s> {
    fn warn(&mut self, warning: String) {
        // A setting that is read twice is not complained about twice.
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn warn_of_unknown_names(&mut self) {
        for name in self.settings.names() {
            if name.starts_with("HAPPIER_") && !keys::is_known(name) {
                let hint = keys::nearest(name).map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
                self.warn(format!("{name} is not a setting of this server{hint}"));
            }
        }
    }

    /// The value as given, if the setting is present, even if it is empty.
    fn present(&mut self, key: &Key) -> Option<&'s str> {
        let value = self.settings.get(key.name);
        let other_name = key.other_name();
        let other = other_name.as_deref().and_then(|name| self.settings.get(name));
        if let (Some(value), Some(other), Some(other_name)) = (value, other, other_name)
            && value != other
        {
            self.warn(format!("{} and {other_name} are both set and differ; {} is used", key.name, key.name));
        }
        value.or(other)
    }

    /// The value as given, if it is not empty.
    fn set(&mut self, key: &Key) -> Option<&'s str> {
        self.present(key).filter(|value| !value.is_empty())
    }

    /// The value without surrounding white space, if anything is left.
    fn trimmed(&mut self, key: &Key) -> Option<String> {
        self.present(key).map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn secret(&mut self, key: &Key) -> Option<Secret> {
        self.set(key).map(Secret::new)
    }

    fn switched_on(&mut self, key: &Key) -> bool {
        matches!(self.present(key), Some("1" | "true"))
    }

    fn choice<T>(
        &mut self,
        key: &Key,
        default: T,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let Some(text) = self.trimmed(key) else { return Ok(default) };
        parse(&text).ok_or(Error::Invalid { name: key.name, found: Some(text), expected })
    }

    fn port(&mut self, key: &Key, default: u16) -> Result<u16, Error> {
        self.choice(key, default, "a port between 0 and 65535", decimal)
    }

    fn duration_ms(&mut self, key: &Key, default: u64, min: u64) -> Result<u64, Error> {
        let expected = match min {
            0 => "a number of milliseconds",
            1 => "a positive number of milliseconds",
            _ => "a number of milliseconds, at least 1000",
        };
        let range = min..=DURATION_MS_MAX;
        self.choice(key, default, expected, |text| decimal(text).filter(|value| range.contains(value)))
    }

    fn bytes(&mut self, key: &Key, default: usize, range: RangeInclusive<usize>) -> Result<usize, Error> {
        let expected = "a number of bytes between 1024 and 1073741824";
        self.choice(key, default, expected, |text| decimal(text).filter(|value| range.contains(value)))
    }

    fn flavor(&mut self, chosen: Option<Flavor>) -> Result<Flavor, Error> {
        let default = if self.set(&keys::DATABASE_URL).is_some() { Flavor::Full } else { Flavor::Light };
        match chosen {
            Some(flavor) => Ok(flavor),
            None => self.choice(&keys::FLAVOR, default, "full or light", Flavor::parse),
        }
    }

    fn role(&mut self) -> Role {
        let Some(text) = self.trimmed(&keys::ROLE) else { return Role::All };
        Role::parse(&text).unwrap_or_else(|| {
            self.warn(format!("SERVER_ROLE is {text:?}, which is none of all, api and worker; all is used"));
            Role::All
        })
    }

    fn master_secret(&mut self, flavor: Flavor) -> Result<Option<Secret>, Error> {
        // Used verbatim. A blank one is refused in the full flavor (C-7 is not kept) and absent in the light one.
        let secret = self.present(&keys::MASTER_SECRET).filter(|secret| !secret.trim().is_empty()).map(Secret::new);
        match (flavor, secret) {
            (Flavor::Full, None) => Err(missing_master_secret()),
            (_, secret) => Ok(secret),
        }
    }

    fn listen(&mut self, cores_available: usize) -> Result<Listen, Error> {
        let cores_default = cores_available.clamp(1, CORES_MAX);
        let cores = |text: &str| decimal(text).filter(|cores| (1..=CORES_MAX).contains(cores));
        let proxies = |text: &str| text.split(',').map(|network| network.trim().parse().ok()).collect();
        let none = |text: &str| (text == "none").then(Vec::new);
        Ok(Listen {
            address: self.choice(&keys::BIND, [0, 0, 0, 0].into(), "an IP address", |text| text.parse().ok())?,
            port: self.port(&keys::PORT, 3005)?,
            cores: self.choice(&keys::CORES, cores_default, "a number between 1 and 256", cores)?,
            io_driver: self.choice(&keys::IO_DRIVER, IoDriver::Auto, "auto, uring or epoll", |text| match text {
                "auto" => Some(IoDriver::Auto),
                "uring" => Some(IoDriver::Uring),
                "epoll" => Some(IoDriver::Epoll),
                _ => None,
            })?,
            trusted_proxies: self.choice(
                &keys::TRUSTED_PROXIES,
                Vec::new(),
                "addresses or networks such as 10.0.0.0/8, separated by commas",
                |text| none(text).or_else(|| proxies(text)),
            )?,
        })
    }

    fn full(&mut self, cores: usize) -> Result<Full, Error> {
        let needed = "the full flavor keeps its data in Postgres";
        let url = self.set(&keys::DATABASE_URL).ok_or(Error::Missing { name: keys::DATABASE_URL.name, needed })?;
        let postgres = Postgres::parse(url).map_err(|Invalid(expected)| Error::Invalid {
            name: keys::DATABASE_URL.name,
            found: None,
            expected,
        })?;
        let wanted = self.choice(&keys::DB_CONNECTIONS_PER_CORE, 4, "a number between 1 and 1000", |text| {
            decimal(text).filter(|connections| (1..=1000).contains(connections))
        })?;
        Ok(Full {
            connections_per_core: self.connections_per_core(wanted, postgres.connection_limit, cores),
            postgres,
            object_storage: self.object_storage()?,
            redis: self.redis(),
        })
    }

    fn connections_per_core(&mut self, wanted: u32, limit: Option<u32>, cores: usize) -> u32 {
        let Some(limit) = limit else { return wanted };
        let cores = u32::try_from(cores).unwrap_or(u32::MAX);
        if limit < cores {
            self.warn(format!(
                "connection_limit is {limit}, but each of the {cores} cores needs a connection; set HAPPIER_CORES lower \
                 to keep to it"
            ));
        }
        wanted.min(limit / cores).max(1)
    }

    fn light(&mut self) -> Result<Light, Error> {
        let data_dir = match self.trimmed(&keys::LIGHT_DATA_DIR) {
            Some(data_dir) => PathBuf::from(data_dir),
            None => match self.settings.get("HOME").filter(|home| !home.is_empty()) {
                Some(home) => PathBuf::from(home).join(".happy/server-light"),
                None => {
                    let needed = "without a home directory the light flavor does not know where to keep its data";
                    return Err(Error::Missing { name: keys::LIGHT_DATA_DIR.name, needed });
                }
            },
        };
        Ok(Light {
            database_dir: self.trimmed(&keys::LIGHT_DB_DIR).map_or_else(|| data_dir.clone(), PathBuf::from),
            files_dir: self.trimmed(&keys::LIGHT_FILES_DIR).map_or_else(|| data_dir.join("files"), PathBuf::from),
            public_url: self.trimmed(&keys::PUBLIC_URL).map(|url| url.trim_end_matches('/').to_owned()),
            data_dir,
        })
    }

    /// All or nothing: without any of these settings there are no public files, with some of them all are required.
    fn object_storage(&mut self) -> Result<Option<ObjectStorage>, Error> {
        let required = [keys::S3_HOST, keys::S3_BUCKET, keys::S3_ACCESS_KEY, keys::S3_SECRET_KEY, keys::S3_PUBLIC_URL];
        let texts = required.each_ref().map(|key| self.trimmed(key));
        if texts.iter().all(Option::is_none) {
            self.warn("no object storage is set (S3_HOST and others); public files cannot be stored".to_owned());
            return Ok(None);
        }
        let given = |text: &Option<String>, key: &Key| text.clone().ok_or(Error::MissingStorage { name: key.name });
        let [host, bucket, access_key, secret_key, public_url] = &texts;
        let (host, bucket) = (given(host, &keys::S3_HOST)?, given(bucket, &keys::S3_BUCKET)?);
        let access_key = Secret::new(given(access_key, &keys::S3_ACCESS_KEY)?);
        let secret_key = Secret::new(given(secret_key, &keys::S3_SECRET_KEY)?);
        let public_url = given(public_url, &keys::S3_PUBLIC_URL)?;
        let tls = self.trimmed(&keys::S3_USE_SSL).is_none_or(|text| text == "true");
        let port_default = NonZeroU16::new(if tls { 443 } else { 80 }).unwrap_or(NonZeroU16::MIN);
        let port = match self.trimmed(&keys::S3_PORT) {
            None => port_default,
            Some(found) => decimal(&found).ok_or(Error::InvalidStorage {
                name: keys::S3_PORT.name,
                found,
                expected: "a port between 1 and 65535",
            })?,
        };
        Ok(Some(ObjectStorage { host, port, tls, bucket, access_key, secret_key, public_url }))
    }

    fn redis(&mut self) -> Option<Redis> {
        let url = self.trimmed(&keys::REDIS_URL);
        let switched_on = self.switched_on(&keys::REDIS_ADAPTER);
        // Allowed, as on the reference server, but a replica that is alone by mistake looks as if it worked.
        if switched_on != url.is_some() {
            let (there, missing) = if switched_on {
                ("HAPPY_SOCKET_REDIS_ADAPTER is on, but REDIS_URL", "set")
            } else {
                ("REDIS_URL is set, but HAPPY_SOCKET_REDIS_ADAPTER", "1 or true")
            };
            self.warn(format!("{there} is not {missing}; this process shares nothing with other replicas"));
        }
        let url = url.filter(|_| switched_on)?;
        Some(Redis { url: Secret::new(url), presence_stream_maxlen: self.presence_stream_maxlen() })
    }

    fn presence_stream_maxlen(&mut self) -> Option<u64> {
        const DEFAULT: u64 = 100_000;
        let Some(text) = self.trimmed(&keys::PRESENCE_STREAM_MAXLEN) else { return Some(DEFAULT) };
        let length = decimal(&text).unwrap_or_else(|| {
            self.warn(format!("HAPPY_PRESENCE_STREAM_MAXLEN is {text:?}, which is no length; {DEFAULT} is used"));
            DEFAULT
        });
        (length > 0).then_some(length)
    }

    fn limits(&mut self) -> Result<Limits, Error> {
        let range = KIB..=GIB;
        let body_bytes_max = self.bytes(&keys::BODY_BYTES_MAX, 100 * KIB * KIB, range.clone())?;
        Ok(Limits {
            rates: self.choice(&keys::RATE_LIMITS, true, "on or off", |text| match text {
                "on" => Some(true),
                "off" => Some(false),
                _ => None,
            })?,
            body_bytes_max,
            bodies_bytes_max: self.choice(
                &keys::BODIES_BYTES_MAX,
                GIB,
                "a number of bytes of at least HAPPIER_BODY_BYTES_MAX",
                |text| decimal(text).filter(|value| *value >= body_bytes_max),
            )?,
            socket_payload_bytes_max: self.bytes(&keys::SOCKET_PAYLOAD_BYTES_MAX, 1_000_000, range.clone())?,
            outbox_bytes_max: self.bytes(&keys::OUTBOX_BYTES_MAX, 4 * KIB * KIB, range)?,
        })
    }

    fn timing(&mut self) -> Result<SocketTiming, Error> {
        Ok(SocketTiming {
            ping_interval_ms: self.duration_ms(&keys::PING_INTERVAL_MS, 15_000, 1)?,
            ping_timeout_ms: self.duration_ms(&keys::PING_TIMEOUT_MS, 45_000, 1)?,
            upgrade_timeout_ms: self.duration_ms(&keys::UPGRADE_TIMEOUT_MS, 10_000, 1)?,
            connect_timeout_ms: self.duration_ms(&keys::CONNECT_TIMEOUT_MS, 20_000, 1)?,
        })
    }

    fn ui(&mut self) -> Result<Option<Ui>, Error> {
        // The newer name wins as soon as it is present, even if it is empty.
        let directory = self.present(&keys::UI_DIR).or_else(|| self.present(&keys::LIGHT_UI_DIR));
        let prefix = self.present(&keys::UI_PREFIX).or_else(|| self.present(&keys::LIGHT_UI_PREFIX));
        let Some(directory) = directory.map(str::trim).filter(|directory| !directory.is_empty()) else {
            return Ok(None);
        };
        let prefix = prefix.map_or("", str::trim);
        if !(prefix.is_empty() || prefix.starts_with('/')) {
            let (name, found) = (keys::UI_PREFIX.name, Some(prefix.to_owned()));
            return Err(Error::Invalid { name, found, expected: "a path that begins with /" });
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix).to_owned();
        Ok(Some(Ui { directory: directory.into(), prefix }))
    }

    fn changes_cleanup(&mut self) -> Option<u64> {
        const DEFAULT_MS: u64 = 6 * 3600 * 1000;
        if !self.switched_on(&keys::CHANGE_CLEANUP) {
            return None;
        }
        let Some(text) = self.trimmed(&keys::CHANGE_CLEANUP_INTERVAL_MS) else { return Some(DEFAULT_MS) };
        let interval_ms = decimal(&text).filter(|interval_ms| (10_000..=DURATION_MS_MAX).contains(interval_ms));
        Some(interval_ms.unwrap_or_else(|| {
            self.warn(format!(
                "HAPPY_ACCOUNT_CHANGE_CLEANUP_INTERVAL_MS is {text:?}; expected at least 10000, {DEFAULT_MS} is used"
            ));
            DEFAULT_MS
        }))
    }

    fn github(&mut self) -> Github {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Github {
            client_id: owned(self.set(&keys::GITHUB_CLIENT_ID)),
            client_secret: self.secret(&keys::GITHUB_CLIENT_SECRET),
            redirect_url: owned(self.set(&keys::GITHUB_REDIRECT_URL)),
            redirect_uri: owned(self.set(&keys::GITHUB_REDIRECT_URI)),
            app_id: owned(self.set(&keys::GITHUB_APP_ID)),
            private_key: self.secret(&keys::GITHUB_PRIVATE_KEY),
            webhook_secret: self.secret(&keys::GITHUB_WEBHOOK_SECRET),
        }
    }

    fn voice(&mut self) -> Voice {
        let development =
            self.present(&keys::NODE_ENV) == Some("development") || self.present(&keys::ENV) == Some("dev");
        Voice { api_key: self.secret(&keys::ELEVENLABS_API_KEY), subscription_required: !development }
    }

    fn services(&mut self) -> Result<Services, Error> {
        Ok(Services {
            call_timeout_ms: self.duration_ms(&keys::CALL_TIMEOUT_MS, 10_000, 1)?,
            github_url: self.address(&keys::GITHUB_URL)?,
            github_api_url: self.address(&keys::GITHUB_API_URL)?,
            revenuecat_url: self.address(&keys::REVENUECAT_URL)?,
            elevenlabs_url: self.address(&keys::ELEVENLABS_URL)?,
        })
    }

    /// The address of another service, to which paths are appended; its default is the one in the table of settings.
    fn address(&mut self, key: &Key) -> Result<String, Error> {
        self.choice(key, key.default.to_owned(), "an address such as https://github.com", |text| {
            let address = text.trim_end_matches('/');
            let host = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"))?;
            let is_plain =
                !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@".contains(&byte));
            is_plain.then(|| address.to_owned())
        })
    }

    fn metrics(&mut self, listen: &Listen) -> Result<Option<Metrics>, Error> {
        let port = self.port(&keys::METRICS_PORT, 9090)?;
        let enabled = self.present(&keys::METRICS_ENABLED) != Some("false");
        Ok(enabled.then_some(Metrics { address: listen.address, port }))
    }

    fn log(&mut self) -> Result<Log, Error> {
        let level =
            self.choice(&keys::LOG, log::LevelFilter::Info, "error, warn, info or debug", |text| match text {
                "error" => Some(log::LevelFilter::Error),
                "warn" => Some(log::LevelFilter::Warn),
                "info" => Some(log::LevelFilter::Info),
                "debug" => Some(log::LevelFilter::Debug),
                _ => None,
            })?;
        let format = self.choice(&keys::LOG_FORMAT, LogFormat::Text, "text or json", |text| match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        })?;
        Ok(Log { level, format, debug_file: self.set(&keys::DEBUG_LOG).is_some() })
    }
}

/// Digits only: neither signs nor fractions.
fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests;
