//! Presence, silence, the pruning of the change log, and who may approve permissions.

use std::rc::Rc;

use happier_server::domain::approvals::{Callee, callee};
use happier_server::domain::presence;
use happier_server::model::ids::{AccountId, MachineId, SessionId};
use happier_server::model::time::now_ms;
use happier_server::realtime::event::{Audience, Event};
use happier_server::realtime::presence::{Presence, SILENCE_MS, Seen, Standing};
use happier_server::storage::{Statement, Value};
use happier_server::worker::presence_flush::PresenceFlush;
use happier_server::worker::{changes_cleanup, gauges, timeouts};
use serde_json::{Value as Json, json};

use crate::server::{Account, Server};
use crate::tell::{changes, fresh, one_ephemeral, silence};

fn seen<Id>(id: Id, account: &Account, at: i64) -> Seen<Id> {
    Seen { id, account: account.id.clone(), at }
}

async fn machine(server: &Server, account: &Account) -> MachineId {
    let id = fresh("machine");
    server.ok(account, "POST", "/v1/machines", Some(json!({"id": id, "metadata": "m"}))).await;
    server.events();
    MachineId::from(id)
}

/// The ephemerals to this account since the last call; other accounts may be told of their own.
fn told(server: &Server, account: &AccountId) -> Vec<Json> {
    let ephemeral = |event| match event {
        Event::Ephemeral(event) if event.account == *account => {
            assert_eq!(event.audience, Audience::UserScoped);
            Some(serde_json::from_str(&event.body).unwrap())
        }
        _ => None,
    };
    server.events().into_iter().filter_map(ephemeral).collect()
}

pub async fn who_may_report(server: Rc<Server>) {
    let (alice, bob, carol) = (server.account().await, server.account().await, server.account().await);
    let session = SessionId::from(server.session(&alice, "s").await);
    server.share(session.as_str(), &alice, &bob, "view").await;
    for account in [&alice, &bob] {
        let standing = presence::session(&server.ctx, &account.id, &session).await.unwrap().unwrap();
        assert!(standing.active && (now_ms() - standing.last_active_at).abs() < 60_000, "{standing:?}");
    }
    assert_eq!(presence::session(&server.ctx, &carol.id, &session).await, Ok(None));
    assert_eq!(presence::session(&server.ctx, &alice.id, &SessionId::from("none")).await, Ok(None));
    let machine = machine(&server, &alice).await;
    let standing = presence::machine(&server.ctx, &alice.id, &machine).await.unwrap().unwrap();
    assert!(!standing.active, "a new machine is inactive");
    assert_eq!(presence::machine(&server.ctx, &bob.id, &machine).await, Ok(None));
    silence(&server);
}

pub async fn flushing(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let (first, second) = (server.session(&alice, "1").await, server.session(&alice, "2").await);
    let (first, second) = (SessionId::from(first), SessionId::from(second));
    server.share(first.as_str(), &alice, &bob, "edit").await;
    let machine = machine(&server, &alice).await;
    let now = now_ms();
    let caches = Rc::new(Presence::default());
    let stale = Standing { last_active_at: 0, active: false };
    for (account, session, at) in [(&alice, &first, now - 3), (&bob, &first, now - 2), (&alice, &second, now - 1)] {
        let mut sessions = caches.sessions.borrow_mut();
        sessions.admit(session, &account.id, stale, now);
        sessions.record(session, &account.id, at);
    }
    caches.machines.borrow_mut().admit(&machine, &alice.id, stale, now);
    caches.machines.borrow_mut().record(&machine, &alice.id, now - 1_000);
    PresenceFlush::start(Rc::clone(&server.ctx), Rc::clone(&caches), None).flush().await;

    for (session, at) in [(&first, now - 2), (&second, now - 1)] {
        let row = presence::session(&server.ctx, &alice.id, session).await.unwrap();
        assert_eq!(row, Some(Standing { last_active_at: at, active: true }));
    }
    let row = presence::machine(&server.ctx, &alice.id, &machine).await.unwrap();
    assert_eq!(row, Some(Standing { last_active_at: now - 1_000, active: true }));
    assert!(caches.sessions.borrow_mut().take_pending().is_empty());

    // Nothing to write, rows that are gone, a machine of somebody else.
    presence::store_sessions(&server.ctx, &[]).await.unwrap();
    let mut many: Vec<_> = (0..6_000).map(|n| seen(SessionId::from(format!("gone {n}")), &alice, now)).collect();
    many.push(seen(second.clone(), &alice, now));
    presence::store_sessions(&server.ctx, &many).await.unwrap();
    let row = presence::session(&server.ctx, &alice.id, &second).await.unwrap();
    assert_eq!(row, Some(Standing { last_active_at: now, active: true }));
    presence::store_machines(&server.ctx, &[seen(machine.clone(), &bob, now)]).await.unwrap();
    let row = presence::machine(&server.ctx, &alice.id, &machine).await.unwrap();
    assert_eq!(row.map(|row| row.last_active_at), Some(now - 1_000));
    // A guest whose share is revoked between report and flush.
    presence::store_sessions(&server.ctx, &[seen(second.clone(), &bob, now - 7)]).await.unwrap();
    let row = presence::session(&server.ctx, &alice.id, &second).await.unwrap();
    assert_eq!(row.map(|row| row.last_active_at), Some(now));
    silence(&server);
}

pub async fn of_the_accounts_that_report(server: Rc<Server>) {
    let (alice, bob, carol) = (server.account().await, server.account().await, server.account().await);
    let session = SessionId::from(server.session(&alice, "s").await);
    server.share(session.as_str(), &alice, &bob, "view").await;
    server.events();
    let at = now_ms();
    let last_active_at =
        async || presence::session(&server.ctx, &alice.id, &session).await.unwrap().unwrap().last_active_at;
    // A revoked guest's report neither counts nor hides the owner's, and the latest of those that count is written.
    let reports = [(&bob, at - 9), (&alice, at - 8), (&carol, at - 1)];
    let reports = reports.map(|(account, at)| seen(session.clone(), account, at));
    presence::store_sessions(&server.ctx, &reports).await.unwrap();
    assert_eq!(last_active_at().await, at - 8);
    // Who has reported to another replica may be left out.
    let nobody = Seen { id: session.clone(), account: AccountId::from(""), at: at - 3 };
    presence::store_sessions(&server.ctx, &[seen(session.clone(), &bob, at - 5), nobody]).await.unwrap();
    assert_eq!(last_active_at().await, at - 3);
    silence(&server);
}

pub async fn ending(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let session = SessionId::from(server.session(&alice, "s").await);
    server.share(session.as_str(), &alice, &bob, "admin").await;
    let at = now_ms() - 5_000;
    assert_eq!(presence::end_session(&server.ctx, &bob.id, &session, at).await, Ok(false), "only its owner ends it");
    assert_eq!(presence::end_session(&server.ctx, &alice.id, &SessionId::from("none"), at).await, Ok(false));
    silence(&server);
    assert_eq!(presence::end_session(&server.ctx, &alice.id, &session, at).await, Ok(true));
    let expected =
        json!({"type": "activity", "id": session.as_str(), "active": false, "activeAt": at, "thinking": false});
    assert_eq!(one_ephemeral(&server, &alice), expected);
    let row = presence::session(&server.ctx, &alice.id, &session).await.unwrap();
    assert_eq!(row, Some(Standing { last_active_at: at, active: false }));

    // Reports from before the end may be written after it: they have waited on another core, replica or worker.
    for late in [at - 2_000, at] {
        presence::store_sessions(&server.ctx, &[seen(session.clone(), &bob, late)]).await.unwrap();
        let row = presence::session(&server.ctx, &alice.id, &session).await.unwrap();
        assert_eq!(row, Some(Standing { last_active_at: at, active: false }), "{late}");
    }
    // It goes on.
    presence::store_sessions(&server.ctx, &[seen(session.clone(), &alice, at + 1)]).await.unwrap();
    let row = presence::session(&server.ctx, &alice.id, &session).await.unwrap();
    assert_eq!(row, Some(Standing { last_active_at: at + 1, active: true }));
    // While it is active its clients' clocks may differ.
    presence::store_sessions(&server.ctx, &[seen(session.clone(), &bob, at - 9)]).await.unwrap();
    let row = presence::session(&server.ctx, &alice.id, &session).await.unwrap();
    assert_eq!(row, Some(Standing { last_active_at: at - 9, active: true }));
}

pub async fn falling_silent(server: Rc<Server>) {
    let alice = server.account().await;
    let quiet = SessionId::from(server.session(&alice, "quiet").await);
    let lively = SessionId::from(server.session(&alice, "lively").await);
    let machine = machine(&server, &alice).await;
    let long_ago = now_ms() - SILENCE_MS;
    presence::store_sessions(&server.ctx, &[seen(quiet.clone(), &alice, long_ago)]).await.unwrap();
    presence::store_sessions(&server.ctx, &[seen(lively.clone(), &alice, long_ago + 60_000)]).await.unwrap();
    presence::store_machines(&server.ctx, &[seen(machine.clone(), &alice, long_ago - 1)]).await.unwrap();

    timeouts::pass(&server.ctx).await.unwrap();
    assert_eq!(
        told(&server, &alice.id),
        [
            json!({"type": "activity", "id": quiet.as_str(), "active": false, "activeAt": long_ago, "thinking": false}),
            json!({"type": "machine-activity", "id": machine.as_str(), "active": false, "activeAt": long_ago - 1}),
        ]
    );
    let row = presence::session(&server.ctx, &alice.id, &quiet).await.unwrap();
    assert_eq!(row, Some(Standing { last_active_at: long_ago, active: false }), "the time stays");
    assert!(presence::session(&server.ctx, &alice.id, &lively).await.unwrap().unwrap().active);
    timeouts::pass(&server.ctx).await.unwrap();
    assert_eq!(told(&server, &alice.id), Vec::<Json>::new(), "each expiry is announced once");
}

pub async fn many_fall_silent_at_once(server: Rc<Server>) {
    static INSERT: Statement = Statement::portable(
        r#"INSERT INTO "Machine" ("id", "accountId", "metadata", "active", "lastActiveAt", "createdAt", "updatedAt")
           VALUES ($1, $2, 'm', TRUE, $3, $3, $3)"#,
    );
    let alice = server.account().await;
    for n in 0..2_001 {
        let id = format!("{} {n}", alice.id.as_str());
        server.ctx.db.execute(&INSERT, vec![id.into(), alice.id.as_str().into(), Value::Time(1)]).await.unwrap();
    }
    timeouts::pass(&server.ctx).await.unwrap();
    assert_eq!(told(&server, &alice.id).len(), 2_001);
}

pub async fn pruning(server: Rc<Server>) {
    static FLOOR: Statement =
        Statement::portable(r#"SELECT "changesFloor", "updatedAt" FROM "Account" WHERE "id" = $1"#);
    static AGE: Statement = Statement::portable(r#"UPDATE "Account" SET "updatedAt" = $1 WHERE "id" = $2"#);
    let (alice, bob) = (server.account().await, server.account().await);
    let gone = server.session(&alice, "gone").await;
    let kept = server.session(&alice, "kept").await;
    let machine = machine(&server, &alice).await;
    server.session(&bob, "of bob").await;
    server.ok(&alice, "DELETE", &format!("/v1/sessions/{gone}"), None).await;
    server.events();
    let before = changes(&server, &alice).await;
    let cursor = before.iter().find(|change| change.1 == gone).unwrap().2;
    assert_eq!(before.len(), 3);

    server.ctx.db.execute(&AGE, vec![Value::Time(1), alice.id.as_str().into()]).await.unwrap();
    changes_cleanup::pass(&server.ctx).await.unwrap();
    let row = async |account: &Account| {
        server.ctx.db.query_opt(&FLOOR, vec![account.id.as_str().into()]).await.unwrap().unwrap()
    };
    let floor = async |account: &Account| row(account).await.int(0);
    assert_eq!(row(&alice).await.time(1), 1, "pruning is no change of the account");
    assert_eq!((floor(&alice).await, floor(&bob).await), (cursor, 0));
    let answer = server.call(&alice, "GET", "/v2/changes?after=0", None).await;
    assert_eq!(answer.status, 410, "{}", answer.body);
    let after = format!("/v2/changes?after={cursor}");
    assert_eq!(server.get(&alice, &after).await["changes"], json!([]));
    static ENTITIES: Statement =
        Statement::portable(r#"SELECT "entityId" FROM "AccountChange" WHERE "accountId" = $1 ORDER BY "cursor""#);
    let rows = server.ctx.db.query(&ENTITIES, vec![alice.id.as_str().into()]).await.unwrap();
    let entities: Vec<_> = rows.iter().map(|row| row.text(0)).collect();
    assert_eq!(entities, [kept.as_str(), machine.as_str()]);
    assert_eq!(changes(&server, &bob).await.len(), 1);
    changes_cleanup::pass(&server.ctx).await.unwrap();
    assert_eq!(floor(&alice).await, cursor, "nothing more to do");
}

pub async fn counting(server: Rc<Server>) {
    let alice = server.account().await;
    server.session(&alice, "s").await;
    gauges::pass(&server.ctx).await.unwrap();
    let page = happier_server::observe::metrics::render(&[std::sync::Arc::clone(&server.ctx.metrics)]);
    for table in ["accounts", "sessions", "messages", "machines"] {
        assert!(page.contains(&format!("database_records_total{{table=\"{table}\"}} ")), "{table}");
    }
    assert!(!page.contains("database_records_total{table=\"sessions\"} 0\n"));
}

pub async fn approving(server: Rc<Server>) {
    static SET: Statement = Statement::portable(
        r#"UPDATE "SessionShare" SET "canApprovePermissions" = $1 WHERE "sessionId" = $2 AND "sharedWithUserId" = $3"#,
    );
    let (alice, bob) = (server.account().await, server.account().await);
    let session = SessionId::from(server.session(&alice, "s").await);
    let ask = async |who: &Account, session: &SessionId| callee(&server.ctx, &who.id, session).await.unwrap();
    let account = |of: &Account| Callee::Account(of.id.clone());
    assert_eq!(ask(&alice, &session).await, account(&alice));
    assert_eq!(ask(&bob, &SessionId::from("none")).await, account(&bob), "an ordinary call");
    assert_eq!(ask(&bob, &session).await, Callee::Forbidden);
    for (level, approve, allowed) in [
        ("view", false, false),
        ("view", true, false),
        ("edit", false, false),
        ("edit", true, true),
        ("admin", true, true),
    ] {
        let guest = server.account().await;
        server.share(session.as_str(), &alice, &guest, level).await;
        let params = vec![approve.into(), session.as_str().into(), guest.id.as_str().into()];
        server.ctx.db.execute(&SET, params).await.unwrap();
        let expected = if allowed { account(&alice) } else { Callee::Forbidden };
        assert_eq!(ask(&guest, &session).await, expected, "{level}, {approve}");
    }
    server.events();
}
