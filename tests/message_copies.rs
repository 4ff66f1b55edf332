//! How often the content of a message is copied on its way through the server: counted by what is allocated for it.
//!
//! A content may have a megabyte, and nobody but the clients ever looks at it.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "support/postgres.rs"]
mod postgres;
#[allow(dead_code)]
#[path = "routes/server.rs"]
mod server;
#[path = "support/storage.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use happier_server::domain::messages;
use happier_server::model::ids::SessionId;
use happier_server::storage::Db;

use self::server::Server;

/// Bytes of the content.
const CONTENT: usize = 400_000;

/// Bytes allocated in blocks that may hold the content, by all threads.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is left to the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps to what the trait asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to what the trait asks for.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller keeps to what the trait asks for.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(size: usize) {
    if size > CONTENT / 2 {
        ALLOCATED.fetch_add(size, Ordering::Relaxed);
    }
}

/// Allocated for one message in a session that is shared with so many accounts, as a multiple of the content.
async fn copies(db: &Db, shared_with: usize) -> f64 {
    let server = Server::new(db.clone(), &Server::tokens());
    let owner = server.account().await;
    let session = server.session(&owner, "session").await;
    for _ in 0..shared_with {
        let friend = server.account().await;
        server.share(&session, &owner, &friend, "view").await;
    }
    let id = SessionId::from(session.as_str());
    let send = async |content: String| {
        let sent = messages::send(&server.ctx, &owner.id, &id, content, None, None).await.unwrap();
        assert_eq!(sent.events.len(), 1 + shared_with);
        sent
    };
    // The second message finds prepared statements and buffers that have grown.
    send("x".repeat(CONTENT)).await;
    let content = "y".repeat(CONTENT);
    let before = ALLOCATED.load(Ordering::Relaxed);
    let sent = send(content).await;
    let allocated = ALLOCATED.load(Ordering::Relaxed) - before;
    drop(sent);
    allocated as f64 / CONTENT as f64
}

/// The only test of this program, as everything that is allocated counts.
#[test]
fn a_content_is_copied_a_few_times_however_many_accounts_hear_of_it() {
    let measured = async |db: &Db| {
        let (alone, shared) = (copies(db, 0).await, copies(db, 5).await);
        println!("{:?}: {alone:.1} for one participant, {shared:.1} for six", db.kind());
        (alone, shared)
    };
    let exactly = async |db: Db| {
        let (alone, shared) = measured(&db).await;
        // As it is stored, and in the body of the updates. What the libraries of the databases do is not seen here.
        assert!((1.9..2.1).contains(&alone), "{:?}: {alone}", db.kind());
        assert_eq!(shared, alone, "{:?}", db.kind());
    };
    support::on_sqlite(exactly);
    support::on_postgres(exactly);
    support::on_postgres_with(|_, settings| settings.connection_limit = 1, exactly);
    // For a pooler a BEGIN goes ahead, which is still in the library's buffer when the content is to be put there: it grows
    // another one, to twice the content at most. Copies for each who hears of it would be five more.
    support::on_postgres_with(
        |_, settings| settings.prepare = false,
        async |db| {
            let (alone, shared) = measured(&db).await;
            assert!((1.9..6.1).contains(&alone) && (1.9..6.1).contains(&shared), "{alone}, {shared}");
        },
    );
}
