//! temporary
use crate::storage::{Db, Error, Statement, Tx, Value};
#[derive(Clone, Debug)]
pub struct Message { pub id: String, pub seq: i64, pub local_id: Option<String>, pub created_at: i64, pub updated_at: i64, pub content: String }
#[derive(Clone, Debug)]
pub struct Participant { pub account: String, pub cursor: i64 }
#[derive(Clone, Debug)]
pub struct NewMessage { pub account: String, pub session: String, pub ciphertext: String, pub local_id: Option<String>, pub id: String, pub now_ms: i64 }
pub enum Stored { New(Message, Vec<Participant>), Duplicate(Message), SessionNotFound, Forbidden }
static OWNER: Statement = Statement::portable(r#"UPDATE "Session" SET "seq" = "seq" + 1, "updatedAt" = $1 WHERE "id" = $2 RETURNING "accountId", "seq""#);
static DUP: Statement = Statement::portable(r#"SELECT "id", "seq", "localId", "createdAt", "updatedAt", "content" FROM "SessionMessage" WHERE "sessionId" = $1 AND "localId" = $2"#);
static SHARES: Statement = Statement::portable(r#"SELECT "sharedWithUserId", "accessLevel" FROM "SessionShare" WHERE "sessionId" = $1"#);
static INS: Statement = Statement::portable(r#"INSERT INTO "SessionMessage" ("id","sessionId","seq","content","localId","createdAt","updatedAt") VALUES ($1,$2,$3,$4,$5,$6,$7)"#);
pub async fn store(db: &Db, new: NewMessage) -> Result<Stored, Error> {
    enum E { S(Error), O(Stored) }
    impl From<Error> for E { fn from(e: Error) -> Self { E::S(e) } }
    let r = db.transaction(async move |tx: &mut Tx<'_>| -> Result<Stored, E> {
        let Some(mut row) = tx.query_opt(&OWNER, vec![Value::Time(new.now_ms), new.session.clone().into()]).await? else { return Err(E::O(Stored::SessionNotFound)) };
        let owner = row.take_text(0); let seq = row.int(1);
        let shares = tx.query(&SHARES, vec![new.session.clone().into()]).await?;
        if owner != new.account && !shares.iter().any(|s| s.text(0) == new.account && s.text(1) != "view") { return Err(E::O(Stored::Forbidden)) }
        if let Some(l) = new.local_id.as_ref().filter(|l| !l.is_empty()) {
            if let Some(mut m) = tx.query_opt(&DUP, vec![new.session.clone().into(), l.clone().into()]).await? {
                return Err(E::O(Stored::Duplicate(Message { id: m.take_text(0), seq: m.int(1), local_id: m.opt_text(2), created_at: m.time(3), updated_at: m.time(4), content: m.json(5) })));
            }
        }
        let mut content = br#"{"t":"encrypted","c":"#.to_vec(); protocol::json::write_string(&mut content, &new.ciphertext); content.push(b'}');
        let content = String::from_utf8(content).unwrap();
        tx.execute(&INS, vec![new.id.clone().into(), new.session.clone().into(), seq.into(), Value::Json(content.clone()), new.local_id.clone().into(), Value::Time(new.now_ms), Value::Time(new.now_ms)]).await?;
        let mut parts = Vec::new();
        let mut all = vec![owner.clone()]; all.extend(shares.iter().map(|s| s.text(0).to_string()).filter(|a| *a != owner));
        for a in all {
            let hint = format!(r#"{{"lastMessageSeq":{seq},"lastMessageId":"{}"}}"#, new.id);
            let cursor = crate::domain::changes::mark(tx, &crate::model::ids::AccountId::from(a.clone()), crate::domain::changes::Kind::Session, &new.session, Some(hint), new.now_ms).await?;
            parts.push(Participant { account: a, cursor });
        }
        Ok(Stored::New(Message { id: new.id.clone(), seq, local_id: new.local_id.clone(), created_at: new.now_ms, updated_at: new.now_ms, content }, parts))
    }).await;
    match r { Ok(s) => Ok(s), Err(E::O(s)) => Ok(s), Err(E::S(e)) => Err(e) }
}
