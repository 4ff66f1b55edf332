//! TLS to PostgreSQL: which certificates are taken, and that the line is encrypted when it should be.
//!
//! The certificate `server.crt` in `support/tls` is for `localhost`, signed by `ca.crt`; the one in `client.pem` is for the
//! role `somebody`, signed by `client_ca.crt`, as openssl makes it of PKCS#12. Their keys protect nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/storage.rs"]
mod support;

use happier_server::config::postgres::Postgres as Url;
use happier_server::storage::postgres::Settings;
use happier_server::storage::{Error, Statement, migrate};
use postgres::{Fsync, Postgres};
use support::{Directory, block_on, connect};

static ENCRYPTED: Statement = Statement::portable("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");

const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls/ca.crt");
const IDENTITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls/client.pem");

fn settings(server: &Postgres, host: &str, parameters: &str) -> Settings {
    within(60, server, host, parameters)
}

/// How long it is tried, as what is refused may be a server that is about to start.
fn within(wait_s: u32, server: &Postgres, host: &str, parameters: &str) -> Settings {
    let url = format!("postgresql://postgres@{host}:{}/postgres?pool_timeout={wait_s}&{parameters}", server.port());
    Settings::from(&Url::parse(&url).unwrap())
}

fn encrypted(settings: &Settings) -> Result<bool, Error> {
    block_on(async { Ok(connect(settings).query(&ENCRYPTED, vec![]).await?[0].bool(0)) })
}

#[test]
fn certificates() {
    let key = include_str!("support/tls/server.key");
    let server = Postgres::start_with_tls(Fsync::Off, include_str!("support/tls/server.crt"), key);
    let strict = format!("sslmode=require&sslaccept=strict&sslcert={AUTHORITY}");
    for (host, parameters, expected) in [
        ("127.0.0.1", "sslmode=disable", Ok(false)),
        ("127.0.0.1", "", Ok(true)),
        ("127.0.0.1", "sslmode=require", Ok(true)),
        ("localhost", "sslmode=require", Ok(true)),
        ("localhost", strict.as_str(), Ok(true)),
        // The certificate is for another name.
        ("127.0.0.1", strict.as_str(), Err("certificate")),
        // The system does not know the authority.
        ("localhost", "sslmode=require&sslaccept=strict", Err("certificate")),
    ] {
        let wait_s = if expected.is_ok() { 60 } else { 4 };
        match (encrypted(&within(wait_s, &server, host, parameters)), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{host} {parameters}"),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (found, _) => panic!("{host} {parameters}: {found:?}"),
        }
    }
}

#[test]
fn tls_that_is_required_is_not_given_up() {
    let server = Postgres::start(Fsync::Off);
    assert_eq!(encrypted(&settings(&server, "127.0.0.1", "")), Ok(false));
    let refused = encrypted(&settings(&server, "127.0.0.1", "sslmode=require")).unwrap_err();
    assert!(refused.to_string().contains("does not support TLS"), "{refused}");
}

#[test]
fn passwords() {
    let key = include_str!("support/tls/server.key");
    let server = Postgres::start_with_tls(Fsync::Off, include_str!("support/tls/server.crt"), key);
    server.psql(
        "postgres",
        "CREATE ROLE somebody LOGIN PASSWORD 'p@ss:word';
        COPY (VALUES ('local all all trust'), ('host all all all scram-sha-256'))
        TO PROGRAM 'cat > pg_hba.conf';",
    );
    server.psql("postgres", "SELECT pg_reload_conf()");
    let with = |password: &str, parameters: &str| {
        let url = format!("postgresql://somebody:{password}@localhost:{}/postgres?{parameters}", server.port());
        encrypted(&Settings::from(&Url::parse(&url).unwrap()))
    };
    assert_eq!(with("p%40ss:word", "sslmode=require"), Ok(true));
    assert_eq!(with("p%40ss:word", "sslmode=disable"), Ok(false));
    let refused = with("wrong", "").unwrap_err().to_string();
    assert!(refused.contains("password authentication failed") && !refused.contains("wrong"), "{refused}");
}

#[test]
fn servers_that_ask_who_we_are() {
    let key = include_str!("support/tls/server.key");
    let mut server = Postgres::start_with_tls(Fsync::Off, include_str!("support/tls/server.crt"), key);
    let authority = include_str!("support/tls/client_ca.crt");
    server.psql("postgres", &format!(
        "CREATE ROLE somebody LOGIN;
        COPY (SELECT string_to_table('{authority}', E'\\n')) TO PROGRAM 'cat > client_ca.crt';
        COPY (VALUES ('local all all trust'), ('hostssl all somebody all cert'), ('hostssl all all all trust clientcert=verify-ca'))
        TO PROGRAM 'cat > pg_hba.conf';"
    ));
    server.psql("postgres", "ALTER SYSTEM SET ssl_ca_file = 'client_ca.crt'");
    server.stop_immediately();
    server.start_again();
    let strict = format!("sslaccept=strict&sslcert={AUTHORITY}");
    let with = |user: &str, parameters: &str| {
        let url = format!("postgresql://{user}@localhost:{}/postgres?sslmode=require&{parameters}", server.port());
        encrypted(&Settings::from(&Url::parse(&url).unwrap()))
    };
    for user in ["postgres", "somebody"] {
        assert_eq!(with(user, &format!("sslidentity={IDENTITY}")), Ok(true));
        assert_eq!(with(user, &format!("sslidentity={IDENTITY}&sslpassword=x&{strict}")), Ok(true));
        let refused = with(user, "").unwrap_err().to_string();
        assert!(refused.contains("requires a valid client certificate"), "{refused}");
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let directory = Directory::new();
    let whole = include_str!("support/tls/client.pem");
    let (certificate, key) = whole.split_at(whole.find("-----BEGIN PRIVATE").unwrap());
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let strangers = include_str!("support/tls/server.key");
    let refusal = |parameters: &str| {
        let url = Url::parse(&format!("postgresql://h/d?sslmode=require&{parameters}")).unwrap();
        migrate::postgres(Settings::from(&url)).unwrap_err().to_string()
    };
    for (name, bytes, expected) in [
        // What PKCS#12 begins with.
        ("client.p12", b"\x30\x82\x04\x00\x02\x01\x03".to_vec(), "openssl pkcs12 -in "),
        ("certificate", certificate.into(), "unencrypted key"),
        ("key", key.into(), "no certificate"),
        ("encrypted", (certificate.to_owned() + &encrypted).into(), "unencrypted key"),
        ("strangers", (certificate.to_owned() + strangers).into(), "cannot be used"),
        ("empty", Vec::new(), "not PEM"),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let text = refusal(&format!("sslidentity={}", path.display()));
        for part in ["DATABASE_URL: sslidentity", path.to_str().unwrap(), expected] {
            assert!(text.contains(part), "{name}: {text}");
        }
    }
    for parameters in ["sslidentity=/no/such/file", "sslaccept=strict&sslcert=/no/such/file"] {
        let text = refusal(parameters);
        assert!(text.contains("/no/such/file"), "{text}");
    }
}
