//! Restores a backup into a data directory that no control plane uses.
//!
//! Files are first written to `.restore` beside the existing ones, and replace them only after the
//! whole file was read and verified. Artifacts are moved first: they are named by their content, so
//! they do no harm if the restore ends there. Then the old store is set aside and the new one is
//! renamed into its place.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use prost_types::Timestamp;
use warren_model::{
    digest::{Digest, Hasher},
    private,
};
use warren_proto::v1;

use super::format::{Body, Decoder, Entries, FormatError, Header};
use crate::{
    data_dir::{self, ARTIFACTS, REPLACED, STAGING, STORE},
    state::{self, TERMS_PER_LOSS, keys},
    store::{
        Revision, SCHEMA, StoreError, Versioned,
        sled::{self, Loader},
    },
};

/// The number of bytes that are read from the file at once.
const PIECE: usize = 256 << 10;

/// A summary of what was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// When the backup was taken.
    pub time: Option<Timestamp>,
    pub workloads: u64,
    pub artifacts: u64,
    /// Artifacts that the backup lacks, as it says itself.
    pub missing: Vec<String>,
    /// The path that the previous store was moved to.
    pub replaced: Option<PathBuf>,
}

/// The reason why nothing was restored. Unless it says otherwise, the directory is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("cannot read it: {0}")]
    Read(io::Error),
    #[error(
        "it holds data of schema {found}, written by Warren {warren}, and this version knows schema {SCHEMA}: use \
         that version, or a newer one"
    )]
    Schema { found: u32, warren: String },
    #[error("it was not written by `warren backup`: its record {0} is out of place")]
    OutOfPlace(&'static str),
    #[error(
        "`{}` is not empty: it holds `{found}`; name another directory with --data, or put what is there aside with \
         --force",
        data.display()
    )]
    NotEmpty { data: PathBuf, found: String },
    #[error("`{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns whether a restore into this data directory was interrupted at its last step, after it
/// had set the old store aside.
pub(crate) fn is_unfinished(data: &Path) -> bool {
    data.join(STAGING).exists() && !data.join(STORE).exists()
}

/// Restores a backup into a data directory, which is created if it is missing. Without `force`, a
/// directory that is not empty is refused; with it, the existing store is kept under another name
/// and artifacts are added to the existing ones. `progress` is called with the number of bytes read
/// each time, and with the size of the header. Blocks.
///
/// Workers that have seen a later state follow the restored one, because its term, fence and
/// revision are higher than any that can have been issued.
pub fn restore(
    source: impl Read,
    data: &Path,
    force: bool,
    progress: impl FnMut(usize, u64),
) -> Result<Restored, RestoreError> {
    let staging = data.join(STAGING);
    let store = data.join(STORE);
    data_dir::open(data).map_err(about(data))?;
    if !force {
        // Checked before the lock creates a file of its own, and again once no other process can
        // change the directory.
        check_empty(data)?;
    }
    let made = !store.exists();
    let lock = sled::lock(&store)?;
    let restored = (|| {
        if !force {
            check_empty(data)?;
        }
        remove(&staging)?;
        let mut stage = Stage::begin(&staging)?;
        stage.read(source, progress)?;
        let staged = stage.finish()?;
        let replaced = put_in_place(data, &staging)?;
        Ok(Restored { replaced, ..staged })
    })();
    drop(lock);
    if restored.is_err() {
        // Leftover files add nothing to the error, and the next restore starts from the beginning.
        let _ = remove(&staging);
        if made {
            let _ = fs::remove_dir_all(&store);
        }
    }
    restored
}

/// Fails if the directory contains anything but what a restore or a file system puts there.
fn check_empty(data: &Path) -> Result<(), RestoreError> {
    for entry in fs::read_dir(data).map_err(about(data))? {
        let name = entry.map_err(about(data))?.file_name();
        let name = name.to_string_lossy();
        let is_empty = |kept: &[&str]| -> Result<bool, RestoreError> {
            let path = data.join(&*name);
            let mut entries = fs::read_dir(&path).map_err(about(&path))?;
            Ok(!entries.any(|entry| {
                let name = entry.map(|entry| entry.file_name()).unwrap_or_default();
                !kept.iter().any(|kept| name == **kept)
            }))
        };
        let harmless = match &*name {
            STAGING | "lost+found" => true,
            STORE => is_empty(&["LOCK"])?,
            ARTIFACTS => is_empty(&[])?,
            name => name.starts_with(REPLACED),
        };
        if !harmless {
            return Err(RestoreError::NotEmpty {
                data: data.to_owned(),
                found: name.into_owned(),
            });
        }
    }
    Ok(())
}

/// Renames everything that was staged into place. The caller holds the lock of the existing store.
fn put_in_place(data: &Path, staging: &Path) -> Result<Option<PathBuf>, RestoreError> {
    let artifacts = data.join(ARTIFACTS);
    private::open_dir(&artifacts).map_err(about(&artifacts))?;
    let staged = staging.join(ARTIFACTS);
    for entry in fs::read_dir(&staged).map_err(about(&staged))? {
        let entry = entry.map_err(about(&staged))?;
        let to = artifacts.join(entry.file_name());
        fs::rename(entry.path(), &to).map_err(about(&to))?;
    }
    sync(&artifacts)?;

    let store = data.join(STORE);
    let only_lock = fs::read_dir(&store).map_err(about(&store))?.count() <= 1;
    let aside = (1..)
        .map(|number| data.join(format!("{REPLACED}{number}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| data.join(REPLACED));
    fs::rename(&store, &aside).map_err(about(&aside))?;
    // A control plane that starts at this moment finds no store, but `.restore`, and so refuses to
    // create an empty store.
    fs::rename(staging.join(STORE), &store).map_err(about(&store))?;
    sync(data)?;
    remove(staging)?;
    if only_lock {
        remove(&aside)?;
        return Ok(None);
    }
    Ok(Some(aside))
}

/// The staged files.
struct Stage {
    artifacts: PathBuf,
    store: Loader,
    header: Option<Header>,
    artifact: Option<Writing>,
    restored: Restored,
}

/// An artifact whose bytes are being received.
struct Writing {
    digest: Digest,
    path: PathBuf,
    file: File,
    hasher: Hasher,
}

// === impl Stage ===

impl Stage {
    fn begin(staging: &Path) -> Result<Self, RestoreError> {
        let artifacts = staging.join(ARTIFACTS);
        private::create_dir(&artifacts).map_err(about(&artifacts))?;
        Ok(Self {
            store: Loader::create(&staging.join(STORE))?,
            artifacts,
            header: None,
            artifact: None,
            restored: Restored {
                time: None,
                workloads: 0,
                artifacts: 0,
                missing: Vec::new(),
                replaced: None,
            },
        })
    }

    fn read(
        &mut self,
        mut source: impl Read,
        mut progress: impl FnMut(usize, u64),
    ) -> Result<(), RestoreError> {
        let mut decoder = Decoder::default();
        let mut piece = vec![0; PIECE];
        loop {
            let length = match source.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(RestoreError::Read(error)),
            };
            decoder.push(&piece[..length]);
            while let Some(body) = decoder.record()? {
                self.take(body)?;
            }
            let size = self.header.as_ref().map_or(0, |header| header.size_bytes);
            progress(length, size);
        }
        Ok(decoder.finish()?)
    }

    fn take(&mut self, body: Body) -> Result<(), RestoreError> {
        match (body, self.artifact.take()) {
            (Body::Header(header), None) => {
                if header.schema > SCHEMA {
                    return Err(RestoreError::Schema {
                        found: header.schema,
                        warren: header.warren,
                    });
                }
                self.restored.time = header.time;
                self.restored.workloads = header.workloads;
                self.header = Some(header);
            }
            (Body::Entries(entries), None) => self.add(entries)?,
            (Body::Artifact(artifact), None) => {
                let digest = Digest::parse(&artifact.digest)
                    .map_err(|_| RestoreError::OutOfPlace("Artifact"))?;
                let path = self.artifacts.join(digest.hex());
                let mut options = File::options();
                options.create(true).truncate(true).write(true);
                let file = options.mode(private::FILE).open(&path);
                self.artifact = Some(Writing {
                    digest,
                    file: file.map_err(about(&path))?,
                    path,
                    hasher: Hasher::new(),
                });
            }
            (Body::Chunk(chunk), Some(mut artifact)) => {
                artifact.hasher.update(&chunk);
                let written = artifact.file.write_all(&chunk);
                written.map_err(about(&artifact.path))?;
                self.artifact = Some(artifact);
            }
            (Body::ArtifactEnd(end), Some(artifact)) => {
                let Writing {
                    digest,
                    path,
                    file,
                    hasher,
                } = artifact;
                if end.missing.is_empty() && hasher.finish() == digest {
                    file.sync_all().map_err(about(&path))?;
                    self.restored.artifacts += 1;
                } else {
                    fs::remove_file(&path).map_err(about(&path))?;
                    self.restored.missing.push(digest.to_string());
                }
            }
            (Body::End(_), None) => {}
            (_, None) => return Err(RestoreError::OutOfPlace("with bytes of an artifact")),
            (_, Some(_)) => return Err(RestoreError::OutOfPlace("inside an artifact")),
        }
        Ok(())
    }

    fn add(&mut self, entries: Entries) -> Result<(), RestoreError> {
        let mut batch = BTreeMap::new();
        for entry in entries.entries {
            let mut value = entry.value;
            if [keys::TERM, keys::FENCE].contains(&entry.key.as_str()) {
                let last = state::number(&entry.key, &value)?;
                value = last.saturating_add(TERMS_PER_LOSS).to_string().into();
            }
            if entry.key.starts_with(keys::ARTIFACTS) {
                value = in_use(&entry.key, value, entry.revision)?;
            }
            let versioned = Versioned {
                value,
                revision: entry.revision,
            };
            batch.insert(entry.key, versioned);
        }
        Ok(self.store.add(batch)?)
    }

    fn finish(self) -> Result<Restored, RestoreError> {
        // The decoder saw the header and the end, or it would have refused.
        let revision = self.header.map_or(0, |header| header.revision);
        self.store.finish(revision)?;
        sync(&self.artifacts)?;
        Ok(self.restored)
    }
}

/// Restarts the time for which an artifact has been unused: the time since the backup must not
/// count.
fn in_use(key: &str, value: Bytes, revision: Revision) -> Result<Bytes, StoreError> {
    let artifact = state::decode::<v1::Artifact>(key, &value, revision)?.value;
    Ok(state::encode(&v1::Artifact {
        unused_since: None,
        ..artifact
    }))
}

fn about(path: &Path) -> impl FnOnce(io::Error) -> RestoreError + '_ {
    |source| RestoreError::Io {
        path: path.to_owned(),
        source,
    }
}

fn sync(directory: &Path) -> Result<(), RestoreError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(about(directory))
}

fn remove(path: &Path) -> Result<(), RestoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(about(path)(error)),
        _ => Ok(()),
    }
}
