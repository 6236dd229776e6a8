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
    /// Reads what git tracks, or would track, in the repository that this crate is part of. Without
    /// git, it reads every file outside of directories that builds fill.
    pub fn read() -> io::Result<Self> {
        let root = Self::root();
        let paths = match tracked(&root) {
            Some(paths) => paths,
            None => present(&root)?,
        };
        let mut files = BTreeMap::new();
        for path in paths {
            match fs::read(root.join(&path)) {
                Ok(bytes) => files.insert(path, String::from_utf8(bytes).ok()),
                // It was removed, but not yet from the index.
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

/// Returns what git lists, or `None` if git cannot be used here.
fn tracked(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        // The repository may belong to another user, as it does in some containers.
        .args(["-c", "safe.directory=*"])
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(listed.split_terminator('\0').map(str::to_owned).collect())
}

/// Returns every file that exists, apart from what builds and tests leave.
fn present(root: &Path) -> io::Result<Vec<String>> {
    const SKIPPED: [&str; 4] = [".git", "target", "node_modules", "proptest-regressions"];
    let mut paths = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let path = directory.join(&name);
            if kind.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) {
                directories.push(path);
            } else if kind.is_file() {
                paths.push(path.to_string_lossy().into_owned());
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_that_git_lists_are_found_without_it() {
        let root = Tree::root();
        let present = present(&root).unwrap();
        let Some(tracked) = tracked(&root) else {
            eprintln!("SKIPPED: git cannot be used here");
            return;
        };
        for path in tracked {
            assert!(
                present.contains(&path) || !root.join(&path).is_file(),
                "{path}"
            );
        }
    }
}
