//! Where a session's commands run: a working copy, a network with all ports free, a process tree of
//! its own.
//!
//! Linux namespaces make the last two. As root they need nothing more, otherwise a user namespace
//! around them; where the machine allows neither, there is no session.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time,
};

use super::document::is_product;
use crate::Lab;

/// What a reader has after cloning, as far as pages speak of it.
const CLONED: [&str; 6] = [
    "README.md",
    "docs",
    "examples",
    "proto",
    "docker-compose.yml",
    "Dockerfile",
];

/// What the test has around it and a reader has not: where the server is, and how cargo builds
/// Warren.
const OWN: [&str; 5] = [
    "WARREN_SERVER",
    "WARREN_NAMESPACE",
    "CARGO_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
];

/// Ends with all its processes when it is dropped.
pub struct Sandbox {
    jobs: PathBuf,
    copy: PathBuf,
    environment: Vec<(String, String)>,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    count: usize,
    /// Killed when it is dropped, and with it everything that it started.
    _shell: Child,
}

/// A script that was given to the shell.
#[derive(Debug, Clone, Copy)]
pub struct Job(usize);

/// A script that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    /// stdout and stderr, as a terminal shows them.
    pub output: String,
}

// === impl Sandbox ===

impl Sandbox {
    /// `programs` are put in front of all others. The error says what the machine lacks.
    pub async fn open(lab: &Lab, root: &Path, programs: &Path) -> Result<Self, String> {
        let copy = lab.path("warren");
        for name in CLONED {
            clone(&root.join(name), &copy.join(name));
        }
        let jobs = lab.path("jobs");
        for folder in [jobs.clone(), lab.path("home"), lab.path("tmp")] {
            fs::create_dir_all(folder).expect("the lab takes directories");
        }
        fs::write(jobs.join("cwd"), copy.display().to_string()).expect("the lab takes files");
        fs::write(jobs.join("env"), "").expect("the lab takes files");
        // What a page makes with cargo belongs to no workspace around this directory.
        let workspace = "[workspace]\nexclude = [\"warren\"]\n";
        fs::write(lab.path("Cargo.toml"), workspace).expect("the lab takes files");
        // As in a terminal, where it shows no progress beside what it prints; an answer that is an
        // error is one.
        let curlrc = "silent\nshow-error\nfail-with-body\n";
        fs::write(lab.path("home/.curlrc"), curlrc).expect("the lab takes files");

        let path = env::var("PATH").unwrap_or_default();
        let set = |name: &str, value: &Path| (name.to_owned(), value.display().to_string());
        let environment = vec![
            ("PATH".to_owned(), format!("{}:{path}", programs.display())),
            set("HOME", &lab.path("home")),
            set("TMPDIR", &lab.path("tmp")),
            set("XDG_DATA_HOME", &lab.path("home/.local/share")),
            set("XDG_CACHE_HOME", &lab.cache()),
        ];

        let shell = concat!(env!("CARGO_MANIFEST_DIR"), "/src/docs/session.sh");
        let mut command = Command::new("unshare");
        command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        if !geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command
            .args(["bash", shell])
            .arg(&jobs)
            .envs(environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        for name in OWN {
            command.env_remove(name);
        }
        let mut shell = command
            .spawn()
            .map_err(|error| format!("`unshare`: {error}"))?;
        let answers = BufReader::new(shell.stdout.take().expect("it was asked for")).lines();
        let orders = shell.stdin.take().expect("it was asked for");
        let mut sandbox = Self {
            jobs,
            copy,
            environment,
            orders,
            answers,
            count: 0,
            _shell: shell,
        };
        match sandbox.answer(Duration::from_secs(10)).await.as_deref() {
            Some("up") => Ok(sandbox),
            _ => Err("this machine gives no network namespace (`unshare --net --pid`)".to_owned()),
        }
    }

    /// A file of the working copy.
    pub fn file(&self, name: &str) -> PathBuf {
        self.copy.join(name)
    }

    /// Runs a script to its end, from where the one before it ended and with what it exported.
    pub async fn run(&mut self, script: &str, limit: Duration) -> Result<Ended, String> {
        let job = self.job(script, true);
        self.order("run", job).await;
        match self.answer(limit).await {
            Some(code) => Ok(Ended {
                code: code.parse().unwrap_or(-1),
                output: self.output(job),
            }),
            None => Err(format!(
                "not within {limit:?}; it said\n{}",
                self.output(job)
            )),
        }
    }

    /// Starts a script that goes on.
    pub async fn start(&mut self, script: &str) -> Job {
        let job = self.job(script, false);
        self.order("start", job).await;
        let answer = self.answer(Duration::from_secs(10)).await;
        assert!(answer.is_some(), "the session's shell has ended");
        job
    }

    /// Ends what was started as Ctrl-C does.
    pub async fn interrupt(&mut self, job: Job, limit: Duration) -> Result<(), String> {
        self.order("interrupt", job).await;
        match self.answer(limit).await {
            Some(_) => Ok(()),
            None => Err(format!("not over within {limit:?} of Ctrl-C")),
        }
    }

    /// What a job has printed until now.
    pub fn output(&self, job: Job) -> String {
        let bytes = fs::read(self.path(job, "out")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The exit code of a started job, once it has ended.
    pub fn code(&self, job: Job) -> Option<i32> {
        let code = fs::read_to_string(self.path(job, "code")).ok()?;
        code.trim().parse().ok()
    }

    /// As [`Self::run`], but in the machine's own network and with the user's own home.
    pub async fn outside(&mut self, script: &str, limit: Duration) -> Result<Ended, String> {
        let job = self.job(script, true);
        let output = fs::File::create(self.path(job, "out")).expect("the lab takes files");
        let again = output.try_clone().expect("a file has two handles");
        let own = |name: &str| ["HOME", "TMPDIR", "XDG_CACHE_HOME"].contains(&name);
        let environment = self.environment.iter().filter(|(name, _)| !own(name));
        let mut command = Command::new("bash");
        for name in OWN {
            command.env_remove(name);
        }
        let mut child = command
            .arg("-e")
            .arg(self.path(job, "sh"))
            .envs(environment.cloned())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(again)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("bash starts");
        let group = child.id().and_then(|id| i32::try_from(id).ok());
        let ended = time::timeout(limit, child.wait()).await;
        // Nothing that it left behind goes on.
        if let Some(group) = group.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        match ended {
            Ok(status) => Ok(Ended {
                code: status.ok().and_then(|status| status.code()).unwrap_or(-1),
                output: self.output(job),
            }),
            Err(_) => Err(format!(
                "not within {limit:?}; it said\n{}",
                self.output(job)
            )),
        }
    }

    fn path(&self, job: Job, kind: &str) -> PathBuf {
        self.jobs.join(format!("{}.{kind}", job.0))
    }

    /// Writes a job's script: as it stands in the page, after what takes over from the job before.
    fn job(&mut self, script: &str, hands_on: bool) -> Job {
        self.count += 1;
        let job = Job(self.count);
        let before = concat!(env!("CARGO_MANIFEST_DIR"), "/src/docs/job.sh");
        let jobs = self.jobs.display();
        let after = if hands_on {
            "trap __hand_on EXIT\n"
        } else {
            ""
        };
        let whole = format!("source '{before}' '{jobs}'\n{after}{script}");
        fs::write(self.path(job, "sh"), whole).expect("the lab takes files");
        job
    }

    async fn order(&mut self, order: &str, job: Job) {
        let line = format!("{order} {}\n", job.0);
        // A shell that has ended says so by giving no answer.
        let _ = self.orders.write_all(line.as_bytes()).await;
    }

    async fn answer(&mut self, limit: Duration) -> Option<String> {
        time::timeout(limit, self.answers.next_line())
            .await
            .ok()?
            .ok()?
    }
}

/// Copies a file or a folder, without what building made.
fn clone(from: &Path, to: &Path) {
    if from.is_file() {
        let folder = to.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).expect("the lab takes directories");
        fs::copy(from, to).expect("the lab takes files");
        return;
    }
    let Ok(entries) = fs::read_dir(from) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !is_product(&name.to_string_lossy()) {
            clone(&entry.path(), &to.join(&name));
        }
    }
}
