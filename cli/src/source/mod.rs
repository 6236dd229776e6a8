//! Reading what should run: manifests, and bare components. Paths in a manifest are relative to the manifest's file.

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

use crate::{args::Global, error::Refused, output::harmless};

/// One workload as it was written, and where.
#[derive(Debug)]
pub struct Document {
    /// How errors call the file.
    pub source: String,
    /// Its namespace is set. Fields of components that are files hold the path as written.
    pub workload: v1::Workload,
    pub files: Vec<Attachment>,
    /// Absent for bare components.
    manifest: Option<Manifest>,
}

/// A component's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Where the workload names it: `spec.service.component`.
    pub field: String,
    pub path: PathBuf,
}

/// One thing that is wrong with what was given, by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    source: String,
    /// Line and column, from 1.
    position: Option<(usize, usize)>,
    /// What is wrong and what to do.
    message: String,
}

/// What was given: what can be read of it, and what is wrong with the rest.
#[derive(Debug, Default)]
pub struct Given {
    pub documents: Vec<Document>,
    pub problems: Vec<Problem>,
}

/// Reads every manifest of these files, of directories with a [`MANIFEST`], and of stdin as `-`.
/// The outer error is one of usage.
pub fn read_all(files: &[PathBuf], global: &Global) -> anyhow::Result<Given> {
    let mut given = Given::default();
    for (i, file) in files.iter().enumerate() {
        if files[..i].contains(file) {
            let message = "it is given twice: name it once".to_owned();
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

/// Reads the manifests of one file. All its problems come at once.
pub fn read(file: &Path, global: &Global) -> anyhow::Result<Vec<Document>> {
    let given = read_one(file, global)?;
    if given.problems.is_empty() {
        Ok(given.documents)
    } else {
        Err(refused(given.problems))
    }
}

/// Tells of everything that is wrong with what was given.
pub fn refused(mut problems: Vec<Problem>) -> anyhow::Error {
    problems.sort();
    problems.dedup();
    match problems.as_slice() {
        // Nothing was read that could have problems.
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
            // Without the `./` that most manifests write, messages read better.
            path: base.join(&file.path).components().collect(),
        });
        Self {
            source,
            workload: manifest.workload.clone(),
            files: files.collect(),
            manifest: Some(manifest),
        }
    }

    /// What the manifest says holds. `--namespace` must agree: neither is silently dropped.
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
                    "the manifest says `{written}`, but --namespace says `{asked}`: leave one of them out"
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

    /// What is wrong with a field of the workload, with its place.
    pub fn problem(&self, field: &str, message: &str) -> Problem {
        let located = match &self.manifest {
            Some(manifest) => manifest.locate(&self.source, field, message),
            None => None,
        };
        // Of several files without a manifest, the one that is meant.
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

    /// What the spec names as components, paths or digests, each with its field.
    fn components(&self) -> impl Iterator<Item = (String, &str)> {
        let spec = self.workload.spec.iter();
        spec.flat_map(|spec| {
            let service = spec.service.iter();
            let service = service.map(|one| (SERVICE_COMPONENT.to_owned(), &*one.component));
            let components = spec.components.iter().enumerate();
            service.chain(components.map(|(i, one)| (component_field(i), &*one.component)))
        })
    }

    /// Whether it claims routes.
    pub fn has_routes(&self) -> bool {
        !self.routes().is_empty()
    }

    /// Its routes, each with its field.
    fn routes(&self) -> Vec<(String, Route)> {
        // Which bytes the components are does not matter here.
        let any = vec![Digest::of(b"").to_string(); self.files.len()];
        let spec = self.with_digests(&any).spec.unwrap_or_default();
        WorkloadSpec::from_proto(&spec).map_or_else(|_| Vec::new(), |spec| check::routes(&spec))
    }

    /// The workload with digests in place of files, in the order of `files`.
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
    /// Two workloads of one name cannot both be meant. Those of one file were told apart where it was read.
    fn names_once(&mut self) {
        let mut known: BTreeMap<(&str, &str), &Document> = BTreeMap::new();
        for document in &self.documents {
            let first = known.entry(document.key()).or_insert(document);
            if first.source != document.source {
                let (namespace, name) = document.key();
                self.problems.push(document.problem(
                    "name",
                    &format!("`{namespace}/{name}` is in {} already", first.source),
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

/// The path of the artifact of a component, by its place in the spec.
fn component_field(index: usize) -> String {
    format!("spec.components[{index}].component")
}

/// How messages name a workload; its namespace only where it is not the usual one.
pub fn title(workload: &v1::Workload) -> String {
    // A server may say anything.
    let (name, namespace) = (&workload.name, &workload.namespace);
    let (name, namespace) = (harmless::line(name), harmless::line(namespace));
    match &*namespace {
        "" | "default" => format!("workload/{name}"),
        namespace => format!("workload/{name} in {namespace}"),
    }
}

#[cfg(test)]
mod tests;
