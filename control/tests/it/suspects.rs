//! What no worker should be tried with any more: components that do not compile, and workloads that
//! take workers down.

use warren_proto::v1::{self, compile_failure::Reason, condition::Status, replica::Phase};

use crate::{
    components,
    harness::{Control, SHORT_WORKER_TIMEOUT, WORKER_TIMEOUT, condition, service_workload},
    worker::{Machine, Worker, report},
};

/// A worker whose compiler may take so much memory.
async fn connect(control: &Control, name: &str, memory_bytes: u64) -> Worker {
    connect_as(control, name, memory_bytes, "1").await
}

/// The same, as this process of it, which holds nothing yet.
async fn connect_as(control: &Control, name: &str, memory_bytes: u64, process: &str) -> Worker {
    let machine = Machine::new(name);
    *machine.becomes.lock().unwrap() = Phase::Pending;
    let hello = v1::Hello {
        instance: format!("{name}, process {process}"),
        compile_limits: Some(v1::CompileLimits {
            memory_bytes,
            cpu_time: None,
        }),
        ..machine.hello()
    };
    machine.try_connect(control, hello).await.unwrap()
}

/// What a worker says of a replica with a component that it could not compile.
fn not_compiled(id: &str, digest: &str) -> v1::ReplicaReport {
    v1::ReplicaReport {
        compile_failure: Some(v1::CompileFailure {
            digest: digest.to_owned(),
            reason: Reason::Memory.into(),
            message: "it takes too much".to_owned(),
            ..Default::default()
        }),
        ..report(id, Phase::Failed)
    }
}

fn scheduled(replica: &v1::Replica) -> Option<&v1::Condition> {
    let mut conditions = replica.conditions.iter();
    conditions.find(|held| held.r#type == "Scheduled" && held.status() == Status::False)
}

fn reason_is(reason: &'static str) -> impl Fn(&v1::Workload) -> bool {
    move |workload| condition(workload, "Ready").is_some_and(|held| held.reason == reason)
}

fn assigned(worker: &Worker) -> usize {
    let told = worker.assignments.borrow();
    told.iter().map(|told| told.assign.len()).sum()
}

#[tokio::test]
async fn what_one_worker_could_not_compile_is_tried_on_no_other_like_it() {
    let mut control = Control::start().await;
    let service = components::service("bomb");
    let mut first = connect(&control, "w1", 100).await;
    control.run("w", 1, &service).await;
    let told = first.until_told(|told| !told.assign.is_empty()).await;
    let spec = told.assign[0].spec.clone().unwrap();
    let digest = spec.service.unwrap().component;
    let second = connect(&control, "w2", 100).await;
    first
        .report(not_compiled(&told.assign[0].replica, &digest))
        .await;

    // It keeps its place, says why, and says that no other worker takes it.
    let why = |w: &v1::Workload| {
        let ready = condition(w, "Ready").map(|held| held.message.as_str());
        ready.is_some_and(|why| why.contains("no other worker takes it: 2 workers: 2 cannot"))
    };
    control.until("w", why).await;
    // Whatever else has the component says so at once.
    control
        .apply(service_workload("other", Some(1), &service))
        .await
        .unwrap();
    let other = control.until("other", reason_is("CompileFailed")).await;
    let message = &condition(&other, "Ready").unwrap().message;
    assert!(
        message.contains("2 cannot compile it: it takes too much"),
        "{message}"
    );
    assert_eq!(assigned(&second), 0);

    // A control plane that starts knows it still.
    drop((first, second));
    let mut control = Control::start_in(control.stop().await, WORKER_TIMEOUT).await;
    let second = connect(&control, "w2", 100).await;
    control
        .apply(service_workload("third", Some(1), &service))
        .await
        .unwrap();
    control.until("third", reason_is("CompileFailed")).await;
    assert_eq!(assigned(&second), 0);
    let stat = v1::StatRequest {
        digest: digest.clone(),
    };
    let artifact = control.artifacts.stat(stat).await.unwrap().into_inner();
    let failure = artifact.artifact.unwrap().compile_failure.unwrap();
    assert_eq!(
        (failure.reason(), failure.version.as_str()),
        (Reason::Memory, "0.0.0")
    );
    assert_eq!(failure.limits.unwrap().memory_bytes, 100);

    // More memory is worth a try, for those that wait as for the one that failed.
    let mut large = connect(&control, "w3", 101).await;
    large
        .until_told(|told| told.assign.iter().any(|it| it.workload == "other"))
        .await;
    assert_eq!(assigned(&second), 0);
}

/// Where a workload's only replica is, on a worker that is taken out of these.
async fn holder(workers: &mut Vec<Worker>) -> Worker {
    let told = |worker: &Worker| assigned(worker) > 0;
    let at = loop {
        if let Some(at) = workers.iter().position(told) {
            break at;
        }
        tokio::task::yield_now().await;
        let changes = workers
            .iter_mut()
            .map(|worker| Box::pin(worker.assignments.changed()));
        let _ = crate::harness::within(futures::future::select_all(changes)).await;
    };
    workers.swap_remove(at)
}

#[tokio::test]
async fn what_was_there_when_two_workers_were_lost_gets_no_third_before_it_is_restarted() {
    let mut control = Control::start_in(tempfile::tempdir().unwrap(), SHORT_WORKER_TIMEOUT).await;
    let mut workers = Vec::new();
    for name in ["w1", "w2", "w3"] {
        workers.push(connect(&control, name, 100).await);
    }
    control.run("beast", 1, &components::service("beast")).await;
    for _ in 0..2 {
        holder(&mut workers).await.vanish().await;
        // The loss is known.
        let left = 3 - workers.len();
        control
            .until("beast", |w| {
                let rollout = w.status.as_ref().and_then(|status| status.rollout.as_ref());
                rollout.is_some_and(|rollout| rollout.losses.len() == left)
            })
            .await;
    }
    let held = control.until("beast", reason_is("Held")).await;
    let message = &condition(&held, "Ready").unwrap().message;
    assert!(message.contains("warren restart"), "{message}");
    assert_eq!(assigned(&workers[0]), 0);
    let replicas = control.replicas("beast").await;
    assert!(
        replicas
            .iter()
            .any(|it| scheduled(it).is_some_and(|held| held.reason == "Held"))
    );

    let restart = v1::RestartRequest {
        namespace: "default".to_owned(),
        name: "beast".to_owned(),
        ..Default::default()
    };
    control.workloads.restart(restart).await.unwrap();
    workers[0].until_told(|told| !told.assign.is_empty()).await;
}

#[tokio::test]
async fn a_worker_that_is_started_again_and_again_is_spared_what_it_died_of() {
    let mut control = Control::start().await;
    let mut worker = connect_as(&control, "w1", 100, "1").await;
    control.run("beast", 1, &components::service("beast")).await;
    for process in ["2", "3"] {
        worker.until_told(|told| !told.assign.is_empty()).await;
        worker.vanish().await;
        worker = connect_as(&control, "w1", 100, process).await;
    }
    let held = control.until("beast", reason_is("Held")).await;
    let message = &condition(&held, "Ready").unwrap().message;
    assert!(
        message.contains("worker `w1` was lost repeatedly"),
        "{message}"
    );
    assert_eq!(assigned(&worker), 0);
}

#[tokio::test]
async fn a_worker_that_is_stopped_and_started_in_order_is_no_loss() {
    let mut control = Control::start().await;
    let mut worker = connect_as(&control, "w1", 100, "1").await;
    control.run("calm", 1, &components::service("calm")).await;
    for process in ["2", "3", "4"] {
        worker.until_told(|told| !told.assign.is_empty()).await;
        worker.leave(60, true).await;
        control
            .until_worker("w1", |it| it.departure.is_some_and(|it| it.stopped))
            .await;
        worker.vanish().await;
        worker = connect_as(&control, "w1", 100, process).await;
    }
    worker.until_told(|told| !told.assign.is_empty()).await;
    let workload = control.workload("calm").await;
    let losses = workload.status.unwrap().rollout.unwrap().losses;
    assert!(losses.is_empty(), "{losses:?}");
}

#[tokio::test]
async fn what_was_there_when_the_network_was_cut_goes_on_when_a_worker_is_back() {
    let mut control = Control::start_in(tempfile::tempdir().unwrap(), SHORT_WORKER_TIMEOUT).await;
    let mut workers = Vec::new();
    for name in ["w1", "w2"] {
        workers.push(connect(&control, name, 100).await);
    }
    control.run("beast", 1, &components::service("beast")).await;
    let mut cut = Vec::new();
    while !workers.is_empty() {
        let worker = holder(&mut workers).await;
        cut.push(worker.machine.name.clone());
        worker.vanish().await;
    }
    control.until("beast", reason_is("Held")).await;
    // The same process: it was not lost.
    let mut back = connect(&control, &cut[0], 100).await;
    back.until_told(|told| !told.assign.is_empty()).await;
    let workload = control.workload("beast").await;
    let losses = workload.status.unwrap().rollout.unwrap().losses;
    assert_eq!(losses.len(), 1, "{losses:?}");
}
