//! The subset of Markdown that matters here: fenced blocks, and the comments before them.

/// One thing of a page that this reader looks at.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// `<!-- test: WORDS -->` on a line of its own.
    Marker {
        line: usize,
        words: String,
    },
    Fence(Fence),
    /// A line of a code block that is made by indentation, and looks like a command.
    Indented {
        line: usize,
        text: String,
    },
    /// Anything else but empty lines.
    Text,
}

/// A fenced block, without the indentation of its fence.
#[derive(Debug, PartialEq, Eq)]
pub struct Fence {
    /// Of its first fence, from 1.
    pub line: usize,
    /// The first word after the fence; empty when there is none.
    pub language: String,
    pub text: String,
}

/// First words that give a command away.
const COMMANDS: [&str; 9] = [
    "$",
    "cargo",
    "curl",
    "docker",
    "echo",
    "grpcurl",
    "nc",
    "redis-cli",
    "warren",
];

/// Reads a page. A fence that is never closed ends with it.
pub fn read(page: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let bare = line.trim();
        if let Some(mark) = fence(bare) {
            let indent = line.len() - line.trim_start().len();
            let language = bare[mark.len()..].split_whitespace().next();
            let body = lines.by_ref().map(|(_, line)| line);
            let body: Vec<&str> = body
                .take_while(|line| !closes(line.trim(), mark))
                .map(|line| unindent(line, indent))
                .collect();
            items.push(Item::Fence(Fence {
                line: at + 1,
                language: language.unwrap_or_default().to_owned(),
                text: body.iter().flat_map(|line| [line, "\n"]).collect(),
            }));
        } else if let Some(words) = marker(bare) {
            items.push(Item::Marker {
                line: at + 1,
                words,
            });
        } else if line.starts_with("    ") && is_command(bare) {
            items.push(Item::Indented {
                line: at + 1,
                text: bare.to_owned(),
            });
        } else if !bare.is_empty() {
            items.push(Item::Text);
        }
    }
    items
}

/// The run of backticks or tildes that opens a block.
fn fence(line: &str) -> Option<&str> {
    let first = line.chars().next().filter(|one| "`~".contains(*one))?;
    let length = line.chars().take_while(|one| *one == first).count();
    (length >= 3).then(|| &line[..length])
}

fn closes(line: &str, mark: &str) -> bool {
    fence(line).is_some_and(|closing| closing.starts_with(mark) && closing.len() == line.len())
}

fn unindent(line: &str, indent: usize) -> &str {
    let blank = line.len() - line.trim_start().len();
    &line[blank.min(indent)..]
}

fn marker(line: &str) -> Option<String> {
    let words = line.strip_prefix("<!-- test:")?.strip_suffix("-->")?;
    Some(words.trim().to_owned())
}

fn is_command(line: &str) -> bool {
    let first = line.split_whitespace().next();
    first.is_some_and(|first| COMMANDS.contains(&first))
}
