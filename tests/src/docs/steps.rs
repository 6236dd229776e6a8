//! A block of commands as steps: what runs to its end, what goes on in a terminal of its own, what
//! is followed.

/// One or more commands, and what the page shows of their output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub kind: Kind,
    /// As it stands in the page.
    pub text: String,
    /// Lines of output; absent where the page shows none.
    pub expected: Option<String>,
}

/// How commands run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One after the other, each to its end.
    Commands,
    /// `warren dev`, `control` or `worker`: goes on in the background. It is ready once a line has
    /// each of these words so often.
    Server(Vec<(&'static str, usize)>),
    /// A watch or a log that is followed: interrupted once it has shown something.
    Follow,
}

/// Splits a block into its steps. In `console` a command stands after `$ `, its output below; in
/// `sh` all is commands.
pub fn steps(language: &str, text: &str) -> Vec<Step> {
    match language {
        "console" => console(text),
        _ => shell(text),
    }
}

fn shell(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for command in logical_lines(text) {
        let kind = kind(&command);
        match steps.last_mut() {
            Some(last) if last.kind == Kind::Commands && kind == Kind::Commands => {
                last.text.push_str(&command);
            }
            _ => steps.push(Step {
                kind,
                text: command,
                expected: None,
            }),
        }
    }
    steps.retain(|step| step.kind != Kind::Commands || !is_blank(&step.text));
    steps
}

fn is_blank(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    lines.all(|line| line.is_empty() || line.starts_with('#'))
}

fn console(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut continues = false;
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                kind: Kind::Commands,
                text: format!("{command}\n"),
                expected: Some(String::new()),
            });
            continues = command.ends_with('\\');
        } else if let Some(step) = steps.last_mut() {
            let into = if continues {
                &mut step.text
            } else {
                step.expected.get_or_insert_default()
            };
            into.push_str(line);
            into.push('\n');
            continues = continues && line.ends_with('\\');
        }
    }
    for step in &mut steps {
        step.kind = kind(&step.text);
    }
    steps
}

/// Lines, each with those that continue it and with its here-documents.
fn logical_lines(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut whole = format!("{line}\n");
        while whole.trim_end().ends_with('\\') {
            let Some(next) = lines.next() else { break };
            whole.push_str(next);
            whole.push('\n');
        }
        if let Some(end) = here_document(line) {
            for line in lines.by_ref() {
                whole.push_str(line);
                whole.push('\n');
                if line.trim() == end {
                    break;
                }
            }
        }
        found.push(whole);
    }
    found
}

/// The word that ends the here-document that this line begins.
fn here_document(line: &str) -> Option<String> {
    let (_, after) = line.split_once("<<")?;
    let word = after.trim_start_matches('-').split_whitespace().next()?;
    let bare = word.trim_matches(['\'', '"']);
    let named = bare
        .chars()
        .all(|one| one.is_ascii_alphanumeric() || one == '_');
    (named && !bare.is_empty()).then(|| bare.to_owned())
}

fn kind(command: &str) -> Kind {
    let words = words(command);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // What is piped, put into the background or asked for help ends by itself.
    if words
        .iter()
        .any(|word| ["|", "&", "--help", "&&", ";"].contains(word))
    {
        return Kind::Commands;
    }
    let arguments = match words.as_slice() {
        ["cargo", "run", "--release", "--", rest @ ..] | ["warren", rest @ ..] => rest,
        ["grpcurl", rest @ ..] => return watching(rest),
        _ => return Kind::Commands,
    };
    let follows = |word: &&str| ["-f", "-w", "--follow", "--watch"].contains(word);
    match arguments {
        ["control" | "worker", ..] => Kind::Server(vec![("listening on ", 1)]),
        ["dev", given @ ..] => {
            Kind::Server(vec![("control plane at ", 1), (" is ready", paths(given))])
        }
        ["logs" | "events" | "get", given @ ..] if given.iter().any(follows) => Kind::Follow,
        _ => Kind::Commands,
    }
}

/// A call of a method that streams changes, unless it is told when to end.
fn watching(words: &[&str]) -> Kind {
    let watches = |word: &&str| {
        let method = word.rsplit(['/', '.']).next();
        word.contains("warren.v1") && method.is_some_and(|method| method.starts_with("Watch"))
    };
    let describes = words.contains(&"describe") || words.contains(&"-max-time");
    match words.iter().any(watches) && !describes {
        true => Kind::Follow,
        false => Kind::Commands,
    }
}

/// How many workloads `warren dev` is given. Components together are one.
fn paths(arguments: &[&str]) -> usize {
    let mut count = 0;
    let mut bare = false;
    let mut value = false;
    for word in arguments {
        match *word {
            _ if value => value = false,
            "--listen" | "--http" | "--data" => value = true,
            word if word.starts_with('-') => {}
            word if word.ends_with(".wasm") => bare = true,
            _ => count += 1,
        }
    }
    count + usize::from(bare)
}

/// The words of a command line, without its comment. Quotes keep spaces together and are left away.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for one in command.chars() {
        match (quote, one) {
            (Some(open), _) if one == open => quote = None,
            (Some(_), _) => word.push(one),
            (None, '\'' | '"') => quote = Some(one),
            (None, '#') if word.is_empty() => break,
            (None, '\\') => {}
            (None, _) if one.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (None, _) => word.push(one),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
