//! Every service of the listener, its health and its reflection.

use tonic::{server::NamedService, service::Routes};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tonic_reflection::server::{Builder, Error};
use warren_proto::v1::{
    artifact_service_server::ArtifactServiceServer, fleet_service_server::FleetServiceServer,
    system_service_server::SystemServiceServer, worker_service_server::WorkerServiceServer,
    workload_service_server::WorkloadServiceServer,
};

use super::{
    Services, artifact::ArtifactApi, fleet::FleetApi, methods::Methods, system::SystemApi,
    worker::WorkerApi, workload::WorkloadApi,
};

/// The bytes of a message with a piece of an artifact, of at most 1 MiB. Other messages of users
/// have tonic's bound of 4 MiB.
const MAX_PUSH_MESSAGE: usize = 1024 * 1024 + 4096;
/// The bytes of a message of a worker: a Hello is at most 2 MiB, and a report far smaller.
const MAX_FLEET_MESSAGE: usize = 4 * 1024 * 1024;

/// The descriptors of what the listener speaks: the contract, health, and the details of errors.
const DESCRIPTORS: [&[u8]; 3] = [
    warren_proto::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_types::pb::FILE_DESCRIPTOR_SET,
];

/// The services that report their health one by one.
const SERVICES: [&str; 5] = [
    <WorkloadServiceServer<WorkloadApi> as NamedService>::NAME,
    <ArtifactServiceServer<ArtifactApi> as NamedService>::NAME,
    <WorkerServiceServer<WorkerApi> as NamedService>::NAME,
    <SystemServiceServer<SystemApi> as NamedService>::NAME,
    <FleetServiceServer<FleetApi> as NamedService>::NAME,
];

/// Builds the routes of all services.
pub fn routes(services: &Services, health: &HealthReporter) -> Result<Routes, Error> {
    let Services {
        workloads,
        artifacts,
        fleet,
    } = services.clone();
    let health = HealthServer::new(HealthService::from_health_reporter(health.clone()));
    let system = SystemApi::new(
        workloads.state.clone(),
        artifacts.files().clone(),
        fleet.cluster_id.clone(),
    );
    let workloads = WorkloadApi {
        workloads,
        fleet: fleet.clone(),
    };
    let workers = WorkerApi(fleet.clone());
    let artifacts = ArtifactServiceServer::new(ArtifactApi(artifacts))
        .max_decoding_message_size(MAX_PUSH_MESSAGE);
    let fleet =
        FleetServiceServer::new(FleetApi(fleet)).max_decoding_message_size(MAX_FLEET_MESSAGE);
    let mut routes = Routes::builder();
    routes
        .add_service(WorkloadServiceServer::new(workloads))
        .add_service(artifacts)
        .add_service(WorkerServiceServer::new(workers))
        .add_service(SystemServiceServer::new(system))
        .add_service(fleet)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.routes())
}

/// Returns the methods of all services, with which of them are streams.
pub fn methods() -> Result<Methods, prost::DecodeError> {
    let mut all = DESCRIPTORS.to_vec();
    all.push(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET);
    all.push(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
    Methods::of(&all)
}

/// Sets the health of the whole and of each service.
pub async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for service in SERVICES.into_iter().chain([""]) {
        health.set_service_status(service, status).await;
    }
}

fn reflection() -> Builder<'static> {
    let builder = Builder::configure();
    DESCRIPTORS.into_iter().fold(builder, |builder, set| {
        builder.register_encoded_file_descriptor_set(set)
    })
}
