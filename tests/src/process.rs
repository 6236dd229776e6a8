//! A process under test: its output, and how it ends.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::within;

/// Killed when it is dropped. What it wrote is printed when its test fails.
pub struct Process {
    name: String,
    child: Child,
    /// Lines of stdout so far; closed at its end.
    stdout: watch::Receiver<Vec<String>>,
    stderr: PathBuf,
}

// === impl Process ===

impl Process {
    pub(crate) fn start(name: &str, mut command: Command, stderr: &Path) -> Self {
        // A process that is started again goes on in the file of the one before.
        let file = File::options().create(true).append(true).open(stderr);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(file.expect("the lab takes files"))
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let (said, stdout) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                said.send_modify(|said: &mut Vec<String>| said.push(line));
            }
        });
        Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr: stderr.to_owned(),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("it has not ended")
    }

    /// Whether it has not ended.
    pub fn is_alive(&mut self) -> bool {
        let ended = self.child.try_wait().expect("it can be waited for");
        ended.is_none()
    }

    /// Its memory that is in RAM, in bytes. It must be alive.
    pub fn resident(&self) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.id()));
        let statm = statm.expect("it has not ended");
        let pages = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok());
        let pages: u64 = pages.expect("the field is documented in proc(5)");
        pages * rustix::param::page_size() as u64
    }

    /// The time that it has had a core. It must be alive.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()));
        let stat = stat.expect("it has not ended");
        // The name before may hold anything but is in parentheses; user and system time follow.
        let (_, fields) = stat.rsplit_once(')').expect("proc(5) says so");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|n| n.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// Everything on stdout so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.borrow().clone()
    }

    /// Everything on stderr so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits until something stands in the lines of stdout.
    pub async fn said<T>(&self, what: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        let mut stdout = self.stdout.clone();
        let what = format!("{} says {what}", self.name);
        let ended = within(&what, stdout.wait_for(|lines| find(lines).is_some()))
            .await
            .is_err();
        match find(&self.stdout.borrow()) {
            Some(found) => found,
            None => panic!("{}, ended: {ended}: never said {what}", self.name),
        }
    }

    /// Waits for a line that contains these words.
    pub async fn said_line(&self, words: &str) -> String {
        self.said(words, |lines| {
            lines.iter().find(|line| line.contains(words)).cloned()
        })
        .await
    }

    /// `kill -9`, and waits until it is over.
    pub async fn kill(&mut self) {
        within("a killed process ends", self.child.kill())
            .await
            .expect("it can be waited for");
    }

    /// SIGINT, as Ctrl-C sends it.
    pub async fn interrupt(&mut self) -> ExitStatus {
        self.signal(Signal::INT);
        self.ended().await
    }

    /// SIGTERM, as service managers send it.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// SIGHUP, as a terminal sends it that is closed.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGTERM, without waiting for what comes of it.
    pub fn ask_to_terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: it does nothing from now on, like a machine that hangs.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Self::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process has an id"), signal).expect("it has not been waited for");
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        within(&what, self.child.wait())
            .await
            .expect("it can be waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // tokio kills it after this.
        if std::thread::panicking() {
            let (name, said) = (&self.name, self.stdout().join("\n"));
            eprintln!("--- {name}, stdout\n{said}");
            eprintln!("--- {name}, stderr\n{}", self.stderr());
        }
    }
}
