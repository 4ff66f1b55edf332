//! Settings that make a configuration, and those that do not.

use std::time::Duration;

use super::*;

const LIGHT: &[(&str, &str)] = &[("HOME", "/home/me")];
const FULL: &[(&str, &str)] = &[("DATABASE_URL", "postgresql://u:hunter2@db/app"), ("HANDY_MASTER_SECRET", " s ")];
const STORAGE: &[(&str, &str)] = &[
    ("S3_HOST", " s3.example "),
    ("S3_BUCKET", "bucket"),
    ("S3_ACCESS_KEY", "access"),
    ("S3_SECRET_KEY", "secret"),
    ("S3_PUBLIC_URL", "https://files.example"),
];

fn settings(parts: &[&[(&str, &str)]]) -> Environment {
    parts.iter().flat_map(|part| part.iter().copied()).collect()
}

fn resolved(parts: &[&[(&str, &str)]]) -> Resolved {
    resolve(None, &settings(parts), 4).unwrap_or_else(|error| panic!("{parts:?}: {error}"))
}

fn config(parts: &[&[(&str, &str)]]) -> Config {
    resolved(parts).config
}

fn refusal(parts: &[&[(&str, &str)]]) -> String {
    match resolve(None, &settings(parts), 4) {
        Ok(_) => panic!("{parts:?} is accepted"),
        Err(error) => error.to_string(),
    }
}

fn full(config: &Config) -> &Full {
    match &config.backend {
        Backend::Full(full) => full,
        Backend::Light(_) => panic!("light"),
    }
}

fn light(config: &Config) -> &Light {
    match &config.backend {
        Backend::Light(light) => light,
        Backend::Full(_) => panic!("full"),
    }
}

#[test]
fn light_defaults() {
    let Resolved { config, warnings } = resolved(&[LIGHT]);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((config.flavor(), config.role), (Flavor::Light, Role::All));
    assert!(config.master_secret.is_none() && config.instance_id.is_none());
    let listen = &config.listen;
    assert_eq!((listen.address.to_string().as_str(), listen.port, listen.cores), ("0.0.0.0", 3005, 4));
    assert_eq!((listen.io_driver, listen.trusted_proxies.len()), (IoDriver::Auto, 0));
    let limits = &config.limits;
    assert!(limits.rates);
    assert_eq!((limits.body_bytes_max, limits.socket_payload_bytes_max), (104_857_600, 1_000_000));
    assert_eq!(limits.outbox_bytes_max, 4_194_304);
    let timing = SocketTiming {
        ping_interval_ms: 15_000,
        ping_timeout_ms: 45_000,
        upgrade_timeout_ms: 10_000,
        connect_timeout_ms: 20_000,
    };
    assert_eq!(config.timing, timing);
    assert_eq!((config.rpc_grace_ms, config.pairing_ttl_ms, config.shutdown_timeout_ms), (0, 86_400_000, 10_000));
    assert!(config.ui.is_none() && config.changes_cleanup_interval_ms.is_none());
    assert!(config.github.webhooks().is_none() && config.voice.api_key.is_none());
    assert!(config.voice.subscription_required);
    assert_eq!(config.metrics.map(|metrics| metrics.port), Some(9090));
    assert_eq!(config.log, Log { level: log::LevelFilter::Info, format: LogFormat::Text, debug_file: false });
    let light = light(&config);
    assert_eq!(light.data_dir, PathBuf::from("/home/me/.happy/server-light"));
    assert_eq!(light.database_file(), PathBuf::from("/home/me/.happy/server-light/happier.sqlite3"));
    assert_eq!(light.files_dir, PathBuf::from("/home/me/.happy/server-light/files"));
    assert_eq!(light.public_url(4000), "http://localhost:4000");
}

/// What the key table shows as default is what holds without the setting.
#[test]
fn setting_the_shown_default_changes_nothing() {
    for (base, flavor) in [(LIGHT, Flavor::Light), (FULL, Flavor::Full)] {
        let expected = format!("{:?}", config(&[base]));
        for key in keys::all().filter(|key| !key.default.is_empty() && !key.default.contains(['<', '~', ' ', ':'])) {
            let not_a_value = ["random", "host"].contains(&key.default);
            let read =
                key.readers == keys::Readers::Both || (key.readers == keys::Readers::Full) == (flavor == Flavor::Full);
            if read && !not_a_value {
                assert_eq!(format!("{:?}", config(&[base, &[(key.name, key.default)]])), expected, "{}", key.name);
            }
        }
    }
}

#[test]
fn empty_settings_are_not_set() {
    let expected = format!("{:?}", config(&[LIGHT]));
    for key in keys::all() {
        assert_eq!(format!("{:?}", config(&[LIGHT, &[(key.name, "")]])), expected, "{}", key.name);
    }
}

#[test]
fn the_flavor_is_chosen_by_argument_then_setting_then_database() {
    type Case<'a> = (Option<Flavor>, &'a [(&'a str, &'a str)], Flavor);
    let table: [Case<'_>; 7] = [
        (None, &[], Flavor::Full),
        (None, &[("HAPPY_SERVER_FLAVOR", "light")], Flavor::Light),
        (None, &[("HAPPIER_SERVER_FLAVOR", "light")], Flavor::Light),
        (None, &[("DATABASE_URL", "")], Flavor::Light),
        (Some(Flavor::Light), &[], Flavor::Light),
        (Some(Flavor::Full), &[("HAPPY_SERVER_FLAVOR", "light")], Flavor::Full),
        (Some(Flavor::Light), &[("HAPPY_SERVER_FLAVOR", "nonsense")], Flavor::Light),
    ];
    for (argument, extra, flavor) in table {
        let settings = settings(&[LIGHT, FULL, extra]);
        assert_eq!(resolve(argument, &settings, 1).unwrap().config.flavor(), flavor, "{argument:?} {extra:?}");
    }
    let error = refusal(&[LIGHT, &[("HAPPIER_SERVER_FLAVOR", "heavy")]]);
    assert_eq!(error, "HAPPY_SERVER_FLAVOR is \"heavy\"; expected full or light");
}

#[test]
fn the_older_form_of_a_name_wins() {
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, usize);
    let table: [Case<'_>; 4] = [
        (&[("HAPPY_INSTANCE_ID", "old")], "old", 0),
        (&[("HAPPIER_INSTANCE_ID", "new")], "new", 0),
        (&[("HAPPY_INSTANCE_ID", "same"), ("HAPPIER_INSTANCE_ID", "same")], "same", 0),
        (&[("HAPPY_INSTANCE_ID", " old "), ("HAPPIER_INSTANCE_ID", "new")], "old", 1),
    ];
    for (extra, expected, warnings) in table {
        let resolved = resolved(&[LIGHT, extra]);
        assert_eq!(resolved.config.instance_id.as_deref(), Some(expected), "{extra:?}");
        assert_eq!(resolved.warnings.len(), warnings, "{extra:?}: {:?}", resolved.warnings);
    }
    let warnings = resolved(&[LIGHT, &[("HAPPY_INSTANCE_ID", "a"), ("HAPPIER_INSTANCE_ID", "b")]]).warnings;
    assert_eq!(
        warnings,
        ["HAPPY_INSTANCE_ID and HAPPIER_INSTANCE_ID are both set and differ; HAPPY_INSTANCE_ID is used"]
    );
}

#[test]
fn unknown_names_are_pointed_out() {
    let extra = [("HAPPIER_CORE", "2"), ("HAPPIER_UNRELATED_THING", "x"), ("HAPPY_HOME_DIR", "/x"), ("PATH", "/bin")];
    assert_eq!(
        resolved(&[LIGHT, &extra]).warnings,
        [
            "HAPPIER_CORE is not a setting of this server; did you mean HAPPIER_CORES?",
            "HAPPIER_UNRELATED_THING is not a setting of this server",
        ]
    );
}

#[test]
fn values_that_cannot_be_meant_are_errors() {
    let table = [
        ("PORT", "65536", "PORT is \"65536\"; expected a port between 0 and 65535"),
        ("PORT", "http", "PORT is \"http\"; expected a port between 0 and 65535"),
        ("PORT", "+80", "PORT is \"+80\"; expected a port between 0 and 65535"),
        ("METRICS_PORT", "-1", "METRICS_PORT is \"-1\"; expected a port between 0 and 65535"),
        ("HAPPIER_BIND", "localhost", "HAPPIER_BIND is \"localhost\"; expected an IP address"),
        ("HAPPIER_CORES", "0", "HAPPIER_CORES is \"0\"; expected a number between 1 and 256"),
        ("HAPPIER_CORES", "257", "HAPPIER_CORES is \"257\"; expected a number between 1 and 256"),
        ("HAPPIER_IO_DRIVER", "kqueue", "HAPPIER_IO_DRIVER is \"kqueue\"; expected auto, uring or epoll"),
        ("HAPPIER_RATE_LIMITS", "1", "HAPPIER_RATE_LIMITS is \"1\"; expected on or off"),
        (
            "HAPPIER_BODY_BYTES_MAX",
            "100",
            "HAPPIER_BODY_BYTES_MAX is \"100\"; expected a number of bytes between 1024 and 1073741824",
        ),
        (
            "HAPPIER_BODIES_BYTES_MAX",
            "104857599",
            "HAPPIER_BODIES_BYTES_MAX is \"104857599\"; expected a number of bytes of at least HAPPIER_BODY_BYTES_MAX",
        ),
        (
            "HAPPIER_OUTBOX_BYTES_MAX",
            "8MB",
            "HAPPIER_OUTBOX_BYTES_MAX is \"8MB\"; expected a number of bytes between 1024 and 1073741824",
        ),
        (
            "HAPPIER_PING_INTERVAL_MS",
            "0",
            "HAPPIER_PING_INTERVAL_MS is \"0\"; expected a positive number of milliseconds",
        ),
        (
            "HAPPIER_PAIRING_TTL_MS",
            "999",
            "HAPPIER_PAIRING_TTL_MS is \"999\"; expected a number of milliseconds, at least 1000",
        ),
        ("HAPPIER_RPC_GRACE_MS", "-5", "HAPPIER_RPC_GRACE_MS is \"-5\"; expected a number of milliseconds"),
        ("HAPPIER_LOG", "verbose", "HAPPIER_LOG is \"verbose\"; expected error, warn, info or debug"),
        ("HAPPIER_LOG_FORMAT", "xml", "HAPPIER_LOG_FORMAT is \"xml\"; expected text or json"),
        (
            "HAPPIER_TRUSTED_PROXIES",
            "10.0.0.0/8,proxy",
            "HAPPIER_TRUSTED_PROXIES is \"10.0.0.0/8,proxy\"; expected addresses or networks such as 10.0.0.0/8, \
             separated by commas",
        ),
    ];
    for (name, value, expected) in table {
        assert_eq!(refusal(&[LIGHT, &[(name, value)]]), expected);
    }
}

#[test]
fn values_are_taken() {
    let config = config(&[
        LIGHT,
        &[
            ("PORT", "0"),
            ("HAPPIER_BIND", "::1"),
            ("HAPPIER_CORES", "9"),
            ("HAPPIER_IO_DRIVER", "epoll"),
            ("HAPPIER_RATE_LIMITS", "off"),
            ("HAPPIER_TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            ("HAPPIER_BODY_BYTES_MAX", "2048"),
            ("HAPPIER_BODIES_BYTES_MAX", "2048"),
            ("HAPPIER_SOCKET_PAYLOAD_BYTES_MAX", "4096"),
            ("HAPPIER_OUTBOX_BYTES_MAX", "8192"),
            ("HAPPIER_RPC_GRACE_MS", "1500"),
            ("HAPPIER_PAIRING_TTL_MS", "5000"),
            ("HAPPIER_PING_INTERVAL_MS", "300"),
            ("HAPPIER_PING_TIMEOUT_MS", "200"),
            ("HAPPIER_UPGRADE_TIMEOUT_MS", "100"),
            ("HAPPIER_CONNECT_TIMEOUT_MS", "50"),
            ("HAPPIER_SHUTDOWN_TIMEOUT_MS", "0"),
            ("HAPPIER_LOG", "debug"),
            ("HAPPIER_LOG_FORMAT", "json"),
            ("METRICS_ENABLED", "false"),
            ("TZ", "Europe/Berlin"),
            ("HANDY_MASTER_SECRET", " verbatim "),
            ("DANGEROUSLY_LOG_TO_SERVER_FOR_AI_AUTO_DEBUGGING", "0"),
        ],
    ]);
    let listen = &config.listen;
    assert_eq!((listen.port, listen.cores, listen.io_driver), (0, 9, IoDriver::Epoll));
    assert_eq!(listen.address.to_string(), "::1");
    assert!(listen.trusted_proxies[0].contains([10, 1, 2, 3].into()) && listen.trusted_proxies.len() == 2);
    let limits = &config.limits;
    assert!(!limits.rates);
    let bytes = (limits.body_bytes_max, limits.socket_payload_bytes_max, limits.outbox_bytes_max);
    assert_eq!(bytes, (2048, 4096, 8192));
    assert_eq!(limits.bodies_bytes_max, 2048);
    let timing =
        SocketTiming { ping_interval_ms: 300, ping_timeout_ms: 200, upgrade_timeout_ms: 100, connect_timeout_ms: 50 };
    assert_eq!(config.timing, timing);
    assert_eq!((config.rpc_grace_ms, config.pairing_ttl_ms, config.shutdown_timeout_ms), (1500, 5000, 0));
    assert_eq!(config.metrics, None);
    assert_eq!(config.log, Log { level: log::LevelFilter::Debug, format: LogFormat::Json, debug_file: true });
    assert_eq!(config.master_secret.as_ref().map(Secret::expose), Some(" verbatim "));
}

#[test]
fn roles() {
    for (value, role, warnings) in
        [("api", Role::Api, 0), (" all ", Role::All, 0), (" ", Role::All, 0), ("API", Role::All, 1)]
    {
        let resolved = resolved(&[LIGHT, &[("SERVER_ROLE", value)]]);
        assert_eq!((resolved.config.role, resolved.warnings.len()), (role, warnings), "{value:?}");
    }
    let redis = [("REDIS_URL", "redis://r"), ("HAPPY_SOCKET_REDIS_ADAPTER", "1"), ("SERVER_ROLE", "worker")];
    assert_eq!(config(&[FULL, &redis]).role, Role::Worker);
    for parts in [&[LIGHT, &redis[..]], &[FULL, &redis[1..]], &[FULL, &redis[2..]]] {
        assert_eq!(refusal(parts), WORKER_WITHOUT_REDIS);
    }
}

#[test]
fn whoever_meant_to_have_replicas_and_has_none_is_told() {
    let (url, on, other) =
        (("REDIS_URL", "redis://r"), ("HAPPY_SOCKET_REDIS_ADAPTER", "1"), ("HAPPY_SOCKET_REDIS_ADAPTER", "yes"));
    let table: [(&[(&str, &str)], bool); 5] =
        [(&[], false), (&[url, on], false), (&[url], true), (&[on], true), (&[url, other], true)];
    for (extra, alone) in table {
        let warnings = resolved(&[FULL, extra]).warnings;
        let told = warnings.iter().any(|warning| warning.ends_with("this process shares nothing with other replicas"));
        assert_eq!(told, alone, "{extra:?}: {warnings:?}");
    }
}

#[test]
fn the_full_flavor_needs_its_secret_and_database() {
    let flavor = ("HAPPY_SERVER_FLAVOR", "full");
    assert!(refusal(&[&[flavor]]).starts_with("DATABASE_URL is not set"));
    for secret in ["", "  "] {
        let error = refusal(&[FULL, &[("HANDY_MASTER_SECRET", secret)]]);
        assert!(error.starts_with("HANDY_MASTER_SECRET is not set"), "{error}");
    }
    assert_eq!(config(&[FULL]).master_secret().unwrap().expose(), " s ");
    let url = [("DATABASE_URL", "postgresql://u:hunter2@db/app?sslmode=maybe")];
    let error = refusal(&[FULL, &url]);
    assert!(error.starts_with("DATABASE_URL cannot be understood; expected sslmode") && !error.contains("hunter2"));
}

#[test]
fn connections_keep_to_the_limit_of_the_url() {
    // Limit, wanted per core, per core, warnings besides the one about object storage; four cores.
    let table = [("", "", 4, 0), ("9", "", 2, 0), ("100", "", 4, 0), ("100", "30", 25, 0), ("3", "", 1, 1)];
    for (limit, wanted, per_core, warnings) in table {
        let url = if limit.is_empty() { String::new() } else { format!("?connection_limit={limit}") };
        let url = format!("postgresql://db/app{url}");
        let extra = [("DATABASE_URL", url.as_str()), ("HAPPIER_DB_CONNECTIONS_PER_CORE", wanted)];
        let resolved = resolved(&[FULL, &extra]);
        assert_eq!(full(&resolved.config).connections_per_core, per_core, "{extra:?}");
        assert_eq!(resolved.warnings.len(), 1 + warnings, "{extra:?}");
    }
    let config = config(&[FULL]);
    assert_eq!(full(&config).postgres.pool_timeout, Some(Duration::from_secs(10)));
}

#[test]
fn object_storage_is_complete_or_absent() {
    let absent = resolved(&[FULL]);
    assert!(full(&absent.config).object_storage.is_none());
    assert!(absent.warnings[0].contains("S3_HOST"), "{:?}", absent.warnings);

    let complete = resolved(&[FULL, STORAGE]);
    assert_eq!(complete.warnings, Vec::<String>::new());
    let storage = full(&complete.config).object_storage.clone().unwrap();
    assert_eq!((storage.host.as_str(), storage.port.get(), storage.tls), ("s3.example", 443, true));
    for missing in STORAGE {
        let rest: Vec<_> = STORAGE.iter().copied().filter(|given| given != missing).collect();
        assert_eq!(refusal(&[FULL, &rest]), format!("Missing required env var: {}", missing.0));
    }

    for (ssl, port, expected) in [("false", "", (80, false)), ("1", "9000", (9000, false)), ("true", "", (443, true))] {
        let config = config(&[FULL, STORAGE, &[("S3_USE_SSL", ssl), ("S3_PORT", port)]]);
        let storage = full(&config).object_storage.as_ref().unwrap();
        assert_eq!((storage.port.get(), storage.tls), expected);
    }
    for port in ["0", "70000", "x"] {
        let error = refusal(&[FULL, STORAGE, &[("S3_PORT", port)]]);
        assert_eq!(error, format!("Invalid S3_PORT: {port}; expected a port between 1 and 65535"));
    }
}

#[test]
fn redis_needs_an_address_and_the_switch() {
    let url = ("REDIS_URL", " redis://:pw@r ");
    let on = ("HAPPY_SOCKET_REDIS_ADAPTER", "true");
    for parts in [&[][..], &[url], &[on], &[url, ("HAPPY_SOCKET_REDIS_ADAPTER", "yes")], &[("REDIS_URL", " "), on]] {
        assert!(full(&config(&[FULL, parts])).redis.is_none(), "{parts:?}");
    }
    for (length, expected, warnings) in
        [("", Some(100_000), 0), ("0", None, 0), ("5", Some(5), 0), ("-1", Some(100_000), 1), ("x", Some(100_000), 1)]
    {
        let resolved = resolved(&[FULL, STORAGE, &[url, on, ("HAPPY_PRESENCE_STREAM_MAXLEN", length)]]);
        let redis = full(&resolved.config).redis.clone().unwrap();
        assert_eq!((redis.presence_stream_maxlen, redis.url.expose()), (expected, "redis://:pw@r"), "{length:?}");
        assert_eq!(resolved.warnings.len(), warnings, "{length:?}");
    }
}

#[test]
fn light_directories() {
    let config_of = |extra| config(&[LIGHT, extra]);
    let given = config_of(&[
        ("HAPPY_SERVER_LIGHT_DATA_DIR", " /data "),
        ("HAPPIER_SERVER_LIGHT_DB_DIR", "/fast"),
        ("PUBLIC_URL", " https://me.example// "),
    ]);
    let directories = light(&given);
    assert_eq!(directories.data_dir, PathBuf::from("/data"));
    assert_eq!(directories.database_file(), PathBuf::from("/fast/happier.sqlite3"));
    assert_eq!(directories.files_dir, PathBuf::from("/data/files"));
    assert_eq!(directories.public_url(1), "https://me.example");
    let homeless = refusal(&[&[("HOME", "")]]);
    assert!(homeless.starts_with("HAPPY_SERVER_LIGHT_DATA_DIR is not set; without a home directory"), "{homeless}");
}

#[test]
fn web_ui() {
    let ui = |directory: &str, prefix: &str| Some(Ui { directory: directory.into(), prefix: prefix.to_owned() });
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<Ui>);
    let table: [Case<'_>; 8] = [
        (&[], None),
        (&[("HAPPY_SERVER_UI_DIR", " /ui ")], ui("/ui", "")),
        (&[("HAPPY_SERVER_LIGHT_UI_DIR", "/old")], ui("/old", "")),
        (&[("HAPPY_SERVER_UI_DIR", ""), ("HAPPY_SERVER_LIGHT_UI_DIR", "/old")], None),
        (&[("HAPPIER_SERVER_UI_DIR", "/ui"), ("HAPPY_SERVER_UI_PREFIX", "/")], ui("/ui", "")),
        (&[("HAPPY_SERVER_UI_DIR", "/ui"), ("HAPPY_SERVER_UI_PREFIX", "/app/")], ui("/ui", "/app")),
        (&[("HAPPY_SERVER_UI_DIR", "/ui"), ("HAPPY_SERVER_LIGHT_UI_PREFIX", "/a/b")], ui("/ui", "/a/b")),
        (&[("HAPPY_SERVER_UI_PREFIX", "not a path")], None),
    ];
    for (extra, expected) in table {
        assert_eq!(config(&[LIGHT, extra]).ui, expected, "{extra:?}");
    }
    let error = refusal(&[LIGHT, &[("HAPPY_SERVER_UI_DIR", "/ui"), ("HAPPY_SERVER_UI_PREFIX", "app")]]);
    assert_eq!(error, "HAPPY_SERVER_UI_PREFIX is \"app\"; expected a path that begins with /");
}

#[test]
fn change_feed_pruning() {
    let table = [
        ("", "5", None, 0),
        ("yes", "", None, 0),
        ("1", "", Some(21_600_000), 0),
        ("true", "10000", Some(10_000), 0),
        ("1", "9999", Some(21_600_000), 1),
        ("1", "soon", Some(21_600_000), 1),
    ];
    for (switch, interval, expected, warnings) in table {
        let extra = [("HAPPY_ACCOUNT_CHANGE_CLEANUP", switch), ("HAPPY_ACCOUNT_CHANGE_CLEANUP_INTERVAL_MS", interval)];
        let resolved = resolved(&[LIGHT, &extra]);
        assert_eq!(resolved.config.changes_cleanup_interval_ms, expected, "{extra:?}");
        assert_eq!(resolved.warnings.len(), warnings, "{extra:?}");
    }
}

#[test]
fn external_services() {
    let github = [
        ("GITHUB_CLIENT_ID", "id"),
        ("GITHUB_CLIENT_SECRET", "hunter2"),
        ("GITHUB_REDIRECT_URI", "https://x/cb"),
        ("GITHUB_APP_ID", "1"),
        ("GITHUB_PRIVATE_KEY", "hunter2"),
        ("GITHUB_WEBHOOK_SECRET", "hunter2"),
    ];
    assert_eq!(config(&[LIGHT, &github]).github.webhooks().map(Secret::expose), Some("hunter2"));
    for missing in github {
        let rest = github.into_iter().filter(|given| *given != missing).collect::<Vec<_>>();
        assert!(config(&[LIGHT, &rest]).github.webhooks().is_none(), "without {}", missing.0);
    }
    for (extra, required) in
        [(("NODE_ENV", "development"), false), (("ENV", "dev"), false), (("NODE_ENV", "production"), true)]
    {
        assert_eq!(config(&[LIGHT, &[extra]]).voice.subscription_required, required);
    }
}

#[test]
fn addresses_of_services() {
    let services = config(&[LIGHT]).services;
    assert_eq!((services.github_url.as_str(), services.call_timeout_ms), ("https://github.com", 10_000));
    assert_eq!(services.elevenlabs_url, "https://api.elevenlabs.io");
    let given = [("HAPPIER_GITHUB_API_URL", " http://127.0.0.1:1/v3/ "), ("HAPPIER_CALL_TIMEOUT_MS", "50")];
    let services = config(&[LIGHT, &given]).services;
    assert_eq!((services.github_api_url.as_str(), services.call_timeout_ms), ("http://127.0.0.1:1/v3", 50));
    for wrong in
        ["github.com", "ftp://github.com", "https://", "https:///", "https://user@host", "https://h/?q", "https://a b"]
    {
        let error = refusal(&[LIGHT, &[("HAPPIER_GITHUB_URL", wrong)]]);
        let expected = format!("HAPPIER_GITHUB_URL is {wrong:?}; expected an address such as https://github.com");
        assert_eq!(error, expected);
    }
}

#[test]
fn no_secret_is_printed() {
    let parts: &[&[(&str, &str)]] = &[&[
        ("DATABASE_URL", "postgresql://u:hunter2@db/app?sslpassword=hunter2"),
        ("HANDY_MASTER_SECRET", "hunter2"),
        ("S3_SECRET_KEY", "hunter2"),
        ("S3_ACCESS_KEY", "hunter2"),
        ("S3_HOST", "h"),
        ("S3_BUCKET", "b"),
        ("S3_PUBLIC_URL", "u"),
        ("REDIS_URL", "redis://:hunter2@r"),
        ("HAPPY_SOCKET_REDIS_ADAPTER", "1"),
        ("GITHUB_CLIENT_SECRET", "hunter2"),
        ("GITHUB_PRIVATE_KEY", "hunter2"),
        ("GITHUB_WEBHOOK_SECRET", "hunter2"),
        ("ELEVENLABS_API_KEY", "hunter2"),
    ]];
    let printed = format!("{:?}", resolved(parts));
    assert!(!printed.contains("hunter2"), "{printed}");
    assert_eq!(printed.matches("Secret(…)").count(), 9);
}
