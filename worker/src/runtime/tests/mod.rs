#![allow(clippy::unwrap_used)]

//! Tests with components that are made for the purpose and prepared like those of a replica.

use std::{collections::BTreeMap, sync::LazyLock};

use tempfile::TempDir;
use tokio::sync::mpsc;
use warren_model::{
    digest::Digest,
    link::LinkPlan,
    name::{Name, WorkloadId},
    spec::WorkloadSpec,
};
use warren_net::{NetLimits, Network};
use warren_proto::v1;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, PackageId, Resolve};

use super::{Code, CompileSettings, PrepareError, Prepared, ReplicaContext, Runtime, ServiceEnd};
use crate::{
    logs::{LogHub, LogLimits},
    policy::{HostAccess, Refusal, Role, refusals},
};

mod config;
pub mod doors;
mod features;
mod host_memory;
mod links;
mod logging;
mod pools;
mod provided;

/// There is one runtime for all tests, because address space does not suffice for many. Compiled
/// code stays in a directory beside the test program.
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

/// The surroundings of one replica.
pub struct Bench {
    context: ReplicaContext,
    /// The `config` of each guest.
    config: BTreeMap<String, String>,
    files: TempDir,
    _refused: mpsc::Receiver<Refusal>,
}

impl Bench {
    pub fn new() -> Self {
        let files = TempDir::new().unwrap();
        let (refusals, refused) = refusals();
        Self {
            context: ReplicaContext {
                workload: WorkloadId {
                    namespace: Name::parse("default").unwrap(),
                    name: Name::parse("bench").unwrap(),
                },
                network: Network::new(NetLimits::default()),
                log: LogHub::new(LogLimits::default()).open("bench"),
                host: HostAccess::default(),
                lease: None,
                mounts: [].into(),
                refusals,
            },
            config: BTreeMap::new(),
            files,
            _refused: refused,
        }
    }

    /// Prepares a workload of these binaries. Each component named `api` has a route.
    pub async fn prepare(
        &self,
        service: Option<&[u8]>,
        components: &[(&str, &[u8])],
    ) -> Result<Prepared, PrepareError> {
        self.prepare_linked(service, components, None).await
    }

    /// Prepares a workload by a plan that a control plane sent.
    async fn prepare_linked(
        &self,
        service: Option<&[u8]>,
        components: &[(&str, &[u8])],
        links: Option<&LinkPlan>,
    ) -> Result<Prepared, PrepareError> {
        let service_code = service.into_iter().map(|bytes| (Role::Service, bytes));
        let component_code = components
            .iter()
            .map(|(_, bytes)| (Role::Component, *bytes));
        let mut code = Code::new();
        let workload = self.context.workload.clone();
        for (role, bytes) in service_code.chain(component_code) {
            let digest = Digest::of(bytes);
            let file = self.files.path().join(digest.hex());
            std::fs::write(&file, bytes).unwrap();
            let loaded = RUNTIME.load(role, &workload, digest, &file).await.unwrap();
            code.insert((role, digest), loaded);
        }
        let config = self.config.iter().map(|(name, value)| v1::EnvVar {
            name: name.clone(),
            source: Some(v1::env_var::Source::Value(value.clone())),
        });
        let config: Vec<_> = config.collect();
        let components = components.iter().map(|(name, bytes)| v1::Component {
            name: (*name).to_owned(),
            component: Digest::of(bytes).to_string(),
            routes: match *name {
                "api" => vec![v1::Route::default()],
                _ => vec![],
            },
            config: config.clone(),
            ..Default::default()
        });
        let spec = v1::WorkloadSpec {
            service: service.map(|bytes| v1::Service {
                component: Digest::of(bytes).to_string(),
                config: config.clone(),
                ..Default::default()
            }),
            components: components.collect(),
            ..Default::default()
        };
        let spec = WorkloadSpec::from_proto(&spec).unwrap();
        RUNTIME.prepare(&spec, links, &code, &self.context)
    }

    /// Returns how a service beside these components ends.
    async fn run(&self, service: &[u8], components: &[(&str, &[u8])]) -> ServiceEnd {
        let prepared = self.prepare(Some(service), components).await.unwrap();
        prepared.service.unwrap().run(None, || {}).await
    }
}

/// Returns a component of the world `test` of a package, whose functions trap.
fn trapping(resolve: &Resolve, package: PackageId) -> Vec<u8> {
    let world = resolve.select_world(&[package], Some("test")).unwrap();
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = dummy_module(resolve, world, abi);
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().module(&module).unwrap();
    encoder.validate(true).encode().unwrap()
}
