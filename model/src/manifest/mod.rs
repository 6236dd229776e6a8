//! Manifests: workloads as people write them, in YAML.
//!
//! A manifest becomes the protobuf message that `Apply` takes, checked as the server checks it, and
//! remembers where each field stands, so that what the server says can be shown at its line as
//! well.

use std::{collections::BTreeMap, fmt};

use warren_proto::v1;

use crate::{
    digest::Digest,
    error::Violations,
    feature, schema,
    spec::{self, ValidWorkload},
};

mod document;
mod emit;
mod print;
mod reader;
mod reference;
mod workload;

pub use print::{settings, to_yaml};
pub use reference::{Entry, reference};

/// One workload of a manifest file.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Where a component was named by a path, its field holds the path as it was written.
    pub workload: v1::Workload,
    /// The components that were named by a path: push them and put their digests in its place.
    pub files: Vec<FileRef>,
    positions: Positions,
}

/// A component that a manifest names by a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRef {
    /// The field that holds the path: `spec.service.component` or `spec.components[0].component`.
    pub field: String,
    /// As it was written; relative ones are relative to the manifest.
    pub path: String,
}

/// One thing that is wrong in a manifest, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestError {
    /// The name of the file.
    pub source: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// Everything that is wrong in a manifest, by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestErrors(pub Vec<ManifestError>);

/// Line and column of each field by its path in the message; the empty path is the document.
type Positions = BTreeMap<String, (usize, usize)>;

/// Reads every workload of a file, or everything that is wrong with them.
pub fn parse(source_name: &str, text: &str) -> Result<Vec<Manifest>, ManifestErrors> {
    parse_with(source_name, text, feature::admit)
}

/// What the server would say of a workload.
type Admit = fn(&v1::Workload) -> Result<ValidWorkload, Violations>;

fn parse_with(
    source_name: &str,
    text: &str,
    admit: Admit,
) -> Result<Vec<Manifest>, ManifestErrors> {
    let mut errors = Vec::new();
    let mut manifests = Vec::new();
    for document in document::load(text, &mut errors) {
        let reader = document.reader();
        let (manifest, found) = workload::read(reader, &document.root, admit);
        errors.extend(found);
        manifests.push(manifest);
    }
    names_once(&manifests, &mut errors);
    if manifests.is_empty() && errors.is_empty() {
        errors.push(Problem {
            position: (1, 1),
            message: "it holds no workload: give one a `name` and a `service` or `components`"
                .to_owned(),
        });
    }
    if errors.is_empty() {
        return Ok(manifests);
    }
    let mut errors: Vec<_> = errors
        .into_iter()
        .map(|problem| problem.of(source_name))
        .collect();
    errors.sort();
    Err(ManifestErrors(errors))
}

/// What is wrong, before the file's name is known.
struct Problem {
    position: (usize, usize),
    message: String,
}

impl Problem {
    fn of(self, source: &str) -> ManifestError {
        let (line, column) = self.position;
        ManifestError {
            source: source.to_owned(),
            line,
            column,
            message: self.message,
        }
    }
}

fn names_once(manifests: &[Manifest], errors: &mut Vec<Problem>) {
    for (i, manifest) in manifests.iter().enumerate() {
        let id = |manifest: &Manifest| {
            let namespace = match manifest.workload.namespace.as_str() {
                "" => spec::DEFAULT_NAMESPACE.to_owned(),
                namespace => namespace.to_owned(),
            };
            (namespace, manifest.workload.name.clone())
        };
        let (namespace, name) = id(manifest);
        let earlier = manifests[..i]
            .iter()
            .find(|earlier| id(earlier) == id(manifest));
        if let Some(earlier) = earlier
            && !name.is_empty()
        {
            let (line, _) = earlier.place("name").1;
            errors.push(Problem {
                position: manifest.place("name").1,
                message: format!("`{namespace}/{name}` is the workload at line {line} already"),
            });
        }
    }
}

// === impl Manifest ===

impl Manifest {
    /// Line and column of a field, by its path in the message; of what holds it where it was not
    /// given itself. `None` for a path that begins with no field of a workload.
    ///
    /// [`Self::locate`] gives the words that go with it.
    pub fn position(&self, field: &str) -> Option<(usize, usize)> {
        let root = field.split(['.', '[']).next().unwrap_or_default();
        matches!(root, "" | "name" | "namespace" | "labels" | "spec").then(|| self.place(field).1)
    }

    /// A problem that somebody else found with a field, with its place and in the words of a
    /// manifest: what is absent is shown where it should have been, and named in the message.
    /// `None` as for [`Self::position`].
    pub fn locate(&self, source_name: &str, field: &str, message: &str) -> Option<ManifestError> {
        self.position(field)?;
        Some(self.problem(field, message).of(source_name))
    }

    fn problem(&self, field: &str, message: &str) -> Problem {
        let (at, position) = self.place(field);
        // A document's own fields are those of the spec.
        let absent = field[at.len()..].trim_start_matches('.');
        let absent = absent.strip_prefix("spec.").unwrap_or(absent);
        let message = if absent.is_empty() || absent == "spec" {
            message.to_owned()
        } else {
            format!("{}: {message}", schema::manifest_name(absent))
        };
        Problem { position, message }
    }

    /// The nearest path at or above the field that has a position; the empty path always has one.
    fn place<'f>(&self, field: &'f str) -> (&'f str, (usize, usize)) {
        let mut path = field;
        loop {
            if let Some(position) = self.positions.get(path) {
                return (path, *position);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return ("", self.positions.get("").copied().unwrap_or((1, 1))),
            }
        }
    }

    /// What the server would refuse, at its position.
    fn violations(&self, admit: Admit) -> Vec<(String, Problem)> {
        // The server sees digests; whether a file can be read is found out when it is pushed.
        let placeholder = Digest::of(b"").to_string();
        let mut workload = self.workload.clone();
        let spec = workload.spec.get_or_insert_default();
        let components = spec
            .components
            .iter_mut()
            .map(|component| &mut component.component);
        for component in components.chain(spec.service.iter_mut().map(|s| &mut s.component)) {
            if self.files.iter().any(|file| file.path == *component) {
                component.clone_from(&placeholder);
            }
        }
        let Err(Violations(found)) = admit(&workload) else {
            return Vec::new();
        };
        let problems = found.into_iter().map(|violation| {
            let problem = self.problem(&violation.field, &violation.message);
            (violation.field, problem)
        });
        problems.collect()
    }
}

// === impl ManifestErrors ===

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestErrors {}

// === impl ManifestError ===

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.source, self.line, self.column, self.message
        )
    }
}

#[cfg(test)]
mod tests;
