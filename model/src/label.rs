//! Labels, with the syntax of Kubernetes: `[prefix/]name` keys and short values.

use std::collections::BTreeMap;

use crate::{error::Violations, hostname};

/// Checks every label; `field` is the path of the map, and a violation is reported at `field[key]`.
pub fn check(field: &str, labels: &BTreeMap<String, String>, violations: &mut Violations) {
    for (key, value) in labels {
        let at = format!("{field}[{key}]");
        if check_key(&at, key, violations) && !(value.is_empty() || is_name(value)) {
            violations.push(
                at,
                format_args!(
                    "`{value}` is not a label value: use up to 63 of A-Z, a-z, 0-9, '-', '_' and '.', with a letter or digit first and last"
                ),
            );
        }
    }
}

/// Checks the key of a label and returns whether it is valid; a violation is reported at `field`.
pub fn check_key(field: &str, key: &str, violations: &mut Violations) -> bool {
    let valid = is_key(key);
    if !valid {
        violations.push(
            field,
            format_args!(
                "`{key}` is not a label key: use up to 63 of A-Z, a-z, 0-9, '-', '_' and '.', with a letter or digit first and last, and before it, if wanted, a DNS name and '/'"
            ),
        );
    }
    valid
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => {
            hostname::normalise(prefix).is_ok_and(|normal| normal == prefix) && is_name(name)
        }
        None => is_name(key),
    }
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(key: &str, value: &str) -> Violations {
        let mut violations = Violations::default();
        check(
            "labels",
            &BTreeMap::from([(key.to_owned(), value.to_owned())]),
            &mut violations,
        );
        violations
    }

    #[test]
    fn accepts_what_kubernetes_accepts() {
        let longest = "a".repeat(63);
        for (key, value) in [
            ("zone", "a"),
            ("zone", ""),
            ("Zone_1.x-y", "Value_1.x-y"),
            ("example.com/zone", "a"),
            (longest.as_str(), longest.as_str()),
        ] {
            assert_eq!(
                violations(key, value),
                Violations::default(),
                "{key}={value}"
            );
        }
    }

    #[test]
    fn refuses_the_rest_at_its_key() {
        let too_long = "a".repeat(64);
        for (key, value, what) in [
            ("", "a", "label key"),
            ("-a", "a", "label key"),
            ("a/", "a", "label key"),
            ("/a", "a", "label key"),
            ("a/b/c", "a", "label key"),
            ("A.b/c", "a", "label key"),
            (too_long.as_str(), "a", "label key"),
            ("a", "b c", "label value"),
            ("a", "b_", "label value"),
            ("a", too_long.as_str(), "label value"),
        ] {
            let Violations(found) = violations(key, value);
            assert_eq!(found.len(), 1, "{key}={value}");
            assert_eq!(found[0].field, format!("labels[{key}]"));
            assert!(
                found[0].message.contains(what),
                "{key}={value}: {}",
                found[0].message
            );
        }
    }
}
