//! Disks that cannot be written to, and directories that disappear.

use super::*;

/// Prevents files from being created at a path until it is dropped, which has the effect of a full
/// disk.
struct Full<'a>(&'a Path);

impl<'a> Full<'a> {
    fn new(path: &'a Path) -> Self {
        // A file in its place stops even root.
        fs::write(path, "").unwrap();
        Self(path)
    }
}

impl Drop for Full<'_> {
    fn drop(&mut self) {
        fs::remove_file(self.0).unwrap();
    }
}

#[tokio::test]
async fn while_the_disk_is_full_the_last_lines_stay_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(&dir, DiskLimits::default());
    let path = dir.path().join("logs/r");
    let full = Full::new(&path);
    let log = hub.open("r");
    for i in 0..20_000 {
        say(&log, &i.to_string());
    }
    let memory = LogLimits::default();
    let lines = rest(hub.subscribe("r", all()).unwrap()).await;
    assert!(
        (5_000..=memory.lines).contains(&lines.len()),
        "{}",
        lines.len()
    );
    assert_eq!(lines.last().unwrap().0, "19999");
    let first: u32 = lines[0].0.parse().unwrap();
    drop(full);
    written(&log).await;
    // The lines are read as if nothing had happened, and lost ones are counted, also for later
    // readers.
    say(&log, "again");
    let lines = texts(&hub, all()).await;
    assert_eq!(lines[0], first.to_string());
    assert_eq!(lines.last().unwrap(), "again");
    assert!(bytes(&dir, "r") > 100_000);
    killed(hub).await;
    let hub = open(&dir, DiskLimits::default());
    assert_eq!(texts(&hub, all()).await, lines);
    assert_eq!(texts(&hub, tail(2)).await, ["19999", "again"]);
}

#[tokio::test]
async fn a_directory_that_was_removed_is_created_again() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(&dir, SMALL);
    let log = hub.open("r");
    say(&log, "gone");
    written(&log).await;
    fs::remove_dir_all(dir.path().join("logs/r")).unwrap();
    say(&log, "here");
    written(&log).await;
    killed(hub).await;
    let hub = open(&dir, SMALL);
    assert_eq!(texts(&hub, all()).await, ["here"]);
}
