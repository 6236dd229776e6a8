//! The files of the repository.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Text files by their path from the root of the repository, and the paths of all others.
#[derive(Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Reads what git tracks, or would track, in the repository that this crate is part of.
    pub fn read() -> io::Result<Self> {
        let root = Self::root();
        let output = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(&root)
            .output()?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(stderr));
        }
        let mut files = BTreeMap::new();
        for path in String::from_utf8_lossy(&output.stdout).split_terminator('\0') {
            match fs::read(root.join(path)) {
                Ok(bytes) => files.insert(path.to_owned(), String::from_utf8(bytes).ok()),
                // Removed, and not yet in the index.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
        }
        Ok(Self { files })
    }

    /// A tree of these files alone.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), Some((*text).to_owned())))
            .collect();
        Self { files }
    }

    /// The root of the repository.
    pub fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    /// Returns the text of a file, or `None` if there is no such text file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Returns whether there is such a file or directory.
    pub fn contains(&self, path: &str) -> bool {
        let directory = format!("{path}/");
        let next = self.files.range(directory.clone()..).next();
        self.files.contains_key(path) || next.is_some_and(|(path, _)| path.starts_with(&directory))
    }

    /// The text files whose path ends in `suffix`.
    pub fn ending<'a>(&'a self, suffix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts().filter(move |(path, _)| path.ends_with(suffix))
    }

    /// The text files below a directory, given without a slash at its end.
    pub fn under<'a>(&'a self, directory: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let directory = format!("{directory}/");
        self.texts()
            .filter(move |(path, _)| path.starts_with(&directory))
    }

    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }
}
