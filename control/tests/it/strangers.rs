//! Unknown workers, and workers that send more than a correct worker does.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt as _;
use warren_control::Config;
use warren_proto::v1::{self, replica::Phase, session_request};

use crate::{
    components,
    harness::{Control, SHORT_WORKER_TIMEOUT, service_workload, within},
    worker::{Machine, report},
};

/// A field of Hello, and how a worker that means no good fills it.
type Abuse = (&'static str, fn(&mut v1::Hello));

const ABUSES: [Abuse; 14] = [
    ("hello.worker_id", |hello| hello.worker_id = megabyte()),
    ("hello.worker_id", |hello| hello.worker_id.clear()),
    ("hello.name", |hello| hello.name = megabyte()),
    ("hello.version", |hello| hello.version = megabyte()),
    ("hello.address", |hello| hello.address += &megabyte()),
    ("hello.http_address", |hello| {
        hello.http_address = "http://".to_owned() + &megabyte();
    }),
    ("hello.network", |hello| hello.network = megabyte()),
    ("hello.instance", |hello| hello.instance = megabyte()),
    ("hello.labels", |hello| {
        hello.labels.insert(megabyte(), String::new());
    }),
    ("hello.labels[zone]", |hello| {
        hello.labels.insert("zone".to_owned(), megabyte());
    }),
    ("hello.labels", |hello| {
        hello.labels = (0..1000)
            .map(|key| (format!("k{key}"), String::new()))
            .collect();
    }),
    ("hello.volumes", |hello| {
        hello.volumes = vec![v1::HostVolume::default(); 5000];
    }),
    ("hello.seen.cluster_id", |hello| {
        let cluster_id = megabyte();
        hello.seen = Some(v1::Seen {
            cluster_id,
            term: 0,
            generation: 0,
        });
    }),
    ("hello.replicas[0].replica", |hello| {
        hello.replicas = vec![report(&megabyte(), Phase::Running)];
    }),
];

fn megabyte() -> String {
    "m".repeat(1 << 20)
}

#[tokio::test]
async fn each_field_of_hello_has_a_bound() {
    let mut control = Control::start().await;
    for (field, abuse) in ABUSES {
        let machine = Machine::new("stranger");
        let mut hello = machine.hello();
        abuse(&mut hello);
        let Err(status) = machine.try_connect(&control, hello).await else {
            panic!("{field} is taken");
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field, "{violations:?}");
    }
    let list = v1::WorkerServiceListRequest::default();
    let listed = control.workers.list(list).await.unwrap().into_inner();
    assert_eq!(listed.workers, [], "none is remembered");

    // What an honest worker says is far from it.
    let machine = Machine::new("honest");
    let mut hello = machine.hello();
    hello.labels = (0..100)
        .map(|key| (format!("example.com/k{key}"), "v".repeat(63)))
        .collect();
    hello.volumes = (0..1000)
        .map(|number| v1::HostVolume {
            name: format!("v{number}"),
            read_only: false,
        })
        .collect();
    hello.version = "1.2.3-rc.4+build.5".to_owned();
    machine.try_connect(&control, hello).await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_no_control_message_is_refused() {
    let control = Control::start().await;
    let machine = Machine::new("stranger");
    let mut hello = machine.hello();
    hello.labels = BTreeMap::from([("zone".to_owned(), "z".repeat(6 << 20))]);
    let Err(status) = machine.try_connect(&control, hello).await else {
        panic!("it was taken");
    };
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("4194304"), "{status}");
}

#[tokio::test]
async fn what_a_report_says_is_bounded() {
    let mut control = Control::start().await;
    let mut worker = Machine::new("w1").connect(&control).await;
    control.run("w", 1, &components::service("a")).await;
    control.until_settled("w").await;
    worker.until_told(|told| !told.assign.is_empty()).await;
    let id = control.replicas("w").await[0].id.clone();

    // A guest's words, of whatever length, are cut: its worker keeps its session.
    let exit = v1::Exit {
        message: megabyte(),
        stderr: vec!["x".repeat(10_000); 30],
        ..v1::Exit::default()
    };
    let mut long = report(&id, Phase::Backoff);
    long.restarts = 1;
    long.last_exit = Some(exit);
    long.conditions[0].message = "c".repeat(500_000);
    long.transitions[0].message = "t".repeat(500_000);
    long.transitions[0].reason = "Exited".to_owned();
    worker.report(long).await;
    let event = control.until_event("Exited").await;
    assert!(event.message.len() <= 16 << 10 && event.message.ends_with('…'));
    control.until("w", |_| true).await;
    let exit = within(async {
        loop {
            let replica = control.replicas("w").await.remove(0);
            if let Some(exit) = replica.last_exit {
                break exit;
            }
        }
    })
    .await;
    assert!(exit.message.len() <= 16 << 10 && exit.stderr.len() == 20);
    assert!(exit.stderr.iter().all(|line| line.len() <= 2 << 10));
    worker.heartbeats(1).await;

    // What programs read is as a worker writes it, or the session ends.
    let mut wrong = report(&id, Phase::Running);
    wrong.transitions[0].reason = megabyte();
    worker.report(wrong).await;
    let ended = worker.ended().await;
    assert_eq!(ended.code(), Code::InvalidArgument, "{ended}");
    assert!(
        ended.message().contains("report.transitions[0].reason"),
        "{ended}"
    );
}

#[tokio::test]
async fn a_worker_that_has_run_nothing_is_forgotten_soon_and_others_are_not() {
    let data = TempDir::new().unwrap();
    let config = Config {
        unused_worker_retention: Duration::from_millis(300),
        worker_timeout: SHORT_WORKER_TIMEOUT,
        ..Config::new(data.path().to_owned())
    };
    let mut control = Control::start_with(data, config).await;
    let runs = Machine::new("runs");
    let worker = runs.connect(&control).await;
    let service = components::service("a");
    control.push(&service).await;
    let mut workload = service_workload("w", Some(1), &service);
    let spec = workload.spec.as_mut().unwrap().service.as_mut().unwrap();
    // It stays where it was.
    spec.restart = Some(v1::RestartPolicy {
        on_lost: v1::restart_policy::Recovery::Keep.into(),
        ..v1::RestartPolicy::default()
    });
    control.apply(workload).await.unwrap();
    control.until_settled("w").await;
    assert_eq!(control.worker("runs").await.has_run, Some(true));
    worker.vanish().await;
    let cordoned = Machine::new("cordoned").connect(&control).await;
    let name = "cordoned".to_owned();
    let cordon = v1::CordonRequest { name };
    control.workers.cordon(cordon).await.unwrap();
    cordoned.vanish().await;
    let stays = Machine::new("stays").connect(&control).await;
    Machine::new("goes").connect(&control).await.vanish().await;

    let event = control.until_event("Removed").await;
    assert_eq!(event.object, "worker/goes");
    assert!(
        event.message.contains("has run nothing"),
        "{}",
        event.message
    );
    // All others were looked at with it.
    for (name, has_run) in [("runs", true), ("cordoned", false), ("stays", false)] {
        assert_eq!(control.worker(name).await.has_run, Some(has_run), "{name}");
    }
    stays.heartbeats(1).await;
    // It may come again.
    Machine::new("goes").connect(&control).await;
    assert!(control.worker("goes").await.ready);
}

/// As a worker of an earlier version, which reports each step as it is taken.
#[tokio::test]
async fn heartbeats_are_answered_however_much_a_worker_reports() {
    const STEPS: u32 = 20_000;
    let mut control = Control::start().await;
    let mut worker = Machine::new("w1").connect(&control).await;
    control.run("w", 4, &components::service("a")).await;
    control.until_settled("w").await;
    worker
        .until_told(|told| told.assign.iter().any(|it| it.workload == "w"))
        .await;
    let replicas = control.replicas("w").await;
    let written = |replicas: &[v1::Replica]| -> u64 {
        let versions = replicas
            .iter()
            .map(|it| it.resource_version.parse().unwrap());
        versions.max().unwrap()
    };
    let (began, before) = (Instant::now(), written(&replicas));
    let mut longest = Duration::ZERO;
    for number in 1..=STEPS {
        for replica in &replicas {
            let mut step = report(&replica.id, Phase::Backoff);
            step.restarts = number;
            step.transitions[0].reason = "Exited".to_owned();
            step.transitions[0].total = number;
            let message = session_request::Message::Report(step);
            worker.say(message).await;
        }
        if number % 1000 == 0 {
            let asked = Instant::now();
            worker.heartbeats(1).await;
            longest = longest.max(asked.elapsed());
        }
    }
    let took = began.elapsed();
    // Behind some hundred reports that are on their way, and behind no store.
    assert!(longest < Duration::from_secs(3), "{longest:?}");

    // The last one counts, and all are counted.
    let counted = |replica: &v1::Replica| replica.restarts == STEPS;
    let settled = within(async {
        loop {
            let replicas = control.replicas("w").await;
            if replicas.iter().all(counted) {
                break replicas;
            }
        }
    })
    .await;
    // Of 80,000 reports. Each write is one of a replica, of what follows from it, or of events.
    let writes = written(&settled) - before;
    let most = 4 * 3 * (32 + 2 * took.as_secs() + 40);
    assert!(writes < most, "{writes} writes in {took:?}");
    let request = v1::EventsRequest::default();
    let mut events = control
        .workloads
        .events(request)
        .await
        .unwrap()
        .into_inner();
    let mut counts = Vec::new();
    while let Some(event) = within(events.message()).await.unwrap() {
        let event = event.event.unwrap();
        if event.reason == "Exited" {
            counts.push(event.count);
        }
    }
    assert_eq!(counts, vec![STEPS; replicas.len()]);
}

#[tokio::test]
async fn names_without_end_are_not_remembered() {
    const AT_ONCE: usize = 50;
    let mut control = Control::start().await;
    let known = Machine::new("known").connect(&control).await;
    let mut refused = None;
    // A thousand may come at once, and a few more each second.
    for round in 0..100 {
        let names = (0..AT_ONCE).map(|number| format!("stranger-{round}-{number}"));
        let machines: Vec<_> = names.map(|name| Machine::new(&name)).collect();
        let sessions = machines
            .iter()
            .map(|it| it.try_connect(&control, it.hello()));
        let sessions = futures::future::join_all(sessions).await;
        refused = sessions.into_iter().find_map(Result::err);
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("there is an end to it");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("new names"), "{refused}");
    let details = refused.get_error_details();
    assert!(details.retry_info().is_some());

    // Who is known comes and goes as before.
    known.heartbeats(1).await;
    known.vanish().await;
    Machine::new("known").connect(&control).await;
    assert!(control.worker("known").await.ready);
}
