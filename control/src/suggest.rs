//! What somebody may have meant by a name that nothing has.

use warren_model::name::WorkloadId;

use crate::index::Index;

/// Names further from each other than this are no typing mistakes.
const SIMILAR: f64 = 0.8;
/// In a short name one letter counts for more than that: one wrong, missing, surplus or swapped is near all the same.
const ONE_LETTER: f64 = 0.9;
const SHORTEST: usize = 3;
/// Other namespaces that one message names.
const MAX_NAMESPACES: usize = 3;

/// The candidate most like `wanted`, if one is like it.
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

/// "did you mean `x`?", or nothing.
pub fn did_you_mean(wanted: &str, candidates: impl IntoIterator<Item = String>) -> String {
    nearest(wanted, candidates)
        .map(|name| format!("did you mean `{name}`?"))
        .unwrap_or_default()
}

/// For a workload that is not there: where its name exists, or which name is like it.
pub fn workload(index: &Index, wanted: &WorkloadId) -> String {
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
