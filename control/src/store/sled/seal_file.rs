//! The file `SEAL`, which holds the seal that is kept apart from the database.
//!
//! The file has two slots that are written alternately, so that an interrupted write leaves the
//! previous seal intact. It is not synced: the database is synced before it is written, and if a
//! power cut reverts a seal, the remaining one is merely older.

use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use sha2::{Digest as _, Sha256};

use crate::store::local::{Seal, StateDigest};

const NAME: &str = "SEAL";
/// The magic number of the file's format.
const MAGIC: &[u8; 8] = b"WARRENS1";
/// The bytes of a slot: one page, so that the kernel never writes both slots at once.
const SLOT_BYTES: u64 = 4096;
const SLOTS: usize = 2;

const FIELDS: usize = MAGIC.len() + 3 * 8 + 32;
/// The bytes of a seal: its fields and their SHA-256.
const SEAL_BYTES: usize = FIELDS + 32;

/// The open file, with the slot of the last seal.
#[derive(Debug)]
pub(super) struct SealFile {
    file: File,
    /// The slot of the last seal.
    last: usize,
}

// === impl SealFile ===

impl SealFile {
    /// Opens the file of a directory, or returns `None` if there is none. The seal is `None` if
    /// neither slot is intact.
    pub fn open(directory: &Path) -> io::Result<Option<(Self, Option<Seal>)>> {
        let options = File::options().read(true).write(true).clone();
        let file = match options.open(directory.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut newest: Option<(usize, Seal)> = None;
        for (slot, offset) in offsets().enumerate() {
            let mut bytes = [0; SEAL_BYTES];
            match file.read_exact_at(&mut bytes, offset) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(error) => return Err(error),
            }
            if let Some(seal) = decode(&bytes)
                && newest.is_none_or(|(_, other)| other.sequence < seal.sequence)
            {
                newest = Some((slot, seal));
            }
        }
        let last = newest.map_or(0, |(slot, _)| slot);
        Ok(Some((Self { file, last }, newest.map(|(_, seal)| seal))))
    }

    /// Creates the file atomically and durably, replacing an existing one.
    pub fn create(directory: &Path, seal: &Seal) -> io::Result<Self> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        for _ in 0..SLOTS {
            let mut slot = encode(seal).to_vec();
            slot.resize(usize::try_from(SLOT_BYTES).unwrap_or(SEAL_BYTES), 0);
            file.write_all(&slot)?;
        }
        file.as_file().sync_all()?;
        let file = file.persist(directory.join(NAME))?;
        File::open(directory)?.sync_all()?;
        Ok(Self { file, last: 0 })
    }

    /// Overwrites the older of the two.
    pub fn write(&mut self, seal: &Seal) -> io::Result<()> {
        let next = (self.last + 1) % SLOTS;
        let offset = offsets().nth(next).unwrap_or_default();
        self.file.write_all_at(&encode(seal), offset)?;
        self.last = next;
        Ok(())
    }
}

fn offsets() -> impl Iterator<Item = u64> {
    (0..).map(|slot| slot * SLOT_BYTES).take(SLOTS)
}

fn encode(seal: &Seal) -> [u8; SEAL_BYTES] {
    let fields = [
        &MAGIC[..],
        &seal.sequence.to_be_bytes(),
        &seal.revision.to_be_bytes(),
        &seal.time.to_be_bytes(),
        &seal.digest.0,
    ]
    .concat();
    let mut bytes = [0; SEAL_BYTES];
    bytes[..FIELDS].copy_from_slice(&fields);
    bytes[FIELDS..].copy_from_slice(&Sha256::digest(&fields));
    bytes
}

fn decode(bytes: &[u8; SEAL_BYTES]) -> Option<Seal> {
    let (fields, checksum) = bytes.split_at(FIELDS);
    if checksum != &Sha256::digest(fields)[..] {
        return None;
    }
    let fields = fields.strip_prefix(MAGIC)?;
    let (sequence, fields) = fields.split_first_chunk()?;
    let (revision, fields) = fields.split_first_chunk()?;
    let (time, digest) = fields.split_first_chunk()?;
    Some(Seal {
        sequence: u64::from_be_bytes(*sequence),
        revision: u64::from_be_bytes(*revision),
        time: u64::from_be_bytes(*time),
        digest: StateDigest(digest.try_into().ok()?),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn seal(sequence: u64) -> Seal {
        Seal {
            sequence,
            revision: 3 * sequence,
            time: 7,
            digest: StateDigest([5; 32]),
        }
    }

    #[test]
    fn the_newest_seal_is_found_and_a_damaged_one_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let read = || SealFile::open(directory.path()).unwrap();
        assert!(read().is_none());
        let mut file = SealFile::create(directory.path(), &seal(1)).unwrap();
        for sequence in 2..6 {
            file.write(&seal(sequence)).unwrap();
            let (opened, found) = read().unwrap();
            assert_eq!((opened.last, found), (file.last, Some(seal(sequence))));
        }
        // The next process that opens it continues with the older one.
        let (mut file, _) = read().unwrap();
        file.write(&seal(6)).unwrap();

        let path = directory.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for at in 0..SEAL_BYTES {
            for slot in 0..SLOTS {
                let mut damaged = whole.clone();
                damaged[at + slot * usize::try_from(SLOT_BYTES).unwrap()] ^= 1;
                fs::write(&path, damaged).unwrap();
                let expected = if slot == file.last { seal(5) } else { seal(6) };
                assert_eq!(read().unwrap().1, Some(expected), "byte {at} of {slot}");
            }
        }
        fs::write(&path, &whole[..100]).unwrap();
        assert!(read().unwrap().1.is_some());
        fs::write(&path, "").unwrap();
        assert_eq!(read().unwrap().1, None);
    }
}
