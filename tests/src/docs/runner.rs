//! Runs a session, block by block.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    document::{Block, Session},
    expect::matches,
    guests,
    marker::{Role, Server},
    sandbox::{Job, Sandbox},
    steps::{Kind, Step, steps},
};
use crate::{
    Lab,
    tools::{find, skip},
    wait::eventually_within as within,
};

/// For what is interrupted.
const END: Duration = Duration::from_secs(20);

/// What pages speak of and this repository builds.
#[derive(Debug)]
pub struct Tools {
    pub warren: PathBuf,
}

/// Runs every block of a session, in order. Panics with page and line at the first that does not do
/// what the page says. Where the machine lacks something it says so and leaves the rest out, unless
/// `WARREN_REQUIRE_TOOLS=1` or `CI=true`.
pub async fn run(lab: &Lab, root: &Path, page: &str, session: &Session, tools: &Tools) {
    let needs = session.blocks.iter().flat_map(|block| &block.marker.needs);
    let missing: Vec<&str> = needs
        .map(String::as_str)
        .filter(|names| !names.split('|').any(is_there))
        .collect();
    if !missing.is_empty() {
        return skip(&format!(
            "{page}: this machine has no {}",
            missing.join(", ")
        ));
    }
    let programs = tools.install(&lab.path("bin"));
    let sandbox = match Sandbox::open(lab, root, &programs).await {
        Ok(sandbox) => sandbox,
        Err(lacks) => return skip(&format!("{page}: {lacks}")),
    };
    let mut run = Run {
        sandbox,
        root,
        place: String::new(),
        servers: Vec::new(),
        running: Vec::new(),
        said: String::new(),
    };
    for block in &session.blocks {
        run.place = format!("{page}:{}", block.line);
        run.block(block).await;
    }
}

/// Whether a program is there, or what compiles Rust guests.
fn is_there(name: &str) -> bool {
    match name {
        guests::TARGET => guests::can_be_built(),
        name => find(name).is_some(),
    }
}

struct Run<'a> {
    sandbox: Sandbox,
    root: &'a Path,
    /// Page and line of the block.
    place: String,
    servers: Vec<Server>,
    /// What goes on in the background, with its command.
    running: Vec<(Job, String)>,
    /// What the last commands of `sh` printed.
    said: String,
}

// === impl Tools ===

impl Tools {
    /// Makes a folder of them, to stand first on the PATH.
    fn install(&self, folder: &Path) -> PathBuf {
        fs::create_dir_all(folder).expect("the lab takes directories");
        symlink(&self.warren, folder.join("warren")).expect("the lab takes links");
        let file = folder.join("cargo");
        fs::write(&file, guests::cargo()).expect("the lab takes files");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it is ours");
        folder.to_owned()
    }
}

// === impl Run ===

impl Run<'_> {
    async fn block(&mut self, block: &Block) {
        match &block.marker.server {
            Some(server) if !self.servers.contains(server) => {
                self.servers.push(server.clone());
                let commands = match server {
                    Server::Dev(paths) => format!("warren dev {paths}\n"),
                    Server::Cluster => "warren control\nwarren worker --name w1\n".to_owned(),
                };
                for step in steps("sh", &commands) {
                    self.step(&step, block).await;
                }
            }
            _ => {}
        }
        match &block.marker.role {
            Role::Run => {
                let steps = steps(&block.language, &block.text);
                assert!(!steps.is_empty(), "{}: no command", self.place);
                for (at, step) in steps.iter().enumerate() {
                    let last = at + 1 == steps.len();
                    self.command(step, block, last).await;
                }
            }
            Role::Output => self.compare(&block.text, &self.said, false),
            Role::Elsewhere(file) => self.elsewhere(file, block),
            Role::File(name) => {
                let file = self.sandbox.file(name);
                let folder = file.parent().expect("a file lies in a folder");
                fs::create_dir_all(folder).expect("the lab takes directories");
                fs::write(file, &block.text).expect("the lab takes files");
            }
            Role::Same(name) => {
                let file = fs::read_to_string(self.root.join(name));
                let file = file.unwrap_or_else(|error| panic!("{}: {name}: {error}", self.place));
                let place = &self.place;
                assert!(
                    file == block.text,
                    "{place}: {name} is not as shown, but\n{file}"
                );
            }
            Role::Manifest => self.manifest(block).await,
        }
    }

    async fn manifest(&mut self, block: &Block) {
        let file = self.sandbox.file("shown.yaml");
        fs::write(&file, &block.text).expect("the lab takes files");
        let ended = self
            .sandbox
            .run("warren validate -f shown.yaml\n", block.marker.limit)
            .await;
        let ended = ended.unwrap_or_else(|error| panic!("{}: {error}", self.place));
        let Self { place, .. } = self;
        assert_eq!(ended.code, 0, "{place}: {}", ended.output);
        fs::remove_file(file).expect("it was just written");
    }

    fn elsewhere(&self, file: &str, block: &Block) {
        let script = fs::read_to_string(self.root.join(file));
        let script = script.unwrap_or_else(|error| self.fail(&format!("{file}: {error}")));
        for step in steps(&block.language, &block.text) {
            for line in step.text.lines() {
                let command = line.split(" #").next().unwrap_or_default().trim();
                if !script.contains(command) {
                    self.fail(&format!("{file} does not run `{command}`"));
                }
            }
        }
    }

    async fn command(&mut self, step: &Step, block: &Block, last: bool) {
        match &step.kind {
            Kind::Commands => {
                let limit = block.marker.limit;
                let ended = match block.marker.outside {
                    true => self.sandbox.outside(&step.text, limit).await,
                    false => self.sandbox.run(&step.text, limit).await,
                };
                let (place, text) = (&self.place, &step.text);
                let ended = ended.unwrap_or_else(|error| self.fail(&format!("{text}{error}")));
                let code = if last { block.marker.exit } else { 0 };
                if ended.code != code {
                    let (is, said) = (ended.code, &ended.output);
                    self.fail(&format!(
                        "{place}: ended with {is} instead of {code}:\n{text}{said}"
                    ));
                }
                if let Some(expected) = &step.expected {
                    self.compare(expected, &ended.output, false);
                }
                self.said = ended.output;
            }
            _ => self.step(step, block).await,
        }
    }

    /// A step that goes on.
    async fn step(&mut self, step: &Step, block: &Block) {
        let job = self.sandbox.start(&step.text).await;
        let words: &[(&str, usize)] = match &step.kind {
            Kind::Server(words) => words,
            Kind::Follow | Kind::Commands => &[("", 1)],
        };
        let shows = async || {
            let output = self.sandbox.output(job);
            let has = |(words, count): &(&str, usize)| {
                output.lines().filter(|line| line.contains(words)).count() >= *count
            };
            let expected = step.expected.as_deref().unwrap_or("...");
            match self.sandbox.code(job) {
                Some(code) => Ok(Some((code, output))),
                None if words.iter().all(has) && matches(expected, &output, true) => Ok(None),
                None => Err(output),
            }
        };
        let ended = match within(block.marker.limit, shows).await {
            Ok(ended) => ended,
            Err(output) => {
                let (limit, text) = (block.marker.limit, &step.text);
                self.fail(&format!(
                    "not as expected within {limit:?}:\n{text}{output}"
                ));
            }
        };
        if let Some((code, output)) = ended {
            self.fail(&format!(
                "ended with {code} instead of going on:\n{}{output}",
                step.text
            ));
        }
        self.said = self.sandbox.output(job);
        if step.kind == Kind::Follow {
            let over = self
                .sandbox
                .interrupt(job, END.min(block.marker.limit))
                .await;
            if let Err(error) = over {
                self.fail(&format!("{}{error}", step.text));
            }
        } else {
            self.running.push((job, step.text.trim().to_owned()));
        }
    }

    fn compare(&self, shown: &str, output: &str, so_far: bool) {
        if !matches(shown, output, so_far) {
            self.fail(&format!("shown is\n{shown}--- but it printed\n{output}"));
        }
    }

    /// Panics with what went wrong here, after what runs in the background has had its say.
    fn fail(&self, what: &str) -> ! {
        for (job, command) in &self.running {
            let code = self.sandbox.code(*job);
            let state = code.map_or("running".to_owned(), |code| format!("ended with {code}"));
            eprintln!("--- {command} ({state})\n{}", self.sandbox.output(*job));
        }
        panic!("{}: {what}", self.place);
    }
}
