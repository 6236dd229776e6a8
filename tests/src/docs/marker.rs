//! What a marker says: `<!-- test: WORDS; WORDS ... -->`, on a line of its own before the block.
//!
//! One of these says what becomes of the block:
//!
//! | words | |
//! |---|---|
//! | `run` | its commands run, and what it shows as their output (`console`) is what they print |
//! | `output` | what the `sh` block before it printed |
//! | `elsewhere FILE` | a script or test of the repository runs it: every command stands in FILE, word for word |
//! | `file NAME` | a file that the reader writes; it is written into the working copy |
//! | `same NAME` | the whole of a file of the repository, which must be equal |
//! | `manifest` | a manifest; `warren validate` takes it |
//!
//! and any of these add to it:
//!
//! | words | |
//! |---|---|
//! | `dev PATH...` | `warren dev PATH...` is running |
//! | `cluster` | a control plane and one worker are running, on their usual ports |
//! | `needs PROGRAM...` | skipped where one is missing; an error where tools are required (`WARREN_REQUIRE_TOOLS`, `CI`) |
//! | `outside` | in the machine's own network, as the user's self: fetches or builds something |
//! | `exit CODE` | the last command ends with this code instead of 0 |
//! | `within 5m` | the longest that one of its commands may take, instead of a minute |
//!
//! A marker `session NAME` alone begins a new session: nothing of the blocks before is left.

use std::time::Duration;

/// The longest that a command may take unless its marker says otherwise.
const LIMIT: Duration = Duration::from_secs(60);

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    pub role: Role,
    /// Running before the block.
    pub server: Option<Server>,
    pub needs: Vec<String>,
    pub outside: bool,
    /// Of the last command.
    pub exit: i32,
    pub limit: Duration,
}

/// What becomes of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Run,
    Output,
    Elsewhere(String),
    File(String),
    Same(String),
    Manifest,
}

/// What runs in the background without being shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    Dev(String),
    Cluster,
}

// === impl Marker ===

impl Marker {
    /// Reads the words of a marker.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn parse(words: &str) -> Result<Self, String> {
        let mut role = None;
        let mut marker = Self {
            role: Role::Run,
            server: None,
            needs: Vec::new(),
            outside: false,
            exit: 0,
            limit: LIMIT,
        };
        for part in words.split(';').map(str::trim) {
            let (word, rest) = part.split_once(' ').unwrap_or((part, ""));
            let rest = rest.trim();
            let takes_words =
                !matches!(word, "run" | "output" | "manifest" | "cluster" | "outside");
            if takes_words == rest.is_empty() {
                let wants = if takes_words { "wants" } else { "takes no" };
                return Err(format!("`{word}` {wants} words after it"));
            }
            let own = match word {
                "run" => Some(Role::Run),
                "output" => Some(Role::Output),
                "manifest" => Some(Role::Manifest),
                "elsewhere" => Some(Role::Elsewhere(rest.to_owned())),
                "file" => Some(Role::File(rest.to_owned())),
                "same" => Some(Role::Same(rest.to_owned())),
                _ => None,
            };
            match word {
                _ if own.is_some() => {
                    if role.is_some() {
                        return Err(format!("`{part}`: one block has one role"));
                    }
                    role = own;
                }
                "dev" => marker.server = Some(Server::Dev(rest.to_owned())),
                "cluster" => marker.server = Some(Server::Cluster),
                "needs" => marker.needs = rest.split_whitespace().map(str::to_owned).collect(),
                "outside" => marker.outside = true,
                "exit" => marker.exit = rest.parse().map_err(|_| format!("`{part}`: no code"))?,
                "within" => {
                    marker.limit = duration(rest).ok_or_else(|| format!("`{part}`: no time"))?;
                }
                _ => return Err(format!("`{part}` means nothing")),
            }
        }
        marker.role = role.ok_or("it says nothing of what becomes of the block")?;
        Ok(marker)
    }
}

/// `90s` or `5m`.
fn duration(text: &str) -> Option<Duration> {
    let (number, seconds) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s')?, 1),
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()? * seconds))
}
