#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;
use warren_proto::v1;

use super::*;

fn limits() -> LogLimits {
    LogLimits {
        lines: 8,
        lines_per_second: 1_000_000,
        ..LogLimits::default()
    }
}

async fn rest(stream: &mut LogStream) -> Vec<(String, u32)> {
    let mut all = Vec::new();
    while let Some(lines) = stream.next().await {
        all.extend(lines.into_iter().map(|l| (l.line, l.dropped_before)));
    }
    all
}

async fn texts(stream: &mut LogStream) -> Vec<String> {
    rest(stream)
        .await
        .into_iter()
        .map(|(text, _)| text)
        .collect()
}

fn all() -> LogQuery {
    LogQuery::default()
}

fn previous() -> LogQuery {
    LogQuery {
        previous: true,
        ..all()
    }
}

fn open() -> (LogHub, ReplicaLog) {
    let hub = LogHub::new(limits());
    let log = hub.open("r");
    (hub, log)
}

#[tokio::test]
async fn bytes_become_lines_wherever_they_are_cut() {
    let (hub, log) = open();
    let mut writer = log.writer("service", Stream::Stdout);
    for piece in ["one\ntw", "o", "\n\nthree\r\n", "rest"] {
        writer.write(piece.as_bytes());
    }
    let now = |hub: &LogHub| hub.subscribe("r", all()).unwrap();
    assert_eq!(texts(&mut now(&hub)).await, ["one", "two", "", "three"]);
    drop(writer);
    assert_eq!(
        texts(&mut now(&hub)).await,
        ["one", "two", "", "three", "rest"]
    );
}

#[tokio::test]
async fn lines_contain_where_they_come_from() {
    let (hub, log) = open();
    log.writer("api", Stream::Stderr).write(b"oops\n");
    let mut stream = hub.subscribe("r", all()).unwrap();
    let line = stream.next().await.unwrap().remove(0);
    assert_eq!((line.replica.as_str(), line.source.as_str()), ("r", "api"));
    assert_eq!(line.stream(), v1::log_line::Stream::Stderr);
    assert!(line.time.is_some());
}

#[tokio::test]
async fn long_lines_are_cut_between_characters_and_the_next_is_whole() {
    let (hub, log) = open();
    let limit = limits().line_bytes;
    let mut writer = log.writer("service", Stream::Stdout);
    let long = format!("{}é", "x".repeat(limit - 1));
    // Much longer than what the writer keeps, in pieces and at once.
    for _ in 0..3 {
        writer.write(long.as_bytes());
    }
    writer.write(b"\nnext\n");
    writer.write(format!("{}\nlast\n", "y".repeat(3 * limit)).as_bytes());
    // Exactly as long as a line may be, and with bytes that become longer when they are replaced.
    writer.write(format!("{}\r\n", "z".repeat(limit)).as_bytes());
    writer.write(&[vec![0xff; limit / 2], b"\n".to_vec()].concat());
    let told = hub.subscribe("r", all()).unwrap().next().await.unwrap();
    let truncated: Vec<bool> = told.iter().map(|line| line.truncated).collect();
    assert_eq!(truncated, [true, false, true, false, false, true]);
    let lines = texts(&mut hub.subscribe("r", all()).unwrap()).await;
    assert_eq!(lines[0], "x".repeat(limit - 1));
    assert_eq!(lines[4], "z".repeat(limit));
    assert_eq!(lines[2], "y".repeat(limit));
    assert_eq!((lines[1].as_str(), lines[3].as_str()), ("next", "last"));
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_replaced() {
    let (hub, log) = open();
    log.writer("service", Stream::Stdout)
        .write(b"a\xff\xfeb\n\xc3\n");
    let lines = texts(&mut hub.subscribe("r", all()).unwrap()).await;
    assert_eq!(lines, ["a\u{fffd}\u{fffd}b", "\u{fffd}"]);
}

#[tokio::test]
async fn the_oldest_lines_are_dropped_when_lines_or_bytes_are_too_many() {
    let (hub, log) = open();
    for i in 0..20 {
        log.line("service", Stream::Stdout, &i.to_string());
    }
    let mut stream = hub.subscribe("r", all()).unwrap();
    assert_eq!(
        texts(&mut stream).await,
        ["12", "13", "14", "15", "16", "17", "18", "19"]
    );

    let hub = LogHub::new(LogLimits {
        bytes: 64 << 10,
        ..LogLimits::default()
    });
    let log = hub.open("r");
    for _ in 0..100 {
        log.line("service", Stream::Stdout, &"z".repeat(10_000));
    }
    let kept = texts(&mut hub.subscribe("r", all()).unwrap()).await;
    assert!((1..=6).contains(&kept.len()), "{}", kept.len());
}

#[tokio::test]
async fn tail_counts_lines_of_the_source() {
    let (hub, log) = open();
    for i in 0..3 {
        log.line("api", Stream::Stdout, &format!("api {i}"));
        log.line("service", Stream::Stdout, &format!("service {i}"));
    }
    let tail = |source: Option<&str>, n| {
        let query = LogQuery {
            source: source.map(str::to_owned),
            tail: Some(n),
            ..all()
        };
        hub.subscribe("r", query).unwrap()
    };
    assert_eq!(texts(&mut tail(Some("api"), 2)).await, ["api 1", "api 2"]);
    assert_eq!(texts(&mut tail(None, 2)).await, ["api 2", "service 2"]);
    assert_eq!(texts(&mut tail(None, 0)).await, Vec::<String>::new());
    assert_eq!(texts(&mut tail(None, 100)).await.len(), 6);
}

#[tokio::test]
async fn a_slow_follower_receives_the_number_of_lines_it_missed_of_its_source() {
    let (hub, log) = open();
    let new = LogQuery {
        tail: Some(0),
        follow: true,
        ..all()
    };
    let of_api = LogQuery {
        source: Some("api".to_owned()),
        ..new.clone()
    };
    let mut every = hub.subscribe("r", new).unwrap();
    let mut own = hub.subscribe("r", of_api).unwrap();
    for i in 0..10 {
        log.line("api", Stream::Stdout, &format!("api {i}"));
        log.line("service", Stream::Stdout, &format!("service {i}"));
    }
    hub.close("r");
    let mut lines = rest(&mut every).await.into_iter();
    assert_eq!(lines.next().unwrap(), ("api 6".to_owned(), 6));
    assert_eq!(lines.next().unwrap(), ("service 6".to_owned(), 6));
    assert_eq!(lines.next().unwrap(), ("api 7".to_owned(), 0));
    assert_eq!(rest(&mut own).await[0], ("api 6".to_owned(), 6));
}

#[tokio::test]
async fn following_continues_from_the_tail_without_a_gap() {
    let hub = LogHub::new(LogLimits::default());
    let log = hub.open("r");
    let writer = std::thread::spawn(move || {
        for i in 0..5_000 {
            log.line("service", Stream::Stdout, &i.to_string());
        }
        log
    });
    // It starts somewhere in between, and sees every number from its first line on.
    let query = LogQuery {
        tail: Some(3),
        follow: true,
        ..all()
    };
    let mut stream = hub.subscribe("r", query).unwrap();
    let mut next = None;
    while next != Some(5_000) {
        for line in stream.next().await.unwrap() {
            let number: u32 = line.line.parse().unwrap();
            assert_eq!((number, line.dropped_before), (next.unwrap_or(number), 0));
            next = Some(number + 1);
        }
    }
    drop(writer.join().unwrap());
    hub.close("r");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn last_stderr_returns_lines_of_the_present_run() {
    let (_hub, log) = open();
    log.line("service", Stream::Stderr, "old");
    log.begin("service");
    assert_eq!(log.last_stderr("service", 20), Vec::<String>::new());
    for (stream, text) in [
        (Stream::Stderr, "a"),
        (Stream::Stdout, "b"),
        (Stream::Stderr, "c"),
    ] {
        log.line("service", stream, text);
    }
    log.line("api", Stream::Stderr, "d");
    assert_eq!(log.last_stderr("service", 20), ["a", "c"]);
    assert_eq!(log.last_stderr("service", 1), ["c"]);
}

#[tokio::test]
async fn lines_contain_their_run_and_previous_selects_the_run_before() {
    let (hub, log) = open();
    let look = async |query| texts(&mut hub.subscribe("r", query).unwrap()).await;
    log.line("service", Stream::Stdout, "first");
    assert_eq!(look(previous()).await, Vec::<String>::new());
    log.begin_run(1);
    log.line("service", Stream::Stdout, "second");
    log.line("api", Stream::Stdout, "meanwhile");
    log.begin_run(2);
    log.line("service", Stream::Stdout, "third");
    assert_eq!(look(previous()).await, ["second", "meanwhile"]);
    let last = LogQuery {
        tail: Some(1),
        ..previous()
    };
    assert_eq!(look(last).await, ["meanwhile"]);
    let own = LogQuery {
        source: Some("service".to_owned()),
        ..previous()
    };
    assert_eq!(look(own).await, ["second"]);
    let mut stream = hub.subscribe("r", all()).unwrap();
    let runs: Vec<u32> = stream
        .next()
        .await
        .unwrap()
        .iter()
        .map(|line| line.restarts)
        .collect();
    assert_eq!(runs, [0, 1, 1, 2]);
}

#[tokio::test]
async fn the_previous_run_keeps_its_share_in_a_crash_loop() {
    let (hub, log) = open();
    let look = async |query| texts(&mut hub.subscribe("r", query).unwrap()).await;
    for run in 0..50 {
        log.begin_run(run);
        // Many more lines than are kept, and a last one.
        for i in 0..20 {
            log.line("service", Stream::Stdout, &format!("{run}: {i}"));
        }
        log.line("service", Stream::Stderr, &format!("{run}: crashed"));
        if run > 0 {
            let before = run - 1;
            assert_eq!(
                look(previous()).await,
                [format!("{before}: 19"), format!("{before}: crashed")]
            );
        }
    }
    // The rest belongs to the present run; the line after a gap contains the number of missing
    // lines.
    let mut stream = hub.subscribe("r", all()).unwrap();
    let kept = rest(&mut stream).await;
    assert_eq!(kept.len(), limits().lines);
    assert_eq!(kept[1], ("48: crashed".to_owned(), 0));
    assert_eq!(kept[2], ("49: 15".to_owned(), 15));
}

#[tokio::test]
async fn runs_that_write_little_are_all_kept_until_there_is_no_room() {
    let (hub, log) = open();
    for run in 0..6 {
        log.begin_run(run);
        log.line("service", Stream::Stdout, &format!("{run}: hello"));
        log.line("service", Stream::Stderr, &format!("{run}: crashed"));
    }
    let mut stream = hub.subscribe("r", all()).unwrap();
    assert_eq!(texts(&mut stream).await[0], "2: hello");
}

#[tokio::test]
async fn since_selects_lines_by_their_time() {
    let (hub, log) = open();
    let old = SystemTime::now() - Duration::from_secs(60);
    let push = |time, text: &str| {
        let mut ring = log.0.ring.lock();
        ring.push(
            Instant::now(),
            time,
            "service",
            Stream::Stdout,
            text.as_bytes(),
        );
    };
    push(old, "old");
    push(SystemTime::now(), "new");
    push(SystemTime::now(), "newest");
    let look = async |seconds, tail| {
        let query = LogQuery {
            since: Some(Duration::from_secs(seconds)),
            tail,
            ..all()
        };
        texts(&mut hub.subscribe("r", query).unwrap()).await
    };
    assert_eq!(look(120, None).await, ["old", "new", "newest"]);
    assert_eq!(look(30, None).await, ["new", "newest"]);
    assert_eq!(look(120, Some(1)).await, ["newest"]);
    assert_eq!(look(30, Some(9)).await, ["new", "newest"]);
    // Longer ago than the clock can represent.
    assert_eq!(look(u64::MAX, None).await.len(), 3);
}

#[tokio::test]
async fn lines_that_are_dropped_while_being_read_do_not_block_the_reader() {
    let (hub, log) = open();
    log.line("service", Stream::Stdout, "gone");
    let mut stream = hub.subscribe("r", all()).unwrap();
    for _ in 0..100 {
        log.line("service", Stream::Stdout, "later");
    }
    assert_eq!(stream.next().await, None);
}

#[test]
fn an_unknown_replica_has_no_lines() {
    let (hub, _log) = open();
    assert!(hub.subscribe("other", all()).is_none());
    hub.close("r");
    assert!(hub.subscribe("r", all()).is_none());
}

#[test]
fn lines_above_the_rate_are_counted_in_the_next_that_is_kept() {
    let mut ring = Ring::new(LogLimits {
        lines_per_second: 10,
        burst: 3,
        ..LogLimits::default()
    });
    let start = Instant::now();
    let mut push = |ms: u64| {
        let now = start + Duration::from_millis(ms);
        ring.push(now, SystemTime::UNIX_EPOCH, "service", Stream::Stdout, b"x");
    };
    // Three at once, then one every 100 ms.
    for ms in [0, 0, 0, 0, 50, 100, 110, 200] {
        push(ms);
    }
    let dropped: Vec<u64> = ring.from(0).map(|line| line.dropped_before).collect();
    assert_eq!(dropped, [0, 0, 0, 2, 1]);
}

proptest! {
    #[test]
    fn pieces_give_the_lines_of_the_whole(pieces: Vec<Vec<u8>>) {
        let hub = LogHub::new(LogLimits::default());
        let log = hub.open("r");
        let mut writer = log.writer("service", Stream::Stdout);
        pieces.iter().for_each(|piece| writer.write(piece));
        drop(writer);
        let whole = pieces.concat();
        let mut wanted: Vec<String> = whole
            .split(|b| *b == b'\n')
            .map(|l| String::from_utf8_lossy(l.strip_suffix(b"\r").unwrap_or(l)).into_owned())
            .collect();
        // The text after the last line end is a line only if it is not empty.
        if whole.last().is_none_or(|b| *b == b'\n') {
            wanted.pop();
        }
        let lines: Vec<String> =
            log.0.ring.lock().from(0).map(|line| line.text.clone()).collect();
        prop_assert_eq!(lines, wanted);
    }
}
