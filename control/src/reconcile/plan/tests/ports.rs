//! Published ports: whom workers share them with, and what follows when one is not free.

use super::{Phase::*, *};

/// Two workers of one machine, and a port that every replica wants.
fn machine() -> Scene {
    let one = scene(1).port("127.0.0.1:6379").worker("a").on_one_machine();
    one.worker("b").on_one_machine()
}

/// It could not listen.
fn lacks_port(replica: &mut ReplicaState) {
    replica.failure = Failure::PortUnavailable;
    replica.age = secs(5);
    replica.phase_age = secs(1);
}

const STOP_FIRST: &str = "stop r1: revision 2 is started once it has stopped";
const TAKEN: &str =
    "2 workers: 1 has 127.0.0.1:6379 taken by another replica, 1 more shares its machine";

#[test]
fn an_update_stops_first_where_all_workers_share_one_machine() {
    let old = machine().replica("r1", 1, "a", Running);
    old.gives(&[&format!("create new1: {TAKEN}"), STOP_FIRST]);
    let wait = |scene: Scene| {
        scene.replica_with("n1", 2, "", Pending, |replica| {
            replica.waiting = waiting(TAKEN);
        })
    };
    wait(machine().replica("r1", 1, "a", Stopping)).gives(&[]);
    wait(machine().replica("r1", 1, "a", Stopped)).gives(&["forget r1", "place n1 on a"]);
    // Another machine has it free.
    old.worker("c").gives(&["create new1 on c"]);
}

#[test]
fn a_drain_stops_first_where_all_workers_share_one_machine() {
    let mut old = machine().replica("r1", 2, "b", Running);
    (old.workers[1].cordoned, old.workers[1].draining) = (true, true);
    let taken = "2 workers: 1 cordoned, 1 shares the machine of a worker that has 127.0.0.1:6379 taken by another replica";
    old.gives(&[
        &format!("create new1: {taken}"),
        "stop r1: its worker is drained",
    ]);
    let mut full = old.clone();
    full.workers[0].memory_free = 0;
    let stops = |plan: Plan| {
        let mut actions = plan.actions.into_iter();
        actions.any(|action| matches!(action, Action::Stop { .. }))
    };
    assert!(!stops(full.plan()), "its successor would have no place");
}

#[test]
fn more_replicas_than_machines_is_said_for_good() {
    let mut two = machine().replica("r1", 2, "a", Running);
    two.desired.as_mut().unwrap().replicas = 2;
    two.gives(&[&format!("create new1 for good: {TAKEN}")]);
    // A worker that is not here now may have it free.
    let away = two.clone().away("c", secs(1));
    let plan = away.plan();
    let told = plan.actions.iter().map(short).collect::<String>();
    assert!(
        told.starts_with("create new1: 3 workers: 1 not ready, "),
        "{told}"
    );
    // One that stops makes room.
    two.replicas[0].phase = Stopping;
    two.replicas[0].revision = 1;
    two.workers[0].hold(&two.replicas[0].needs.clone(), Hold::Ends);
    two.desired.as_mut().unwrap().replicas = 1;
    two.gives(&[&format!("create new1: {TAKEN}")]);
}

#[test]
fn a_port_of_a_lost_replica_is_tried_on_the_same_machine() {
    let lost = scene(1)
        .port("127.0.0.1:6379")
        .worker("a")
        .on_one_machine()
        .away("b", secs(10))
        .on_one_machine();
    lost.replica("r1", 2, "b", Running)
        .gives(&["lost r1", "create new1 on a"]);
}

#[test]
fn a_port_that_is_not_free_is_tried_at_once_on_another_machine_and_on_each_only_once() {
    let strangers = scene(1).port("0.0.0.0:80").worker("a").worker("b");
    strangers
        .clone()
        .replica_with("r1", 2, "a", Failed, lacks_port)
        .gives(&[
            "stop r1: it failed and another replica takes its place",
            "create new1 on b",
        ]);
    let both = |waiting: Option<Waiting>, phase_age| {
        strangers
            .clone()
            .replica_with("r1", 2, "b", Failed, |replica| {
                lacks_port(replica);
                replica.phase_age = phase_age;
                replica.refused = [Name::parse("a").unwrap()].into();
                replica.waiting = waiting;
            })
    };
    let nowhere = "2 workers: 2 could not listen on 0.0.0.0:80";
    both(None, secs(1)).gives(&[&format!("r1 for good: {nowhere}")]);
    let told = Some(Waiting {
        reason: nowhere.to_owned(),
        cause: Cause::Ports,
    });
    let plan = both(told.clone(), secs(1)).gives(&[]);
    assert_eq!(plan.wake_after, Some(secs(9)));
    // Every one of them, again, after a backoff.
    for told in [told, None] {
        both(told, secs(10)).gives(&[
            "stop r1: it failed and another replica takes its place",
            "create new1 on a after 1",
        ]);
    }
}

#[test]
fn a_port_that_is_not_free_anywhere_else_is_taken_over_from_the_old_replica() {
    // Workers that do not say which machine they are on.
    let old = scene(1)
        .port("0.0.0.0:80")
        .worker("a")
        .worker("b")
        .replica("r1", 1, "a", Running);
    let failed = old.clone().replica_with("n1", 2, "b", Failed, lacks_port);
    let waits =
        "2 workers: 1 has 0.0.0.0:80 taken by another replica, 1 could not listen on 0.0.0.0:80";
    failed.gives(&[
        "stop n1: it failed and another replica takes its place",
        &format!("create new1: {waits}"),
    ]);
    let refused = |replica: &mut ReplicaState| {
        replica.refused = [Name::parse("b").unwrap()].into();
        replica.age = secs(1);
    };
    let waiting = old.replica_with("n2", 2, "", Pending, |replica| {
        refused(replica);
        replica.waiting = waiting(waits);
    });
    waiting.gives(&[STOP_FIRST]);
    let gone = scene(1).port("0.0.0.0:80").worker("b").worker("a");
    gone.replica_with("n2", 2, "", Pending, refused)
        .gives(&["place n2 on a"]);
}

#[test]
fn a_worker_that_could_not_listen_is_tried_again_after_a_while() {
    let waits = |age| {
        let mut scene = scene(1)
            .port("0.0.0.0:80")
            .worker("a")
            .worker("b")
            .replica_with("n1", 2, "", Pending, |replica| {
                replica.refused = [Name::parse("b").unwrap()].into();
                replica.age = secs(age);
                replica.waiting =
                    waiting("2 workers: 1 cordoned, 1 could not listen on 0.0.0.0:80");
            });
        scene.workers[0].cordoned = true;
        scene
    };
    // What was told is not the last word: it is cordoned by people, and the port was not free.
    let early = waits(4).plan();
    assert_eq!(early.wake_after, Some(secs(6)));
    waits(10).gives(&["place n1 on b"]);
}

#[test]
fn why_one_waits_takes_into_account_what_is_placed_in_the_same_round() {
    // The older one was refused by the only worker, which then goes to the younger one.
    let mut both = scene(2).port("0.0.0.0:80").worker("a");
    both = both
        .replica_with("n1", 2, "", Pending, |replica| {
            replica.refused = [Name::parse("a").unwrap()].into();
            replica.age = secs(1);
        })
        .replica_with("n2", 2, "", Pending, |replica| replica.age = secs(1));
    let plan = both.plan();
    let explained = plan.actions.iter().find_map(|action| match action {
        Action::Unschedulable { id, waiting } if id == "n1" => Some(waiting.reason.as_str()),
        _ => None,
    });
    assert_eq!(
        explained,
        Some("1 worker: 1 has 0.0.0.0:80 taken by another replica")
    );
}
