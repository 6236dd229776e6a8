//! Apply, Get, List, Delete: what they do and what they refuse.

use std::collections::BTreeMap;

use tonic::Code;
use tonic_types::StatusExt as _;
use warren_proto::v1::{self, apply_response::Outcome};

use crate::{
    components,
    harness::{Control, http_workload, service_workload, within},
    worker::Machine,
};

#[tokio::test]
async fn the_same_again_changes_nothing_and_a_scale_makes_no_revision() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;

    let first = control
        .apply(service_workload("w", None, &service))
        .await
        .unwrap();
    assert_eq!(first.outcome(), Outcome::Created);
    let created = first.workload.unwrap();
    assert_eq!((created.generation, created.revision), (1, 1));
    assert_eq!(created.namespace, "default");
    assert_eq!(created.caller, "anonymous");
    assert_eq!(created.spec.as_ref().unwrap().replicas, Some(1));
    assert!(created.status.is_some() && !created.uid.is_empty());

    let again = control
        .apply(service_workload("w", None, &service))
        .await
        .unwrap();
    assert_eq!(again.outcome(), Outcome::Unchanged);
    let again = again.workload.unwrap();
    assert_eq!((again.generation, again.revision), (1, 1));
    assert_eq!(again.uid, created.uid);

    let scaled = control
        .apply(service_workload("w", Some(3), &service))
        .await
        .unwrap();
    assert_eq!(scaled.outcome(), Outcome::Updated);
    let scaled = scaled.workload.unwrap();
    assert_eq!((scaled.generation, scaled.revision), (2, 1));

    let mut changed = service_workload("w", None, &service);
    changed
        .spec
        .as_mut()
        .unwrap()
        .service
        .as_mut()
        .unwrap()
        .args = vec!["x".to_owned()];
    let changed = control.apply(changed).await.unwrap().workload.unwrap();
    assert_eq!((changed.generation, changed.revision), (3, 2));
    assert_eq!(changed.spec.unwrap().replicas, Some(3));
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let mut control = Control::start().await;
    let refused = control
        .apply(v1::Workload {
            namespace: "Not A Name".to_owned(),
            name: "_".to_owned(),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_error_details();
    let fields: Vec<_> = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    assert!(
        fields.contains(&"namespace") && fields.contains(&"name"),
        "{fields:?}"
    );
    assert!(
        fields.iter().any(|field| field.starts_with("spec")),
        "{fields:?}"
    );
}

#[tokio::test]
async fn an_artifact_must_be_pushed_first() {
    let mut control = Control::start().await;
    let service = components::service("nowhere");
    let refused = control
        .apply(service_workload("w", None, &service))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains(&service.digest.to_string()),
        "{refused}"
    );
    assert!(refused.message().contains("warren push"), "{refused}");
    let details = refused.get_error_details();
    let violation = &details.precondition_failure().unwrap().violations[0];
    assert_eq!(violation.subject, "spec.service.component");
}

#[tokio::test]
async fn a_component_is_used_as_what_it_is_and_its_imports_are_answered() {
    let mut control = Control::start().await;
    let http = components::http("web");
    control.push(&http).await;
    let refused = control
        .apply(service_workload("w", None, &http))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let fields = refused
        .get_error_details()
        .bad_request()
        .unwrap()
        .field_violations
        .clone();
    assert_eq!(fields[0].field, "spec.service.component");
    assert!(fields[0].description.contains("wasi:cli/run"), "{fields:?}");

    let importing = components::service_importing("acme:kv/store@1.0.0");
    control.push(&importing).await;
    let refused = control
        .apply(service_workload("w", None, &importing))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().contains("acme:kv/store@1.0.0"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_route_has_one_holder_in_the_fleet() {
    let mut control = Control::start().await;
    let http = components::http("web");
    control.push(&http).await;
    control
        .apply(http_workload("first", &http, "a.localhost"))
        .await
        .unwrap();

    let refused = control
        .apply(http_workload("second", &http, "a.localhost"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("default/first"), "{refused}");
    let details = refused.get_error_details();
    let violation = &details.precondition_failure().unwrap().violations[0];
    assert_eq!(violation.subject, "spec.components[0].routes[0]");

    // Given up by a change, it is free at once; by a deletion, once the workload is gone.
    control
        .apply(http_workload("first", &http, "b.localhost"))
        .await
        .unwrap();
    control
        .apply(http_workload("second", &http, "a.localhost"))
        .await
        .unwrap();
    delete(&mut control, "first").await;
    control.until_gone("first").await;
    control
        .apply(http_workload("third", &http, "b.localhost"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_lost_update_is_aborted() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    let apply = |expected| v1::ApplyRequest {
        workload: Some(service_workload("w", None, &service)),
        expected_revision: Some(expected),
    };
    control.workloads.apply(apply(0)).await.unwrap();
    for wrong in [0, 2] {
        let refused = control.workloads.apply(apply(wrong)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Aborted, "{refused}");
        let details = refused.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "LOST_UPDATE");
    }
    control.workloads.apply(apply(1)).await.unwrap();
}

#[tokio::test]
async fn deletion_waits_for_replicas_and_holds_the_name_meanwhile() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let worker = Machine::new("w1").connect(&control).await;
    let created = control.run("w", 1, &service).await;
    control.until_settled("w").await;
    // Not connected: its replica cannot be stopped now.
    worker.vanish().await;

    let deleting = delete(&mut control, "w").await;
    let time = deleting.delete_time.expect("it is marked");
    assert_eq!(delete(&mut control, "w").await.delete_time, Some(time));
    let refused = control
        .apply(service_workload("w", None, &service))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.get_error_details().retry_info().is_some(),
        "{refused}"
    );

    let machine = Machine::new("w1");
    let _worker = machine.connect(&control).await;
    control.until_gone("w").await;
    let get = v1::GetRequest {
        name: "w".to_owned(),
        ..Default::default()
    };
    let refused = within(control.workloads.get(get)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let details = refused.get_error_details();
    assert_eq!(details.resource_info().unwrap().resource_name, "default/w");

    let again = control
        .apply(service_workload("w", None, &service))
        .await
        .unwrap();
    assert_eq!(again.outcome(), Outcome::Created);
    assert_ne!(again.workload.unwrap().uid, created.uid);
}

#[tokio::test]
async fn lists_come_in_pages_and_by_label() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    for (namespace, name, tier) in [
        ("default", "a", "x"),
        ("default", "b", "y"),
        ("other", "c", "x"),
        ("other", "d", "x"),
    ] {
        let mut workload = service_workload(name, Some(0), &service);
        workload.namespace = namespace.to_owned();
        workload.labels = BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
        control.apply(workload).await.unwrap();
    }
    let mut request = v1::ListRequest {
        namespace: "*".to_owned(),
        page_size: 2,
        labels: BTreeMap::from([("tier".to_owned(), "x".to_owned())]),
        ..Default::default()
    };
    let first = control
        .workloads
        .list(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(names(&first.workloads), ["a", "c"]);
    request.page_token = first.next_page_token;
    let second = control
        .workloads
        .list(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(names(&second.workloads), ["d"]);
    assert_eq!(second.next_page_token, "");

    request.page_token = "made up".to_owned();
    let refused = control.workloads.list(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    let own = v1::ListRequest::default();
    let own = control.workloads.list(own).await.unwrap().into_inner();
    assert_eq!(names(&own.workloads), ["a", "b"]);
}

async fn delete(control: &mut Control, name: &str) -> v1::Workload {
    let request = v1::DeleteRequest {
        name: name.to_owned(),
        ..Default::default()
    };
    within(control.workloads.delete(request))
        .await
        .unwrap()
        .into_inner()
        .workload
        .unwrap()
}

fn names(workloads: &[v1::Workload]) -> Vec<&str> {
    workloads
        .iter()
        .map(|workload| workload.name.as_str())
        .collect()
}
