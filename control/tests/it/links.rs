//! Components that do not fit to each other, and routes of services.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use warren_proto::v1;

use crate::{
    components::{self, Built},
    harness::{Control, http_workload, routed_workload, service_workload, within},
    worker::Machine,
};

const KV: &str = "acme:kv/store@1.0.0";
const LOG: &str = "acme:log/sink@1.0.0";

/// What it is, the service, the components beside it, the refused field, and parts of the message.
type Case<'a> = (&'a str, &'a Built, &'a [&'a Built], &'a str, &'a [&'a str]);

#[tokio::test]
async fn what_cannot_be_linked_is_refused_with_the_reason_and_the_field() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let importing = components::service_importing(KV);
    let nearly = components::service_importing("acme:kv/stoer@1.0.0");
    let with_resource = components::service_importing_resource("acme:blob/store@1.0.0");
    let (one, two) = (
        components::library("one", KV, &[]),
        components::library("two", KV, &[]),
    );
    let (kv_by_log, log_by_kv) = (
        components::library("kv", KV, &[LOG]),
        components::library("log", LOG, &[KV]),
    );
    let blob = components::library("blob", "acme:blob/store@1.0.0", &[]);
    for built in [
        &service,
        &importing,
        &nearly,
        &with_resource,
        &one,
        &two,
        &kv_by_log,
        &log_by_kv,
        &blob,
    ] {
        control.push(built).await;
    }
    let cases: [Case<'_>; 5] = [
        (
            "nobody exports it",
            &importing,
            &[],
            "spec.service.component",
            &[KV, "add a component that exports it"],
        ),
        (
            "a typing mistake",
            &nearly,
            &[&one],
            "spec.service.component",
            &["acme:kv/stoer@1.0.0", "did you mean"],
        ),
        (
            "two exporters",
            &importing,
            &[&one, &two],
            "spec.service.component",
            &[KV, "more than one component", "`c0`, `c1`"],
        ),
        (
            "a circle",
            &service,
            &[&kv_by_log, &log_by_kv],
            "spec.components[0].component",
            &["circle", "c0 -> c1 -> c0"],
        ),
        (
            "a resource",
            &with_resource,
            &[&blob],
            "spec.service.component",
            &["acme:blob/store@1.0.0", "cannot be linked", "resource"],
        ),
    ];
    for (case, service, libraries, field, parts) in cases {
        let mut workload = service_workload("w", None, service);
        let spec = workload.spec.as_mut().unwrap();
        spec.components = libraries
            .iter()
            .enumerate()
            .map(|(i, built)| v1::Component {
                name: format!("c{i}"),
                component: built.digest.to_string(),
                ..Default::default()
            })
            .collect();
        let refused = control.apply(workload).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{case}: {refused}");
        let details = refused.get_error_details();
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, field, "{case}");
        for part in parts {
            assert!(refused.message().contains(part), "{case}: {refused}");
        }
    }
}

fn beside(mut workload: v1::Workload, name: &str, built: &Built) -> v1::Workload {
    let spec = workload.spec.as_mut().unwrap();
    spec.components = vec![v1::Component {
        name: name.to_owned(),
        component: built.digest.to_string(),
        ..Default::default()
    }];
    workload
}

#[tokio::test]
async fn a_revision_is_stored_and_sent_with_links_to_the_highest_version() {
    let mut control = Control::start().await;
    let importing = components::service_importing(KV);
    control.push(&importing).await;
    let mut worker = Machine::new("w1").connect(&control).await;
    let [one, two] = ["acme:kv/store@1.0.0", "acme:kv/store@1.1.0"];
    for (name, versions) in [("up", [one, two]), ("down", [two, one])] {
        let library = components::library_of_versions(&versions);
        control.push(&library).await;
        let workload = beside(service_workload(name, Some(1), &importing), "kv", &library);
        let applied = control.apply(workload).await.unwrap().workload.unwrap();
        let plan = applied.link_plan.unwrap();
        let link = v1::Link {
            importer: "service".to_owned(),
            import: KV.to_owned(),
            exporter: "kv".to_owned(),
            export: two.to_owned(),
        };
        assert_eq!(plan.links, [link], "{versions:?}");
        assert_eq!(control.workload(name).await.link_plan.as_ref(), Some(&plan));
        let told = worker.until_told(|told| told.assign.iter().any(|one| one.workload == name));
        let told = told
            .await
            .assign
            .into_iter()
            .find(|one| one.workload == name);
        assert_eq!(told.unwrap().link_plan, Some(plan));
    }
}

const LATER: &str = "wasi:later/store@0.2.5";

#[tokio::test]
async fn what_only_one_worker_provides_is_placed_there_or_waits_and_says_so() {
    let mut control = Control::start().await;
    let importing = components::service_importing(LATER);
    control.push(&importing).await;
    let workload = service_workload("w", Some(2), &importing);
    // A worker of a version that does not state what it provides.
    let _silent = Machine::new("w1").connect(&control).await;
    let refused = control.apply(workload.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let provided = "they provide wasi:logging@0.1.0-draft, \
        wasi:config@0.2.0-draft-2024-09-27, wasi:config@0.2.0-rc.1, \
        wasi:{cli, clocks, filesystem, http, io, random, sockets}@0.2.12";
    for part in [LATER, "which workers do not provide", provided] {
        assert!(refused.message().contains(part), "{part}: {refused}");
    }

    let machine = Machine::new("w2");
    let interface = |name: &str| v1::HostInterface {
        name: name.to_owned(),
        needs_binding: true,
    };
    let hello = v1::Hello {
        interfaces: vec![interface("wasi:cli/exit@0.2.12"), interface(LATER)],
        ..machine.hello()
    };
    let _newer = machine.try_connect(&control, hello.clone()).await.unwrap();
    assert_eq!(control.worker("w2").await.interfaces, hello.interfaces);
    let applied = control.apply(workload).await.unwrap().workload.unwrap();
    assert_eq!(applied.link_plan.unwrap().interfaces, [LATER]);
    control.until_settled("w").await;
    let on: Vec<_> = control.replicas("w").await;
    assert!(on.iter().all(|replica| replica.worker == "w2"), "{on:?}");

    let cordon = v1::CordonRequest {
        name: "w2".to_owned(),
    };
    control.workers.cordon(cordon).await.unwrap();
    control
        .apply(service_workload("other", Some(1), &importing))
        .await
        .unwrap();
    let replica = within(async {
        loop {
            let replica = control.replicas("other").await.pop();
            if let Some(replica) = replica.filter(|one| !one.conditions.is_empty()) {
                return replica;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut conditions = replica.conditions.iter();
    let scheduled = conditions.find(|one| one.r#type == "Scheduled").unwrap();
    assert_eq!(
        scheduled.message,
        format!("2 workers: 1 cordoned, 1 does not provide `{LATER}`")
    );

    for name in ["store", "wasi:later/store", &"a:b/".repeat(100)] {
        let hello = v1::Hello {
            interfaces: vec![interface(name)],
            ..Machine::new("w3").hello()
        };
        let refused = Machine::new("w3").try_connect(&control, hello).await;
        let refused = refused.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let part = "hello.interfaces[0].name";
        assert!(refused.message().contains(part), "{refused}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_component_says_what_it_is() {
    let mut control = Control::start().await;
    let cases: [(&str, Vec<u8>, &[&str]); 4] = [
        ("empty", Vec::new(), &["not WebAssembly", "empty"]),
        ("a script", b"#!/bin/sh\n".to_vec(), &["not WebAssembly"]),
        (
            "a core module",
            components::core_module(),
            &["module", "component"],
        ),
        (
            "a damaged component",
            {
                let mut bytes = components::service("a").bytes;
                bytes.truncate(bytes.len() / 2);
                bytes
            },
            &["component"],
        ),
    ];
    for (case, bytes, parts) in cases {
        let refused = push(&mut control, "", 0, bytes).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{case}: {refused}");
        for part in parts {
            assert!(refused.message().contains(part), "{case}: {refused}");
        }
    }
}

#[tokio::test]
async fn what_is_larger_than_an_artifact_may_be_is_refused_before_it_travels() {
    let mut control = Control::start().await;
    let refused = push(&mut control, "", (256 << 20) + 1, vec![0; 8]).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("at most 256MiB"), "{refused}");
    let details = refused.get_error_details();
    assert!(details.quota_failure().is_some() && details.retry_info().is_none());
}

#[tokio::test]
async fn a_route_has_one_holder_whoever_answers_it() {
    let mut control = Control::start().await;
    let (service, http) = (components::service("a"), components::http("web"));
    control.push(&service).await;
    control.push(&http).await;
    control
        .apply(routed_workload("db", &service, "a.localhost"))
        .await
        .unwrap();

    let refusals = [
        (
            http_workload("web", &http, "a.localhost"),
            "spec.components[0].routes[0]",
        ),
        (
            routed_workload("other", &service, "a.localhost"),
            "spec.service.routes[0]",
        ),
    ];
    for (workload, field) in refusals {
        let refused = control.apply(workload).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("`default/db`"), "{refused}");
        let details = refused.get_error_details();
        let violation = &details.precondition_failure().unwrap().violations[0];
        assert_eq!(
            (&*violation.subject, &*violation.r#type),
            (field, "ROUTE_TAKEN")
        );
    }

    // From one half of a workload to the other it stays with its holder.
    let mut moved = http_workload("db", &http, "a.localhost");
    moved.spec.as_mut().unwrap().service =
        service_workload("db", None, &service).spec.unwrap().service;
    control.apply(moved).await.unwrap();
    control
        .apply(routed_workload("db", &service, "a.localhost"))
        .await
        .unwrap();

    // Given up by a change, and by a deletion.
    control
        .apply(routed_workload("db", &service, "b.localhost"))
        .await
        .unwrap();
    control
        .apply(http_workload("web", &http, "a.localhost"))
        .await
        .unwrap();
    let delete = v1::DeleteRequest {
        name: "db".to_owned(),
        ..Default::default()
    };
    control.workloads.delete(delete).await.unwrap();
    control.until_gone("db").await;
    control
        .apply(routed_workload("other", &service, "b.localhost"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_field_that_this_version_does_not_honour_is_refused_by_name() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    let mut workload = service_workload("w", None, &service);
    let spec = workload.spec.as_mut().unwrap();
    let service = spec.service.as_mut().unwrap();
    service.env = vec![v1::EnvVar {
        name: "PASSWORD".to_owned(),
        source: Some(v1::env_var::Source::Secret("db".to_owned())),
    }];
    let refused = control.apply(workload).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations.iter().map(|held| &*held.field).collect();
    assert!(
        fields
            .iter()
            .any(|field| field.starts_with("spec.service.env[0].secret")),
        "{fields:?}"
    );
}

async fn push(
    control: &mut Control,
    digest: &str,
    size_bytes: u64,
    bytes: Vec<u8>,
) -> Result<v1::PushResponse, Status> {
    use v1::push_request::Message;
    let messages = [
        Message::Header(v1::PushHeader {
            digest: digest.to_owned(),
            size_bytes,
        }),
        Message::Chunk(bytes.into()),
    ]
    .map(|message| v1::PushRequest {
        message: Some(message),
    });
    let pushed = control.artifacts.push(tokio_stream::iter(messages));
    Ok(within(pushed).await?.into_inner())
}
