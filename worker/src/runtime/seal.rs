//! The seal that distinguishes compiled code which this worker wrote from any other.
//!
//! Compiled code is native code: changing a bit of it changes what the worker does. Each file
//! therefore ends with a seal, the HMAC-SHA-256 of its name and contents. The key is created once
//! for a cache directory and stays there, readable only by its owner. A file whose seal is missing
//! or wrong is never mapped.

use std::{
    fs::{self, File, Metadata, Permissions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use ring::{hmac, rand::SecureRandom as _};
use warren_model::private;

use crate::disk_cache::KEY_FILE;

const KEY: usize = 32;
const TAG: usize = 32;
/// The bytes that are read at once.
const BUFFER: usize = 256 << 10;
/// The attempts to create a key while another process creates one at the same time.
const TRIES: u32 = 3;

/// The key of one cache directory.
#[derive(Clone, Debug)]
pub(super) struct Seal(hmac::Key);

// === impl Seal ===

impl Seal {
    /// Reads the directory's key, or creates one. A key that others could have read or written, or
    /// that is damaged, is replaced. The code that it sealed is compiled again.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(KEY_FILE);
        for _ in 0..TRIES {
            match read_key(&path) {
                Ok(Some(key)) => return Ok(Self(key)),
                Ok(None) => {
                    tracing::warn!(
                        path = %path.display(),
                        "the key of compiled code can be accessed by other users or is damaged: it is replaced, and all code is compiled again"
                    );
                    fs::remove_file(&path)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            make_key(directory, &path)?;
        }
        Err(io::Error::other(format!(
            "{} changed while it was read: check that no other program writes to it",
            path.display()
        )))
    }

    /// Seals a complete file that will get this name. It seals what the disk returns, which must be
    /// `length` bytes.
    pub fn put(&self, name: &str, file: &mut File, length: u64) -> io::Result<()> {
        file.sync_data()?;
        let found = file.metadata()?.len();
        if found != length {
            return Err(io::Error::other(format!(
                "the disk kept only {found} of {length} bytes: check that it is not full"
            )));
        }
        let tag = self.tag(name, file, length)?;
        file.seek(SeekFrom::Start(length))?;
        file.write_all(tag.as_ref())?;
        file.sync_all()
    }

    /// Opens a file of compiled code that this key sealed under this name. The file that is
    /// returned is the one that was checked, whatever the path refers to afterwards.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let file = open(path)?;
        let metadata = file.metadata()?;
        if !is_own(&metadata) {
            return Err(io::Error::other(
                "it belongs to another user or others can write to it",
            ));
        }
        let unsealed = || io::Error::other("it has no valid seal of this cache");
        let length = metadata
            .len()
            .checked_sub(TAG as u64)
            .ok_or_else(unsealed)?;
        let mut found = [0; TAG];
        file.read_exact_at(&mut found, length)?;
        // This need not take constant time: no one who could measure it can choose what is
        // compared.
        if self.tag(&name, &file, length)?.as_ref() != found {
            return Err(unsealed());
        }
        Ok(file)
    }

    fn tag(&self, name: &str, mut file: &File, length: u64) -> io::Result<hmac::Tag> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&(name.len() as u64).to_le_bytes());
        context.update(name.as_bytes());
        context.update(&length.to_le_bytes());
        file.seek(SeekFrom::Start(0))?;
        let (mut buffer, mut left) = (vec![0; BUFFER], length);
        while left > 0 {
            let most = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            match file.read(&mut buffer[..most]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    context.update(&buffer[..read]);
                    left -= read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(context.sign())
    }
}

/// Opens a file without following a symbolic link.
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = flags.bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

/// Returns whether this user owns the file and no one else can write to it.
fn is_own(metadata: &Metadata) -> bool {
    metadata.is_file()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o022 == 0
}

/// Reads the key. Returns `None` if the file cannot be used.
fn read_key(path: &Path) -> io::Result<Option<hmac::Key>> {
    if fs::symlink_metadata(path)?.is_symlink() {
        return Ok(None);
    }
    let file = open(path)?;
    let metadata = file.metadata()?;
    if !is_own(&metadata) || metadata.mode() & 0o077 != 0 || metadata.len() != KEY as u64 {
        return Ok(None);
    }
    let mut key = [0; KEY];
    file.read_exact_at(&mut key, 0)?;
    Ok(Some(hmac::Key::new(hmac::HMAC_SHA256, &key)))
}

fn make_key(directory: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0; KEY];
    let random = ring::rand::SystemRandom::new();
    random
        .fill(&mut key)
        .map_err(|_| io::Error::other("the system returned no random numbers"))?;
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(private::FILE))
        .tempfile_in(directory)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
        Ok(_) => File::open(directory)?.sync_all(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn sealed(seal: &Seal, directory: &Path, name: &str, contents: &[u8]) {
        let mut file = tempfile::NamedTempFile::new_in(directory).unwrap();
        file.write_all(contents).unwrap();
        seal.put(name, file.as_file_mut(), contents.len() as u64)
            .unwrap();
        file.persist(directory.join(name)).unwrap();
    }

    #[test]
    fn only_a_file_that_was_sealed_under_its_name_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let seal = Seal::open(dir.path()).unwrap();
        let contents: Vec<u8> = (0..=250).cycle().take(3 * BUFFER + 5).collect();
        let path = dir.path().join("a");
        sealed(&seal, dir.path(), "a", &contents);
        // The next process opens it, too.
        Seal::open(dir.path()).unwrap().open_file(&path).unwrap();

        let whole = fs::read(&path).unwrap();
        assert_eq!(whole[..contents.len()], contents);
        let refused = |bytes: &[u8], why: &str| {
            fs::write(&path, bytes).unwrap();
            seal.open_file(&path).expect_err(why);
        };
        for at in [
            0,
            BUFFER - 1,
            BUFFER,
            contents.len() - 1,
            contents.len(),
            whole.len() - 1,
        ] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            refused(&flipped, &format!("a bit of byte {at} was flipped"));
        }
        refused(&whole[..whole.len() - 1], "it was cut short");
        refused(
            &whole[..contents.len()],
            "it has no seal, like files of earlier versions",
        );
        refused(&[&whole[..], &[0]].concat(), "it was made longer");
        refused(&whole[whole.len() - TAG..], "it is nothing but a seal");
        refused(b"", "it is empty");
        fs::write(&path, &whole).unwrap();
        seal.open_file(&path).unwrap();

        fs::copy(&path, dir.path().join("b")).unwrap();
        seal.open_file(&dir.path().join("b"))
            .expect_err("another's code");
        symlink(&path, dir.path().join("c")).unwrap();
        seal.open_file(&dir.path().join("c")).expect_err("a link");
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        seal.open_file(&path).expect_err("others can write it");
    }

    #[test]
    fn another_key_seals_nothing_of_this_one() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let seal = Seal::open(one.path()).unwrap();
        sealed(&seal, one.path(), "a", b"code");
        let path = other.path().join("a");
        fs::copy(one.path().join("a"), &path).unwrap();
        let another = Seal::open(other.path()).unwrap();
        another.open_file(&path).expect_err("another cache's");
        seal.open_file(&path).unwrap();
    }

    #[test]
    fn a_key_that_may_be_known_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join(KEY_FILE);
        let code = dir.path().join("a");
        for spoil in [
            &(|| fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap()) as &dyn Fn(),
            &|| fs::write(&key, "short").unwrap(),
            &|| fs::remove_file(&key).unwrap(),
            &|| {
                fs::rename(&key, dir.path().join("moved")).unwrap();
                symlink("moved", &key).unwrap();
            },
        ] {
            let seal = Seal::open(dir.path()).unwrap();
            assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
            sealed(&seal, dir.path(), "a", b"code");
            Seal::open(dir.path()).unwrap().open_file(&code).unwrap();
            spoil();
            let next = Seal::open(dir.path()).unwrap();
            next.open_file(&code).expect_err("another key");
        }
    }

    #[test]
    fn a_file_that_was_cut_short_is_not_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let seal = Seal::open(dir.path()).unwrap();
        let mut file = tempfile::tempfile_in(dir.path()).unwrap();
        file.write_all(b"cod").unwrap();
        let short = seal.put("a", &mut file, 4).unwrap_err();
        assert!(short.to_string().contains("3 of 4 bytes"), "{short}");
    }
}
