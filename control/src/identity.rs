//! The store's identity, recorded beside the database, so that a store that has lost its contents
//! is not mistaken for another one.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

const NAME: &str = "CLUSTER";
/// A bound that no generated identity reaches.
const MAX_BYTES: usize = 128;

/// Returns the identity that was recorded in the store's directory, if it can be read.
pub(crate) fn read(store: &Path) -> Option<String> {
    let text = fs::read_to_string(path(store)).ok()?;
    let id = text.trim();
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let is_id = (1..=MAX_BYTES).contains(&id.len()) && id.bytes().all(is_part);
    is_id.then(|| id.to_owned())
}

/// Records the identity atomically. Waits for the disk.
pub(crate) fn note(store: &Path, id: &str) -> io::Result<()> {
    if read(store).as_deref() == Some(id) {
        return Ok(());
    }
    let mut file = tempfile::NamedTempFile::new_in(store)?;
    writeln!(file, "{id}")?;
    file.as_file().sync_all()?;
    file.persist(path(store))?;
    fs::File::open(store)?.sync_all()
}

fn path(store: &Path) -> PathBuf {
    store.join(NAME)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_and_nonsense_is_not() {
        let store = tempfile::tempdir().unwrap();
        let store = store.path();
        assert_eq!(read(store), None);
        for id in ["0199c0de-aaaa", "other"] {
            note(store, id).unwrap();
            assert_eq!(read(store).as_deref(), Some(id));
        }
        for odd in ["", "\n", "a b", "\u{fffd}", &"x".repeat(MAX_BYTES + 1)] {
            fs::write(path(store), odd).unwrap();
            assert_eq!(read(store), None, "{odd:?}");
        }
        assert!(note(&store.join("nowhere"), "id").is_err());
    }
}
