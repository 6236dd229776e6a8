//! Health, reflection, and what the server says about itself.

use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb;
use warren_control::{Config, ControlPlane, OpenError, StoreError};
use warren_proto::v1::{self, system_service_client::SystemServiceClient};

use crate::harness::{Control, WORKER_TIMEOUT, within};

#[tokio::test]
async fn health_is_told_as_a_whole_and_by_service() {
    let control = Control::start().await;
    let mut client = HealthClient::new(control.channel.clone());
    for service in ["", "warren.v1.WorkloadService", "warren.v1.FleetService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = within(client.check(request)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let request = HealthCheckRequest {
        service: "no.such.Service".to_owned(),
    };
    assert_eq!(
        client.check(request).await.unwrap_err().code(),
        Code::NotFound
    );

    // A watch of health hears of the end before anything else does.
    let mut watch = client
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        within(watch.message()).await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    control.stop().await;
    match within(watch.message()).await {
        Ok(Some(told)) => assert_eq!(told.status(), ServingStatus::NotServing),
        Ok(None) => panic!("it ended without a word"),
        Err(status) => assert_eq!(status.code(), Code::Unavailable),
    }
}

#[tokio::test]
async fn reflection_lists_every_service_in_both_versions() {
    let control = Control::start().await;
    let expected = [
        "grpc.health.v1.Health",
        "warren.v1.ArtifactService",
        "warren.v1.FleetService",
        "warren.v1.SystemService",
        "warren.v1.WorkerService",
        "warren.v1.WorkloadService",
    ];

    use pb::v1::server_reflection_request::MessageRequest;
    use pb::v1::server_reflection_response::MessageResponse;
    let mut client =
        pb::v1::server_reflection_client::ServerReflectionClient::new(control.channel.clone());
    let ask = |request| pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let requests = [
        ask(MessageRequest::ListServices(String::new())),
        // What a client needs to read the details of errors.
        ask(MessageRequest::FileContainingSymbol(
            "google.rpc.BadRequest".to_owned(),
        )),
    ];
    let answers = client
        .server_reflection_info(tokio_stream::iter(requests))
        .await
        .unwrap();
    let mut answers = answers.into_inner();
    let listed = within(answers.message())
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let MessageResponse::ListServicesResponse(listed) = listed else {
        panic!("{listed:?}")
    };
    let listed: Vec<_> = listed
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for service in expected {
        assert!(
            listed.iter().any(|name| name == service),
            "{service} in {listed:?}"
        );
    }
    let found = within(answers.message())
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    assert!(
        matches!(found, MessageResponse::FileDescriptorResponse(_)),
        "{found:?}"
    );

    use pb::v1alpha::server_reflection_request::MessageRequest as AlphaRequest;
    use pb::v1alpha::server_reflection_response::MessageResponse as AlphaResponse;
    let mut client =
        pb::v1alpha::server_reflection_client::ServerReflectionClient::new(control.channel.clone());
    let request = pb::v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(AlphaRequest::ListServices(String::new())),
    };
    let answers = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap();
    let listed = within(answers.into_inner().message())
        .await
        .unwrap()
        .unwrap();
    let Some(AlphaResponse::ListServicesResponse(listed)) = listed.message_response else {
        panic!("no list")
    };
    assert!(
        listed
            .service
            .iter()
            .any(|service| service.name == "warren.v1.WorkloadService")
    );
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let control = Control::start().await;
    let mut client = SystemServiceClient::new(control.channel.clone());
    let info = within(client.get_info(v1::GetInfoRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(info.store_schema, 2);
    assert_eq!(info.max_artifact_bytes, 256 << 20);
    let has = |feature: &str| info.features.iter().any(|held| held == feature);
    for ability in ["watch.resume", "rollback", "logs.previous", "workers.watch"] {
        assert!(has(ability), "{ability}");
    }
    assert!(has("spec.service.routes.port") && has("spec.service.egress"));
    assert!(has("spec.service.exclusive") && !has("spec.service.env.secret"));
}

#[tokio::test]
async fn a_data_directory_belongs_to_one_process() {
    let control = Control::start().await;
    let data = control.data().to_owned();
    let config = Config {
        worker_timeout: WORKER_TIMEOUT,
        ..Config::new(data)
    };
    let refused = ControlPlane::open(config).await.err().unwrap();
    assert!(
        matches!(refused, OpenError::Store(StoreError::InUse(_))),
        "{refused}"
    );
}
