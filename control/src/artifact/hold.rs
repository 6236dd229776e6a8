//! Files that stay for somebody who reads them one after the other, though they may be removed meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use warren_model::digest::Digest;

use super::{ArtifactFiles, path};

/// Who holds what.
#[derive(Debug, Default)]
pub(super) struct Holds {
    held: BTreeMap<Digest, usize>,
    /// Held, and removed for everybody else.
    doomed: BTreeSet<Digest>,
}

/// Artifacts whose files stay until this is dropped.
#[derive(Debug)]
pub struct Held {
    files: ArtifactFiles,
    digests: BTreeSet<Digest>,
}

// === impl Holds ===

impl Holds {
    /// Whether it is held, so that its file goes later.
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

    /// It is here again.
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

    /// Where they are read.
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
                    // Under the lock: nobody pushes it again in between. A file that stays is only waste.
                    let _ = fs::remove_file(path(&self.files.directory, *digest));
                }
            }
        }
    }
}
