//! TLS to PostgreSQL: which certificates are taken, and that the line is encrypted when it should be.
//!
//! The certificate in `support/tls` is for `localhost`, signed by the authority beside it. Its key protects nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/storage.rs"]
mod support;

use happier_server::config::postgres::Postgres as Url;
use happier_server::storage::postgres::Settings;
use happier_server::storage::{Error, Statement};
use postgres::{Fsync, Postgres};
use support::{block_on, connect};

static ENCRYPTED: Statement = Statement::portable("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");

const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls/ca.crt");

fn settings(server: &Postgres, host: &str, parameters: &str) -> Settings {
    within(60, server, host, parameters)
}

/// How long it is tried, as what is refused may be a server that is about to start.
fn within(wait_s: u32, server: &Postgres, host: &str, parameters: &str) -> Settings {
    let url = format!("postgresql://postgres@{host}:{}/postgres?pool_timeout={wait_s}&{parameters}", server.port());
    Settings::try_from(&Url::parse(&url).unwrap()).unwrap()
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
        encrypted(&Settings::try_from(&Url::parse(&url).unwrap()).unwrap())
    };
    assert_eq!(with("p%40ss:word", "sslmode=require"), Ok(true));
    assert_eq!(with("p%40ss:word", "sslmode=disable"), Ok(false));
    let refused = with("wrong", "").unwrap_err().to_string();
    assert!(refused.contains("password authentication failed") && !refused.contains("wrong"), "{refused}");
}

#[test]
fn what_cannot_be_done_is_refused() {
    let url = Url::parse("postgresql://h/d?sslidentity=/client.p12").unwrap();
    assert!(Settings::try_from(&url).err().unwrap().to_string().contains("sslidentity"));
    let missing = Url::parse("postgresql://h/d?sslmode=require&sslaccept=strict&sslcert=/no/such/file").unwrap();
    let error = happier_server::storage::migrate::postgres(Settings::try_from(&missing).unwrap()).unwrap_err();
    assert!(error.to_string().contains("/no/such/file"), "{error}");
}
