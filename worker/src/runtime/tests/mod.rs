#![allow(clippy::unwrap_used)]

//! Components made for the purpose, prepared as a replica's are.

use std::{collections::HashMap, sync::LazyLock};

use tempfile::TempDir;
use tokio::sync::mpsc;
use warren_model::{
    digest::Digest,
    name::{Name, WorkloadId},
    spec::WorkloadSpec,
};
use warren_proto::v1;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, PackageId, Resolve};

use super::{CompileSettings, PrepareError, Prepared, ReplicaContext, Runtime, ServiceEnd};
use crate::{
    logs::{LogHub, LogLimits},
    net::{NetLimits, Network},
    policy::{HostAccess, Refusal, refusals},
};

mod doors;
mod features;
mod links;
mod provided;

/// One for all: address space does not suffice for many. What it has compiled stays beside the
/// tests' program.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let program = std::env::current_exe().unwrap();
    let target = program.parent().unwrap().parent().unwrap();
    Runtime::new(
        &target.join("tmp/compiled-by-unit-tests"),
        u64::MAX,
        u64::MAX,
        CompileSettings::in_process(),
    )
    .unwrap()
});

/// One replica's surroundings.
struct Bench {
    context: ReplicaContext,
    files: TempDir,
    _refused: mpsc::Receiver<Refusal>,
}

impl Bench {
    fn new() -> Self {
        let files = TempDir::new().unwrap();
        let (refusals, refused) = refusals();
        Self {
            context: ReplicaContext {
                name: Name::parse("bench").unwrap(),
                network: Network::new(NetLimits::default()),
                log: LogHub::new(LogLimits::default()).open("bench"),
                host: HostAccess::default(),
                lease: None,
                mounts: [].into(),
                refusals,
            },
            files,
            _refused: refused,
        }
    }

    /// Prepares a workload of these binaries. Each component has a route if it is named `api`.
    async fn prepare(
        &self,
        service: Option<&[u8]>,
        components: &[(&str, &[u8])],
    ) -> Result<Prepared, PrepareError> {
        let binaries = service
            .into_iter()
            .chain(components.iter().map(|(_, bytes)| *bytes));
        let mut artifacts = HashMap::new();
        let workload = WorkloadId {
            namespace: self.context.name.clone(),
            name: self.context.name.clone(),
        };
        for bytes in binaries {
            let digest = Digest::of(bytes);
            let file = self.files.path().join(digest.hex());
            std::fs::write(&file, bytes).unwrap();
            artifacts.insert(
                digest,
                RUNTIME.load(&workload, digest, &file).await.unwrap(),
            );
        }
        let components = components.iter().map(|(name, bytes)| v1::Component {
            name: (*name).to_owned(),
            component: Digest::of(bytes).to_string(),
            routes: match *name {
                "api" => vec![v1::Route::default()],
                _ => vec![],
            },
            ..Default::default()
        });
        let spec = v1::WorkloadSpec {
            service: service.map(|bytes| v1::Service {
                component: Digest::of(bytes).to_string(),
                ..Default::default()
            }),
            components: components.collect(),
            ..Default::default()
        };
        let spec = WorkloadSpec::from_proto(&spec).unwrap();
        RUNTIME.prepare(&spec, &artifacts, &self.context)
    }

    /// How a service beside these components ends.
    async fn run(&self, service: &[u8], components: &[(&str, &[u8])]) -> ServiceEnd {
        let prepared = self.prepare(Some(service), components).await.unwrap();
        prepared.service.unwrap().run(None, || {}).await
    }
}

/// A component of the world `test` of a package, whose functions trap.
fn trapping(resolve: &Resolve, package: PackageId) -> Vec<u8> {
    let world = resolve.select_world(&[package], Some("test")).unwrap();
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = dummy_module(resolve, world, abi);
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().module(&module).unwrap();
    encoder.validate(true).encode().unwrap()
}
