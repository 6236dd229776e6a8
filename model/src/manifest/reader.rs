//! Typed reading of YAML nodes: what is wrong is noted with its position, and reading goes on.

use marked_yaml::{
    Node,
    types::{MarkedMappingNode, MarkedScalarNode},
};

use super::{FileRef, Positions, Problem, document};
use crate::{quantity, schema::Schema};

/// Everything that reading one document finds out.
pub(super) struct Reader {
    lines_before: usize,
    pub positions: Positions,
    pub files: Vec<FileRef>,
    /// Each with the path of the field that could not be read.
    pub problems: Vec<(String, Problem)>,
}

/// Names further from each other than this are no typing mistakes.
const SIMILAR: f64 = 0.75;

impl Reader {
    pub(super) fn new(lines_before: usize) -> Self {
        Self {
            lines_before,
            positions: Positions::new(),
            files: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Remembers where a field stands.
    pub(super) fn mark(&mut self, path: impl Into<String>, node: &Node) {
        // A block mapping is said to start at the first colon, behind its first name.
        let first = match node {
            Node::Mapping(map) => map.iter().next(),
            _ => None,
        };
        let starts = first.map(|(key, _)| key.span().start());
        let at = |marker| document::position(self.lines_before, marker);
        let position = at(node.span().start());
        let position = starts.map_or(position, |start| position.min(at(start)));
        self.positions.insert(path.into(), position);
    }

    fn mark_key(&mut self, path: impl Into<String>, key: &MarkedScalarNode) {
        let position = document::position(self.lines_before, key.span().start());
        self.positions.insert(path.into(), position);
    }

    /// Notes a problem with the field that was marked last at this path.
    pub(super) fn problem(&mut self, path: &str, message: impl Into<String>) {
        let position = self.positions.get(path).copied();
        let position = position.unwrap_or((self.lines_before + 1, 1));
        self.problems.push((
            path.to_owned(),
            Problem {
                position,
                message: message.into(),
            },
        ));
    }

    /// The node as a mapping of this kind, after a look at the names of its fields.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        path: &str,
        schema: &Schema,
    ) -> Option<&'n MarkedMappingNode> {
        let Some(map) = node.as_mapping() else {
            self.problem(
                path,
                expected(&format!("the fields of {}", schema.noun), node),
            );
            return None;
        };
        for (key, _) in map.iter() {
            let name = key.as_str();
            if schema.names().any(|known| known == name) {
                continue;
            }
            // A document's own fields stand for those of the spec, as far as one may be missing in
            // turn.
            let parent = if path.is_empty() { "spec" } else { path };
            let path = format!("{parent}.{name}");
            self.mark_key(&path, key);
            self.problem(&path, unknown(name, schema));
        }
        Some(map)
    }

    /// Notes each of these fields that stands beside an earlier one of them.
    pub(super) fn one_of(&mut self, map: &MarkedMappingNode, path: &str, names: &[&str]) {
        let is_one = |name: &str, value: &Node| names.contains(&name) && !is_null(value);
        let mut given = map
            .iter()
            .filter(|(key, value)| is_one(key.as_str(), value))
            .map(|(key, _)| key);
        let Some(first) = given.next() else { return };
        for other in given {
            let (first, name) = (first.as_str(), other.as_str());
            let at = format!("{path}.{name}");
            self.mark_key(&at, other);
            self.problem(
                &at,
                format!("`{name}` and `{first}` exclude each other: keep one of them"),
            );
        }
    }

    pub(super) fn boolean(
        &mut self,
        map: &MarkedMappingNode,
        name: &str,
        path: &str,
    ) -> Option<bool> {
        let node = self.value(map, name, path)?;
        match plain(node) {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => {
                self.problem(path, expected("true or false", node));
                None
            }
        }
    }

    /// The value of a field, marked at `path`. A field without a value counts as absent.
    pub(super) fn value<'n>(
        &mut self,
        map: &'n MarkedMappingNode,
        name: &str,
        path: &str,
    ) -> Option<&'n Node> {
        let (key, value) = map.iter().find(|(key, _)| key.as_str() == name)?;
        if is_null(value) {
            return None;
        }
        // A mapping or list begins below its name, and the name is what people look for.
        match value {
            Node::Scalar(_) => self.mark(path, value),
            _ => self.mark_key(path, key),
        }
        Some(value)
    }

    /// A field's text. Numbers and booleans are text as they are written: `1.10` stays `1.10`.
    pub(super) fn text(
        &mut self,
        map: &MarkedMappingNode,
        name: &str,
        path: &str,
    ) -> Option<String> {
        let node = self.value(map, name, path)?;
        self.scalar(node, path)
            .map(|scalar| scalar.as_str().to_owned())
    }

    pub(super) fn number(
        &mut self,
        map: &MarkedMappingNode,
        name: &str,
        path: &str,
    ) -> Option<u32> {
        let node = self.value(map, name, path)?;
        let digits = plain(node).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let Some(digits) = digits else {
            self.problem(path, expected("a whole number", node));
            return None;
        };
        let number = digits.parse().ok();
        if number.is_none() {
            self.problem(path, format!("{digits} is too large"));
        }
        number
    }

    pub(super) fn bytes(&mut self, map: &MarkedMappingNode, name: &str, path: &str) -> Option<u64> {
        let text = self.text(map, name, path)?;
        let bytes = quantity::parse_bytes(&text);
        bytes
            .map_err(|error| self.problem(path, error.to_string()))
            .ok()
    }

    pub(super) fn duration(
        &mut self,
        map: &MarkedMappingNode,
        name: &str,
        path: &str,
    ) -> Option<prost_types::Duration> {
        let text = self.text(map, name, path)?;
        let duration = quantity::parse_duration(&text)
            .map_err(|error| self.problem(path, error.to_string()))
            .ok()?;
        Some(prost_types::Duration {
            // What does not fit is far out of every bound, and stays so.
            seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            nanos: duration.subsec_nanos().cast_signed(),
        })
    }

    /// One of a few words.
    pub(super) fn choice(
        &mut self,
        map: &MarkedMappingNode,
        name: &str,
        path: &str,
        choices: &[(String, i32)],
    ) -> Option<i32> {
        let text = self.text(map, name, path)?;
        let chosen = choices.iter().find(|(word, _)| *word == text);
        if chosen.is_none() {
            let words: Vec<_> = choices
                .iter()
                .map(|(word, _)| format!("`{word}`"))
                .collect();
            self.problem(
                path,
                format!("`{text}` is not possible: write {}", words.join(" or ")),
            );
        }
        chosen.map(|(_, value)| *value)
    }

    /// The items of a list, each marked at `path[i]`.
    pub(super) fn items<'n>(
        &mut self,
        map: &'n MarkedMappingNode,
        name: &str,
        path: &str,
    ) -> Vec<(String, &'n Node)> {
        let Some(node) = self.value(map, name, path) else {
            return Vec::new();
        };
        let Some(list) = node.as_sequence() else {
            self.problem(path, expected("a list", node));
            return Vec::new();
        };
        let items = list.iter().enumerate().map(|(i, item)| {
            let path = format!("{path}[{i}]");
            self.mark(&path, item);
            (path, item)
        });
        items.collect()
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, map: &MarkedMappingNode, name: &str, path: &str) -> Vec<String> {
        let items = self.items(map, name, path);
        let texts = items.into_iter().map(|(path, item)| {
            // A placeholder keeps the numbers of the items behind it.
            self.scalar(item, &path)
                .map_or_else(String::new, |s| s.as_str().to_owned())
        });
        texts.collect()
    }

    /// A mapping from free names to texts, in its order. `path_of` gives the path of the i-th pair.
    pub(super) fn pairs(
        &mut self,
        map: &MarkedMappingNode,
        name: &str,
        path: &str,
        path_of: impl Fn(usize, &str) -> String,
    ) -> Vec<(String, String)> {
        let Some(node) = self.value(map, name, path) else {
            return Vec::new();
        };
        let Some(map) = node.as_mapping() else {
            self.problem(path, expected("names with values", node));
            return Vec::new();
        };
        let pairs = map.iter().enumerate().map(|(i, (key, value))| {
            let path = path_of(i, key.as_str());
            self.mark_key(&path, key);
            let value = self
                .scalar(value, &path)
                .map_or("", |scalar| scalar.as_str());
            (key.as_str().to_owned(), value.to_owned())
        });
        pairs.collect()
    }

    fn scalar<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n MarkedScalarNode> {
        let scalar = node.as_scalar().filter(|_| !is_null(node));
        if scalar.is_none() {
            self.problem(path, expected("text", node));
        }
        scalar
    }
}

fn is_null(node: &Node) -> bool {
    matches!(plain(node), Some("" | "~" | "null" | "Null" | "NULL"))
}

/// The text of a scalar without quotes, which may be more than text.
fn plain(node: &Node) -> Option<&str> {
    let scalar = node.as_scalar().filter(|scalar| scalar.may_coerce());
    scalar.map(|scalar| scalar.as_str())
}

fn expected(what: &str, node: &Node) -> String {
    let found = match node {
        Node::Mapping(_) => "a mapping".to_owned(),
        Node::Sequence(_) => "a list".to_owned(),
        Node::Scalar(_) if is_null(node) => "nothing (write \"\" for empty text)".to_owned(),
        Node::Scalar(scalar) if scalar.may_coerce() => format!("`{}`", scalar.as_str()),
        Node::Scalar(scalar) => format!("the text {:?}", scalar.as_str()),
    };
    format!("expected {what}, found {found}")
}

fn unknown(name: &str, schema: &Schema) -> String {
    let similar = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase());
    let nearest = schema
        .names()
        .max_by(|a, b| similar(a).total_cmp(&similar(b)))
        .filter(|known| similar(known) >= SIMILAR);
    // A field that stands one level too high keeps its name.
    let hint = match nearest.map(str::to_owned).or_else(|| schema.below(name)) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => {
            let names: Vec<_> = schema.names().collect();
            format!("its fields are {}", names.join(", "))
        }
    };
    format!("unknown field `{name}` in {}: {hint}", schema.noun)
}
