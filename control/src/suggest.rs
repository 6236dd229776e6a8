//! Suggests what was meant by a name that does not exist.

use warren_model::name::WorkloadId;

use crate::index::Index;

/// Names that are less similar than this are not typing mistakes of each other.
const SIMILAR: f64 = 0.8;
/// The least similarity of two names that differ in one letter: in a short name, a letter that is
/// wrong, missing, surplus or swapped counts for more than `SIMILAR` allows.
const ONE_LETTER: f64 = 0.9;
const SHORTEST: usize = 3;
/// The number of other namespaces that one message names.
const MAX_NAMESPACES: usize = 3;

/// Returns the candidate that is most similar to `wanted`, if one is similar enough.
pub fn nearest(wanted: &str, candidates: impl IntoIterator<Item = String>) -> Option<String> {
    candidates
        .into_iter()
        .map(|name| (similarity(wanted, &name), name))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

fn similarity(one: &str, other: &str) -> f64 {
    let similar = strsim::jaro_winkler(one, other);
    match one.len().min(other.len()) {
        SHORTEST.. if strsim::osa_distance(one, other) == 1 => similar.max(ONE_LETTER),
        _ => similar,
    }
}

/// Returns "did you mean `x`?", or an empty text.
pub fn did_you_mean(wanted: &str, candidates: impl IntoIterator<Item = String>) -> String {
    nearest(wanted, candidates)
        .map(|name| format!("did you mean `{name}`?"))
        .unwrap_or_default()
}

/// Something that a request names and that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {kind} `{name}`{}{hint}", if hint.is_empty() { "" } else { ": " })]
pub struct Absent {
    pub kind: &'static str,
    pub name: String,
    /// What exists instead, or what to do. May be empty.
    pub hint: String,
}

impl Absent {
    /// A workload, with where its name exists or which name is similar.
    pub fn workload(index: &Index, id: &WorkloadId) -> Self {
        Self {
            kind: "workload",
            name: id.to_string(),
            hint: workload(index, id),
        }
    }
}

fn workload(index: &Index, wanted: &WorkloadId) -> String {
    let ids = index.ids();
    let elsewhere: Vec<_> = ids
        .iter()
        .filter(|id| id.name == wanted.name && id.namespace != wanted.namespace)
        .take(MAX_NAMESPACES)
        .map(|id| format!("`{}`", id.namespace))
        .collect();
    let here = ids
        .iter()
        .filter(|id| id.namespace == wanted.namespace)
        .map(|id| id.name.to_string());
    let similar = did_you_mean(wanted.name.as_str(), here);
    match elsewhere.as_slice() {
        [] => similar,
        [one] => join(format!("there is one in namespace {one}"), &similar),
        several => join(
            format!("there are some in namespaces {}", several.join(", ")),
            &similar,
        ),
    }
}

fn join(first: String, second: &str) -> String {
    match second {
        "" => first,
        _ => format!("{first}; {second}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_name_is_suggested_and_no_other_one() {
        let names = || ["counter", "count", "cache"].map(str::to_owned);
        assert_eq!(nearest("conuter", names()).as_deref(), Some("counter"));
        assert_eq!(nearest("zebra", names()), None);
        assert_eq!(nearest("wbe", ["web".to_owned()]).as_deref(), Some("web"));
        assert_eq!(nearest("a", ["b".to_owned()]), None);
        assert_eq!(did_you_mean("cach", names()), "did you mean `cache`?");
        assert_eq!(did_you_mean("x", []), "");
    }
}
