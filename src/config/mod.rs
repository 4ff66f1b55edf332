//! Settings: raw texts to one typed [`Config`] (configuration.md §1–§3).
//!
//! Owns: the names, defaults and limits of all settings, the command line, the data directory's secret.
//! Never: connections, threads, anything that a setting switches on.
//! Invariants: only this module reads the environment; resolving is a function of its arguments; no message shows a
//! value that may be a secret.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

pub mod cli;
pub mod data_dir;
pub mod dotenv;
pub mod environment;
pub mod error;
pub mod keys;
pub mod network;
pub mod postgres;
pub mod resolve;
pub mod role;
pub mod secret;

pub use error::Error;
use network::Network;
use postgres::Postgres;
use role::{Flavor, Role};
use secret::Secret;

/// Everything the server can be told. Only `boot` sees the whole; the others get their section.
#[derive(Clone, Debug)]
pub struct Config {
    pub role: Role,
    pub backend: Backend,
    /// Absent in the light flavor when the secret is to be kept in the data directory (`data_dir::master_secret`).
    pub master_secret: Option<Secret>,
    pub instance_id: Option<String>,
    pub listen: Listen,
    pub limits: Limits,
    pub timing: SocketTiming,
    /// How long a remote call waits for a method whose machine is reconnecting.
    pub rpc_grace_ms: u64,
    /// How long an approved pairing request is answered with a token (O-12).
    pub pairing_ttl_ms: u64,
    pub ui: Option<Ui>,
    /// Time between two prunings of the change feed; absent means never.
    pub changes_cleanup_interval_ms: Option<u64>,
    pub github: Github,
    pub voice: Voice,
    pub services: Services,
    pub metrics: Option<Metrics>,
    pub log: Log,
    pub shutdown_timeout_ms: u64,
}

impl Config {
    pub fn flavor(&self) -> Flavor {
        match self.backend {
            Backend::Full(_) => Flavor::Full,
            Backend::Light(_) => Flavor::Light,
        }
    }

    /// The secret of this server. In the light flavor that may make the file that keeps it.
    pub fn master_secret(&self) -> Result<Secret, Error> {
        match (&self.master_secret, &self.backend) {
            (Some(secret), _) => Ok(secret.clone()),
            (None, Backend::Light(light)) => data_dir::master_secret(&light.data_dir),
            (None, Backend::Full(_)) => Err(resolve::missing_master_secret()),
        }
    }
}

/// What the server stands on; the flavor with its settings.
#[derive(Clone, Debug)]
pub enum Backend {
    Full(Box<Full>),
    Light(Light),
}

#[derive(Clone, Debug)]
pub struct Full {
    pub postgres: Postgres,
    /// Connections of each core; all cores together keep to the limit of the URL.
    pub connections_per_core: u32,
    /// Absent when nothing of it is set: then there are no public files.
    pub object_storage: Option<ObjectStorage>,
    /// Absent unless the adapter is enabled.
    pub redis: Option<Redis>,
}

#[derive(Clone, Debug)]
pub struct Light {
    pub data_dir: PathBuf,
    pub database_dir: PathBuf,
    pub files_dir: PathBuf,
    /// Base of file URLs without trailing slash; absent means `http://localhost:<port>`.
    pub public_url: Option<String>,
}

impl Light {
    pub fn database_file(&self) -> PathBuf {
        self.database_dir.join("happier.sqlite3")
    }

    /// The base of file URLs of a server that listens on this port.
    pub fn public_url(&self, port: u16) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://localhost:{port}"))
    }
}

/// S3-compatible storage of public files.
#[derive(Clone, Debug)]
pub struct ObjectStorage {
    pub host: String,
    pub port: NonZeroU16,
    pub tls: bool,
    pub bucket: String,
    pub access_key: Secret,
    pub secret_key: Secret,
    pub public_url: String,
}

#[derive(Clone, Debug)]
pub struct Redis {
    /// May hold a password.
    pub url: Secret,
    /// Approximate maximum length of the presence stream; absent means unlimited.
    pub presence_stream_maxlen: Option<u64>,
}

/// Where and on what connections are served.
#[derive(Clone, Debug)]
pub struct Listen {
    pub address: IpAddr,
    /// 0 takes any free port.
    pub port: u16,
    pub cores: usize,
    pub io_driver: IoDriver,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<Network>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoDriver {
    /// io_uring where it is available.
    Auto,
    /// io_uring or nothing.
    Uring,
    Epoll,
}

/// What clients can make grow.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Whether request rates are limited.
    pub rates: bool,
    pub body_bytes_max: usize,
    /// Of all bodies that are in memory; one of the largest fits at least.
    pub bodies_bytes_max: usize,
    pub socket_payload_bytes_max: usize,
    /// Bytes waiting for a socket that does not read. The default of 4 MiB is four of the largest messages a client may
    /// send, or a thousand usual updates: enough for a phone that is out of reach for a moment, and what a client
    /// misses by being disconnected it fetches from the change feed.
    pub outbox_bytes_max: usize,
}

/// Timing of engine.io and socket.io.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketTiming {
    pub ping_interval_ms: u64,
    pub ping_timeout_ms: u64,
    pub upgrade_timeout_ms: u64,
    pub connect_timeout_ms: u64,
}

/// A built web UI to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ui {
    pub directory: PathBuf,
    /// Mount path with leading and without trailing slash; empty at the root.
    pub prefix: String,
}

#[derive(Clone, Debug, Default)]
pub struct Github {
    pub client_id: Option<String>,
    pub client_secret: Option<Secret>,
    /// What the OAuth routes use.
    pub redirect_url: Option<String>,
    /// What the activation of webhooks checks (C-1).
    pub redirect_uri: Option<String>,
    pub app_id: Option<String>,
    pub private_key: Option<Secret>,
    pub webhook_secret: Option<Secret>,
}

impl Github {
    /// The webhook secret, if everything that activates webhooks is set.
    pub fn webhooks(&self) -> Option<&Secret> {
        let texts = [&self.client_id, &self.redirect_uri, &self.app_id];
        let secrets = [&self.client_secret, &self.private_key];
        let complete = texts.iter().all(|text| text.is_some()) && secrets.iter().all(|secret| secret.is_some());
        self.webhook_secret.as_ref().filter(|_| complete)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Voice {
    pub api_key: Option<Secret>,
    /// Whether a subscription is asked for; not in development.
    pub subscription_required: bool,
}

/// Where the services are that we call, without trailing slashes, and how long a call may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    pub call_timeout_ms: u64,
    pub github_url: String,
    pub github_api_url: String,
    pub revenuecat_url: String,
    pub elevenlabs_url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    pub address: IpAddr,
    /// 0 takes any free port.
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: log::LevelFilter,
    pub format: LogFormat,
    /// Also log to a file and take log lines of clients (configuration.md §8.3).
    pub debug_file: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// A configuration and what the operator should know about how it came to be.
#[derive(Debug)]
pub struct Resolved {
    pub config: Config,
    pub warnings: Vec<String>,
}

/// Reads the environment and the `.env` file of the working directory and resolves them; in the light flavor also makes
/// the directories they name. The flavor of the command line wins over the settings.
pub fn load(flavor: Option<Flavor>) -> Result<Resolved, Error> {
    let mut environment = environment::Environment::of_process();
    let mut warnings = environment.add_dotenv_file(Path::new(".env"))?;
    let cores_available = std::thread::available_parallelism().map_or(1, usize::from);
    let mut resolved = resolve::resolve(flavor, &environment, cores_available)?;
    if let Backend::Light(light) = &resolved.config.backend {
        data_dir::prepare(light)?;
    }
    warnings.append(&mut resolved.warnings);
    Ok(Resolved { warnings, ..resolved })
}
