//! Scalars of a manifest, and its layout by the emitter of `yaml-rust2`.
//!
//! The emitter would read some texts back as numbers or dates in other versions of YAML, so it is
//! given every scalar as it is to be written.

use std::fmt::Write;

use yaml_rust2::{Yaml, YamlEmitter};

use crate::digest::Digest;

/// A scalar that is written as it is.
pub(super) fn plain(value: impl ToString) -> Yaml {
    Yaml::Real(value.to_string())
}

/// A text, in quotes where it needs them.
pub(super) fn text(text: &str) -> Yaml {
    plain(scalar(text))
}

/// Returns the whole document, without a marker before it.
pub(super) fn document(document: &Yaml) -> String {
    let mut out = String::new();
    if YamlEmitter::new(&mut out).dump(document).is_err() {
        unreachable!("a String accepts all that is written to it");
    }
    out.push('\n');
    out.split_off("---\n".len())
}

/// Returns the text plain where no reader of YAML could take it for anything else, otherwise in
/// double quotes.
fn scalar(text: &str) -> String {
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '.')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./@".contains(c));
    let digest = Digest::parse(text).is_ok();
    let lower = text.to_ascii_lowercase();
    // Words of YAML 1.1 as well, and the numbers that begin with a letter or a dot.
    let reserved = [
        "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".inf", ".nan",
    ];
    let number = text
        .strip_prefix('.')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if (word && !reserved.contains(&lower.as_str()) && !number) || digest {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            c => {
                if write!(quoted, "\\U{:08X}", u32::from(c)).is_err() {
                    unreachable!("a String accepts all that is written to it");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}
