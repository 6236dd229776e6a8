//! A memory limit for processes under test, as a service manager or a container engine sets it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::process::Command;

/// Enters the group whose list of processes is `$0`, then becomes the program.
const ENTER: &str = "echo $$ > \"$0\" && exec \"$@\"";

/// A control group of version 1 or 2 whose processes together have a bounded memory. It is removed
/// when it is dropped, which takes that its processes have ended.
pub struct MemoryGroup {
    dir: PathBuf,
    version: Version,
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

// === impl MemoryGroup ===

impl MemoryGroup {
    /// Fails where this machine has no memory controller, or does not let this user make groups.
    pub fn new(bytes: u64) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("warren-tests-{}-{number}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/memory");
        let (parent, version) = match first.is_dir() {
            true => (first, Version::One),
            false => (Path::new("/sys/fs/cgroup"), Version::Two),
        };
        let group = Self {
            dir: parent.join(name),
            version,
        };
        fs::create_dir(&group.dir)?;
        let limit = match version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        fs::write(group.dir.join(limit), bytes.to_string())?;
        Ok(group)
    }

    /// The same command, as one of the group's from its first instruction.
    pub fn run(&self, command: &Command) -> Command {
        let command = command.as_std();
        let mut entered = Command::new("sh");
        entered
            .args(["-c", ENTER])
            .arg(self.dir.join("cgroup.procs"))
            .arg(command.get_program())
            .args(command.get_args())
            .kill_on_drop(true);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entered.env(name, value),
                None => entered.env_remove(name),
            };
        }
        entered
    }

    /// Whether all of its processes have ended.
    pub fn is_empty(&self) -> bool {
        let processes = fs::read_to_string(self.dir.join("cgroup.procs"));
        processes.is_ok_and(|list| list.trim().is_empty())
    }

    /// How often the kernel has killed one of its processes for want of memory.
    pub fn kills(&self) -> u64 {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(self.dir.join(file)).expect("the group is there");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        let count = line.expect("Linux has counted them since 4.13");
        count.trim().parse().expect("a number")
    }

    /// The most memory that its processes have had at once, in bytes.
    pub fn peak(&self) -> u64 {
        let file = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Processes of a test that failed were killed a moment ago.
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Err(error) = fs::remove_dir(&self.dir) {
            if Instant::now() > deadline {
                eprintln!("{} is left behind: {error}", self.dir.display());
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
