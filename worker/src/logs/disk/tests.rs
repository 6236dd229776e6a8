#![allow(clippy::unwrap_used)]

mod full;
mod removal;

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::*;
use crate::logs::{LogHub, LogLimits, LogQuery, LogStream, Stream};

/// The smallest limits.
const SMALL: DiskLimits = DiskLimits {
    replica: DiskLimits::LEAST,
    total: 1 << 30,
};

/// Opens a hub as a worker does, without a limit of the rate.
fn open(dir: &TempDir, limits: DiskLimits) -> LogHub {
    let memory = LogLimits {
        lines_per_second: 1_000_000,
        burst: 1_000_000,
        ..LogLimits::default()
    };
    LogHub::on_disk(memory, dir.path().join("logs"), limits).unwrap()
}

/// Leaves a hub as if the worker was killed after its lines were written.
async fn killed(hub: LogHub) {
    hub.leave();
    hub.finish().await;
}

fn say(log: &ReplicaLog, text: &str) {
    log.line("service", Stream::Stdout, text);
}

/// Reads `(line, dropped_before, restarts)` of each line to the end.
async fn rest(mut stream: LogStream) -> Vec<(String, u32, u32)> {
    let mut all = Vec::new();
    while let Some(lines) = stream.next().await {
        assert!(!lines.is_empty());
        all.extend(
            lines
                .into_iter()
                .map(|l| (l.line, l.dropped_before, l.restarts)),
        );
    }
    all
}

async fn texts(hub: &LogHub, query: LogQuery) -> Vec<String> {
    let lines = rest(hub.subscribe("r", query).unwrap()).await;
    lines.into_iter().map(|(text, ..)| text).collect()
}

fn all() -> LogQuery {
    LogQuery::default()
}

fn tail(tail: u32) -> LogQuery {
    LogQuery {
        tail: Some(tail),
        ..all()
    }
}

fn previous() -> LogQuery {
    LogQuery {
        previous: true,
        ..all()
    }
}

/// Returns the sizes of a replica's files by name.
fn sizes(dir: &TempDir, replica: &str) -> BTreeMap<PathBuf, u64> {
    let dir = dir.path().join("logs").join(replica);
    let Ok(entries) = fs::read_dir(dir) else {
        return BTreeMap::new();
    };
    let entries = entries.map(|entry| {
        let entry = entry.unwrap();
        (entry.path(), entry.metadata().unwrap().len())
    });
    entries.collect()
}

fn bytes(dir: &TempDir, replica: &str) -> u64 {
    sizes(dir, replica).values().sum()
}

/// Waits until the thread has done something.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn written(log: &ReplicaLog) {
    let is_written = || {
        let ring = log.0.ring.lock();
        ring.written() == ring.next()
    };
    eventually("all is written", is_written).await;
}

#[tokio::test]
async fn lines_and_runs_survive_a_killed_worker() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(&dir, SMALL);
    let log = hub.open("r");
    say(&log, "first");
    log.begin_run(1);
    say(&log, "second");
    log.line("api", Stream::Stderr, "meanwhile");
    killed(hub).await;

    let hub = open(&dir, SMALL);
    // Also before the replica runs again.
    assert_eq!(texts(&hub, previous()).await, ["first"]);
    let log = hub.open("r");
    log.begin_run(2);
    say(&log, "third");
    assert_eq!(texts(&hub, previous()).await, ["second", "meanwhile"]);
    assert_eq!(
        texts(&hub, all()).await,
        ["first", "second", "meanwhile", "third"]
    );
    assert_eq!(texts(&hub, tail(2)).await, ["meanwhile", "third"]);
    assert_eq!(texts(&hub, tail(9)).await.len(), 4);
    let of_api = LogQuery {
        source: Some("api".to_owned()),
        ..tail(1)
    };
    assert_eq!(texts(&hub, of_api).await, ["meanwhile"]);
    killed(hub).await;

    let hub = open(&dir, SMALL);
    hub.open("r").begin_run(3);
    assert_eq!(texts(&hub, previous()).await, ["third"]);
    let lines = rest(hub.subscribe("r", all()).unwrap()).await;
    let runs: Vec<u32> = lines.iter().map(|(.., run)| *run).collect();
    assert_eq!(runs, [0, 1, 1, 2]);
    assert!(lines.iter().all(|(_, dropped, _)| *dropped == 0));
    let mode = fs::metadata(dir.path().join("logs/r"))
        .unwrap()
        .permissions();
    assert_eq!(
        mode.mode() & 0o777,
        0o700,
        "only the owner can read what guests write"
    );
}

#[tokio::test]
async fn files_rotate_and_missing_lines_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(&dir, SMALL);
    let log = hub.open("r");
    // Three times as much as there is room for.
    let text = |i: u32| format!("{i} {}", "x".repeat(1000));
    for i in 0..768 {
        say(&log, &text(i));
        if i % 64 == 0 {
            written(&log).await;
            assert!(bytes(&dir, "r") <= SMALL.replica);
        }
    }
    written(&log).await;
    let held = bytes(&dir, "r");
    assert!(
        (SMALL.replica / 2..=SMALL.replica).contains(&held),
        "{held}"
    );
    assert!(sizes(&dir, "r").len() <= SEGMENTS);

    let lines = rest(hub.subscribe("r", all()).unwrap()).await;
    let first = 768 - u32::try_from(lines.len()).unwrap();
    assert!(first > 400, "{first}");
    for (i, (line, dropped, _)) in (first..).zip(&lines) {
        assert_eq!((line, *dropped), (&text(i), 0));
    }
    assert_eq!(
        texts(&hub, tail(200)).await,
        texts(&hub, all()).await.split_off(lines.len() - 200)
    );

    // A reader that began before all that, and continues now.
    drop(hub);
    let hub = open(&dir, SMALL);
    let log = hub.open("r");
    let mut slow = hub
        .subscribe(
            "r",
            LogQuery {
                follow: true,
                ..tail(1)
            },
        )
        .unwrap();
    assert_eq!(slow.next().await.unwrap()[0].line, text(767));
    for i in 768..1536 {
        say(&log, &text(i));
        if i % 64 == 0 {
            written(&log).await;
        }
    }
    let lines = slow.next().await.unwrap();
    let first: u32 = lines[0].line.split(' ').next().unwrap().parse().unwrap();
    assert!(first > 1000, "{first}");
    assert_eq!(lines[0].dropped_before, first - 768);
}

#[tokio::test]
async fn the_last_lines_before_a_restart_survive_a_flood() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(&dir, SMALL);
    let log = hub.open("r");
    for i in 0..300 {
        say(&log, &format!("{i} {}", "x".repeat(1000)));
    }
    say(&log, "about to crash");
    log.begin_run(1);
    for _ in 0..20 {
        for _ in 0..50 {
            say(&log, &"y".repeat(1000));
        }
        written(&log).await;
    }
    let before = texts(&hub, previous()).await;
    assert_eq!(before.last().unwrap(), "about to crash");
    assert!(bytes(&dir, "r") <= SMALL.replica);
    // They are kept until the next run has crashed.
    log.begin_run(2);
    for _ in 0..20 {
        for _ in 0..50 {
            say(&log, &"z".repeat(1000));
        }
        written(&log).await;
    }
    let before = texts(&hub, previous()).await;
    assert!(before.iter().all(|line| line.starts_with('y')) && !before.is_empty());
}

#[tokio::test]
async fn memory_holds_few_of_the_lines_that_are_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(&dir, DiskLimits::default());
    let log = hub.open("r");
    for i in 0..20_000 {
        say(&log, &i.to_string());
        if i % 1000 == 0 {
            written(&log).await;
        }
    }
    written(&log).await;
    let kept = log.0.ring.lock().from(0).count();
    assert!((100..700).contains(&kept), "{kept} lines in 64 KiB");
    let lines = rest(hub.subscribe("r", all()).unwrap()).await;
    assert_eq!(lines.len(), 20_000);
    let numbers = lines
        .iter()
        .map(|(line, ..)| line.parse::<usize>().unwrap());
    assert!(numbers.eq(0..20_000));
}

#[tokio::test]
async fn an_incomplete_line_after_a_crash_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(&dir, SMALL);
    say(&hub.open("r"), "whole");
    killed(hub).await;
    let (path, length) = sizes(&dir, "r").pop_last().unwrap();
    let record = fs::read(&path).unwrap();
    // The record of the next line, cut off within its text.
    let torn = String::from_utf8(record)
        .unwrap()
        .replace("0,0,0,0", "0,1,1,0");
    let append = |bytes: &[u8]| {
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
    };
    append(torn.trim_end().as_bytes());

    let hub = open(&dir, SMALL);
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
    say(&hub.open("r"), "next");
    killed(hub).await;
    // Bytes that are not a record, between records.
    append(b"\xff\x00 garbage\n\n");
    let hub = open(&dir, SMALL);
    say(&hub.open("r"), "last");
    assert_eq!(texts(&hub, all()).await, ["whole", "next", "last"]);
    killed(hub).await;

    // A damaged file, an empty one, and one that is not a log file.
    fs::write(&path, [0_u8; 100]).unwrap();
    let logs = dir.path().join("logs");
    fs::create_dir(logs.join("empty")).unwrap();
    fs::write(logs.join("file"), "not ours").unwrap();
    let hub = open(&dir, SMALL);
    assert!(hub.subscribe("r", all()).is_none());
    assert!(!path.exists() && !logs.join("empty").exists());
    assert!(logs.join("file").exists());
}

#[tokio::test]
async fn since_is_searched_for_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(&dir, SMALL);
    let log = hub.open("r");
    let push = |age: u64, text: &str| {
        let time = std::time::SystemTime::now() - Duration::from_secs(age);
        let mut ring = log.0.ring.lock();
        ring.push(
            Instant::now(),
            time,
            "service",
            Stream::Stdout,
            text.as_bytes(),
        );
    };
    push(120, "old");
    push(60, "new");
    say(&log, "newest");
    killed(hub).await;
    let hub = open(&dir, SMALL);
    let look = async |seconds, tail| {
        let query = LogQuery {
            since: Some(Duration::from_secs(seconds)),
            tail,
            ..all()
        };
        texts(&hub, query).await
    };
    assert_eq!(look(600, None).await, ["old", "new", "newest"]);
    assert_eq!(look(90, None).await, ["new", "newest"]);
    assert_eq!(look(90, Some(1)).await, ["newest"]);
    assert_eq!(look(30, Some(9)).await, ["newest"]);
    assert_eq!(look(u64::MAX, None).await.len(), 3);
}

#[tokio::test]
async fn a_flood_costs_few_writes() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(&dir, DiskLimits::default());
    let log = hub.open("r");
    // The thread gathers lines for 10 ms, so there are far fewer writes than lines.
    for i in 0..5_000 {
        say(&log, &i.to_string());
    }
    written(&log).await;
    let path = sizes(&dir, "r").pop_first().unwrap().0;
    assert_eq!(sizes(&dir, "r").len(), 1);
    assert_eq!(
        fs::read(path)
            .unwrap()
            .iter()
            .filter(|b| **b == b'\n')
            .count(),
        5_000
    );
    let appends = log.0.file.as_ref().unwrap().files.appends();
    assert!(appends < 100, "{appends} writes for 5,000 lines");
}

#[tokio::test]
async fn a_follower_reads_on_through_files_and_memory() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(&dir, DiskLimits::default());
    let log = hub.open("r");
    for i in 0..3_000 {
        say(&log, &i.to_string());
    }
    written(&log).await;
    let mut stream = hub
        .subscribe(
            "r",
            LogQuery {
                follow: true,
                ..all()
            },
        )
        .unwrap();
    let theirs = thread::spawn(move || {
        for i in 3_000..30_000 {
            say(&log, &i.to_string());
            if i % 500 == 0 {
                thread::yield_now();
            }
        }
        log
    });
    let mut next = 0;
    while next < 30_000 {
        for line in stream.next().await.unwrap() {
            let number: u32 = line.line.parse().unwrap();
            assert_eq!(number, next + line.dropped_before);
            next = number + 1;
        }
    }
    drop(theirs.join().unwrap());
    hub.close("r");
    assert_eq!(stream.next().await, None);
}
