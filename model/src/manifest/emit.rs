//! A manifest's worth of YAML, and how it is written.

use std::{fmt::Write, time::Duration};

use crate::{
    digest::Digest,
    quantity::{format_bytes, format_duration},
};

/// Just what a manifest needs of YAML.
pub(super) enum Yaml {
    /// Left out.
    Absent,
    /// Written as it is.
    Plain(String),
    /// Left out when empty.
    Map(Vec<(String, Yaml)>),
    /// Left out when empty.
    List(Vec<Yaml>),
}

pub(super) fn fields<const N: usize>(fields: [(&str, Yaml); N]) -> Yaml {
    let present = fields.into_iter().filter(|(_, value)| !value.is_absent());
    Yaml::Map(
        present
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

pub(super) fn text(text: &str) -> Yaml {
    Yaml::Plain(scalar(text))
}

/// Left out when empty.
pub(super) fn given(one: &str) -> Yaml {
    if one.is_empty() {
        Yaml::Absent
    } else {
        text(one)
    }
}

pub(super) fn texts(texts: &[String]) -> Yaml {
    Yaml::List(texts.iter().map(|one| text(one)).collect())
}

pub(super) fn optional(value: Option<impl ToString>) -> Yaml {
    value.map_or(Yaml::Absent, |value| Yaml::Plain(value.to_string()))
}

pub(super) fn bytes(bytes: Option<u64>) -> Yaml {
    bytes.map_or(Yaml::Absent, |bytes| Yaml::Plain(format_bytes(bytes)))
}

pub(super) fn duration(duration: Option<prost_types::Duration>) -> Yaml {
    duration
        .and_then(|duration| Duration::try_from(duration).ok())
        .map_or(Yaml::Absent, |duration| {
            Yaml::Plain(format_duration(duration))
        })
}

// === impl Yaml ===

impl Yaml {
    /// `{}`, which says that something is there.
    pub(super) fn marker() -> Self {
        Self::Plain("{}".to_owned())
    }

    /// The same, or `{}` where it would be left out.
    pub(super) fn or_marker(self) -> Self {
        if self.is_absent() {
            Self::marker()
        } else {
            self
        }
    }

    /// The whole document.
    pub(super) fn document(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out
    }

    fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Plain(_) => false,
            Self::Map(pairs) => pairs.is_empty(),
            Self::List(items) => items.is_empty(),
        }
    }

    /// Writes lines at this depth; the first one's indent is there already when `out` does not end a line.
    fn write(&self, depth: usize, out: &mut String) {
        match self {
            Self::Absent => {}
            Self::Plain(text) => line(depth, text, out),
            Self::Map(pairs) => {
                for (name, value) in pairs {
                    let name = scalar(name);
                    match value {
                        Self::Plain(text) => line(depth, &format!("{name}: {text}"), out),
                        value => {
                            line(depth, &format!("{name}:"), out);
                            value.write(depth + 1, out);
                        }
                    }
                }
            }
            Self::List(items) => {
                for item in items {
                    out.push_str(&"  ".repeat(depth));
                    out.push_str("- ");
                    item.write(depth + 1, out);
                }
            }
        }
    }
}

fn line(depth: usize, text: &str, out: &mut String) {
    if out.is_empty() || out.ends_with('\n') {
        out.push_str(&"  ".repeat(depth));
    }
    out.push_str(text);
    out.push('\n');
}

/// Plain where no reader of YAML could take it for anything but this text, else in double quotes.
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
                    unreachable!("a String takes all that is written to it");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}
