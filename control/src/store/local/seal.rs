//! Seals: how a store detects that it has lost data.
//!
//! A database that encounters a flipped byte in its log treats it as the end of the log, and opens
//! with an earlier state without reporting an error. So the state is sealed twice. A seal has a
//! number that no other write ever had, and a digest of everything that is stored at that time. One
//! seal is kept in the database and is written in the same batch as the data that it seals:
//! whatever state the database opens with is therefore either exactly one that was written, or
//! known to be damaged. The other is kept apart and is written after the flush, before anything is
//! acknowledged: the database may be ahead of it by writes that were never acknowledged, but never
//! behind it.
//!
//! The digest is the XOR of the SHA-256 of every entry. A commit removes the entries that it
//! replaces and adds those that it writes, so its cost depends on the change and not on the size of
//! the store; opening reads everything once. XOR is sufficient because each key occurs once and
//! damage is not an adversary: anyone who can write to the directory can write a seal as well.

use std::{collections::BTreeMap, fmt};

use sha2::{Digest as _, Sha256};

use super::{
    super::{Revision, Versioned},
    Contents,
};

/// Identifies the write that produced a state, and the contents of that state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Increases with every attempted write; 0 if nothing was sealed yet.
    pub sequence: u64,
    pub revision: Revision,
    /// When it was written, in milliseconds since 1970: for people.
    pub time: u64,
    pub digest: StateDigest,
}

/// A digest of all entries, independent of their order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StateDigest(pub [u8; 32]);

/// The difference between what is stored and what was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// An earlier state, which lacks changes that were acknowledged after it.
    Behind { found: Seal, acknowledged: Seal },
    /// All sealed data is missing.
    Gone { acknowledged: Seal },
    /// The contents differ from what was written: parts are missing, or belong to another state.
    Contents,
    /// It is unknown what was acknowledged.
    Unsealed,
}

/// The sequence numbers reserved for each opening of a store. The next opening starts above them,
/// so that no number is ever used twice, not even if a crash reverted the last writes.
const SEQUENCES_PER_OPEN: u64 = 1 << 32;

// === impl StateDigest ===

impl StateDigest {
    pub fn of(entries: &BTreeMap<String, Versioned>) -> Self {
        let mut digest = Self::default();
        for (key, versioned) in entries {
            digest.toggle(key, versioned);
        }
        digest
    }

    /// Adds or removes an entry.
    pub fn toggle(&mut self, key: &str, versioned: &Versioned) {
        let mut hasher = Sha256::new();
        // Lengths come first, so that no two different entries have the same bytes.
        hasher.update((key.len() as u64).to_be_bytes());
        hasher.update(key);
        hasher.update(versioned.revision.to_be_bytes());
        hasher.update(&versioned.value);
        for (byte, other) in self.0.iter_mut().zip(hasher.finalize()) {
            *byte ^= other;
        }
    }

    /// After these keys have become this, over `before`.
    pub fn changed(
        mut self,
        before: &BTreeMap<String, Versioned>,
        changes: &BTreeMap<String, Option<Versioned>>,
    ) -> Self {
        for (key, now) in changes {
            if let Some(old) = before.get(key) {
                self.toggle(key, old);
            }
            if let Some(now) = now {
                self.toggle(key, now);
            }
        }
        self
    }
}

impl fmt::Debug for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

// === impl Seal ===

impl Seal {
    /// That of a state which is opened over the two that were found.
    pub fn opening(contents: &Contents, stands_apart: Option<Seal>, time: u64) -> Self {
        let sequence = |seal: Option<Seal>| seal.map_or(0, |seal| seal.sequence);
        let last = sequence(contents.seal).max(sequence(stands_apart));
        Self {
            sequence: (last / SEQUENCES_PER_OPEN + 1) * SEQUENCES_PER_OPEN,
            revision: contents.revision,
            time,
            digest: StateDigest::of(&contents.entries),
        }
    }
}

/// Checks that this state contains everything that was acknowledged.
pub(super) fn verify(contents: &Contents, stands_apart: Option<Seal>) -> Result<(), Damage> {
    match (contents.seal, stands_apart) {
        // New, of an earlier version of Warren, or at its very first opening when that was cut
        // short.
        (None, None | Some(Seal { sequence: 0, .. })) => Ok(()),
        (None, Some(acknowledged)) => Err(Damage::Gone { acknowledged }),
        (Some(_), None) => Err(Damage::Unsealed),
        (Some(found), Some(acknowledged)) => {
            if found.sequence < acknowledged.sequence {
                return Err(Damage::Behind {
                    found,
                    acknowledged,
                });
            }
            let is_whole = found.revision == contents.revision
                && found.digest == StateDigest::of(&contents.entries);
            let is_that = found.sequence > acknowledged.sequence || found == acknowledged;
            match is_whole && is_that {
                true => Ok(()),
                false => Err(Damage::Contents),
            }
        }
    }
}

// === impl Damage ===

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind {
                found,
                acknowledged,
            } => write!(
                f,
                "it holds the state of {}, but changes were acknowledged until {}: the changes between these times are missing",
                Time(found.time),
                Time(acknowledged.time)
            ),
            Self::Gone { acknowledged } => write!(
                f,
                "nothing is left of what was acknowledged until {}",
                Time(acknowledged.time)
            ),
            Self::Contents => {
                f.write_str("what it holds is not what was written: parts of it are missing or old")
            }
            Self::Unsealed => f.write_str(
                "its file SEAL is missing or damaged, so it is unknown whether anything else is missing",
            ),
        }
    }
}

/// Milliseconds since 1970, displayed as in RFC 3339.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = prost_types::Timestamp {
            seconds: i64::try_from(self.0 / 1000).unwrap_or_default(),
            nanos: i32::try_from(self.0 % 1000 * 1_000_000).unwrap_or_default(),
        };
        fmt::Display::fmt(&time, f)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn contents(entries: &[(&str, &'static str, Revision)]) -> Contents {
        let entry = |(key, value, revision): &(&str, &'static str, Revision)| {
            let versioned = Versioned {
                value: Bytes::from_static(value.as_bytes()),
                revision: *revision,
            };
            ((*key).to_owned(), versioned)
        };
        Contents {
            entries: entries.iter().map(entry).collect(),
            revision: 9,
            seal: None,
        }
    }

    #[test]
    fn every_part_of_every_entry_counts() {
        let digests = [
            contents(&[]),
            contents(&[("a", "1", 1)]),
            contents(&[("a", "1", 2)]),
            contents(&[("a", "2", 1)]),
            contents(&[("b", "1", 1)]),
            contents(&[("a1", "", 1)]),
            contents(&[("a", "1", 1), ("b", "1", 1)]),
        ]
        .map(|contents| StateDigest::of(&contents.entries));
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(digest), "{at}");
        }
    }

    #[test]
    fn a_change_costs_only_what_it_changes() {
        let before = contents(&[("a", "1", 1), ("b", "1", 1), ("c", "1", 1)]).entries;
        let after = contents(&[("a", "1", 1), ("b", "2", 2), ("d", "1", 2)]).entries;
        let changes = ["b", "c", "d", "never"]
            .map(|key| (key.to_owned(), after.get(key).cloned()))
            .into();
        let digest = StateDigest::of(&before).changed(&before, &changes);
        assert_eq!(digest, StateDigest::of(&after));
    }

    #[test]
    fn each_way_of_losing_something_has_its_name() {
        let seal = |sequence, contents: &Contents| Seal {
            sequence,
            revision: contents.revision,
            time: 1_000 * sequence,
            digest: StateDigest::of(&contents.entries),
        };
        let stored = |sequence, entries| {
            let mut contents = contents(entries);
            contents.seal = Some(seal(sequence, &contents));
            contents
        };
        let old = stored(4, &[("a", "1", 1)]);
        let new = stored(5, &[("a", "2", 2)]);
        let mut partial = new.clone();
        partial.entries.clear();
        let mut elsewhere = new.clone();
        elsewhere.revision = 1;
        let other = stored(5, &[("a", "3", 2)]);
        let (at, none) = (|contents: &Contents| contents.seal, contents(&[]));
        let behind = Damage::Behind {
            found: at(&old).unwrap_or_default(),
            acknowledged: at(&new).unwrap_or_default(),
        };
        let gone = Damage::Gone {
            acknowledged: at(&new).unwrap_or_default(),
        };
        for (case, contents, apart, expected) in [
            ("new", &none, None, Ok(())),
            ("opened once", &none, Some(Seal::default()), Ok(())),
            ("in order", &new, at(&new), Ok(())),
            ("the crash came before the seal", &new, at(&old), Ok(())),
            ("an earlier state", &old, at(&new), Err(behind)),
            ("empty", &none, at(&new), Err(gone)),
            ("a part", &partial, at(&new), Err(Damage::Contents)),
            ("a part, ahead", &partial, at(&old), Err(Damage::Contents)),
            ("a revision", &elsewhere, at(&new), Err(Damage::Contents)),
            ("another state", &other, at(&new), Err(Damage::Contents)),
            ("no seal apart", &new, None, Err(Damage::Unsealed)),
        ] {
            assert_eq!(verify(contents, apart), expected, "{case}");
        }
    }

    #[test]
    fn damage_is_told_in_times() {
        let at = |time| Seal {
            time,
            ..Seal::default()
        };
        let damage = Damage::Behind {
            found: at(1_700_000_000_000),
            acknowledged: at(1_700_000_060_500),
        };
        assert_eq!(
            damage.to_string(),
            "it holds the state of 2023-11-14T22:13:20Z, but changes were acknowledged until \
             2023-11-14T22:14:20.500Z: the changes between these times are missing"
        );
    }
}
