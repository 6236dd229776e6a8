//! The directory of a worker's replicas, with one file for each.

use std::{io, path::PathBuf, sync::Arc};

use super::{
    files::Files,
    saved::{Saved, Unreadable},
};
use crate::agent::seen::Seen;

/// The store of replicas. All methods wait for the disk.
#[derive(Clone)]
pub struct Store {
    files: Arc<dyn Files>,
}

/// The files that an earlier worker left.
#[derive(Debug, Default)]
pub struct Left {
    pub seen: Seen,
    pub replicas: Vec<(String, Saved)>,
    /// The files of replicas that cannot be used, each with the reason.
    pub unreadable: Vec<(PathBuf, Unreadable)>,
}

const SEEN: &str = "seen";
const EXTENSION: &str = "replica";

// === impl Store ===

impl Store {
    /// Reads the existing files. A file that cannot be used is left in place.
    pub fn open(files: Arc<dyn Files>) -> io::Result<(Self, Left)> {
        let mut left = Left::default();
        for name in files.names()? {
            let Some((replica, EXTENSION)) = name.rsplit_once('.') else {
                continue;
            };
            match Saved::from_bytes(&files.read(&name)?) {
                Ok(saved) => left.replicas.push((replica.to_owned(), saved)),
                Err(unreadable) => left.unreadable.push((files.path(&name), unreadable)),
            }
        }
        left.replicas.sort_by(|a, b| a.0.cmp(&b.0));
        left.seen = files
            .read(SEEN)
            .ok()
            .and_then(|bytes| Seen::from_text(str::from_utf8(&bytes).ok()?))
            .unwrap_or_default();
        Ok((Self { files }, left))
    }

    /// Returns the directory.
    pub fn files(&self) -> &dyn Files {
        &*self.files
    }

    /// Saves a replica. It is on disk when this returns.
    pub fn save(&self, replica: &str, saved: &Saved) -> io::Result<()> {
        let name = format!("{replica}.{EXTENSION}");
        self.files.write(&name, &saved.to_bytes())
    }

    pub fn save_seen(&self, seen: &Seen) -> io::Result<()> {
        self.files.write(SEEN, seen.to_text().as_bytes())
    }

    /// Removes replicas, so that no later start finds them. This needs no free space on the disk.
    pub fn remove<'a>(&self, replicas: impl Iterator<Item = &'a String>) -> io::Result<()> {
        let mut result = Ok(());
        for replica in replicas {
            match self.files.remove(&format!("{replica}.{EXTENSION}")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => result = Err(error),
                _ => {}
            }
        }
        result.and(self.files.sync())
    }

    /// Removes the files of all other replicas, including those that cannot be read.
    pub fn remove_others(&self, known: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut others = Vec::new();
        for name in self.files.names()? {
            if let Some((replica, EXTENSION)) = name.rsplit_once('.')
                && !known(replica)
            {
                others.push(replica.to_owned());
            }
        }
        match others.is_empty() {
            true => Ok(()),
            false => self.remove(others.iter()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, path::Path};

    use super::{super::files::Directory, *};
    use crate::replica::testing::assignment;

    fn open(dir: &Path) -> (Store, Left) {
        Store::open(Directory::open(dir.to_owned()).unwrap()).unwrap()
    }

    #[test]
    fn saved_replicas_are_found_and_removed_ones_are_not() {
        let data = tempfile::tempdir().unwrap();
        let dir = data.path().join("replicas");
        let (store, left) = open(&dir);
        assert_eq!((left.seen, left.replicas.len()), (Seen::default(), 0));
        for replica in ["a", "b", "c", "d"] {
            store
                .save(replica, &Saved::new(assignment(replica)))
                .unwrap();
        }
        let seen = Seen {
            cluster: "c".to_owned(),
            worker: "w1".to_owned(),
            term: 3,
            generation: 9,
        };
        store.save_seen(&seen).unwrap();
        store
            .remove(["b".to_owned(), "never".to_owned()].iter())
            .unwrap();
        // These are an incomplete file of a crash, a damaged file, and a file that is not ours.
        fs::write(dir.join(".new-abc"), "half").unwrap();
        fs::write(dir.join("c.replica"), "damaged").unwrap();
        fs::write(dir.join("note"), "not ours").unwrap();

        let (store, left) = open(&dir);
        assert_eq!(left.seen, seen);
        let ids: Vec<&str> = left.replicas.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["a", "d"]);
        assert_eq!(left.replicas[0].1, Saved::new(assignment("a")));
        assert_eq!(
            left.unreadable,
            [(dir.join("c.replica"), Unreadable::Damaged)]
        );
        assert!(!dir.join(".new-abc").exists());

        store.remove_others(|replica| replica == "a").unwrap();
        let (_, left) = open(&dir);
        assert_eq!((left.replicas.len(), left.unreadable.len()), (1, 0));
        assert!(dir.join("note").exists());
        fs::write(dir.join(SEEN), "odd").unwrap();
        assert_eq!(open(&dir).1.seen, Seen::default());
    }
}
