//! Names of things: DNS labels (RFC 1123), and ids that are never used twice.

use std::{fmt, str::FromStr, sync::Arc};

use crate::ambient;

/// A DNS label: 1 to 63 of `a-z`, `0-9` and `-`, with a letter or digit at both ends. Cheap to
/// clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// The text is not a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid name: use 1 to 63 of a-z, 0-9 and '-', with a letter or digit first and last"
)]
pub struct NameError(String);

/// The name by which people identify a workload. Its `uid` distinguishes successive workloads of
/// the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId {
    pub namespace: Name,
    pub name: Name,
}

/// Lower-case base32 of RFC 4648: nothing in it is mistaken for something else when read aloud.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Returns a new replica id: the workload's name and ten random base32 digits (50 bits).
pub fn replica_id(workload: &Name) -> String {
    let mut bits = ambient::random();
    let mut id = format!("{workload}-");
    for _ in 0..10 {
        id.push(char::from(BASE32[(bits % 32) as usize]));
        bits /= 32;
    }
    id
}

/// Returns a new uid: a version 7 UUID, so that later ones sort after earlier ones.
pub fn uid() -> String {
    ambient::uuid_by_time().to_string()
}

// === impl Name ===

impl Name {
    /// Checks that the text is a DNS label.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if is_dns_label(text) {
            Ok(Self(text.into()))
        } else {
            Err(NameError(text.to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

// === impl WorkloadId ===

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_dns_labels() {
        let longest = "a".repeat(63);
        for text in ["a", "0", "a-b", "a--b", "counter-2", longest.as_str()] {
            assert_eq!(Name::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_everything_else() {
        let too_long = "a".repeat(64);
        for text in [
            "",
            "-",
            "-a",
            "a-",
            "A",
            "a.b",
            "a_b",
            "ä",
            "a b",
            "a\n",
            too_long.as_str(),
        ] {
            let error = Name::parse(text).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn replica_ids_are_names_of_their_workload_and_differ() {
        let workload = Name::parse("cache").unwrap();
        let ids: BTreeSet<_> = (0..1000).map(|_| replica_id(&workload)).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(id.len(), "cache-".len() + 10);
            assert!(id.starts_with("cache-"));
            Name::parse(&id).unwrap();
        }
    }

    #[test]
    fn uids_sort_by_age() {
        let (older, newer) = (uid(), uid());
        assert!(older < newer, "{older} {newer}");
    }

    proptest! {
        #[test]
        fn parse_and_display_round_trip(text in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?") {
            let name = Name::parse(&text).unwrap();
            prop_assert_eq!(name.to_string().parse::<Name>().unwrap(), name);
        }
    }
}
