//! Values, rows and errors in SQLite's terms.
//!
//! A boolean is 0 or 1, a time is its milliseconds, JSON is text, arrays are JSON arrays. Parameters are bound by their
//! name, so `$2` may come before `$1`.

use rusqlite::ffi;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql};

use crate::storage::error::Error;
use crate::storage::statement::for_sqlite;
use crate::storage::value::{Row, Value};

/// What a statement gave: its rows, and how many it changed.
pub(crate) struct Answer {
    pub(crate) rows: Vec<Row>,
    pub(crate) changed: u64,
}

/// Runs one statement to its end.
pub(crate) fn run(connection: &Connection, sql: &'static str, params: &[Value]) -> Result<Answer, Error> {
    for value in params {
        value.check()?;
    }
    let mut statement = connection.prepare_cached(for_sqlite(sql)).map_err(error)?;
    let count = statement.parameter_count();
    if count > params.len() {
        return Err(Error::Internal(format!("{count} parameters wanted, {} given: {sql}", params.len())));
    }
    for index in 1..=count {
        let number = statement.parameter_name(index).and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok());
        let Some(value) = number.and_then(|number| params.get(number.checked_sub(1)?)) else {
            return Err(Error::Internal(format!("parameter {index} is not $1 to ${}: {sql}", params.len())));
        };
        statement.raw_bind_parameter(index, value).map_err(error)?;
    }
    let columns = statement.column_count();
    let writes = !statement.readonly();
    let mut rows = Vec::new();
    let mut found = statement.raw_query();
    while let Some(row) = found.next().map_err(error)? {
        let values = (0..columns).map(|i| value(row.get_ref(i).map_err(error)?));
        rows.push(Row::new(values.collect::<Result<_, Error>>()?));
    }
    drop(found);
    Ok(Answer { rows, changed: if writes { connection.changes() } else { 0 } })
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Text(text) | Self::Json(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Int(int) | Self::Time(int) => ToSqlOutput::Borrowed(ValueRef::Integer(*int)),
            Self::Bool(bool) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*bool))),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Texts(texts) => ToSqlOutput::Owned(json(texts)?.into()),
            Self::Ints(ints) => ToSqlOutput::Owned(json(ints)?.into()),
        })
    }
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    sonic_rs::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn value(value: ValueRef<'_>) -> Result<Value, Error> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => return Err(Error::Internal("a text column holds bytes that are not UTF-8".into())),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return Err(Error::Internal("a column holds a floating-point number".into())),
    })
}

/// Says what SQLite's error means. Names of constraints come out as PostgreSQL has them.
pub(super) fn error(error: rusqlite::Error) -> Error {
    let rusqlite::Error::SqliteFailure(failure, message) = &error else {
        return Error::Internal(error.to_string());
    };
    let text = message.clone().unwrap_or_else(|| failure.to_string());
    match failure.extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE => Error::UniqueViolation { constraint: unique_name(&text, "key") },
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            Error::UniqueViolation { constraint: unique_name(&text, "pkey") }
        }
        // ON DELETE RESTRICT is enforced by a trigger of SQLite's own.
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY | ffi::SQLITE_CONSTRAINT_TRIGGER => Error::ForeignKey,
        code => match code & 0xff {
            ffi::SQLITE_CONSTRAINT | ffi::SQLITE_MISMATCH | ffi::SQLITE_TOOBIG => Error::Invalid(text),
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_INTERRUPT => Error::Timeout(text),
            ffi::SQLITE_FULL | ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN | ffi::SQLITE_NOMEM => Error::Unavailable(text),
            _ => Error::Internal(text),
        },
    }
}

/// `UNIQUE constraint failed: T.a, T.b` is `T_a_b_key`, or `T_pkey` for the primary key.
fn unique_name(message: &str, kind: &str) -> String {
    let columns = message.rsplit(": ").next().unwrap_or_default();
    let mut name = String::new();
    for column in columns.split(", ") {
        let (table, column) = column.split_once('.').unwrap_or((column, ""));
        if name.is_empty() {
            name.push_str(table);
        }
        if kind == "key" {
            name.push('_');
            name.push_str(column);
        }
    }
    name.push('_');
    name.push_str(kind);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_have_the_names_of_postgres() {
        assert_eq!(
            unique_name("UNIQUE constraint failed: Session.accountId, Session.tag", "key"),
            "Session_accountId_tag_key"
        );
        assert_eq!(unique_name("UNIQUE constraint failed: Account.publicKey", "key"), "Account_publicKey_key");
        assert_eq!(
            unique_name("UNIQUE constraint failed: AccountChange.accountId, AccountChange.kind", "pkey"),
            "AccountChange_pkey"
        );
    }
}
