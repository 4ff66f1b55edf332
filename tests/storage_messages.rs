//! Storing messages on both databases: outcomes, numbering, concurrency, and what survives which failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/storage.rs"]
mod support;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use happier_server::domain::messages::store::{Message, NewMessage, Participant, Stored, store};
use happier_server::runtime::post;
use happier_server::storage::postgres::{Host, Settings};
use happier_server::storage::sqlite::Sqlite;
use happier_server::storage::{Db, Error, Statement, Tx, Value, migrate};
use postgres::{Fsync, Postgres};
use proxy::Proxy;
use support::{
    Directory, block_on, connect, fresh_name, on_both, on_postgres, on_postgres_with, settings, shared_server,
};

const NOW: i64 = 1_767_225_600_020;

static ACCOUNT: Statement =
    Statement::portable(r#"INSERT INTO "Account" ("id", "publicKey", "updatedAt") VALUES ($1, $1, $2)"#);
static SESSION: Statement = Statement::portable(
    r#"INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt") VALUES ($1, $2, $1, 'm', $3)"#,
);
static SHARE: Statement = Statement::portable(
    r#"INSERT INTO "SessionShare"
    ("id", "sessionId", "sharedByUserId", "sharedWithUserId", "accessLevel", "encryptedDataKey", "updatedAt")
    VALUES ($1, $2, $3, $4, $5, $6, $7)"#,
);
static CHANGES: Statement = Statement::portable(
    r#"SELECT "accountId", "cursor", "changedAt", "hint" FROM "AccountChange"
    WHERE "kind" = 'session' AND "entityId" = $1 ORDER BY "accountId""#,
);
static SESSION_ROW: Statement = Statement::portable(r#"SELECT "seq", "updatedAt" FROM "Session" WHERE "id" = $1"#);
static ACCOUNT_ROW: Statement = Statement::portable(r#"SELECT "seq", "updatedAt" FROM "Account" WHERE "id" = $1"#);
static MESSAGES: Statement =
    Statement::portable(r#"SELECT "id", "seq", "localId" FROM "SessionMessage" WHERE "sessionId" = $1 ORDER BY "seq""#);

async fn account(db: &Db, id: &str) {
    db.execute(&ACCOUNT, vec![id.into(), Value::Time(1)]).await.unwrap();
}

async fn session(db: &Db, id: &str, owner: &str) {
    db.execute(&SESSION, vec![id.into(), owner.into(), Value::Time(1)]).await.unwrap();
}

async fn share(db: &Db, session: &str, owner: &str, with: &str, level: &str) {
    let id = format!("{session}-{with}");
    let params =
        vec![id.into(), session.into(), owner.into(), with.into(), level.into(), vec![0u8].into(), Value::Time(1)];
    db.execute(&SHARE, params).await.unwrap();
}

fn new(account: &str, session: &str, id: &str, local_id: Option<&str>) -> NewMessage {
    NewMessage {
        account: account.into(),
        session: session.into(),
        ciphertext: format!("text \"of\" {id}"),
        local_id: local_id.map(Into::into),
        id: id.into(),
        now_ms: NOW,
    }
}

fn squeeze(message: Message) -> Message {
    Message { content: message.content.replace(": ", ":").replace(", ", ","), ..message }
}

#[test]
fn outcomes() {
    on_both(async |db| {
        for id in ["owner", "viewer", "editor", "admin", "stranger"] {
            account(&db, id).await;
        }
        session(&db, "s1", "owner").await;
        share(&db, "s1", "owner", "viewer", "view").await;
        share(&db, "s1", "owner", "editor", "edit").await;
        share(&db, "s1", "owner", "admin", "admin").await;

        let stored = store(&db, new("owner", "s1", "m1", Some("l1"))).await.unwrap();
        let m1 = Message {
            id: "m1".into(),
            seq: 1,
            local_id: Some("l1".into()),
            created_at: NOW,
            updated_at: NOW,
            content: r#"{"t":"encrypted","c":"text \"of\" m1"}"#.into(),
        };
        let participants = |cursor: i64| {
            ["owner", "admin", "editor", "viewer"].map(|account| Participant { account: account.into(), cursor }).into()
        };
        assert_eq!(stored, Stored::New(m1.clone(), participants(1)));

        // The same local id: the first message, whatever the second says and whoever of the writers sends it.
        for writer in ["owner", "editor"] {
            let Stored::Duplicate(found) = store(&db, new(writer, "s1", "m2", Some("l1"))).await.unwrap() else {
                panic!("a duplicate")
            };
            let found = squeeze(found);
            assert!(found.content.contains(r#""c":"text \"of\" m1""#), "{found:?}");
            assert_eq!(found, Message { content: found.content.clone(), ..m1.clone() });
        }

        assert_eq!(store(&db, new("viewer", "s1", "m3", None)).await, Ok(Stored::Forbidden));
        assert_eq!(store(&db, new("stranger", "s1", "m3", Some("l1"))).await, Ok(Stored::Forbidden));
        assert_eq!(store(&db, new("owner", "s0", "m3", None)).await, Ok(Stored::SessionNotFound));

        // Empty local ids are none, so any number of them is stored.
        for (n, writer) in [(2, "editor"), (3, "admin"), (4, "owner")] {
            let Stored::New(message, to) = store(&db, new(writer, "s1", &format!("e{n}"), Some(""))).await.unwrap()
            else {
                panic!("a new message")
            };
            assert_eq!((message.seq, message.local_id, to), (n, None, participants(n)));
        }

        let row = db.query_opt(&SESSION_ROW, vec!["s1".into()]).await.unwrap().unwrap();
        assert_eq!((row.int(0), row.time(1)), (4, NOW));
        let changes = db.query(&CHANGES, vec!["s1".into()]).await.unwrap();
        let found: Vec<_> = changes.iter().map(|row| (row.text(0), row.int(1), row.time(2))).collect();
        assert_eq!(found, ["admin", "editor", "owner", "viewer"].map(|account| (account, 4, NOW)));
        for row in &changes {
            let hint: serde_json::Value = serde_json::from_str(row.text(3)).unwrap();
            assert_eq!(hint, serde_json::json!({"lastMessageSeq": 4, "lastMessageId": "e4"}));
        }
        let row = db.query_opt(&ACCOUNT_ROW, vec!["viewer".into()]).await.unwrap().unwrap();
        assert_eq!((row.int(0), row.time(1)), (4, NOW));
        let row = db.query_opt(&ACCOUNT_ROW, vec!["stranger".into()]).await.unwrap().unwrap();
        assert_eq!((row.int(0), row.time(1)), (0, 1));
    });
}

#[test]
fn twenty_writers_number_without_a_gap() {
    on_both(async |db| {
        account(&db, "a1").await;
        account(&db, "a2").await;
        session(&db, "s1", "a1").await;
        share(&db, "s1", "a1", "a2", "edit").await;
        let tasks: Vec<_> = (0..20)
            .map(|task| {
                let db = db.clone();
                monoio::spawn(async move {
                    let mut last = 0;
                    let mut given = Vec::new();
                    for n in 0..10 {
                        let writer = if task % 2 == 0 { "a1" } else { "a2" };
                        let id = format!("m{task}-{n}");
                        let Stored::New(message, to) = store(&db, new(writer, "s1", &id, Some(&id))).await.unwrap()
                        else {
                            panic!("a new message")
                        };
                        assert!(message.seq > last, "what one writer sends in turn is numbered in turn");
                        last = message.seq;
                        assert_eq!(to.iter().map(|to| to.account.as_str()).collect::<Vec<_>>(), ["a1", "a2"]);
                        given.push((message.seq, to[0].cursor, to[1].cursor));
                    }
                    given
                })
            })
            .collect();
        let mut given = Vec::new();
        for task in tasks {
            given.extend(task.await);
        }
        given.sort_unstable();
        // Cursors of both participants grow with the number of the message, and nothing is left out.
        assert_eq!(given, (1..=200).map(|n| (n, n, n)).collect::<Vec<_>>());
        let rows = db.query(&MESSAGES, vec!["s1".into()]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.int(1)).collect::<Vec<_>>(), (1..=200).collect::<Vec<_>>());
    });
}

#[test]
fn sessions_that_share_accounts_do_not_get_in_each_others_way() {
    on_both(async |db| {
        for n in 0..6 {
            account(&db, &format!("a{n}")).await;
        }
        for n in 0..6 {
            let owner = format!("a{n}");
            session(&db, &format!("s{n}"), &owner).await;
            for other in (0..6).filter(|other| *other != n) {
                share(&db, &format!("s{n}"), &owner, &format!("a{other}"), "edit").await;
            }
        }
        let cursors: Rc<RefCell<BTreeMap<String, Vec<i64>>>> = Rc::default();
        let tasks: Vec<_> = (0..24usize)
            .map(|task| {
                let (db, cursors) = (db.clone(), Rc::clone(&cursors));
                monoio::spawn(async move {
                    for n in 0..10 {
                        let (writer, session) = (format!("a{}", task % 6), format!("s{}", (task + n) % 6));
                        let id = format!("m{task}-{n}");
                        let Stored::New(_, to) = store(&db, new(&writer, &session, &id, None)).await.unwrap() else {
                            panic!("a new message")
                        };
                        for participant in to {
                            cursors.borrow_mut().entry(participant.account).or_default().push(participant.cursor);
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        for (account, mut cursors) in cursors.take() {
            cursors.sort_unstable();
            assert_eq!(cursors, (1..=240).collect::<Vec<_>>(), "{account}");
        }
    });
}

/// The settings of a database of its own, with the schema in it.
fn fresh_database(server: &Postgres) -> Settings {
    let database = fresh_name();
    server.create_database(&database);
    let settings = settings(server, &database);
    migrate::postgres(settings.clone()).unwrap();
    settings
}

/// A thousand messages wait for the row of their session, which somebody else has locked; other sessions do not notice.
#[test]
fn a_locked_session_holds_up_no_other() {
    static LOCK_ROW: Statement = Statement::portable(r#"SELECT "id" FROM "Session" WHERE "id" = $1 FOR UPDATE"#);
    static HOLD: Statement = Statement::portable("SELECT pg_advisory_lock(1)");
    static RELEASE: Statement = Statement::portable("SELECT pg_advisory_unlock(1)");
    static WAITS_FOR: Statement = Statement::portable(
        "SELECT 1 FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = $1",
    );
    const WRITERS: usize = 1_000;
    let server = shared_server();
    let settings = fresh_database(&server);
    block_on(async {
        let db = connect(&settings);
        for n in ["1", "2"] {
            account(&db, &format!("a{n}")).await;
            session(&db, &format!("s{n}"), &format!("a{n}")).await;
        }
        let observer = connect(&settings);
        // The transaction that locks the row ends when this connection lets go.
        let holder = connect(&Settings { connection_limit: 1, ..settings.clone() });
        holder.query(&HOLD, Vec::new()).await.unwrap();
        let locker = connect(&settings);
        let locked = monoio::spawn(async move {
            let lock = async |tx: &mut Tx<'_>| {
                tx.query(&LOCK_ROW, vec!["s1".into()]).await?;
                tx.query(&HOLD, Vec::new()).await.map(drop)
            };
            locker.transaction::<(), Error, _>(lock).await
        });
        let somebody_waits_for = async |lock: &str| {
            while observer.query(&WAITS_FOR, vec![lock.into()]).await.unwrap().is_empty() {}
        };
        somebody_waits_for("advisory").await;

        let write = |n: usize| {
            let db = db.clone();
            monoio::spawn(async move { store(&db, new("a1", "s1", &format!("m{n}"), None)).await })
        };
        let mut writers: Vec<_> = (0..WRITERS).map(write).collect();
        somebody_waits_for("transactionid").await;
        let other = store(&db, new("a2", "s2", "other", None));
        let other = monoio::time::timeout(Duration::from_secs(60), other).await.expect("it waits for nobody");
        assert!(matches!(other, Ok(Stored::New(..))), "{other:?}");
        let first = monoio::time::timeout(Duration::ZERO, &mut writers[0]).await;
        assert!(first.is_err(), "the row is locked: {first:?}");

        holder.query(&RELEASE, Vec::new()).await.unwrap();
        locked.await.unwrap();
        for (n, writer) in (1..).zip(writers) {
            let stored = writer.await;
            assert!(matches!(&stored, Ok(Stored::New(message, _)) if message.seq == n), "{n}: {stored:?}");
        }
    });
}

#[test]
fn of_many_with_one_local_id_one_is_stored() {
    on_both(async |db| {
        account(&db, "a1").await;
        session(&db, "s1", "a1").await;
        let tasks: Vec<_> = (0..20)
            .map(|task| {
                let db = db.clone();
                monoio::spawn(async move { store(&db, new("a1", "s1", &format!("m{task}"), Some("same"))).await })
            })
            .collect();
        let (mut stored, mut duplicates) = (Vec::new(), Vec::new());
        for task in tasks {
            match task.await.unwrap() {
                Stored::New(message, _) => stored.push(message.id),
                Stored::Duplicate(message) => duplicates.push(message.id),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((stored.len(), duplicates.len()), (1, 19));
        assert!(duplicates.iter().all(|id| *id == stored[0]));
        assert_eq!(db.query(&MESSAGES, vec!["s1".into()]).await.unwrap().len(), 1);
    });
}

#[test]
fn a_message_that_cannot_be_stored_does_not_harm_the_others() {
    on_both(async |db| {
        account(&db, "a1").await;
        session(&db, "s1", "a1").await;
        assert!(matches!(store(&db, new("a1", "s1", "taken", None)).await, Ok(Stored::New(..))));
        let tasks: Vec<_> = (0..30)
            .map(|n| {
                let db = db.clone();
                let id = match n {
                    10 => "with\0nul".into(),
                    // Fails in the database, and with it the batch it is in.
                    20 => "taken".into(),
                    _ => format!("m{n}"),
                };
                monoio::spawn(async move { store(&db, new("a1", "s1", &id, None)).await })
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            let result = task.await;
            match n {
                10 => assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}"),
                20 => assert_eq!(result, Err(Error::UniqueViolation { constraint: "SessionMessage_pkey".into() })),
                _ => assert!(matches!(result, Ok(Stored::New(..))), "{n}: {result:?}"),
            }
        }
        let rows = db.query(&MESSAGES, vec!["s1".into()]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.int(1)).collect::<Vec<_>>(), (1..=29).collect::<Vec<_>>());
    });
}

/// Writers, and what they were told was stored.
struct Load {
    tasks: Vec<monoio::task::JoinHandle<Vec<(String, i64)>>>,
}

impl Load {
    fn start(db: &Db, writers: usize, each: usize) -> Self {
        let writer = |writer: usize| {
            let db = db.clone();
            async move {
                let mut acknowledged = Vec::new();
                for n in 0..each {
                    let id = format!("w{writer}-{n}");
                    // As clients do: the same local id until there is an answer.
                    for attempt in 0.. {
                        let fresh = format!("{id}-{attempt}");
                        match store(&db, new("a1", &format!("s{}", writer % 3), &fresh, Some(&id))).await {
                            Ok(Stored::New(message, _) | Stored::Duplicate(message)) => {
                                acknowledged.push((message.id, message.seq));
                                break;
                            }
                            Ok(other) => panic!("{other:?}"),
                            Err(Error::Unavailable(_)) => monoio::time::sleep(Duration::from_millis(20)).await,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                acknowledged
            }
        };
        Self { tasks: (0..writers).map(|n| monoio::spawn(writer(n))).collect() }
    }

    async fn prepare(db: &Db) {
        account(db, "a1").await;
        for n in 0..3 {
            session(db, &format!("s{n}"), "a1").await;
        }
    }

    /// Every acknowledged message is there exactly once, and the numbers have no gap.
    async fn check(self, db: &Db) {
        let mut acknowledged = HashSet::new();
        for task in self.tasks {
            acknowledged.extend(task.await);
        }
        let mut found = HashSet::new();
        for n in 0..3 {
            let rows = db.query(&MESSAGES, vec![format!("s{n}").into()]).await.unwrap();
            let seqs: Vec<_> = rows.iter().map(|row| row.int(1)).collect();
            let count = i64::try_from(rows.len()).unwrap();
            assert_eq!(seqs, (1..=count).collect::<Vec<_>>());
            let local_ids: HashSet<_> = rows.iter().map(|row| row.opt_text(2)).collect();
            assert_eq!(local_ids.len(), rows.len());
            found.extend(rows.iter().map(|row| (row.text(0).to_owned(), row.int(1))));
            let row = db.query_opt(&SESSION_ROW, vec![format!("s{n}").into()]).await.unwrap().unwrap();
            assert_eq!(row.int(0), count);
        }
        assert_eq!(acknowledged, found);
    }
}

static TERMINATE: Statement = Statement::portable(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()",
);

#[test]
fn lost_connections_lose_and_repeat_nothing() {
    on_postgres(async |db| {
        Load::prepare(&db).await;
        let load = Load::start(&db, 12, 60);
        let mut terminated = 0;
        for _ in 0..10 {
            monoio::time::sleep(Duration::from_millis(15)).await;
            terminated += db.query_opt(&TERMINATE, vec![]).await.unwrap().unwrap().int(0);
        }
        assert!(terminated > 0);
        load.check(&db).await;
    });
}

/// The answer of a call is lost after its commit: the message is there, its sender learns its number, and it is still
/// new, so that it is published.
#[test]
fn a_lost_answer_is_found_again() {
    let server = shared_server();
    let proxy = Proxy::start(server.port());
    let through_proxy = |settings: &mut Settings| {
        settings.host = Host::Tcp("127.0.0.1".into());
        settings.port = proxy.port();
        // One connection, prepared by the first message, so that the next answer is the one to lose.
        settings.connection_limit = 1;
    };
    on_postgres_with(
        |_, settings| through_proxy(settings),
        async |db| {
            account(&db, "a1").await;
            session(&db, "s1", "a1").await;
            assert!(matches!(store(&db, new("a1", "s1", "m1", Some("l1"))).await, Ok(Stored::New(..))));
            for (n, local_id) in [(2, Some("l2")), (3, None)] {
                proxy.cut_answer(1);
                let stored = store(&db, new("a1", "s1", &format!("m{n}"), local_id)).await;
                assert!(proxy.has_cut());
                let Ok(Stored::New(message, to)) = stored else { panic!("{stored:?}") };
                assert_eq!((message.seq, message.local_id.as_deref(), message.created_at), (n, local_id, NOW));
                assert_eq!(to, [Participant { account: "a1".into(), cursor: n }]);
            }
            assert_eq!(db.query(&MESSAGES, vec!["s1".into()]).await.unwrap().len(), 3);
        },
    );
}

#[test]
fn a_crash_of_postgres_costs_time_but_no_acknowledged_message() {
    let mut server = Postgres::start(Fsync::On);
    let settings = fresh_database(&server);
    block_on(async {
        let db = connect(&settings);
        Load::prepare(&db).await;
        let load = Load::start(&db, 12, 40);
        for _ in 0..2 {
            monoio::time::sleep(Duration::from_millis(60)).await;
            // Blocks this core, which makes it worse: nothing is read meanwhile.
            server.stop_immediately();
            server.start_again();
        }
        load.check(&db).await;
    });
}

const CHILD: &str = "HAPPIER_TEST_SQLITE_CHILD";

/// Not a test by itself: the process that `a_killed_process_loses_nothing_on_sqlite` kills.
#[test]
#[ignore = "a part of another test"]
#[allow(clippy::disallowed_methods, reason = "the parent process says by it where the database is")]
fn sqlite_child() {
    let path = std::env::var(CHILD).expect("it is started by a_killed_process_loses_nothing_on_sqlite");
    block_on(async {
        let db = Db::sqlite(Sqlite::open(path.as_ref()).unwrap(), post::local().unwrap());
        let run = fresh_run();
        let tasks: Vec<_> = (0..8)
            .map(|writer| {
                let (db, run) = (db.clone(), run.clone());
                monoio::spawn(async move {
                    for n in 0.. {
                        let id = format!("{run}-{writer}-{n}");
                        let Stored::New(message, _) = store(&db, new("a1", "s0", &id, Some(&id))).await.unwrap() else {
                            panic!("a new message")
                        };
                        // One write, so that the line is whole or not there.
                        std::io::stderr()
                            .write_all(format!("stored {} {}\n", message.id, message.seq).as_bytes())
                            .unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
    });
}

fn fresh_run() -> String {
    format!("r{}", std::process::id())
}

#[test]
fn a_killed_process_loses_nothing_on_sqlite() {
    let directory = Directory::new();
    let path = directory.path().join("happier.sqlite3");
    let open = || Db::sqlite(Sqlite::open(&path).unwrap(), post::local().unwrap());
    block_on(async { Load::prepare(&open()).await });
    let mut acknowledged: Vec<(String, i64)> = Vec::new();
    for round in 1..=5usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sqlite_child", "--ignored", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut read = |line: String| {
            let mut words = line.split(' ');
            if words.next() == Some("stored") {
                acknowledged.push((words.next().unwrap().into(), words.next().unwrap().parse().unwrap()));
            }
        };
        // A different moment every time, counted in messages.
        for line in lines.by_ref().take(20 + round * 37) {
            read(line.unwrap());
        }
        // A second process is refused, and told who is in the way.
        let refused = Sqlite::open(&path).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains(&format!("process {}", child.id())), "{refused}");
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(read);
    }
    block_on(async {
        let db = open();
        let rows = db.query(&MESSAGES, vec!["s0".into()]).await.unwrap();
        let found: HashSet<_> = rows.iter().map(|row| (row.text(0).to_owned(), row.int(1))).collect();
        let seqs: Vec<_> = rows.iter().map(|row| row.int(1)).collect();
        assert_eq!(seqs, (1..=i64::try_from(rows.len()).unwrap()).collect::<Vec<_>>());
        assert!(acknowledged.len() > 500, "{}", acknowledged.len());
        for one in &acknowledged {
            assert!(found.contains(one), "{one:?} was acknowledged and is gone");
        }
    });
}
