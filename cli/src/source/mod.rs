//! Reads what should run: manifests, and components without a manifest. Paths in a manifest are
//! relative to its file.

mod bare;
mod check;
mod component;
mod text;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use warren_model::{
    digest::Digest,
    manifest::{self, Manifest, ManifestError},
    route::Route,
    spec::WorkloadSpec,
};
use warren_proto::v1;

pub use bare::read as read_bare;
pub use check::{Checker, check, contested, held_elsewhere};
pub use component::{MOST_BYTES, read as read_component};
pub use text::manifest_path;

use crate::{args::global::Global, error::Refused, output::harmless};

/// One workload as it was written, and where.
#[derive(Debug)]
pub struct Document {
    /// The name of the file in errors.
    pub source: String,
    /// The workload, with its namespace set. Components that are files have their path as written.
    pub workload: v1::Workload,
    pub files: Vec<Attachment>,
    /// Absent for components without a manifest.
    manifest: Option<Manifest>,
}

/// The file of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The field that names it: `spec.service.component`.
    pub field: String,
    pub path: PathBuf,
}

/// One problem of the input, with its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    source: String,
    /// Line and column, counted from 1.
    position: Option<(usize, usize)>,
    /// What is wrong and what to do.
    message: String,
}

/// The input: the documents that can be read, and the problems of the rest.
#[derive(Debug, Default)]
pub struct Given {
    pub documents: Vec<Document>,
    pub problems: Vec<Problem>,
}

/// Reads every manifest of these files, of directories with a `warren.yaml`, and of stdin as `-`.
/// The outer error is a usage error.
pub fn read_all(files: &[PathBuf], global: &Global) -> anyhow::Result<Given> {
    let mut given = Given::default();
    for (i, file) in files.iter().enumerate() {
        if files[..i].contains(file) {
            let message = "it is given twice".to_owned();
            given.problems.push(Problem::of_file(file, message));
            continue;
        }
        let read = read_one(file, global)?;
        given.documents.extend(read.documents);
        given.problems.extend(read.problems);
    }
    given.names_once();
    Ok(given)
}

/// Reads the manifests of one file. The error has all of its problems.
pub fn read(file: &Path, global: &Global) -> anyhow::Result<Vec<Document>> {
    let given = read_one(file, global)?;
    if given.problems.is_empty() {
        Ok(given.documents)
    } else {
        Err(refused(given.problems))
    }
}

/// Returns the error that reports all problems of the input.
pub fn refused(mut problems: Vec<Problem>) -> anyhow::Error {
    problems.sort();
    problems.dedup();
    match problems.as_slice() {
        // The input could not be read at all.
        [one] if one.source.is_empty() => anyhow!("{one}"),
        _ => Refused::manifest(problems).into(),
    }
}

fn read_one(file: &Path, global: &Global) -> anyhow::Result<Given> {
    let mut given = Given::default();
    let text = match text::read(file) {
        Ok(text) => text,
        Err(message) => {
            given.problems.push(Problem {
                source: String::new(),
                position: None,
                message,
            });
            return Ok(given);
        }
    };
    match manifest::parse(&text.source, &text.text) {
        Ok(manifests) => {
            let namespace = global.namespace()?;
            for manifest in manifests {
                let document = Document::new(text.source.clone(), &text.base, manifest);
                match document.in_namespace(global, &namespace) {
                    Ok(document) => given.documents.push(document),
                    Err(problem) => given.problems.push(problem),
                }
            }
        }
        Err(errors) => given
            .problems
            .extend(errors.0.into_iter().map(Problem::from)),
    }
    Ok(given)
}

// === impl Document ===

impl Document {
    fn new(source: String, base: &Path, manifest: Manifest) -> Self {
        let files = manifest.files.iter().map(|file| Attachment {
            field: file.field.clone(),
            // Messages read better without the `./` that most manifests contain.
            path: base.join(&file.path).components().collect(),
        });
        Self {
            source,
            workload: manifest.workload.clone(),
            files: files.collect(),
            manifest: Some(manifest),
        }
    }

    /// Sets the namespace. The manifest's own and `--namespace` must agree, so that neither is
    /// silently ignored.
    fn in_namespace(mut self, global: &Global, usual: &str) -> Result<Self, Problem> {
        let written = &self.workload.namespace;
        if written.is_empty() {
            usual.clone_into(&mut self.workload.namespace);
        } else if let Some(asked) = &global.namespace
            && asked != written
        {
            return Err(self.problem(
                "namespace",
                &format!(
                    "the manifest says `{written}`, but --namespace says `{asked}`: omit one of them"
                ),
            ));
        }
        Ok(self)
    }

    /// Namespace and name.
    pub fn key(&self) -> (&str, &str) {
        (&self.workload.namespace, &self.workload.name)
    }

    /// `workload/counter`.
    pub fn title(&self) -> String {
        title(&self.workload)
    }

    /// Returns a problem of a field of the workload, with its place.
    pub fn problem(&self, field: &str, message: &str) -> Problem {
        let located = match &self.manifest {
            Some(manifest) => manifest.locate(&self.source, field, message),
            None => None,
        };
        // Of several files without a manifest, the one that the field names.
        let meant = self.files.iter().find(|file| {
            let whose = file.field.trim_end_matches("component");
            self.manifest.is_none() && field.starts_with(whose)
        });
        let source = meant.map(|file| file.path.display().to_string());
        located.map_or_else(
            || Problem {
                source: source.unwrap_or_else(|| self.source.clone()),
                position: None,
                message: format!("{field}: {message}"),
            },
            Problem::from,
        )
    }

    /// Returns the components of the spec, paths or digests, each with its field.
    fn components(&self) -> impl Iterator<Item = (String, &str)> {
        let spec = self.workload.spec.iter();
        spec.flat_map(|spec| {
            let service = spec.service.iter();
            let service = service.map(|one| (SERVICE_COMPONENT.to_owned(), &*one.component));
            let components = spec.components.iter().enumerate();
            service.chain(components.map(|(i, one)| (component_field(i), &*one.component)))
        })
    }

    /// Returns whether it claims routes.
    pub fn has_routes(&self) -> bool {
        !self.routes().is_empty()
    }

    /// Returns its routes, each with its field.
    fn routes(&self) -> Vec<(String, Route)> {
        // Routes do not depend on the bytes of the components.
        let any = vec![Digest::of(b"").to_string(); self.files.len()];
        let spec = self.with_digests(&any).spec.unwrap_or_default();
        WorkloadSpec::from_proto(&spec).map_or_else(|_| Vec::new(), |spec| check::routes(&spec))
    }

    /// Returns the workload with digests in place of files, in the order of `files`.
    pub fn with_digests(&self, digests: &[String]) -> v1::Workload {
        let mut workload = self.workload.clone();
        let Some(spec) = &mut workload.spec else {
            return workload;
        };
        for (file, digest) in self.files.iter().zip(digests) {
            let slot = if file.field == SERVICE_COMPONENT {
                spec.service.as_mut().map(|service| &mut service.component)
            } else {
                spec.components
                    .iter_mut()
                    .enumerate()
                    .find(|(i, _)| component_field(*i) == file.field)
                    .map(|(_, component)| &mut component.component)
            };
            if let Some(slot) = slot {
                slot.clone_from(digest);
            }
        }
        workload
    }
}

// === impl Given ===

impl Given {
    /// Reports documents of the same name, which cannot both be meant. Within one file, they were
    /// reported when it was read.
    fn names_once(&mut self) {
        let mut known: BTreeMap<(&str, &str), &Document> = BTreeMap::new();
        for document in &self.documents {
            let first = known.entry(document.key()).or_insert(document);
            if first.source != document.source {
                let (namespace, name) = document.key();
                self.problems.push(document.problem(
                    "name",
                    &format!("`{namespace}/{name}` is already in {}", first.source),
                ));
            }
        }
    }
}

// === impl Problem ===

impl Problem {
    fn of_file(file: &Path, message: String) -> Self {
        Self {
            source: file.display().to_string(),
            position: None,
            message,
        }
    }
}

impl From<ManifestError> for Problem {
    fn from(error: ManifestError) -> Self {
        Self {
            source: error.source,
            position: Some((error.line, error.column)),
            message: error.message,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.source.is_empty() {
            write!(f, "{}:", self.source)?;
            if let Some((line, column)) = self.position {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

const SERVICE_COMPONENT: &str = "spec.service.component";

/// Returns the path of the `component` field at an index of the spec.
fn component_field(index: usize) -> String {
    format!("spec.components[{index}].component")
}

/// Returns the name of a workload in messages. Its namespace is included only if it is not the
/// default.
pub fn title(workload: &v1::Workload) -> String {
    // The names come from a server and may be anything.
    let (name, namespace) = (&workload.name, &workload.namespace);
    let (name, namespace) = (harmless::line(name), harmless::line(namespace));
    match &*namespace {
        "" | "default" => format!("workload/{name}"),
        namespace => format!("workload/{name} in {namespace}"),
    }
}

#[cfg(test)]
mod tests;
