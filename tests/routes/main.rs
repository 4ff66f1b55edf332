//! The routes of the HTTP API on both databases: statuses, bodies, effects, events.
//!
//! Every case runs on SQLite and on a private Postgres, with accounts of its own.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod account;
mod auth;
mod every_route;
mod messages;
#[path = "../support/postgres.rs"]
mod postgres;
mod server;
mod service;
mod sessions;
#[path = "../support/storage.rs"]
mod support;
mod ui;

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
    service::what_it_says_about_itself,
    service::unknown_routes_and_bad_paths,
    service::how_much_strangers_may_send,
    service::preflights,
    service::bodies,
    service::who_calls,
    auth::logins,
    auth::refused_logins,
    auth::content_keys,
    auth::pairing_of_a_terminal,
    auth::pairing_of_an_app,
    auth::simultaneous_pairing_requests,
    auth::an_approval_lapses,
    auth::forgotten_pairings,
    auth::limited_creations,
    account::profile,
    account::settings,
    account::simultaneous_settings,
    account::changes,
    sessions::creation,
    sessions::simultaneous_creation,
    sessions::lists,
    sessions::pages,
    sessions::shared_sessions,
    sessions::deletion,
    sessions::metadata_and_state,
    sessions::who_may_change_and_who_is_told,
    messages::numbering_and_local_ids,
    messages::refusals,
    messages::pages,
    messages::participants,
    messages::twenty_writers,
];

async fn run_all(db: Db) {
    let server = Rc::new(Server::new(db, &Server::tokens()));
    for (name, case) in CASES {
        println!("{name}");
        case(Rc::clone(&server)).await;
        server.updates();
    }
}

/// The whole table takes as long as everything else together, so it runs beside it.
async fn run_table(db: Db) {
    let files = support::Directory::new();
    std::fs::write(files.path().join("a.png"), "png").unwrap();
    let server = Rc::new(Server::with_files(db, &Server::tokens(), files.path()));
    every_route::limited_routes(Rc::clone(&server)).await;
    every_route::every_route(server).await;
}

#[test]
fn every_route_on_sqlite() {
    support::on_sqlite(run_table);
}

#[test]
fn every_route_on_postgres() {
    support::on_postgres(run_table);
}

#[test]
fn on_sqlite() {
    support::on_sqlite(run_all);
}

#[test]
fn on_postgres() {
    support::on_postgres(run_all);
}
