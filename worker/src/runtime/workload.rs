//! Everything of one replica made ready to run: guests linked, instances prepared.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use tokio::sync::mpsc;
use warren_model::{
    component::InterfaceName,
    digest::Digest,
    egress::EgressRule,
    name::Name,
    spec::{Component as ComponentSpec, RouteProtocol, Service, WorkloadSpec},
};
use wasmtime::component::InstancePre;

use crate::{
    lease::SharedLease,
    logs::ReplicaLog,
    net::Network,
    policy::{HostAccess, Policy, Refusal, Refusals, Role},
    volumes::Mount,
};

use super::{
    Compiled, ComponentRuntime, Guest, ReplicaUsage, Runtime, ServiceRuntime,
    cpu::CpuShare,
    guest::GuestTemplate,
    link::{self, LinkError},
    memory::ReplicaMemory,
    outgoing::{Outgoing, Ways},
};

/// How the service's own lines and refusals are marked; no component has this name.
const SERVICE: &str = "service";

/// Of a workload's components together: that of a service which names none.
const COMPONENTS_CPU_WEIGHT: u32 = 100;

/// What a replica's guests share.
#[derive(Clone)]
pub struct ReplicaContext {
    pub network: Network,
    pub log: ReplicaLog,
    pub host: HostAccess,
    /// What the guests of an exclusive replica may run by.
    pub lease: Option<Arc<SharedLease>>,
    /// Directories that the service sees.
    pub mounts: Arc<[Mount]>,
    /// Told what the guests were not allowed to do.
    pub refusals: mpsc::Sender<Refusal>,
}

/// A replica that can be started.
pub struct Prepared {
    pub service: Option<Arc<ServiceRuntime>>,
    /// In the order of the spec.
    pub components: Vec<Arc<ComponentRuntime>>,
    pub usage: Arc<ReplicaUsage>,
    /// What all of it runs, held so that it is known to be in use.
    _code: Vec<Compiled>,
}

/// Why a replica cannot run. Apply refuses such workloads, so most of these tell of a mistake of ours.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("the service: {0}")]
    Service(#[source] GuestError),
    #[error("component `{0}`: {1}")]
    Component(Name, #[source] GuestError),
    #[error("components import each other in a circle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
}

/// What is wrong with one guest.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{0:#}")]
    Wasmtime(wasmtime::Error),
    #[error("its artifact {0} was not loaded")]
    NotLoaded(Digest),
}

impl Runtime {
    /// Links every guest of `spec` to what `artifacts` holds. Takes no time worth an await.
    pub fn prepare(
        &self,
        spec: &WorkloadSpec,
        artifacts: &HashMap<Digest, Compiled>,
        context: &ReplicaContext,
    ) -> Result<Prepared, PrepareError> {
        let http2_ports = http2_ports(spec.service.as_ref());
        let memory = self.memory.replica();
        let usage = ReplicaUsage::new(context.network.clone(), Arc::clone(&memory));
        let usage = Arc::new(usage);
        // A share of their own: a service goes on while its components spin.
        let cpu = Arc::new(CpuShare::new(&self.cpu, COMPONENTS_CPU_WEIGHT, &usage));
        let mut components = Components {
            runtime: self,
            artifacts,
            context,
            memory: &memory,
            cpu,
            http2_ports: &http2_ports,
            specs: &spec.components,
            done: HashMap::new(),
            path: Vec::new(),
        };
        for component in &spec.components {
            components.prepare(component)?;
        }
        let mut done = components.done;
        let components: Vec<_> = spec
            .components
            .iter()
            .filter_map(|c| done.remove(&c.name))
            .collect();
        let service = match &spec.service {
            None => None,
            Some(service) => {
                let pre = self
                    .link(service.component, artifacts, &components)
                    .map_err(PrepareError::Service)?;
                let policy = policy(Role::Service, SERVICE.into(), &service.egress, context);
                let template = GuestTemplate {
                    source: SERVICE.into(),
                    // The program's own name comes first, as everywhere.
                    args: std::iter::once(SERVICE.to_owned())
                        .chain(service.args.iter().cloned())
                        .collect(),
                    env: variables(&service.env),
                    memory_limit: service.memory_bytes,
                    memory: memory.guest(service.reserve_bytes),
                    cpu: Arc::new(CpuShare::new(&self.cpu, service.cpu_weight, &usage)),
                    lease: context.lease.clone(),
                    network: context.network.clone(),
                    outgoing: outgoing(&policy, &http2_ports, context),
                    policy,
                    log: context.log.clone(),
                };
                let runtime = ServiceRuntime::new(template, Arc::clone(&context.mounts), &pre)
                    .map_err(|error| PrepareError::Service(GuestError::Wasmtime(error)))?;
                Some(Arc::new(runtime))
            }
        };
        Ok(Prepared {
            service,
            components,
            usage,
            _code: artifacts.values().cloned().collect(),
        })
    }

    fn link(
        &self,
        digest: Digest,
        artifacts: &HashMap<Digest, Compiled>,
        components: &[Arc<ComponentRuntime>],
    ) -> Result<InstancePre<Guest>, GuestError> {
        let component = artifacts
            .get(&digest)
            .ok_or(GuestError::NotLoaded(digest))?;
        let mut linker = self.half(component.generation()).wasi.clone();
        link::link(&mut linker, component, components)?;
        linker
            .instantiate_pre(component)
            .map_err(GuestError::Wasmtime)
    }
}

/// Components by name, each after those that it imports from.
struct Components<'a> {
    runtime: &'a Runtime,
    artifacts: &'a HashMap<Digest, Compiled>,
    context: &'a ReplicaContext,
    memory: &'a Arc<ReplicaMemory>,
    cpu: Arc<CpuShare>,
    http2_ports: &'a Arc<[u16]>,
    specs: &'a [ComponentSpec],
    done: HashMap<Name, Arc<ComponentRuntime>>,
    /// Those being prepared, outermost first.
    path: Vec<Name>,
}

impl Components<'_> {
    fn prepare(&mut self, spec: &ComponentSpec) -> Result<(), PrepareError> {
        if self.done.contains_key(&spec.name) {
            return Ok(());
        }
        if self.path.contains(&spec.name) {
            let path = self.path.iter().chain([&spec.name]);
            return Err(PrepareError::Cycle(path.map(ToString::to_string).collect()));
        }
        self.path.push(spec.name.clone());
        let imports = self.imports(spec.component);
        let specs = self.specs;
        for other in specs.iter().filter(|other| other.name != spec.name) {
            if self.exports_any(other.component, &imports) {
                self.prepare(other)?;
            }
        }
        self.path.pop();

        let failed = |e| PrepareError::Component(spec.name.clone(), e);
        let others: Vec<_> = self.done.values().cloned().collect();
        let pre = self
            .runtime
            .link(spec.component, self.artifacts, &others)
            .map_err(failed)?;
        let source: Arc<str> = spec.name.as_str().into();
        let role = Role::Component;
        let policy = policy(role, Arc::clone(&source), &spec.egress, self.context);
        let template = GuestTemplate {
            source,
            args: Arc::new([spec.name.to_string()]),
            env: variables(&spec.env),
            memory_limit: spec.memory_bytes,
            memory: self.memory.guest(spec.reserve_bytes),
            cpu: Arc::clone(&self.cpu),
            lease: self.context.lease.clone(),
            network: self.context.network.clone(),
            outgoing: outgoing(&policy, self.http2_ports, self.context),
            policy,
            log: self.context.log.clone(),
        };
        let component = ComponentRuntime::new(spec, template, pre);
        self.done.insert(spec.name.clone(), Arc::new(component));
        Ok(())
    }

    fn imports(&self, digest: Digest) -> HashSet<InterfaceName> {
        let Some(component) = self.artifacts.get(&digest) else {
            return HashSet::new();
        };
        let ty = component.component_type();
        ty.imports(component.engine())
            .filter_map(|(name, _)| name.parse::<InterfaceName>().ok())
            .filter(|name| name.namespace != "wasi")
            .collect()
    }

    fn exports_any(&self, digest: Digest, imports: &HashSet<InterfaceName>) -> bool {
        let Some(component) = self.artifacts.get(&digest) else {
            return false;
        };
        let ty = component.component_type();
        ty.exports(component.engine()).any(|(name, _)| {
            name.parse::<InterfaceName>()
                .is_ok_and(|export| imports.iter().any(|import| export.links_with(import)))
        })
    }
}

fn variables(env: &std::collections::BTreeMap<String, String>) -> Arc<[(String, String)]> {
    env.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn policy(
    role: Role,
    guest: Arc<str>,
    egress: &[EgressRule],
    context: &ReplicaContext,
) -> Arc<Policy> {
    let refusals = Refusals::new(role, guest, context.refusals.clone());
    let policy = Policy::new(role, egress.to_vec(), context.host.clone());
    Arc::new(policy.with_refusals(refusals))
}

fn outgoing(policy: &Arc<Policy>, http2_ports: &Arc<[u16]>, context: &ReplicaContext) -> Outgoing {
    Outgoing::new(Ways {
        network: context.network.clone(),
        policy: Arc::clone(policy),
        http2_ports: Arc::clone(http2_ports),
    })
}

/// Ports of the service that speak HTTP/2 with prior knowledge: those to which every route leads so.
fn http2_ports(service: Option<&Service>) -> Arc<[u16]> {
    let routes = service.map_or(&[][..], |service| &service.routes);
    let is_http2 = |port| {
        let mut to_it = routes.iter().filter(|route| route.port == port);
        to_it.all(|route| route.protocol == RouteProtocol::H2c)
    };
    let ports: BTreeSet<_> = routes.iter().map(|route| route.port).collect();
    let ports = ports.into_iter().filter(|port| is_http2(*port));
    ports.map(|port| port.get()).collect()
}
