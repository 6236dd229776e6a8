//! The directory of a worker's replicas: a file each, written whole or not at all.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
};

use super::saved::{Saved, Unreadable};
use crate::agent::assignment::Seen;

/// Everything here waits for the disk.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// What an earlier worker left.
#[derive(Debug, Default)]
pub struct Left {
    pub seen: Seen,
    pub replicas: Vec<(String, Saved)>,
    /// Files of replicas that cannot be used, in a word each.
    pub unreadable: Vec<(PathBuf, Unreadable)>,
}

const SEEN: &str = "seen";
const EXTENSION: &str = "replica";
const TEMPORARY: &str = ".new-";

// === impl Store ===

impl Store {
    /// Opens the directory, made if missing, and reads what is there. A file that cannot be used is left where it is.
    pub fn open(dir: PathBuf) -> io::Result<(Self, Left)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let mut left = Left::default();
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(TEMPORARY) {
                fs::remove_file(&path)?;
                continue;
            }
            let Some((replica, EXTENSION)) = name.rsplit_once('.') else {
                continue;
            };
            match Saved::from_bytes(&fs::read(&path)?) {
                Ok(saved) => left.replicas.push((replica.to_owned(), saved)),
                Err(unreadable) => left.unreadable.push((path.clone(), unreadable)),
            }
        }
        left.replicas.sort_by(|a, b| a.0.cmp(&b.0));
        left.seen = fs::read_to_string(dir.join(SEEN))
            .ok()
            .and_then(|text| seen(&text))
            .unwrap_or_default();
        Ok((Self { dir }, left))
    }

    /// On disk when it returns.
    pub fn save(&self, replica: &str, saved: &Saved) -> io::Result<()> {
        self.write(&format!("{replica}.{EXTENSION}"), &saved.to_bytes())
    }

    pub fn save_seen(&self, seen: Seen) -> io::Result<()> {
        let text = format!("{} {}\n", seen.term, seen.generation);
        self.write(SEEN, text.as_bytes())
    }

    /// None of them is found by a later start. Needs no room on the disk.
    pub fn remove<'a>(&self, replicas: impl Iterator<Item = &'a String>) -> io::Result<()> {
        let mut result = Ok(());
        for replica in replicas {
            match fs::remove_file(self.dir.join(format!("{replica}.{EXTENSION}"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => result = Err(error),
                _ => {}
            }
        }
        result.and(self.sync())
    }

    /// Removes every file of a replica that is not among these, also those that cannot be read.
    pub fn remove_others(&self, known: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            if let Some((replica, EXTENSION)) = name.to_string_lossy().rsplit_once('.')
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

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(self.dir.join(name))?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

fn seen(text: &str) -> Option<Seen> {
    let (term, generation) = text.trim().split_once(' ')?;
    Some(Seen {
        term: term.parse().ok()?,
        generation: generation.parse().ok()?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::agent::testing::assignment;

    #[test]
    fn what_was_saved_is_there_and_what_was_removed_is_not() {
        let data = tempfile::tempdir().unwrap();
        let dir = data.path().join("replicas");
        let (store, left) = Store::open(dir.clone()).unwrap();
        assert_eq!((left.seen, left.replicas.len()), (Seen::default(), 0));
        for replica in ["a", "b", "c", "d"] {
            store
                .save(replica, &Saved::new(assignment(replica)))
                .unwrap();
        }
        let seen = Seen {
            term: 3,
            generation: 9,
        };
        store.save_seen(seen).unwrap();
        store
            .remove(["b".to_owned(), "never".to_owned()].iter())
            .unwrap();
        // Half a file of a crash, damage, and what is not ours.
        fs::write(dir.join(".new-abc"), "half").unwrap();
        fs::write(dir.join("c.replica"), "damaged").unwrap();
        fs::write(dir.join("note"), "not ours").unwrap();

        let (store, left) = Store::open(dir.clone()).unwrap();
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
        let (_, left) = Store::open(dir.clone()).unwrap();
        assert_eq!((left.replicas.len(), left.unreadable.len()), (1, 0));
        assert!(dir.join("note").exists());
        fs::write(dir.join(SEEN), "odd").unwrap();
        assert_eq!(Store::open(dir).unwrap().1.seen, Seen::default());
    }
}
