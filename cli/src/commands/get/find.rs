//! Finds an object by a part of its name, because ids and digests are long and rarely typed in
//! full.

use std::{fmt, str::FromStr};

use tonic::{Code, Status};
use warren_model::digest::Digest;
use warren_proto::v1;

use crate::client::{Server, requests::Scope};

/// The replicas that a name stands for.
#[derive(Debug, PartialEq)]
pub enum Replicas {
    One(Box<v1::Replica>),
    /// The replicas of the workload with this name.
    Of(Vec<v1::Replica>),
}

/// A digest of an artifact or its beginning; `sha256:` may be omitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestPrefix(String);

/// The maximum number of matches in a message.
const SHOWN: usize = 5;

/// Returns the replica with this id, the replicas of the workload of this name, or the only replica
/// whose id begins with the name.
pub async fn replicas(server: &Server, namespace: &str, name: &str) -> Result<Replicas, Status> {
    let all = server
        .select_replicas(&Scope::workload(namespace, ""))
        .await?;
    if let Some(one) = all.iter().find(|replica| replica.id == name) {
        return Ok(Replicas::One(Box::new(one.clone())));
    }
    // A workload may have no replicas, and its name is the beginning of its replicas' ids.
    let no_workload = match server.get_workload(namespace, name).await {
        Ok(_) => {
            let its = all.into_iter().filter(|replica| replica.workload == name);
            return Ok(Replicas::Of(its.collect()));
        }
        Err(status) if is_unknown(&status) => status,
        Err(status) => return Err(status),
    };
    match by_prefix(all, name, |replica| &replica.id) {
        Ok(one) => Ok(Replicas::One(Box::new(one))),
        Err(Prefix::Nobody) => Err(Status::not_found(format!(
            "no replica in namespace {namespace} begins with `{name}`, and {}",
            no_workload.message()
        ))),
        Err(Prefix::Several(ids)) => Err(several("replica", name, &ids)),
    }
}

/// Returns the only replica whose id begins with the name, or the only replica of the workload of
/// this name.
pub async fn replica(server: &Server, namespace: &str, name: &str) -> Result<v1::Replica, Status> {
    let mut its = match replicas(server, namespace, name).await? {
        Replicas::One(one) => return Ok(*one),
        Replicas::Of(its) => its,
    };
    match its.len() {
        0 => Err(Status::not_found(format!(
            "workload `{name}` has no replicas"
        ))),
        1 => Ok(its.remove(0)),
        _ => {
            let ids: Vec<String> = its.into_iter().map(|replica| replica.id).collect();
            Err(several("replica", name, &ids))
        }
    }
}

/// Returns the only artifact whose digest begins with the prefix.
pub async fn artifact(server: &Server, digest: &DigestPrefix) -> Result<v1::Artifact, Status> {
    if digest.is_whole() {
        return server.stat_artifact(&digest.0).await;
    }
    let all = server.list_artifacts().await?;
    by_prefix(all, &digest.0, |artifact| &artifact.digest).map_err(|found| match found {
        Prefix::Nobody => Status::not_found(format!(
            "no artifact has a digest that begins with `{digest}`"
        )),
        Prefix::Several(digests) => several("artifact", &digest.0, &digests),
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Prefix {
    Nobody,
    Several(Vec<String>),
}

fn by_prefix<T>(all: Vec<T>, prefix: &str, id: impl Fn(&T) -> &String) -> Result<T, Prefix> {
    let mut found: Vec<T> = all
        .into_iter()
        .filter(|one| id(one).starts_with(prefix))
        .collect();
    match found.len() {
        0 => Err(Prefix::Nobody),
        1 => Ok(found.remove(0)),
        _ => Err(Prefix::Several(
            found.iter().map(|one| id(one).clone()).collect(),
        )),
    }
}

fn several(kind: &str, prefix: &str, ids: &[String]) -> Status {
    let shown = ids[..ids.len().min(SHOWN)].join(", ");
    let more = match ids.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Status::invalid_argument(format!(
        "`{prefix}` is more than one {kind}: {shown}{more}; write more of it"
    ))
}

/// An invalid name counts as unknown, because the beginning of an id may end with a dash.
fn is_unknown(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::InvalidArgument)
}

// === impl DigestPrefix ===

impl DigestPrefix {
    fn is_whole(&self) -> bool {
        Digest::parse(&self.0).is_ok()
    }
}

impl FromStr for DigestPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if digits.is_empty() || digits.len() > 64 || !digits.chars().all(hex) {
            return Err(format!(
                "`{text}` is not a digest: write `sha256:` and its 64 lower-case hexadecimal digits, or the first of them, as `warren get artifacts` prints them"
            ));
        }
        Ok(Self(format!("sha256:{digits}")))
    }
}

impl fmt::Display for DigestPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_ids() {
        let all = || ["a-11", "a-12", "b-11"].map(str::to_owned).to_vec();
        let find = |prefix: &str| by_prefix(all(), prefix, |id| id);
        assert_eq!(find("b"), Ok("b-11".to_owned()));
        assert_eq!(find("a-12"), Ok("a-12".to_owned()));
        assert_eq!(find("c"), Err(Prefix::Nobody));
        let Err(Prefix::Several(ids)) = find("a-1") else {
            panic!("two begin so");
        };
        assert_eq!(
            several("replica", "a-1", &ids).message(),
            "`a-1` is more than one replica: a-11, a-12; write more of it"
        );
        let many: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        assert!(
            several("replica", "x", &many)
                .message()
                .contains("3, 4 and 2 more;")
        );
    }

    #[test]
    fn digests_and_their_beginnings() {
        let whole = format!("sha256:{}", "0f".repeat(32));
        for (text, read, is_whole) in [
            (whole.as_str(), whole.as_str(), true),
            ("sha256:ab12", "sha256:ab12", false),
            ("ab12", "sha256:ab12", false),
        ] {
            let prefix: DigestPrefix = text.parse().unwrap();
            assert_eq!(
                (prefix.to_string().as_str(), prefix.is_whole()),
                (read, is_whole)
            );
        }
        for text in ["", "sha256:", "AB", "xyz", &"0".repeat(65)] {
            let error = text.parse::<DigestPrefix>().unwrap_err();
            assert!(error.contains("64 lower-case"), "{error}");
        }
    }
}
