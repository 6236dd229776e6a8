use super::*;

/// A session's intake with a clock.
struct Desk {
    intake: Intake,
    now: Instant,
}

impl Desk {
    fn new() -> Self {
        Self {
            intake: Intake::default(),
            now: Instant::now(),
        }
    }

    fn says(&mut self, message: Message) {
        assert_eq!(self.intake.take(message, self.now), Ok(None));
    }

    fn reports(&mut self, replica: &str, phase: Phase, restarts: u32) {
        self.says(report(replica, phase, restarts));
    }

    /// Stores what may be stored now.
    fn store(&mut self) -> Vec<String> {
        let mut stored = Vec::new();
        while let Some(held) = self.intake.next(self.now) {
            stored.push(name(&held.message));
            self.intake.done();
        }
        stored
    }

    /// The heartbeat that all is stored before.
    fn stored(&mut self) -> Option<u64> {
        self.intake.stored().map(|beat| beat.sequence)
    }
}

fn report(replica: &str, phase: Phase, restarts: u32) -> Message {
    let step = |reason: &str, total| v1::Transition {
        reason: reason.to_owned(),
        total,
        ..v1::Transition::default()
    };
    Message::Report(Box::new(v1::ReplicaReport {
        replica: replica.to_owned(),
        phase: phase.into(),
        restarts,
        transitions: vec![step("Exited", restarts), step("Started", restarts + 1)],
        ..v1::ReplicaReport::default()
    }))
}

fn leave(stopped: bool) -> Message {
    Message::Leave(v1::Leave {
        keep: None,
        stopped,
    })
}

fn name(message: &Message) -> String {
    match message {
        Message::Report(report) => format!("{} {}", report.replica, report.restarts),
        Message::Leave(leave) => format!("leave {}", leave.stopped),
        Message::Dropped(_) => "dropped".to_owned(),
    }
}

#[test]
fn of_each_replica_the_newest_report_waits_and_tells_of_all_before() {
    let mut desk = Desk::new();
    for restarts in 1..=1000 {
        desk.reports("loop", Phase::Backoff, restarts);
    }
    desk.reports("neighbour", Phase::Running, 0);
    let held = desk.intake.next(desk.now).unwrap();
    let Message::Report(report) = held.message else {
        panic!("{held:?}");
    };
    assert_eq!((report.restarts, report.phase()), (1000, Phase::Backoff));
    let told: Vec<_> = report.transitions.iter().map(|step| step.total).collect();
    assert_eq!(told, [1000, 1001]);
    desk.intake.done();
    assert_eq!(desk.store(), ["neighbour 0"]);
}

#[test]
fn stores_for_a_replica_that_changes_all_the_time_are_bounded_and_its_end_is_not_held_up() {
    let mut desk = Desk::new();
    let mut stored = 0;
    // Two thousand reports a second for a minute, as a worker of before sends them.
    for restarts in 0..120_000 {
        desk.reports("loop", Phase::Backoff, restarts);
        stored += desk.store().len();
        desk.now += Duration::from_micros(500);
    }
    let most = REPLICA.burst as usize + 120;
    assert!((most - 1..=most).contains(&stored), "{stored}");
    assert_eq!(desk.intake.items.len(), 1);
    desk.store();
    desk.reports("loop", Phase::Backoff, 6);
    desk.reports("other", Phase::Running, 0);
    assert_eq!(desk.store(), ["other 0"]);
    desk.reports("loop", Phase::Failed, 7);
    assert_eq!(desk.store(), ["loop 7"]);
}

#[test]
fn a_heartbeat_is_kept_once_all_before_it_is_stored() {
    let mut desk = Desk::new();
    desk.intake.beat(1);
    assert_eq!(desk.stored(), Some(1));
    desk.reports("a", Phase::Running, 0);
    desk.intake.beat(2);
    desk.reports("b", Phase::Running, 0);
    desk.intake.beat(3);
    assert_eq!(desk.stored(), None);
    let first = desk.intake.next(desk.now).unwrap();
    assert_eq!(name(&first.message), "a 0");
    // It is on its way, and a newer one came meanwhile.
    desk.reports("a", Phase::Running, 1);
    assert_eq!(desk.stored(), None);
    desk.intake.done();
    assert_eq!(desk.stored(), Some(2));
    assert_eq!(desk.intake.next(desk.now).map(|it| it.number), Some(2));
    desk.intake.done();
    assert_eq!(desk.stored(), Some(3));
    desk.intake.beat(4);
    assert_eq!(desk.stored(), None);
    assert_eq!(desk.store(), ["a 1"]);
    assert_eq!(desk.stored(), Some(4));
}

#[test]
fn what_is_kept_is_not_brought_to_the_disk_again() {
    let mut desk = Desk::new();
    desk.reports("a", Phase::Running, 0);
    desk.store();
    desk.intake.beat(1);
    let first = desk.intake.stored().unwrap();
    assert!(!desk.intake.is_kept(first));
    desk.intake.is_not_kept(first);
    assert_eq!(desk.intake.stored(), Some(first));
    desk.intake.keep(first);
    desk.intake.beat(2);
    let second = desk.intake.stored().unwrap();
    assert!(desk.intake.is_kept(second));
    desk.reports("a", Phase::Running, 1);
    desk.store();
    desk.intake.beat(3);
    let third = desk.intake.stored().unwrap();
    assert!(!desk.intake.is_kept(third));
}

#[test]
fn heartbeats_whose_reports_are_not_stored_are_bounded() {
    let mut desk = Desk::new();
    for sequence in 1..=10 * MAX_BEATS as u64 {
        desk.reports("a", Phase::Running, 0);
        desk.intake.beat(sequence);
    }
    assert_eq!(desk.intake.beats.len(), MAX_BEATS);
    desk.store();
    assert_eq!(desk.stored(), Some(10 * MAX_BEATS as u64));
}

#[test]
fn what_could_not_be_stored_is_tried_again_later_with_what_came_meanwhile() {
    let mut desk = Desk::new();
    let again = desk.now + Duration::from_secs(1);
    desk.reports("a", Phase::Running, 1);
    desk.intake.beat(1);
    let held = desk.intake.next(desk.now).unwrap();
    desk.reports("a", Phase::Backoff, 2);
    assert_eq!(desk.intake.put_back(held, again), None);
    assert_eq!((desk.store().len(), desk.stored()), (0, None));
    desk.reports("a", Phase::Completed, 3);
    // The store does not get better because something ended.
    assert_eq!(desk.store().len(), 0);
    assert_eq!(desk.intake.ready_at(desk.now), Some(again));
    desk.now = again;
    assert_eq!(desk.store(), ["a 3"]);
    assert_eq!(desk.stored(), Some(1));
}

#[test]
fn a_worker_that_stops_is_followed_in_order() {
    let mut desk = Desk::new();
    for restarts in 0..100 {
        desk.reports("loop", Phase::Backoff, restarts);
        desk.store();
    }
    desk.says(leave(false));
    desk.reports("loop", Phase::Stopped, 100);
    desk.reports("other", Phase::Stopped, 0);
    desk.says(leave(true));
    // What waited for its time does not hold up what follows.
    let order = ["loop 100", "leave false", "other 0", "leave true"];
    assert_eq!(desk.store(), order);
}

#[test]
fn notices_without_end_are_slowed_down() {
    let mut desk = Desk::new();
    let mut stored = 0;
    for number in 0..10_000 {
        desk.says(leave(number % 2 == 0));
        let dropped = v1::DroppedAssignments::default();
        desk.says(Message::Dropped(dropped));
        stored += desk.store().len();
        desk.now += Duration::from_millis(1);
    }
    let most = NOTICES.burst as usize + 10;
    // Those that waited together are stored together.
    assert!(stored <= 3 * most, "{stored}");
}

#[test]
fn the_rest_is_stored_at_the_end_whether_its_time_has_come_or_not() {
    let mut desk = Desk::new();
    for restarts in 0..100 {
        desk.reports("loop", Phase::Backoff, restarts);
        desk.store();
    }
    assert_eq!(desk.intake.next(desk.now), None);
    let held = desk.intake.next_in_order(desk.now).unwrap();
    assert_eq!(name(&held.message), "loop 99");
    assert_eq!(desk.intake.next_in_order(desk.now), None);
}

#[test]
fn an_account_that_starts_over_is_reported_on_its_own() {
    let mut desk = Desk::new();
    desk.reports("a", Phase::Running, 5);
    let Message::Report(mut restarted) = report("a", Phase::Pending, 0) else {
        panic!("it is a report");
    };
    restarted.since = Some(prost_types::Timestamp::default());
    let parted = desk
        .intake
        .take(Message::Report(restarted), desk.now)
        .unwrap();
    assert_eq!(parted.unwrap().restarts, 5);
    assert_eq!(desk.store(), ["a 0"]);
}

#[test]
fn replicas_that_cannot_be_are_refused() {
    let mut desk = Desk::new();
    for number in 0..MAX_WAITING {
        desk.reports(&number.to_string(), Phase::Running, 0);
    }
    let more = report("one more", Phase::Running, 0);
    assert_eq!(desk.intake.take(more, desk.now), Err(TooMany));
    desk.reports("0", Phase::Running, 1);
}
