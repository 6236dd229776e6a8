//! From text to trees of YAML nodes, one for each document.

use marked_yaml::{LoadError, LoaderOptions, Marker, Node, parse_yaml_with_options};

use self::{surrogate::StandIns, survey::Finding};
use super::{Problem, reader::Reader};

mod surrogate;
mod survey;

/// One document of a file.
pub(super) struct Document {
    pub root: Node,
    /// Lines of the file before the document's first.
    lines_before: usize,
}

impl Document {
    pub(super) fn reader(&self) -> Reader {
        Reader::new(self.lines_before)
    }
}

/// The documents of a file. What is no YAML is noted, and the other documents are still read.
pub(super) fn load(text: &str, errors: &mut Vec<Problem>) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    for (lines_before, text) in split(text) {
        if is_empty(&text) {
            continue;
        }
        if let Some(root) = parse(lines_before, &text, errors) {
            documents.push(Document { root, lines_before });
        }
    }
    documents
}

/// Cuts at the lines that begin with `---`, as no other line of a YAML stream may (YAML 1.2.2,
/// 9.1.2). The marker becomes blanks, so that columns stay what they are.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(0, String::new())];
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let after = line
            .strip_prefix("---")
            .filter(|after| after.is_empty() || after.starts_with(char::is_whitespace));
        match after {
            Some(after) => documents.push((number, format!("   {after}"))),
            None => {
                if let Some((_, document)) = documents.last_mut() {
                    document.push_str(line);
                }
            }
        }
    }
    documents
}

/// Nothing but comments, directives and end markers.
fn is_empty(document: &str) -> bool {
    document.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with(['#', '%']) || line == "..."
    })
}

fn parse(lines_before: usize, text: &str, errors: &mut Vec<Problem>) -> Option<Node> {
    let stand_ins = StandIns::new(text);
    let findings = survey::survey(text, stand_ins.as_ref());
    let readable = findings.iter().all(|finding| finding.readable);
    for finding in findings {
        let Finding {
            position: (line, column),
            what,
            ..
        } = finding;
        errors.push(Problem {
            position: (line + lines_before, column),
            message: what.message(lines_before),
        });
    }
    if !readable {
        return None;
    }
    let options = LoaderOptions::default()
        .prevent_coercion(true)
        .error_on_duplicate_keys(false);
    let scanned = stand_ins.as_ref().map_or(text, StandIns::text);
    match parse_yaml_with_options(0, scanned, options) {
        Ok(root) => Some(match &stand_ins {
            Some(stand_ins) => stand_ins.restore(root),
            None => root,
        }),
        Err(error) => {
            let (marker, message) = explain(&error);
            errors.push(Problem {
                position: position(lines_before, marker),
                message,
            });
            None
        }
    }
}

/// The little that a survey leaves to go wrong.
fn explain(error: &LoadError) -> (Option<&Marker>, String) {
    match error {
        LoadError::TopLevelMustBeMapping(at) | LoadError::TopLevelMustBeSequence(at) => (
            Some(at),
            "a manifest is a mapping with `name` and `service` or `components`".to_owned(),
        ),
        LoadError::UnexpectedAnchor(at)
        | LoadError::MappingKeyMustBeScalar(at)
        | LoadError::UnexpectedTag(at) => (Some(at), format!("not valid in a manifest: {error}")),
        LoadError::ScanError(at, error) => (Some(at), format!("not valid YAML: {}", error.info())),
        LoadError::DuplicateKey(keys) => (
            keys.key.span().start(),
            format!("`{}` is given twice", keys.key.as_str()),
        ),
    }
}

pub(super) fn position(lines_before: usize, marker: Option<&Marker>) -> (usize, usize) {
    marker.map_or((lines_before + 1, 1), |at| {
        (at.line() + lines_before, at.column())
    })
}
