use prost::Message as _;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn seen(events: &Events) -> Vec<(String, u32, i64)> {
    let (kept, _) = events.follow();
    kept.iter()
        .map(|event| {
            (
                event.reason.clone(),
                event.count,
                event.time.unwrap().seconds,
            )
        })
        .collect()
}

#[test]
fn repetitions_are_counted_for_a_while_and_come_again_with_their_count() {
    let id = keys::parse_id("default/w").unwrap();
    let events = Events::with(Inner::default());
    let (_, mut live) = events.follow();
    let happens = |seconds, total, reason| {
        let account = Account {
            since: Some(at(0)),
            total,
        };
        let subject = Subject::Workload(&id);
        events.record_told(at(seconds), account, subject, Type::Normal, reason, "m");
    };
    happens(0, 1, "A");
    happens(1, 1, "B");
    happens(2, 2, "A");
    assert_eq!(
        seen(&events),
        [("B".to_owned(), 1, 1), ("A".to_owned(), 2, 2)]
    );
    let counts: Vec<_> = std::iter::from_fn(|| live.try_recv().ok())
        .map(|event| event.count)
        .collect();
    assert_eq!(counts, [1, 1, 2]);
    happens(2 + 601, 3, "A");
    assert_eq!(seen(&events).last().unwrap(), &("A".to_owned(), 1, 603));
    happens(604, 10, "A");
    assert_eq!(seen(&events).last().unwrap(), &("A".to_owned(), 8, 604));
}

#[test]
fn what_a_replica_was_refused_is_told_apart_and_its_failures_are_not() {
    let workload = keys::parse_id("default/w").unwrap();
    let events = Events::with(Inner::default());
    for (reason, message) in [
        ("Trapped", "at 0x10"),
        ("Trapped", "at 0x20"),
        ("Refused", "port 80"),
        ("Refused", "port 81"),
        ("Refused", "port 80"),
    ] {
        let subject = Subject::Replica {
            workload: &workload,
            id: "w-1",
        };
        events.record(subject, Type::Warning, reason, message);
    }
    let (kept, _) = events.follow();
    let kept: Vec<_> = kept
        .iter()
        .map(|event| (event.message.as_str(), event.count))
        .collect();
    assert_eq!(kept, [("at 0x20", 2), ("port 81", 1), ("port 80", 2)]);
}

#[test]
fn the_oldest_go_and_what_is_to_be_written_stays_bounded() {
    let id = keys::parse_id("default/w").unwrap();
    let events = Events::with(Inner::default());
    for number in 0..3 * KEPT_OF_ONE {
        let time = at(i64::try_from(number).unwrap());
        let reason = number.to_string();
        let account = Account {
            since: None,
            total: 1,
        };
        let subject = Subject::Workload(&id);
        events.record_told(time, account, subject, Type::Normal, &reason, "");
    }
    let kept = seen(&events);
    assert_eq!((kept.len(), kept[0].0.as_str()), (KEPT_OF_ONE, "500"));
    let inner = events.inner.lock();
    assert_eq!(inner.unwritten.len(), KEPT_OF_ONE);
    let namespace = &inner.namespaces["default"];
    assert_eq!(namespace.by_content.len(), KEPT_OF_ONE);
    assert_eq!(namespace.owners["w"].len(), KEPT_OF_ONE);
}

/// How many events are kept of each workload or worker.
fn owned(events: &Events) -> HashMap<String, usize> {
    let (kept, _) = events.follow();
    let mut owned = HashMap::new();
    for event in kept.iter() {
        *owned.entry(owner(event).to_owned()).or_default() += 1;
    }
    owned
}

#[test]
fn who_has_much_to_tell_does_not_push_out_what_happened_to_others() {
    let quiet = keys::parse_id("default/quiet").unwrap();
    let events = Events::with(Inner::default());
    events.record(
        Subject::Workload(&quiet),
        Type::Normal,
        "Created",
        "it is new",
    );
    // One replica after the other of one workload.
    let busy = keys::parse_id("default/busy").unwrap();
    for number in 0..2 * KEPT {
        let id = format!("busy-{number}");
        let subject = Subject::Replica {
            workload: &busy,
            id: &id,
        };
        events.record(subject, Type::Warning, "Failed", "it failed");
    }
    let kept = owned(&events);
    assert_eq!((kept["quiet"], kept["busy"]), (1, KEPT_OF_ONE));

    // And of a hundred workloads.
    for number in 0..100 {
        let id = keys::parse_id(&format!("default/busy-{number}")).unwrap();
        for reason in 0..KEPT_OF_ONE {
            let reason = reason.to_string();
            events.record(Subject::Workload(&id), Type::Warning, &reason, "");
        }
    }
    let kept = owned(&events);
    assert_eq!(kept.values().sum::<usize>(), KEPT);
    assert_eq!((kept["quiet"], kept.len()), (1, 102));
    assert!(kept["busy-0"] >= KEPT / 102, "{kept:?}");
    assert!(kept["busy-99"] <= KEPT_OF_ONE, "{kept:?}");

    // Workers are told apart by their names.
    for number in 0..2 * KEPT_OF_ONE {
        let name = Name::parse(&format!("w{number}")).unwrap();
        for reason in ["Connected", "Disconnected"] {
            events.record(Subject::Worker(&name), Type::Normal, reason, "");
        }
    }
    assert_eq!(owned(&events)["worker/w0"], 2);
}

/// Told again after a lost connection, in part or with more; by another process of the worker; and
/// after a restart of ours.
#[test]
fn what_a_worker_tells_again_is_counted_once() {
    let id = keys::parse_id("default/w").unwrap();
    let tell = |events: &Events, since, total| {
        let account = Account {
            since: Some(at(since)),
            total,
        };
        let subject = Subject::Workload(&id);
        events.record_told(at(since + 1), account, subject, Type::Normal, "Exited", "m");
        seen(events)[0].1
    };
    let events = Events::with(Inner::default());
    let counts = [1, 2, 3, 2, 3, 3, 40].map(|total| tell(&events, 0, total));
    assert_eq!(counts, [1, 2, 3, 3, 3, 3, 40]);
    assert_eq!([1, 2].map(|total| tell(&events, 100, total)), [41, 42]);

    let kept = std::mem::take(&mut events.inner.lock().unwritten);
    let held = kept.into_values().flatten().next().unwrap();
    let encoded = held.record().encode_to_vec();
    let record = EventRecord::decode(&encoded[..]).unwrap();
    assert_eq!(
        (record.event.unwrap().count, record.account),
        (42, held.account)
    );
}

#[test]
fn those_who_follow_at_once_share_what_is_kept() {
    let id = keys::parse_id("default/w").unwrap();
    let events = Events::with(Inner::default());
    events.record(Subject::Workload(&id), Type::Normal, "A", "m");
    let ((first, _), (second, _)) = (events.follow(), events.follow());
    assert!(Arc::ptr_eq(&first, &second));
    events.record(Subject::Workload(&id), Type::Normal, "B", "m");
    let (third, _) = events.follow();
    assert_eq!((first.len(), third.len()), (1, 2));
}
