//! Files that stay for a reader that takes them one after the other, even if they are removed in
//! the meantime.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use warren_model::digest::Digest;

use super::{ArtifactFiles, path};

/// The files that are held.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// The number of holders of each file.
    held: BTreeMap<Digest, usize>,
    /// Files that are held, and removed for everything else.
    doomed: BTreeSet<Digest>,
}

/// Keeps the files of artifacts until it is dropped.
#[derive(Debug)]
pub struct Held {
    files: ArtifactFiles,
    digests: BTreeSet<Digest>,
}

// === impl Holds ===

impl Holds {
    /// Marks a file for removal once it is released. Returns false where nothing holds it.
    pub fn doom(&mut self, digest: Digest) -> bool {
        let held = self.held.contains_key(&digest);
        if held {
            self.doomed.insert(digest);
        }
        held
    }

    pub fn is_doomed(&self, digest: Digest) -> bool {
        self.doomed.contains(&digest)
    }

    /// Takes the mark of a file away, because it was pushed again.
    pub fn spare(&mut self, digest: Digest) {
        self.doomed.remove(&digest);
    }
}

// === impl Held ===

impl Held {
    pub(super) fn begin(files: ArtifactFiles, digests: impl IntoIterator<Item = Digest>) -> Self {
        let digests: BTreeSet<_> = digests.into_iter().collect();
        {
            let mut holds = files.holds.lock();
            for digest in &digests {
                *holds.held.entry(*digest).or_default() += 1;
            }
        }
        Self { files, digests }
    }

    /// Returns the directory that the files are read from.
    pub fn files(&self) -> &ArtifactFiles {
        &self.files
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holds = self.files.holds.lock();
        for digest in &self.digests {
            let Some(holders) = holds.held.get_mut(digest) else {
                continue;
            };
            *holders -= 1;
            if *holders == 0 {
                holds.held.remove(digest);
                if holds.doomed.remove(digest) {
                    // Under the lock, so that it is not pushed again in between. A file that stays
                    // is only waste.
                    let _ = fs::remove_file(path(&self.files.directory, *digest));
                }
            }
        }
    }
}
