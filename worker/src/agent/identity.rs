//! The identity of this worker across restarts: a data directory that one process locks, and the id
//! in it.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;
use warren_model::{
    directory_lock::{DirectoryLock, LOCK, LockError},
    name::Name,
    private,
};

/// A worker's identity. The data directory is locked for as long as this lives.
#[derive(Debug)]
pub struct Identity {
    /// The id, which is created at the first start and never used by another worker.
    pub id: Uuid,
    _lock: DirectoryLock,
}

/// The reason why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(
        "the data directory {} is in use by another worker: stop that one first, or give this one a directory \
         of its own with --data", .0.display()
    )]
    InUse(PathBuf),
    #[error(
        "{} holds no worker id: restore it from a backup, or remove the file to join as a new worker", .0.display()
    )]
    Damaged(PathBuf),
    #[error("cannot use {} as data directory: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

const ID: &str = "worker-id";

impl Identity {
    /// Creates the directory if it is missing, locks it, and reads the id. Creates an id at the
    /// first start.
    pub fn open(data: &Path) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::Io {
            path: data.to_owned(),
            source,
        };
        let lock = DirectoryLock::acquire(data).map_err(|error| match error {
            LockError::InUse(_) => IdentityError::InUse(data.to_owned()),
            LockError::Io(source) => failed(source),
        })?;
        private::open_data_dir(data, is_own).map_err(failed)?;
        for file in [LOCK, ID].map(|name| data.join(name)) {
            if file.exists() {
                private::restrict_tree(&file).map_err(failed)?;
            }
        }
        let id = match read_id(data)? {
            Some(id) => id,
            None => create_id(data).map_err(failed)?,
        };
        Ok(Self { id, _lock: lock })
    }
}

/// Returns whether a worker keeps something under this name in its data directory.
fn is_own(name: &str) -> bool {
    const OWN: [&str; 7] = [
        LOCK,
        ID,
        "artifacts",
        "cache",
        "logs",
        "replicas",
        "volumes",
    ];
    OWN.contains(&name) || name.starts_with('.')
}

fn read_id(data: &Path) -> Result<Option<Uuid>, IdentityError> {
    let path = data.join(ID);
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|_| IdentityError::Damaged(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(IdentityError::Damaged(path))
        }
        Err(source) => Err(IdentityError::Io { path, source }),
    }
}

/// Creates an id. It is completely on disk before it is sent anywhere.
fn create_id(data: &Path) -> io::Result<Uuid> {
    let id = Uuid::new_v4();
    let mut file = tempfile::NamedTempFile::new_in(data)?;
    writeln!(file, "{id}")?;
    file.as_file().sync_all()?;
    file.persist(data.join(ID))?;
    File::open(data)?.sync_all()?;
    Ok(id)
}

/// Returns the default name of a worker: that of the host if it is a DNS label.
pub fn default_name(host: &str, id: Uuid) -> Name {
    let host = host
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let label: String = host
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(63)
        .collect();
    let label = label.trim_matches('-');
    match Name::parse(label) {
        // Many machines have this name, and two workers cannot share a name.
        Ok(name) if name.as_str() != "localhost" => name,
        _ => fallback_name(id),
    }
}

fn fallback_name(id: Uuid) -> Name {
    let id = id.simple().to_string();
    Name::parse(&format!("worker-{}", &id[..8])).expect("hexadecimal digits make a DNS label")
}

/// Returns the name that the machine gives itself.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_id_stays_and_the_directory_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("deep/data");
        let first = Identity::open(&data).unwrap();
        let refused = Identity::open(&data).unwrap_err();
        assert!(matches!(refused, IdentityError::InUse(_)), "{refused}");
        let id = first.id;
        drop(first);
        assert_eq!(Identity::open(&data).unwrap().id, id);
    }

    #[test]
    fn a_damaged_id_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for damage in [b"not an id".as_slice(), b"\xff\xfe", b""] {
            fs::write(dir.path().join(ID), damage).unwrap();
            let refused = Identity::open(dir.path()).unwrap_err();
            assert!(matches!(refused, IdentityError::Damaged(_)), "{refused}");
        }
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(
            Identity::open(&file),
            Err(IdentityError::Io { .. })
        ));
    }

    #[test]
    fn names_come_from_the_host() {
        let id = Uuid::from_u128(0x1234_5678 << 96);
        for (host, name) in [
            ("node-1", "node-1"),
            ("Node_1.example.com", "node-1"),
            ("-odd-", "odd"),
            ("", "worker-12345678"),
            ("...", "worker-12345678"),
            ("ü", "worker-12345678"),
            ("localhost", "worker-12345678"),
        ] {
            assert_eq!(default_name(host, id).as_str(), name, "{host}");
        }
        assert_eq!(default_name(&"a".repeat(64), id).as_str().len(), 63);
    }
}
