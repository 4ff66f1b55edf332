//! Values, rows and errors in PostgreSQL's terms.
//!
//! A value is encoded by the type the server wants for the parameter, so text becomes an enum label or JSON without a
//! cast in the statement. Without prepared statements the types are unknown here; then everything is sent as text and
//! the server finds the type.

use std::error::Error as StdError;
use std::fmt;

use bytes::{BufMut, BytesMut};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use crate::model::time::Date;
use crate::storage::error::Error;
use crate::storage::value::{Row, Value};

type Boxed = Box<dyn StdError + Sync + Send>;

/// PostgreSQL counts from 2000-01-01.
const EPOCH_MS: i64 = 946_684_800_000;

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        if *ty == Type::UNKNOWN {
            return as_text(self, out);
        }
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Text(text) if is_text(ty) => out.put_slice(text.as_bytes()),
            Self::Json(text) | Self::Text(text) if *ty == Type::JSONB => {
                out.put_u8(1);
                out.put_slice(text.as_bytes());
            }
            Self::Json(text) if *ty == Type::JSON || is_text(ty) => out.put_slice(text.as_bytes()),
            Self::Int(int) | Self::Time(int) if *ty == Type::INT8 => out.put_i64(*int),
            Self::Int(int) if *ty == Type::INT4 => out.put_i32(narrow(*int)?),
            Self::Int(int) if *ty == Type::INT2 => out.put_i16(narrow(*int)?),
            Self::Bool(bool) if *ty == Type::BOOL => out.put_u8(u8::from(*bool)),
            Self::Bytes(bytes) if *ty == Type::BYTEA => out.put_slice(bytes),
            Self::Time(ms) if *ty == Type::TIMESTAMP || *ty == Type::TIMESTAMPTZ => {
                let micros = ms.checked_sub(EPOCH_MS).and_then(|ms| ms.checked_mul(1000));
                out.put_i64(micros.ok_or_else(|| bad(format!("the time {ms} is out of range")))?);
            }
            Self::Texts(texts) => {
                let element = element(ty, self)?;
                array(texts, element, out, |text, out| {
                    out.put_slice(text.as_bytes());
                    Ok(())
                })?;
            }
            Self::Ints(ints) => {
                let element = element(ty, self)?;
                let narrowed = *element == Type::INT4;
                array(ints, element, out, |int, out| {
                    if narrowed {
                        out.put_i32(narrow(*int)?)
                    } else {
                        out.put_i64(*int)
                    }
                    Ok(())
                })?;
            }
            other => return Err(bad(format!("{other:?} cannot be stored as {ty}"))),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, ty: &Type) -> Format {
        if *ty == Type::UNKNOWN { Format::Text } else { Format::Binary }
    }

    to_sql_checked!();
}

fn is_text(ty: &Type) -> bool {
    matches!(*ty, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME) || matches!(ty.kind(), Kind::Enum(_))
}

fn element<'t>(ty: &'t Type, value: &Value) -> Result<&'t Type, Boxed> {
    match (ty.kind(), value) {
        (Kind::Array(element), Value::Texts(_)) if is_text(element) => Ok(element),
        (Kind::Array(element), Value::Ints(_)) if matches!(*element, Type::INT4 | Type::INT8) => Ok(element),
        _ => Err(bad(format!("a list cannot be stored as {ty}"))),
    }
}

fn array<T>(
    items: &[T],
    element: &Type,
    out: &mut BytesMut,
    put: impl Fn(&T, &mut BytesMut) -> Result<(), Boxed>,
) -> Result<(), Boxed> {
    out.put_i32(i32::from(!items.is_empty()));
    out.put_i32(0); // no NULLs
    out.put_u32(element.oid());
    if items.is_empty() {
        return Ok(());
    }
    out.put_i32(i32::try_from(items.len())?);
    out.put_i32(1); // the first index
    for item in items {
        let at = out.len();
        out.put_i32(0);
        put(item, out)?;
        let length = i32::try_from(out.len() - at - 4)?;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn narrow<T: TryFrom<i64>>(int: i64) -> Result<T, Boxed> {
    T::try_from(int).map_err(|_| bad(format!("{int} is out of range")))
}

/// The value as a literal whose type the server finds.
fn as_text(value: &Value, out: &mut BytesMut) -> Result<IsNull, Boxed> {
    use fmt::Write;
    match value {
        Value::Null => return Ok(IsNull::Yes),
        Value::Text(text) | Value::Json(text) => out.put_slice(text.as_bytes()),
        Value::Int(int) => write!(out, "{int}")?,
        Value::Bool(bool) => out.put_u8(if *bool { b't' } else { b'f' }),
        Value::Bytes(bytes) => {
            out.put_slice(b"\\x");
            for byte in bytes {
                write!(out, "{byte:02x}")?;
            }
        }
        Value::Time(ms) => timestamp(*ms, out)?,
        Value::Texts(texts) => {
            out.put_u8(b'{');
            for (i, text) in texts.iter().enumerate() {
                if i > 0 {
                    out.put_u8(b',');
                }
                out.put_u8(b'"');
                for byte in text.bytes() {
                    if matches!(byte, b'"' | b'\\') {
                        out.put_u8(b'\\');
                    }
                    out.put_u8(byte);
                }
                out.put_u8(b'"');
            }
            out.put_u8(b'}');
        }
        Value::Ints(ints) => {
            let list: Vec<_> = ints.iter().map(ToString::to_string).collect();
            write!(out, "{{{}}}", list.join(","))?;
        }
    }
    Ok(IsNull::No)
}

/// `2026-01-31 12:00:00.000+00`. Columns without time zone ignore the zone; it is there for those with one. Years have four
/// digits or more; there is no year 0, and those before it are counted backwards. What is too far away for the server is
/// refused by it, as in binary form.
fn timestamp(ms: i64, out: &mut BytesMut) -> Result<(), Boxed> {
    use fmt::Write;
    let Date { year, month, day } = Date::of(ms);
    let ms_of_day = ms.rem_euclid(86_400_000);
    let (s, ms) = (ms_of_day / 1000, ms_of_day % 1000);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    write!(out, "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{ms:03}+00{era}", s / 3600, s / 60 % 60, s % 60)?;
    Ok(())
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        let text = |raw: &[u8]| String::from_utf8(raw.to_vec());
        Ok(match *ty {
            Type::INT8 => Self::Int(i64::from_be_bytes(raw.try_into()?)),
            Type::INT4 => Self::Int(i32::from_be_bytes(raw.try_into()?).into()),
            Type::INT2 => Self::Int(i16::from_be_bytes(raw.try_into()?).into()),
            Type::BOOL => Self::Bool(raw != [0]),
            Type::BYTEA => Self::Bytes(raw.to_vec()),
            Type::JSONB => {
                Self::Json(text(raw.strip_prefix(&[1]).ok_or_else(|| bad("unknown JSONB version".into()))?)?)
            }
            Type::JSON => Self::Json(text(raw)?),
            Type::TIMESTAMP | Type::TIMESTAMPTZ => {
                let micros = i64::from_be_bytes(raw.try_into()?);
                Self::Time(micros.div_euclid(1000).saturating_add(EPOCH_MS))
            }
            Type::TEXT_ARRAY | Type::VARCHAR_ARRAY => Self::Texts(Vec::from_sql(ty, raw)?),
            Type::INT8_ARRAY => Self::Ints(Vec::from_sql(ty, raw)?),
            Type::INT4_ARRAY => Self::Ints(Vec::<i32>::from_sql(ty, raw)?.into_iter().map(i64::from).collect()),
            Type::VOID => Self::Null,
            _ if is_text(ty) || *ty == Type::UNKNOWN => Self::Text(text(raw)?),
            _ => return Err(bad(format!("columns of type {ty} are not known here"))),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Boxed> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

pub(super) fn row(row: &tokio_postgres::Row) -> Result<Row, Error> {
    let columns = (0..row.len()).map(|i| row.try_get(i).map_err(|error| Error::Internal(whole(&error))));
    Ok(Row::new(columns.collect::<Result<_, _>>()?))
}

/// What went wrong, and what may be done about it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) error: Error,
    pub(crate) kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Running it again would give the same.
    Final,
    /// The server undid the statement because of others; running the transaction again may succeed.
    Conflict,
    /// The connection is gone. Whether the statement took effect is unknown.
    Lost,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { error, kind: FaultKind::Final }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        use FaultKind::{Conflict, Final, Lost};
        let text = whole(&error);
        let Some(found) = error.as_db_error() else {
            if let Some(bad) = error.source().and_then(|source| source.downcast_ref::<BadValue>()) {
                return Error::Invalid(bad.0.clone()).into();
            }
            let io = error.source().is_some_and(<dyn StdError>::is::<std::io::Error>);
            if error.is_closed() || io {
                return Self { error: Error::Unavailable(text), kind: Lost };
            }
            return Error::Internal(text).into();
        };
        let constraint = || found.constraint().unwrap_or_default().to_owned();
        let (error, kind) = match *found.code() {
            SqlState::UNIQUE_VIOLATION => (Error::UniqueViolation { constraint: constraint() }, Final),
            SqlState::FOREIGN_KEY_VIOLATION | SqlState::RESTRICT_VIOLATION => (Error::ForeignKey, Final),
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => (Error::Conflict(text), Conflict),
            // The table behind a prepared statement was altered, or a pooler gave the connection to somebody else.
            SqlState::INVALID_SQL_STATEMENT_NAME => (Error::Unavailable(text), Lost),
            SqlState::FEATURE_NOT_SUPPORTED if found.message().contains("cached plan") => {
                (Error::Unavailable(text), Lost)
            }
            SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => (Error::Timeout(text), Final),
            SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW => {
                (Error::Unavailable(text), Lost)
            }
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => (Error::Timeout(text), Lost),
            // Classes: 22 and 23 are about the values, 08 about the connection, 53 and 58 about the server's resources.
            ref code => match code.code().get(..2) {
                Some("22" | "23") => (Error::Invalid(text), Final),
                Some("08") => (Error::Unavailable(text), Lost),
                Some("53" | "58") => (Error::Unavailable(text), Final),
                _ => (Error::Internal(text), Final),
            },
        };
        Self { error, kind }
    }
}

/// The error with its causes, which tokio-postgres leaves out of its own text. What the database complains of comes without
/// its detail: that is where it puts the values of the row, and errors are logged.
pub(super) fn whole(error: &tokio_postgres::Error) -> String {
    if let Some(found) = error.as_db_error() {
        let constraint = found.constraint().map(|name| format!(", constraint {name}")).unwrap_or_default();
        return format!("{}: {} ({}{constraint})", found.severity(), found.message(), found.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// A value that the column cannot hold.
#[derive(Debug)]
struct BadValue(String);

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for BadValue {}

fn bad(text: String) -> Boxed {
    Box::new(BadValue(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_text() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00.000+00"),
            (951_782_399_999, "2000-02-28 23:59:59.999+00"),
            (951_782_400_000, "2000-02-29 00:00:00.000+00"),
            (1_767_225_600_020, "2026-01-01 00:00:00.020+00"),
            (-1, "1969-12-31 23:59:59.999+00"),
            (253_402_300_800_000, "10000-01-01 00:00:00.000+00"),
            (8_640_000_000_000_000, "275760-09-13 00:00:00.000+00"),
            (-62_135_596_800_000, "0001-01-01 00:00:00.000+00"),
            (-62_135_596_800_001, "0001-12-31 23:59:59.999+00 BC"),
        ] {
            let mut out = BytesMut::new();
            timestamp(ms, &mut out).unwrap();
            assert_eq!(std::str::from_utf8(&out).unwrap(), text);
        }
    }
}
