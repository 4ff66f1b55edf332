//! From the configuration to what each layer takes.

use std::sync::Arc;

use protocol::engineio::session::Config as EngineConfig;

use crate::api::{self, limits::RateLimits};
use crate::config::{Backend, Config, IoDriver, secret::Secret};
use crate::crypto::seal::ColumnKeys;
use crate::domain::{self, FileUrls, Flavor};
use crate::realtime::hub;
use crate::runtime::cores::{Driver, DriverChoice};

pub(super) fn driver_choice(driver: IoDriver) -> DriverChoice {
    match driver {
        IoDriver::Auto => DriverChoice::Auto,
        IoDriver::Uring => DriverChoice::Uring,
        IoDriver::Epoll => DriverChoice::Epoll,
    }
}

pub(super) fn domain(config: &Config, column_keys: ColumnKeys, port: u16) -> domain::Settings {
    let (flavor, files) = match &config.backend {
        Backend::Light(light) => (Flavor::Light, FileUrls::Local(light.public_url(port))),
        Backend::Full(full) => {
            let prefix = full.object_storage.as_ref().map(|storage| storage.public_url.clone());
            (Flavor::Full, FileUrls::Bucket(prefix.unwrap_or_default()))
        }
    };
    let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_string());
    let github = &config.github;
    domain::Settings {
        flavor,
        files,
        pairing_ttl_ms: i64::try_from(config.pairing_ttl_ms).unwrap_or(i64::MAX),
        column_keys,
        github: domain::Github {
            app_id: github.app_id.clone(),
            private_key: exposed(&github.private_key),
            client_id: github.client_id.clone(),
            client_secret: exposed(&github.client_secret),
            redirect_url: github.redirect_url.clone(),
            redirect_uri: github.redirect_uri.clone(),
            webhook_secret: exposed(&github.webhook_secret),
        },
        voice: domain::Voice {
            elevenlabs_api_key: exposed(&config.voice.api_key),
            is_development: !config.voice.subscription_required,
        },
    }
}

pub(super) fn api_limits(config: &Config) -> api::Limits {
    let proxies = config.listen.trusted_proxies.clone();
    api::Limits {
        body_bytes_max: config.limits.body_bytes_max as u64,
        rates: config.limits.rates.then(|| Arc::new(RateLimits::new(proxies))),
    }
}

pub(super) fn hub(config: &Config, driver: Driver) -> hub::Settings {
    hub::Settings {
        engine: EngineConfig {
            ping_interval_ms: config.timing.ping_interval_ms,
            ping_timeout_ms: config.timing.ping_timeout_ms,
            upgrade_timeout_ms: config.timing.upgrade_timeout_ms,
            payload_bytes_max: u32::try_from(config.limits.socket_payload_bytes_max).unwrap_or(u32::MAX),
            ..EngineConfig::default()
        },
        connect_timeout_ms: config.timing.connect_timeout_ms,
        outbox_bytes_max: config.limits.outbox_bytes_max,
        driver,
        rpc_grace_ms: config.rpc_grace_ms,
    }
}
