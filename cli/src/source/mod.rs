//! Reading what should run: manifests, and bare components. Paths in a manifest are relative to the manifest's file.

mod bare;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use warren_model::manifest::{self, Manifest};
use warren_proto::v1;

pub use bare::read as read_bare;

use crate::{args::Global, error::Refused};

/// One workload as it was written, and where.
#[derive(Debug)]
pub struct Document {
    /// How errors call the file.
    pub source: String,
    /// Its namespace is set. Fields of components that are files hold the path as written.
    pub workload: v1::Workload,
    pub files: Vec<Attachment>,
    /// Absent for a bare component.
    manifest: Option<Manifest>,
}

/// A component's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Where the workload names it: `spec.service.component`.
    pub field: String,
    pub path: PathBuf,
}

/// In a directory, the manifest is the file of this name.
pub const MANIFEST: &str = "warren.yaml";

const STDIN: &str = "-";

/// Reads every manifest of these files, of directories with a [`MANIFEST`], and of stdin as `-`.
/// All problems of all files come at once.
pub fn read_all(files: &[PathBuf], global: &Global) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        match read(file, global) {
            Ok(found) => documents.extend(found),
            Err(error) => match error.downcast::<Refused>() {
                Ok(refused) => problems.extend(refused.problems),
                Err(error) => return Err(error),
            },
        }
    }
    if !problems.is_empty() {
        return Err(Refused::manifest(problems).into());
    }
    Ok(documents)
}

/// Reads the manifests of one file.
pub fn read(file: &Path, global: &Global) -> anyhow::Result<Vec<Document>> {
    let (source, base, text) = if file.as_os_str() == STDIN {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read a manifest from stdin")?;
        ("<stdin>".to_owned(), PathBuf::new(), text)
    } else {
        let file = manifest_path(file);
        let source = file.display().to_string();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {source}"))?;
        let base = file.parent().map(Path::to_path_buf).unwrap_or_default();
        (source, base, text)
    };
    let manifests = manifest::parse(&source, &text)
        .map_err(|errors| Refused::manifest(errors.0.iter().map(ToString::to_string).collect()))?;
    manifests
        .into_iter()
        .map(|manifest| Document::new(source.clone(), &base, manifest, global))
        .collect()
}

/// A directory stands for its [`MANIFEST`].
pub fn manifest_path(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(MANIFEST)
    } else {
        path.to_path_buf()
    }
}

// === impl Document ===

impl Document {
    fn new(
        source: String,
        base: &Path,
        manifest: Manifest,
        global: &Global,
    ) -> anyhow::Result<Self> {
        let mut document = Self {
            source,
            workload: manifest.workload.clone(),
            files: manifest
                .files
                .iter()
                .map(|file| Attachment {
                    field: file.field.clone(),
                    // Without the `./` that most manifests write, messages read better.
                    path: base.join(&file.path).components().collect(),
                })
                .collect(),
            manifest: Some(manifest),
        };
        document.choose_namespace(global)?;
        Ok(document)
    }

    /// What the manifest says holds. `--namespace` must agree: neither is silently dropped.
    fn choose_namespace(&mut self, global: &Global) -> anyhow::Result<()> {
        let written = &self.workload.namespace;
        if written.is_empty() {
            self.workload.namespace = global.namespace()?;
        } else if let Some(asked) = &global.namespace
            && asked != written
        {
            let problem = self.problem(
                "namespace",
                &format!("the manifest says `{written}`, but --namespace says `{asked}`"),
            );
            return Err(Refused::manifest(vec![problem]).into());
        }
        Ok(())
    }

    /// `workload/counter`.
    pub fn title(&self) -> String {
        title(&self.workload)
    }

    /// What is wrong with a field, beginning with its place.
    pub fn problem(&self, field: &str, message: &str) -> String {
        let source = &self.source;
        match &self.manifest {
            Some(manifest) => match manifest.position(field) {
                Some((line, column)) => format!("{source}:{line}:{column}: {message}"),
                None => format!("{source}: {message}"),
            },
            None => format!("{source}: {field}: {message}"),
        }
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

const SERVICE_COMPONENT: &str = "spec.service.component";

/// The path of the artifact of a component, by its place in the spec.
fn component_field(index: usize) -> String {
    format!("spec.components[{index}].component")
}

/// How messages name a workload; its namespace only where it is not the usual one.
pub fn title(workload: &v1::Workload) -> String {
    match workload.namespace.as_str() {
        "" | "default" => format!("workload/{}", workload.name),
        namespace => format!("workload/{} in {namespace}", workload.name),
    }
}

#[cfg(test)]
mod tests;
