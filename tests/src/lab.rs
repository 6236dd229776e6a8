//! The surroundings of one test: its directory, its environment, the program under test.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::{Answer, Process, within};

/// Everything that a test's processes share.
pub struct Lab {
    program: PathBuf,
    cache: PathBuf,
    /// Kept when the test fails.
    dir: TempDir,
}

/// A committed component of `tests/guests`.
pub fn guest(name: &str) -> String {
    committed("tests/guests/components", name)
}

/// A committed component of `examples`.
pub fn example(name: &str) -> String {
    committed("examples/components", name)
}

fn committed(folder: &str, name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = root.canonicalize().expect("the repository is there");
    let path = root.join(folder).join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing", path.display());
    path.display().to_string()
}

/// The command as somebody would write it.
fn words(arguments: &[&str]) -> String {
    format!("warren {}", arguments.join(" "))
}

// === impl Lab ===

impl Lab {
    /// `program` is the `warren` to test, `scratch` a directory that outlives the test: compiled
    /// guests stay there, and what a failed test wrote.
    pub fn new(program: &str, scratch: &str) -> Self {
        let scratch = Path::new(scratch);
        // Code in it is run: a worker takes no cache that others could write.
        let cache = scratch.join("cache");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(cache.join("warren"))
            .expect("the scratch directory takes a cache");
        let dir = tempfile::Builder::new()
            .prefix("lab-")
            .tempdir_in(scratch)
            .expect("the scratch directory takes a lab");
        Self {
            program: program.into(),
            cache,
            dir,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where compiled guests stay from test to test, as `$XDG_CACHE_HOME`.
    pub(crate) fn cache(&self) -> PathBuf {
        self.cache.clone()
    }

    /// Writes a file of the test's and returns its path.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, contents).expect("the lab takes files");
        path.display().to_string()
    }

    /// The program, in an environment where nothing of this machine's user shows.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.run(&self.program);
        command.args(arguments);
        command
    }

    /// The same on a terminal of so many columns. Everything written to the terminal is on stdout.
    pub fn on_terminal(&self, columns: u16, arguments: &[&str]) -> Command {
        let program = self.program.display().to_string();
        let words = std::iter::once(program.as_str()).chain(arguments.iter().copied());
        let quoted: Vec<String> = words
            .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
            .collect();
        let line = format!("stty cols {columns} rows 24; exec {}", quoted.join(" "));
        let mut command = self.run(Path::new("script"));
        command
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh");
        command
    }

    fn run(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_remove("WARREN_SERVER")
            .env_remove("WARREN_NAMESPACE")
            .env("HOME", self.dir.path())
            .env("TMPDIR", self.dir.path())
            .env("XDG_DATA_HOME", self.path("share"))
            .env("XDG_CACHE_HOME", &self.cache)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command that ends by itself.
    pub async fn warren(&self, arguments: &[&str]) -> Answer {
        self.ask(arguments, self.command(arguments)).await
    }

    /// The same, with something to read on stdin.
    pub async fn warren_reads(&self, arguments: &[&str], stdin: &str) -> Answer {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut pipe = child.stdin.take().expect("it was asked for");
        // One that ends before it has read everything has its reasons, which it tells.
        let _ = pipe.write_all(stdin.as_bytes()).await;
        drop(pipe);
        let output = within("its end", child.wait_with_output()).await;
        Answer::new(words(arguments), &output.expect("it can be waited for"))
    }

    pub(crate) async fn ask(&self, arguments: &[&str], mut command: Command) -> Answer {
        let words = words(arguments);
        let output = within(&words, command.output()).await;
        Answer::new(words, &output.expect("the program starts"))
    }

    /// Starts a process that goes on; `name` is how a failed test calls it.
    pub fn start(&self, name: &str, command: Command) -> Process {
        Process::start(name, command, &self.path(&format!("{name}.stderr")))
    }

    /// A worker's data directory, made before its first start so that compiled code is shared
    /// between workers and runs.
    pub(crate) fn worker_data(&self, name: &str) -> PathBuf {
        let data = self.path(name);
        if !data.exists() {
            fs::create_dir(&data).expect("the lab takes directories");
            std::os::unix::fs::symlink(self.cache.join("warren"), data.join("cache"))
                .expect("a new directory is empty");
        }
        data
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("kept for a look: {}", self.dir.path().display());
        }
    }
}
