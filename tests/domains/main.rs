//! The routes of machines, artifacts, sharing and the other smaller domains on both databases: statuses, bodies,
//! effects, events.
//!
//! Every case runs on SQLite and on a private Postgres, with accounts of its own.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod access_keys;
mod artifacts;
mod connect;
mod friends;
mod kv;
mod machines;
#[path = "../support/postgres.rs"]
mod postgres;
mod presence;
mod public_shares;
mod push_tokens;
#[allow(dead_code)]
#[path = "../routes/server.rs"]
mod server;
mod sharing;
#[path = "../support/storage.rs"]
mod support;
mod tell;
mod usage;
mod users;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use happier_server::storage::Db;

use self::server::Server;

type Case = (&'static str, fn(Rc<Server>) -> Pin<Box<dyn Future<Output = ()>>>);

macro_rules! cases {
    ($($module:ident::$case:ident,)*) => {
        &[$((concat!(stringify!($module), "::", stringify!($case)), |server| Box::pin($module::$case(server)))),*]
    };
}

const CASES: &[Case] = cases![
    machines::registering,
    machines::foreign_ids,
    machines::versioned_texts,
    access_keys::versions,
    access_keys::ownership,
    artifacts::creating_and_reading,
    artifacts::updating,
    artifacts::refusals,
    artifacts::deleting,
    artifacts::simultaneous_updates,
    kv::versions_and_conflicts,
    kv::deleting,
    kv::reading,
    kv::encodings,
    kv::many_keys,
    kv::equal_keys,
    kv::simultaneous_writers,
    kv::long_keys,
    kv::costly_patterns,
    push_tokens::tokens,
    usage::reports,
    usage::queries,
    usage::large_queries,
    connect::vendor_tokens,
    connect::github,
    connect::github_connecting,
    connect::voice,
    connect::calls_of_one_account,
    users::profiles,
    users::search,
    friends::asking_and_accepting,
    friends::parting,
    friends::withdrawing_and_declining,
    friends::oneself_and_nobody,
    friends::feed_pages,
    friends::simultaneous_requests,
    sharing::refusals,
    sharing::granting_and_changing,
    sharing::delegation,
    sharing::deletion,
    public_shares::managing,
    public_shares::visiting,
    public_shares::consent_and_log,
    public_shares::blocking,
    public_shares::last_use,
    presence::who_may_report,
    presence::flushing,
    presence::of_the_accounts_that_report,
    presence::ending,
    presence::falling_silent,
    presence::many_fall_silent_at_once,
    presence::pruning,
    presence::counting,
    presence::approving,
];

async fn run_all(db: Db) {
    let server = Rc::new(Server::new(db, &Server::tokens()));
    for (name, case) in CASES {
        println!("{name}");
        case(Rc::clone(&server)).await;
        server.events();
        server.assert_no_cursor_is_lost().await;
    }
}

#[test]
fn on_sqlite() {
    support::on_sqlite(run_all);
}

#[test]
fn on_postgres() {
    support::on_postgres(run_all);
}
