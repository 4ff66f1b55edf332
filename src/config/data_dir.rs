//! The light flavor's data directory: made at start, holding the master secret (configuration.md §3).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Light;
use super::error::Error;
use super::secret::Secret;
use crate::crypto::random;

const SECRET_FILE: &str = "handy-master-secret.txt";

/// In the directory of every PostgreSQL cluster, PGlite's too.
const CLUSTER_FILE: &str = "PG_VERSION";
/// Where the reference server keeps its cluster, unless `HAPPY_SERVER_LIGHT_DB_DIR` names the place.
const CLUSTER_DIRECTORY: &str = "pglite";

/// Makes the directories of the light flavor, with parents.
///
/// Refuses to begin an empty database beside that of a reference server: its clients would still come in, as the secret
/// is the same, and find nothing. Nothing is made then.
pub fn prepare(light: &Light) -> Result<(), Error> {
    if !light.database_file().exists() {
        let places = [light.database_dir.join(CLUSTER_DIRECTORY), light.database_dir.clone()];
        if let Some(place) = places.into_iter().find(|place| place.join(CLUSTER_FILE).exists()) {
            return Err(Error::ReferenceDatabase(place));
        }
    }
    for path in [&light.data_dir, &light.database_dir, &light.files_dir] {
        fs::create_dir_all(path).map_err(|source| failed(path, "create the directory", source))?;
    }
    Ok(())
}

/// The secret kept in the data directory; made at the first start.
pub fn master_secret(data_dir: &Path) -> Result<Secret, Error> {
    let path = data_dir.join(SECRET_FILE);
    if let Some(secret) = read(&path)? {
        return Ok(secret);
    }
    let secret = protocol::base64::encode_url(&random::bytes::<32>());
    match write_new(&path, &secret) {
        Ok(()) => Ok(Secret::new(secret)),
        // Another process was faster, or the file was there and empty.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(&path)?.ok_or(Error::EmptySecretFile(path)),
        Err(source) => Err(failed(&path, "write", source)),
    }
}

fn read(path: &Path) -> Result<Option<Secret>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(Secret::new)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(path, "read", source)),
    }
}

/// Writes a file that nobody else may read and that did not exist. It appears whole: a process that starts at the same
/// time finds either nothing or the secret, never an empty file.
fn write_new(path: &Path, secret: &str) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.tmp", crate::model::ids::event_id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    // Unlike a rename, a link fails if the name is taken.
    let linked =
        file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match linked {
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            // A file system without links: the moment in which the file is empty cannot be avoided.
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(secret.as_bytes()).and_then(|()| file.sync_all())
        }
        linked => linked.and(removed),
    }
}

fn failed(path: &Path, action: &'static str, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    /// A directory of its own that goes away with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("happier-data-dir-{}", crate::model::ids::file_name_id())))
        }

        fn light(&self) -> Light {
            Light {
                data_dir: self.0.join("a/b"),
                database_dir: self.0.join("db"),
                files_dir: self.0.join("a/b/files"),
                public_url: None,
            }
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn directories_are_made_with_parents_and_may_be_there() {
        let directory = Directory::new();
        let light = directory.light();
        prepare(&light).unwrap();
        prepare(&light).unwrap();
        assert!(light.files_dir.is_dir() && light.database_dir.is_dir());
        fs::write(directory.0.join("file"), "").unwrap();
        let blocked = Light { data_dir: directory.0.join("file/x"), ..light };
        let text = prepare(&blocked).unwrap_err().to_string();
        assert!(text.starts_with("cannot create the directory") && text.contains("file/x"), "{text}");
    }

    #[test]
    fn a_database_of_the_reference_server_is_not_passed_over() {
        let directory = Directory::new();
        let light = directory.light();
        let usual = Light { database_dir: light.data_dir.clone(), ..light.clone() };
        for (light, cluster) in [(&light, light.database_dir.clone()), (&usual, usual.data_dir.join("pglite"))] {
            fs::create_dir_all(&cluster).unwrap();
            fs::write(cluster.join("PG_VERSION"), "17\n").unwrap();
            let text = prepare(light).unwrap_err().to_string();
            assert!(text.contains(cluster.to_str().unwrap()) && text.contains("HAPPY_SERVER_LIGHT_DB_DIR"), "{text}");
            assert!(!light.files_dir.exists(), "a refusal makes nothing");
        }
        // Another directory was chosen; or there is a database of ours already.
        prepare(&Light { database_dir: directory.0.join("new"), ..usual.clone() }).unwrap();
        fs::write(usual.database_file(), "").unwrap();
        prepare(&usual).unwrap();
    }

    #[test]
    fn the_secret_is_made_once_and_private() {
        let directory = Directory::new();
        fs::create_dir_all(&directory.0).unwrap();
        let secret = master_secret(&directory.0).unwrap();
        assert_eq!(secret.expose().len(), 43);
        assert_eq!(protocol::base64::decode_url(secret.expose()).unwrap().len(), 32);
        let path = directory.0.join(SECRET_FILE);
        assert_eq!(fs::read_to_string(&path).unwrap(), secret.expose());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(master_secret(&directory.0).unwrap(), secret);
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1, "no draft is left behind");

        fs::write(&path, "  mine\n").unwrap();
        assert_eq!(master_secret(&directory.0).unwrap().expose(), "mine");
    }

    #[test]
    fn processes_that_start_together_agree() {
        let directory = Directory::new();
        fs::create_dir_all(&directory.0).unwrap();
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| master_secret(&directory.0).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    }

    #[test]
    fn an_empty_secret_file_is_an_error() {
        let directory = Directory::new();
        fs::create_dir_all(&directory.0).unwrap();
        let path = directory.0.join(SECRET_FILE);
        fs::write(&path, " \n").unwrap();
        let error = master_secret(&directory.0).unwrap_err();
        assert_eq!(error.to_string(), format!("handy-master-secret.txt exists but is empty: {}", path.display()));
        assert!(master_secret(&directory.0.join("missing")).is_err());
    }
}
