//! Scale, Restart, ListRevisions, Rollback.

use tonic::Code;
use tonic_types::StatusExt as _;
use warren_proto::v1::{self, replica::Phase, revision::Cause};

use crate::{
    components,
    harness::{
        Control, WORKER_TIMEOUT, http_workload, next, published_workload, routed_workload,
        service_workload, within, workload_with,
    },
    worker::Machine,
};

#[tokio::test]
async fn scale_sets_the_number_and_makes_no_revision() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let _worker = Machine::new("w1").connect(&control).await;
    control.run("w", 1, &service).await;

    let scaled = control.workloads.scale(scale("w", 3, Some(1))).await;
    let scaled = scaled.unwrap().into_inner().workload.unwrap();
    assert_eq!((scaled.generation, scaled.revision), (2, 1));
    control
        .until("w", |w| {
            w.status.as_ref().is_some_and(|s| s.ready_replicas == 3)
        })
        .await;
    let event = control.until_event("Scaled").await;
    assert_eq!(event.message, "scaled from 1 to 3 replicas");
    assert_eq!((event.caller.as_str(), event.count), ("anonymous", 1));

    // The same number again changes nothing, and Apply without a number keeps it.
    let again = control.workloads.scale(scale("w", 3, None)).await.unwrap();
    assert_eq!(again.into_inner().workload.unwrap().generation, 2);
    assert_eq!(control.until_event("Scaled").await.count, 1);
    control
        .apply(workload_with("w", &service, "x"))
        .await
        .unwrap();
    let spec = control.workload("w").await.spec.unwrap();
    assert_eq!(spec.replicas, Some(3));

    let refused = control.workloads.scale(scale("w", 1, Some(1))).await;
    assert_eq!(refused.unwrap_err().code(), Code::Aborted);
    let refused = control.workloads.scale(scale("w", 1001, None)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_error_details();
    assert_eq!(
        details.bad_request().unwrap().field_violations[0].field,
        "replicas"
    );
    let refused = control.workloads.scale(scale("none", 1, None)).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn restart_replaces_every_replica_one_after_the_other() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let _worker = Machine::new("w1").connect(&control).await;
    control.run("w", 2, &service).await;
    control.until_settled("w").await;
    let before = control.replicas("w").await;
    let position = control.until("w", |_| true).await.resource_version;
    let mut watch = control.watch("w", &position).await;

    let restarted = control.workloads.restart(restart("w", None)).await;
    let restarted = restarted.unwrap().into_inner().workload.unwrap();
    assert_eq!((restarted.generation, restarted.revision), (1, 2));
    assert_eq!(restarted.revision_cause(), Cause::Restarted);
    loop {
        let seen = next(&mut watch).await.unwrap().unwrap().workload.unwrap();
        let status = seen.status.as_ref().unwrap();
        // Never fewer than asked for are ready, of either revision, and never more than one
        // surplus.
        assert!(status.replicas <= 3, "{status:?}");
        if seen.revision == 2 && crate::harness::is_settled(&seen) {
            break;
        }
    }
    let after = control.replicas("w").await;
    assert_eq!(after.len(), 2);
    for replica in &after {
        assert_eq!(replica.revision, 2);
        assert!(before.iter().all(|held| held.id != replica.id));
    }
    let event = control.until_event("Restarted").await;
    assert_eq!(event.caller, "anonymous");
    // Who retries with the revision that it saw restarts once.
    let refused = control.workloads.restart(restart("w", Some(1))).await;
    assert_eq!(refused.unwrap_err().code(), Code::Aborted);
}

#[tokio::test]
async fn restart_with_a_fixed_port_stops_first() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    let _worker = Machine::new("w1").connect(&control).await;
    let published = published_workload("w", &service, "127.0.0.1:6379");
    control.apply(published).await.unwrap();
    control.until_settled("w").await;
    let old = control.replicas("w").await.remove(0).id;

    let mut watch = control.watch_replicas("w", "").await;
    control.workloads.restart(restart("w", None)).await.unwrap();
    let mut stopped = false;
    loop {
        let seen = next(&mut watch).await.unwrap().unwrap();
        let Some(replica) = seen.replica else {
            continue;
        };
        if replica.id == old {
            stopped |= replica.phase() == Phase::Stopped
                || seen.r#type == v1::watch_response::Type::Deleted as i32;
        } else if !replica.worker.is_empty() {
            assert!(stopped, "{replica:?} was placed beside {old}");
            break;
        }
    }
    control.until_settled("w").await;
}

#[tokio::test]
async fn a_rollback_brings_the_revision_before_back_with_the_number_of_now() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    for arg in ["x", "y"] {
        control
            .apply(workload_with("w", &service, arg))
            .await
            .unwrap();
    }
    control.workloads.restart(restart("w", None)).await.unwrap();
    control.workloads.scale(scale("w", 0, None)).await.unwrap();

    let back = control.workloads.rollback(rollback("w", 0)).await.unwrap();
    let back = back.into_inner().workload.unwrap();
    assert_eq!((back.revision, back.source_revision), (4, 1));
    assert_eq!(back.revision_cause(), Cause::RolledBack);
    let spec = back.spec.unwrap();
    assert_eq!(spec.replicas, Some(0));
    assert_eq!(spec.service.unwrap().args, ["x"]);
    let event = control.until_event("RolledBack").await;
    assert_eq!(event.message, "revision 4 brings revision 1 back");
    assert_eq!(event.caller, "anonymous");

    // To what runs already: nothing.
    let same = control.workloads.rollback(rollback("w", 1)).await.unwrap();
    assert_eq!(same.into_inner().workload.unwrap().revision, 4);
    let named = control.workloads.rollback(rollback("w", 2)).await.unwrap();
    assert_eq!(named.into_inner().workload.unwrap().source_revision, 2);

    let refused = control.workloads.rollback(rollback("w", 9)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("5, 4, 3, 2, 1"), "{refused}");

    let listed = revisions(&mut control, "w", 3).await;
    let seen: Vec<_> = listed
        .iter()
        .map(|held| {
            (
                held.revision,
                held.cause(),
                held.source_revision,
                held.current,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (5, Cause::RolledBack, 2, true),
            (4, Cause::RolledBack, 1, false),
            (3, Cause::Restarted, 0, false),
            (2, Cause::Applied, 0, false),
            (1, Cause::Applied, 0, false),
        ]
    );
    for held in &listed {
        assert_eq!(held.caller, "anonymous");
        assert!(held.create_time.is_some());
        assert_eq!(held.spec.as_ref().unwrap().replicas, None);
    }
}

#[tokio::test]
async fn history_is_bounded_survives_a_restart_and_ends_with_the_workload() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    for number in 0..13 {
        let workload = workload_with("w", &service, &number.to_string());
        control.apply(workload).await.unwrap();
    }
    let before = revisions(&mut control, "w", 4).await;
    let numbers: Vec<_> = before.iter().map(|held| held.revision).collect();
    assert_eq!(numbers, (4..=13).rev().collect::<Vec<_>>());
    let refused = control.workloads.rollback(rollback("w", 3)).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);

    let data = control.stop().await;
    let mut control = Control::start_in(data, WORKER_TIMEOUT).await;
    assert_eq!(revisions(&mut control, "w", 500).await, before);
    let back = control.workloads.rollback(rollback("w", 4)).await.unwrap();
    assert_eq!(back.into_inner().workload.unwrap().revision, 14);

    let delete = v1::DeleteRequest {
        name: "w".to_owned(),
        ..Default::default()
    };
    control.workloads.delete(delete).await.unwrap();
    control.until_gone("w").await;
    let request = v1::ListRevisionsRequest {
        name: "w".to_owned(),
        ..Default::default()
    };
    let refused = control.workloads.list_revisions(request).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    // Another life of the name has nothing to go back to.
    control
        .apply(workload_with("w", &service, "new"))
        .await
        .unwrap();
    let refused = control.workloads.rollback(rollback("w", 0)).await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_rollback_is_checked_as_apply_is() {
    let mut control = Control::start().await;
    let (service, other) = (components::service("a"), components::service("b"));
    let http = components::http("web");
    for built in [&service, &other, &http] {
        control.push(built).await;
    }
    control
        .apply(routed_workload("w", &service, "a.localhost"))
        .await
        .unwrap();
    control
        .apply(service_workload("w", None, &other))
        .await
        .unwrap();

    // Somebody took the route since.
    control
        .apply(http_workload("web", &http, "a.localhost"))
        .await
        .unwrap();
    let refused = control.workloads.rollback(rollback("w", 0)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("default/web"), "{refused}");
    assert_eq!(
        refused.get_error_details().error_info().unwrap().reason,
        "ROUTE_TAKEN"
    );

    // Only revisions name it, and those do not keep it from being deleted.
    let delete = v1::ArtifactServiceDeleteRequest {
        digest: service.digest.to_string(),
    };
    control.artifacts.delete(delete).await.unwrap();
    let refused = control.workloads.rollback(rollback("w", 1)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for part in [
        &*service.digest.to_string(),
        "warren push FILE",
        "deleted since",
    ] {
        assert!(refused.message().contains(part), "{refused}");
    }
    assert_eq!(control.workload("w").await.revision, 2);

    // Once both are there again it goes.
    control.push(&service).await;
    control
        .apply(http_workload("web", &http, "b.localhost"))
        .await
        .unwrap();
    let back = control.workloads.rollback(rollback("w", 0)).await.unwrap();
    assert_eq!(back.into_inner().workload.unwrap().revision, 3);
    let refused = control
        .apply(http_workload("web", &http, "a.localhost"))
        .await;
    assert!(refused.unwrap_err().message().contains("default/w`"));
}

#[tokio::test]
async fn of_many_at_once_each_sees_what_the_others_did() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.run("w", 0, &service).await;
    let restarts = (0..8).map(|_| {
        let mut client = control.workloads.clone();
        async move { client.restart(restart("w", None)).await }
    });
    let revisions = within(futures::future::try_join_all(restarts))
        .await
        .unwrap();
    let mut revisions: Vec<_> = revisions
        .into_iter()
        .map(|answer| answer.into_inner().workload.unwrap().revision)
        .collect();
    revisions.sort_unstable();
    assert!(
        revisions.is_sorted() && *revisions.last().unwrap() == 9,
        "{revisions:?}"
    );
    assert_eq!(control.workload("w").await.revision, 9);
}

/// All revisions, in pages of this size.
async fn revisions(control: &mut Control, name: &str, page_size: u32) -> Vec<v1::Revision> {
    let mut all = Vec::new();
    let mut request = v1::ListRevisionsRequest {
        name: name.to_owned(),
        page_size,
        ..Default::default()
    };
    loop {
        let page = within(control.workloads.list_revisions(request.clone())).await;
        let page = page.unwrap().into_inner();
        all.extend(page.revisions);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

fn scale(name: &str, replicas: u32, expected_revision: Option<u32>) -> v1::ScaleRequest {
    v1::ScaleRequest {
        name: name.to_owned(),
        replicas,
        expected_revision,
        ..Default::default()
    }
}

fn restart(name: &str, expected_revision: Option<u32>) -> v1::RestartRequest {
    v1::RestartRequest {
        name: name.to_owned(),
        expected_revision,
        ..Default::default()
    }
}

fn rollback(name: &str, revision: u32) -> v1::RollbackRequest {
    v1::RollbackRequest {
        name: name.to_owned(),
        revision,
        ..Default::default()
    }
}
