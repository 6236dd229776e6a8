//! One manifest, or all component files, that `warren dev` was given, as they are now.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::bail;
use warren_model::component::Limits;

use crate::{
    args::global::Global,
    error::Refused,
    source::{self, Document},
};

/// A manifest, or all component files, which form one workload.
pub struct Project {
    paths: Paths,
    global: Global,
    limits: Limits,
    /// The documents of the last version without errors.
    pub documents: Vec<Document>,
}

enum Paths {
    Manifest(PathBuf),
    Bare(Vec<PathBuf>),
}

// === impl Project ===

impl Project {
    /// Opens manifests, directories with one, and component files. They must exist; their contents
    /// are not checked.
    pub fn open_all(
        paths: &[PathBuf],
        global: &Global,
        limits: &Limits,
    ) -> anyhow::Result<Vec<Self>> {
        let mut found: Vec<PathBuf> = Vec::new();
        for path in paths {
            let path = find(path)?;
            if found.contains(&path) {
                bail!("{} is given twice", path.display());
            }
            found.push(path);
        }
        let (bare, manifests): (Vec<_>, Vec<_>) = found.into_iter().partition(|path| is_bare(path));
        let bare = (!bare.is_empty()).then_some(Paths::Bare(bare));
        let all = manifests.into_iter().map(Paths::Manifest).chain(bare);
        let all = all.map(|paths| Self {
            paths,
            global: global.clone(),
            limits: limits.clone(),
            documents: Vec::new(),
        });
        Ok(all.collect())
    }

    /// Returns its name in messages.
    pub fn title(&self) -> String {
        let names = self.paths().iter().map(|path| path.display().to_string());
        names.collect::<Vec<_>>().join(", ")
    }

    /// Reads it again. An invalid version changes nothing.
    pub fn read(&mut self) -> anyhow::Result<()> {
        self.documents = match &self.paths {
            Paths::Bare(files) => vec![source::read_bare(files, &self.global, &self.limits)?],
            Paths::Manifest(file) => source::read(file, &self.global)?,
        };
        Ok(())
    }

    /// Checks that its files are components and that they link.
    pub fn check(&self) -> Result<(), Refused> {
        let problems = source::check(&self.documents, &self.limits);
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Refused::manifest(problems)),
        }
    }

    /// Returns the files whose change means a new version.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let components = self.documents.iter().flat_map(|document| &document.files);
        let components = components.map(|file| file.path.clone());
        components.chain(self.paths().iter().cloned()).collect()
    }

    fn paths(&self) -> &[PathBuf] {
        match &self.paths {
            Paths::Bare(files) => files,
            Paths::Manifest(file) => std::slice::from_ref(file),
        }
    }
}

fn find(path: &Path) -> anyhow::Result<PathBuf> {
    let found = source::manifest_path(path);
    if found.exists() {
        return Ok(found);
    }
    if path.is_dir() {
        bail!(
            "{} does not exist: name a manifest or a component",
            found.display()
        );
    }
    bail!("{} does not exist", path.display());
}

fn is_bare(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "wasm")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn component_files_are_one_project_and_each_manifest_is_one() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = |name: &str| dir.path().join(name);
        for name in ["a.wasm", "b.wasm", "warren.yaml", "other.yaml"] {
            fs::write(path(name), "")?;
        }
        let given = [
            path("a.wasm"),
            dir.path().into(),
            path("b.wasm"),
            path("other.yaml"),
        ];
        let projects = Project::open_all(&given, &Global::default(), &Limits::default())?;
        let titles: Vec<String> = projects.iter().map(Project::title).collect();
        let shown = |name: &str| path(name).display().to_string();
        assert_eq!(
            titles,
            [
                shown("warren.yaml"),
                shown("other.yaml"),
                format!("{}, {}", shown("a.wasm"), shown("b.wasm")),
            ]
        );
        for (paths, part) in [
            (vec![path("a.wasm"), path("a.wasm")], "is given twice"),
            (
                vec![dir.path().into(), path("warren.yaml")],
                "is given twice",
            ),
            (vec![path("c.wasm")], "c.wasm does not exist"),
        ] {
            let refused = Project::open_all(&paths, &Global::default(), &Limits::default());
            let error = refused.err().map(|error| error.to_string());
            assert!(
                error.as_deref().unwrap_or_default().contains(part),
                "{error:?}"
            );
        }
        Ok(())
    }
}
