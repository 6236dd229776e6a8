//! Pages as sessions of blocks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    markdown::{self, Item},
    marker::{Marker, Role},
};

/// One page.
#[derive(Debug)]
pub struct Document {
    /// From the root of the repository.
    pub path: String,
    pub sessions: Vec<Session>,
}

/// Blocks that build on one another.
#[derive(Debug)]
pub struct Session {
    /// Empty for what stands before the first `session` marker.
    pub name: String,
    pub blocks: Vec<Block>,
}

/// A block that has a marker.
#[derive(Debug)]
pub struct Block {
    /// Of its first fence.
    pub line: usize,
    pub language: String,
    pub marker: Marker,
    pub text: String,
}

/// Fences of these languages hold commands.
const COMMANDS: [&str; 5] = ["sh", "bash", "shell", "console", "shell-session"];

/// Every page for users: the README, `docs/`, and the examples' own.
pub fn documents(root: &Path) -> Vec<String> {
    let mut found = vec!["README.md".to_owned()];
    found.extend(pages(root, Path::new("docs")));
    found.extend(pages(root, Path::new("examples")));
    found.sort();
    found
}

fn pages(root: &Path, folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join(folder)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = folder.join(&name);
        let kind = entry.file_type();
        if kind.is_ok_and(|kind| kind.is_dir()) {
            if !is_product(&name) {
                found.extend(pages(root, &path));
            }
        } else if name.ends_with(".md") {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Directories that building makes and that a clone does not have.
pub(super) fn is_product(name: &str) -> bool {
    let hidden = name.starts_with('.') && name != ".cargo";
    hidden || ["target", "node_modules", "__pycache__"].contains(&name)
}

// === impl Document ===

impl Document {
    /// Reads a page of the repository at `root`.
    ///
    /// # Errors
    ///
    /// Everything that keeps its blocks from being run, each with its line.
    pub fn read(root: &Path, path: &str) -> Result<Self, Vec<String>> {
        let file: PathBuf = root.join(path);
        let page = fs::read_to_string(&file)
            .map_err(|error| vec![format!("{}: {error}", file.display())])?;
        Self::parse(path, &page)
    }

    /// The same, of a page's text.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn parse(path: &str, page: &str) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut sessions = vec![Session::new(String::new())];
        let mut pending: Option<(usize, Marker)> = None;
        for item in markdown::read(page) {
            let mut problem = |line: usize, what: String| {
                problems.push(format!("{path}:{line}: {what}"));
            };
            match item {
                Item::Marker { line, words } => {
                    if let Some(name) = words.strip_prefix("session ") {
                        let name = name.trim().to_owned();
                        if sessions.iter().any(|session| session.name == name) {
                            problem(line, format!("a second session `{name}`"));
                        }
                        sessions.push(Session::new(name));
                        continue;
                    }
                    match Marker::parse(&words) {
                        Ok(marker) => pending = Some((line, marker)),
                        Err(what) => problem(line, what),
                    }
                }
                Item::Fence(fence) => match pending.take() {
                    Some((_, marker)) => {
                        if let Some(what) = misplaced(&marker, &fence.language) {
                            problem(fence.line, what);
                        }
                        let session = sessions.last_mut().expect("there is a first one");
                        session.blocks.push(Block {
                            line: fence.line,
                            language: fence.language,
                            marker,
                            text: fence.text,
                        });
                    }
                    None if COMMANDS.contains(&fence.language.as_str()) => problem(
                        fence.line,
                        "commands without a marker, such as <!-- test: run -->".to_owned(),
                    ),
                    None if fence.language.is_empty() => problem(
                        fence.line,
                        "a block without a language: `sh`, `console`, `text`, ...".to_owned(),
                    ),
                    None => {}
                },
                Item::Indented { line, text } => {
                    problem(line, format!("put `{text}` into a fence, with a marker"));
                }
                Item::Text => {
                    if let Some((line, _)) = pending.take() {
                        problem(line, "a marker with no block after it".to_owned());
                    }
                }
            }
        }
        if let Some((line, _)) = pending {
            problems.push(format!("{path}:{line}: a marker with no block after it"));
        }
        sessions.retain(|session| !session.blocks.is_empty());
        match problems.is_empty() {
            true => Ok(Self {
                path: path.to_owned(),
                sessions,
            }),
            false => Err(problems),
        }
    }
}

fn misplaced(marker: &Marker, language: &str) -> Option<String> {
    let commands = COMMANDS.contains(&language);
    match marker.role {
        Role::Run if !matches!(language, "sh" | "console") => Some(format!(
            "`run` is for `sh` and `console`, not for `{language}`"
        )),
        Role::Output | Role::Manifest | Role::Same(_) if commands => {
            Some(format!("this role is not for `{language}`"))
        }
        _ => None,
    }
}

// === impl Session ===

impl Session {
    fn new(name: String) -> Self {
        Self {
            name,
            blocks: Vec::new(),
        }
    }
}
