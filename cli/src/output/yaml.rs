//! Formats JSON values as YAML.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Shown, harmless::is_hazard};

/// Formats one value, without `---`.
pub fn to_string(value: &Value) -> Shown {
    let mut out = String::new();
    write(value, 0, &mut out);
    out.truncate(out.trim_end_matches('\n').len());
    Shown::unchanged(out)
}

/// Formats one document of several, after its `---`.
pub fn document(value: &Value) -> Shown {
    Shown::unchanged("---\n").and(to_string(value))
}

/// Writes lines at this depth. The indentation of the first line has already been written.
fn write(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                indent(i, depth, out);
                out.push_str("- ");
                write(item, depth + 1, out);
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            for (i, (name, value)) in fields.iter().enumerate() {
                indent(i, depth, out);
                scalar(name, out);
                out.push(':');
                match value {
                    Value::Array(items) if !items.is_empty() => below(value, depth + 1, out),
                    Value::Object(fields) if !fields.is_empty() => below(value, depth + 1, out),
                    Value::String(text) if is_block(text) => block(text, depth + 1, out),
                    value => {
                        out.push(' ');
                        write(value, depth + 1, out);
                    }
                }
            }
        }
        Value::String(text) => {
            scalar(text, out);
            out.push('\n');
        }
        // Literals and numbers as in JSON, `[]` and `{}`.
        other => {
            let _ = writeln!(out, "{other}");
        }
    }
}

fn below(value: &Value, depth: usize, out: &mut String) {
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
    write(value, depth, out);
}

fn indent(i: usize, depth: usize, out: &mut String) {
    if i > 0 {
        out.push_str(&"  ".repeat(depth));
    }
}

/// Returns whether a literal block represents these lines exactly.
fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.starts_with([' ', '\t', '\n'])
        && !body.ends_with('\n')
        && !body.contains(|c| c != '\n' && c != '\t' && is_hazard(c))
}

fn block(text: &str, depth: usize, out: &mut String) {
    out.push_str(if text.ends_with('\n') {
        " |\n"
    } else {
        " |-\n"
    });
    for line in text.lines() {
        if !line.is_empty() {
            out.push_str(&"  ".repeat(depth));
        }
        out.push_str(line);
        out.push('\n');
    }
}

/// Writes text plainly if no YAML reader can mistake it for another type, else in double quotes.
fn scalar(text: &str, out: &mut String) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_hazard(c) => {
                // Writing to a string cannot fail.
                let _ = match u32::from(c) {
                    code @ 0..=0xffff => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Returns whether the text consists of letters, digits and joining characters, and no version of
/// YAML reads it as another type.
fn is_plain(text: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || "_-./@+ ()=".contains(c);
    let ends = |c: char| c.is_alphanumeric() || "_./)".contains(c);
    let begins = |c: char| c.is_alphabetic() || c == '_' || c == '/';
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let digest = |rest: &str| rest.bytes().all(|b| b.is_ascii_hexdigit());
    text.strip_prefix("sha256:").is_some_and(digest)
        || text.starts_with(begins)
            && text.ends_with(ends)
            && text.chars().all(inner)
            && !words.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use yaml_rust2::{Yaml, YamlLoader};

    use super::*;

    fn to_yaml(value: &Value) -> Yaml {
        match value {
            Value::Null => Yaml::Null,
            Value::Bool(value) => Yaml::Boolean(*value),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Yaml::Integer(number),
                None => Yaml::Real(number.to_string()),
            },
            Value::String(text) => Yaml::String(text.clone()),
            Value::Array(items) => Yaml::Array(items.iter().map(to_yaml).collect()),
            Value::Object(fields) => Yaml::Hash(
                fields
                    .iter()
                    .map(|(name, value)| (Yaml::String(name.clone()), to_yaml(value)))
                    .collect(),
            ),
        }
    }

    #[track_caller]
    fn means_the_same(value: &Value) -> String {
        let shown = to_string(value);
        let text = shown.as_str();
        let read = YamlLoader::load_from_str(text);
        assert_eq!(read.as_deref(), Ok(&[to_yaml(value)][..]), "{text}");
        let obeyed = |c: char| c != '\n' && c != '\t' && is_hazard(c);
        assert!(!text.contains(obeyed), "{text:?}");
        text.to_owned()
    }

    #[test]
    fn every_kind_of_value() {
        let text = means_the_same(&json!({
            "name": "counter", "yes": "yes", "number": "12", "count": 3, "ready": false, "none": null,
            "empty": [], "nothing": {}, "lines": "a\nb: c\n", "colon": "a: b #c", "list": [{"a": 1, "b": {"c": [1]}}, ["x"]],
            "": "", "half": 0.5, "hex": "0x1f", "e": "1e3", "inf": ".inf", "date": "2026-05-04", "end": "a\n\nb",
            "digest": "sha256:00ff", "quoted": "\"\\'", "led": " a\nb", "null ": "~",
        }));
        for line in [
            "name: counter\n",
            "lines: |\n  a\n  b: c\n",
            "digest: sha256:00ff\n",
            "  - a: 1\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let text = means_the_same(&json!({
            "k\x1b[1m": "\x1b]0;owned\x07\x1b[2J", "cr": "a\rb", "lines": "a\n\x1b[2J", "c1": "\u{9b}2J\u{7f}",
            "bidi": "\u{202e}x", "tag": "\u{e0041}", "kept": "é 👩\u{200d}👩",
        }));
        assert!(
            text.contains(r#""k\u001b[1m": "\u001b]0;owned\u0007\u001b[2J""#),
            "{text}"
        );
        assert!(text.contains("👩\u{200d}👩"), "{text}");
    }

    proptest! {
        #[test]
        fn every_text_is_read_back_unchanged(text in r"\PC{0,12}|[ -~\n]{0,20}|(?s).{0,12}", name in r"[ -~]{0,6}") {
            // The test's reader normalises nothing else, but this is not a YAML character.
            prop_assume!(!text.contains('\u{feff}'));
            means_the_same(&json!({ name: [&text], "at": &text }));
        }
    }
}
