//! The schema and its history: forward only, checksummed, each step in a transaction, one process at a time.
//!
//! Owns: the table `happier_migrations` and the list of our migrations. A migration has one number and name and a script
//! for each database. A database that already has steps we do not know belongs to a newer server and is refused.
//! Never: edit a script that was released; its checksum is in every database.
//! Adoption of databases made by the reference server is in [`mod@reference`] and [`mod@postgres`] (`data.md` §11).

mod catalog;
mod postgres;
mod reference;
mod sqlite;

use sha2::{Digest, Sha256};

use super::error::Error;

pub use postgres::postgres;
pub(super) use sqlite::sqlite;

struct Migration {
    number: i32,
    name: &'static str,
    postgres: &'static str,
    sqlite: &'static str,
}

macro_rules! migration {
    ($number:literal, $name:literal) => {
        Migration {
            number: $number,
            name: $name,
            postgres: include_str!(concat!("../../../migrations/postgres/", $name, ".sql")),
            sqlite: include_str!(concat!("../../../migrations/sqlite/", $name, ".sql")),
        }
    };
}

/// In order. The first is the schema of the reference server.
const MIGRATIONS: [Migration; 2] = [migration!(1, "0001_baseline"), migration!(2, "0002_store_message")];

/// A row of `happier_migrations`.
struct Applied {
    number: i64,
    name: String,
    sha256: String,
}

fn checksum(script: &str) -> String {
    Sha256::digest(script.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The migrations that remain, if what was applied is the beginning of our list.
fn remaining(applied: &[Applied], script: fn(&Migration) -> &'static str) -> Result<&'static [Migration], Error> {
    const ALL: &[Migration] = &MIGRATIONS;
    for (at, row) in applied.iter().enumerate() {
        let Some(ours) = ALL.get(at) else {
            return Err(refusal(format!("migration {} is of a newer server", row.name)));
        };
        if row.number != i64::from(ours.number) || row.name != ours.name {
            return Err(refusal(format!("migration {} was applied where {} is expected", row.name, ours.name)));
        }
        if row.sha256 != checksum(script(ours)) {
            return Err(refusal(format!("migration {} was applied with another text than this server has", row.name)));
        }
    }
    Ok(ALL.get(applied.len()..).unwrap_or_default())
}

fn refusal(text: String) -> Error {
    Error::Internal(format!("this database cannot be used as it is: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(number: i64, name: &str, sha256: String) -> Applied {
        Applied { number, name: name.into(), sha256 }
    }

    #[test]
    fn what_remains() {
        let first = || applied(1, "0001_baseline", checksum(MIGRATIONS[0].sqlite));
        let count = |applied: &[Applied]| remaining(applied, |migration| migration.sqlite).map(<[Migration]>::len);
        assert_eq!(count(&[]), Ok(MIGRATIONS.len()));
        assert_eq!(count(&[first()]), Ok(MIGRATIONS.len() - 1));
        for bad in [
            vec![applied(1, "0001_baseline", "00".into())],
            vec![applied(1, "0001_other", first().sha256)],
            vec![applied(2, "0002_store_message", checksum(MIGRATIONS[1].sqlite))],
            (1..=3).map(|n| applied(n, "x", String::new())).collect(),
        ] {
            assert!(count(&bad).is_err());
        }
    }

    #[test]
    fn numbers_and_names_agree() {
        for (at, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(usize::try_from(migration.number).unwrap(), at + 1);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.number)));
        }
    }
}
