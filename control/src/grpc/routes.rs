//! Every service of the listener, its health and its reflection.

use std::sync::Arc;

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
    Shared, artifact::ArtifactApi, fleet::FleetApi, methods::Methods, system::SystemApi,
    worker::WorkerApi, workload::WorkloadApi,
};

/// A piece of an artifact of at most 1 MiB and what surrounds it. Messages of users have tonic's bound of 4 MiB.
const MAX_PUSH_MESSAGE: usize = 1024 * 1024 + 4096;
/// Control messages of a worker: its Hello is of 2 MiB at most, and a report far smaller.
const MAX_FLEET_MESSAGE: usize = 4 * 1024 * 1024;

/// What the listener speaks: the contract, health, and the details that errors carry.
const DESCRIPTORS: [&[u8]; 3] = [
    warren_proto::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_types::pb::FILE_DESCRIPTOR_SET,
];

/// Services whose health is told one by one.
const SERVICES: [&str; 5] = [
    <WorkloadServiceServer<WorkloadApi> as NamedService>::NAME,
    <ArtifactServiceServer<ArtifactApi> as NamedService>::NAME,
    <WorkerServiceServer<WorkerApi> as NamedService>::NAME,
    <SystemServiceServer<SystemApi> as NamedService>::NAME,
    <FleetServiceServer<FleetApi> as NamedService>::NAME,
];

/// All services.
pub fn routes(shared: &Arc<Shared>, health: &HealthReporter) -> Result<Routes, Error> {
    let health = HealthServer::new(HealthService::from_health_reporter(health.clone()));
    let artifacts = ArtifactServiceServer::new(ArtifactApi::new(shared.clone()))
        .max_decoding_message_size(MAX_PUSH_MESSAGE);
    let fleet = FleetServiceServer::new(FleetApi(shared.fleet.clone()))
        .max_decoding_message_size(MAX_FLEET_MESSAGE);
    let mut routes = Routes::builder();
    routes
        .add_service(WorkloadServiceServer::new(WorkloadApi(shared.clone())))
        .add_service(artifacts)
        .add_service(WorkerServiceServer::new(WorkerApi(shared.clone())))
        .add_service(SystemServiceServer::new(SystemApi::new(shared.clone())))
        .add_service(fleet)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.routes())
}

/// Which of them are streams.
pub fn methods() -> Result<Methods, prost::DecodeError> {
    let mut all = DESCRIPTORS.to_vec();
    all.push(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET);
    all.push(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
    Methods::of(&all)
}

/// Tells health checks about the whole and about each service.
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
