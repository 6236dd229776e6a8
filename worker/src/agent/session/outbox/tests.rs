use std::time::Duration;

use super::*;

const NOW: BootTime = BootTime(Duration::from_secs(1));
const LATER: BootTime = BootTime(Duration::from_secs(2));

fn change(replica: &str, version: u64) -> Change {
    Change {
        replica: replica.to_owned(),
        version,
        ends: false,
    }
}

/// An outbox with a clock, for a report book whose version keeps growing.
struct Sender {
    outbox: Outbox,
    start: Instant,
    now: Instant,
    version: u64,
}

impl Sender {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            outbox: Outbox::new(0, start),
            start,
            now: start,
            version: 0,
        }
    }

    fn changes(&mut self, replicas: &[&str], ends: bool) {
        let changes = replicas.iter().map(|replica| {
            self.version += 1;
            Change {
                ends,
                ..change(replica, self.version)
            }
        });
        let changes: Vec<_> = changes.collect();
        self.outbox.learn(changes, self.version);
    }

    /// Sends all reports that may be sent now.
    fn send(&mut self) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(next) = self.outbox.pop(self.now) {
            sent.push(next.replica.clone());
            self.outbox.hand_out(next, self.version, false, self.now);
        }
        sent
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

#[test]
fn a_heartbeat_that_is_kept_confirms_the_reports_before_it() {
    let now = Instant::now();
    let mut outbox = Outbox::new(3, now);
    let hello = outbox.beat(NOW, true);
    outbox.learn([change("a", 5), change("b", 9)], 9);
    let send = |outbox: &mut Outbox| {
        let next = outbox.pop(now).unwrap();
        outbox.hand_out(next, 9, false, now);
    };
    send(&mut outbox);
    let half = outbox.beat(NOW, true);
    send(&mut outbox);
    // The last report is still in a place where a heartbeat overtakes it.
    let overtakes = outbox.beat(NOW, false);
    let whole = outbox.beat(NOW, true);
    assert!(outbox.is_empty());
    assert_eq!(outbox.kept(0), None);
    assert_eq!(outbox.kept(hello), Some(3));
    assert_eq!(outbox.kept(half), Some(3));
    assert_eq!(outbox.kept(overtakes), Some(3));
    assert_eq!(outbox.kept(whole), Some(9));
}

#[test]
fn a_waiting_report_is_not_confirmed_by_one_that_was_sent_later() {
    let mut sender = Sender::new();
    for _ in 0..2 * REPLICA.burst {
        sender.changes(&["loop"], false);
        sender.send();
    }
    let told = u64::from(REPLICA.burst);
    sender.changes(&["other"], false);
    assert_eq!(sender.send(), ["other"]);
    let beat = sender.outbox.beat(NOW, true);
    assert_eq!(sender.outbox.kept(beat), Some(told));
    sender.pass(REPLICA.every);
    assert_eq!(sender.send(), ["loop"]);
    let beat = sender.outbox.beat(NOW, true);
    assert_eq!(sender.outbox.kept(beat), Some(sender.version));
}

#[test]
fn a_replica_that_changes_constantly_is_reported_at_a_steady_rate() {
    let mut sender = Sender::new();
    let mut sent = 0;
    // There are a thousand changes per second, for a minute.
    for _ in 0..60_000 {
        sender.changes(&["loop"], false);
        sent += sender.send().len();
        sender.pass(Duration::from_millis(1));
    }
    let most = REPLICA.burst as usize + 60;
    assert!((most - 1..=most).contains(&sent), "{sent}");
    // Exactly one report waits, and it is the newest.
    assert_eq!(
        (sender.outbox.queue.len(), sender.outbox.firsts.len()),
        (1, 1)
    );
    // Its end is reported at once.
    sender.changes(&["loop"], true);
    assert_eq!(sender.send(), ["loop"]);
    assert!(sender.outbox.is_empty());
}

#[test]
fn a_quiet_replica_goes_before_those_that_always_report() {
    let mut sender = Sender::new();
    let loops: Vec<String> = (0..3000).map(|number| format!("loop-{number}")).collect();
    let loops: Vec<&str> = loops.iter().map(String::as_str).collect();
    let mut sent = 0;
    for _ in 0..1000 {
        sender.changes(&loops, false);
        sent += sender.send().len();
        sender.pass(Duration::from_millis(10));
    }
    let most = WORKER.burst as usize + 5 * 1000;
    assert!((most - 5..=most).contains(&sent), "{sent}");
    sender.changes(&["neighbour"], false);
    assert_eq!(sender.send()[0], "neighbour");
    let waited = sender.now - sender.start;
    assert!(waited >= Duration::from_secs(10));
}

#[test]
fn a_reported_change_is_not_reported_again() {
    let mut sender = Sender::new();
    sender.changes(&["a"], false);
    let next = sender.outbox.pop(sender.now).unwrap();
    assert_eq!((next.after, next.replica.as_str()), (0, "a"));
    // The replica changed once more before its report was created.
    sender.outbox.hand_out(next, 2, false, sender.now);
    sender.changes(&["a"], false);
    assert!(sender.outbox.is_empty());
    sender.changes(&["a"], false);
    assert_eq!(sender.outbox.pop(sender.now).unwrap().after, 2);
}

#[test]
fn the_last_reports_are_sent_without_waiting_for_their_time() {
    let mut sender = Sender::new();
    for _ in 0..100 {
        sender.changes(&["loop"], false);
        sender.send();
    }
    assert_eq!(sender.outbox.pop(sender.now), None);
    let next = sender.outbox.pop_any().unwrap();
    sender
        .outbox
        .hand_out(next, sender.version, true, sender.now);
    assert_eq!(sender.outbox.pop_any(), None);
    assert!(
        sender.outbox.told.is_empty(),
        "one that is over is forgotten"
    );
}

#[test]
fn one_answer_covers_earlier_heartbeats_and_an_unknown_one_covers_none() {
    let mut outbox = Outbox::new(0, Instant::now());
    outbox.beat(NOW, true);
    outbox.learn([], 5);
    let second = outbox.beat(LATER, true);
    assert_eq!(outbox.acknowledged(second + 1), None);
    assert_eq!(outbox.acknowledged(0), None);
    assert_eq!(outbox.kept(second + 1), None);
    assert!(!outbox.all_acknowledged());
    assert_eq!(outbox.acknowledged(second), Some(LATER));
    assert!(outbox.all_acknowledged());
    assert_eq!(outbox.acknowledged(second), None);
    assert_eq!(outbox.acknowledged(second - 1), None);
    assert_eq!(outbox.kept(second), Some(5));
    assert_eq!(outbox.kept(second), None);
}

#[test]
fn heartbeats_that_are_not_kept_are_bounded() {
    let mut outbox = Outbox::new(0, Instant::now());
    (0..3 * MAX_BEATS).for_each(|_| _ = outbox.beat(NOW, true));
    assert_eq!(outbox.beats.len(), MAX_BEATS);
}
