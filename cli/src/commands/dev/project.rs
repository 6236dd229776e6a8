//! One path given to `warren dev`, as its files say at the moment.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::bail;

use crate::{
    args::Global,
    error::Refused,
    source::{self, Document},
};

/// What a path says should run.
pub struct Project {
    path: PathBuf,
    global: Global,
    /// As they were read last without a mistake in them.
    pub documents: Vec<Document>,
}

// === impl Project ===

impl Project {
    /// A manifest, a directory with one, or a component: it must be there, whatever is in it.
    pub fn open(path: &Path, global: &Global) -> anyhow::Result<Self> {
        let found = source::manifest_path(path);
        if !found.exists() {
            if path.is_dir() {
                bail!(
                    "{} is not there: name a manifest or a component of this directory",
                    found.display()
                );
            }
            bail!("{} is not there", path.display());
        }
        Ok(Self {
            path: found,
            global: global.clone(),
            documents: Vec::new(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it anew. What is not valid changes nothing.
    pub fn read(&mut self) -> anyhow::Result<()> {
        let is_component = self.path.extension().is_some_and(|end| end == "wasm");
        self.documents = if is_component {
            vec![source::read_bare(&self.path, &self.global)?]
        } else {
            source::read(&self.path, &self.global)?
        };
        Ok(())
    }

    /// Refuses files that are no components, and those that do not fit together.
    pub fn check(&self) -> Result<(), Refused> {
        let problems = source::check(&self.documents);
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Refused::manifest(problems)),
        }
    }

    /// The files whose change means a new version.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let components = self.documents.iter().flat_map(|document| &document.files);
        let mut files: BTreeSet<PathBuf> = components.map(|file| file.path.clone()).collect();
        files.insert(self.path.clone());
        files
    }
}
