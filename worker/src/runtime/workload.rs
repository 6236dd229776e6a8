//! Everything of one replica made ready to run: guests linked, instances prepared.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tokio::sync::mpsc;
use warren_model::{
    component::WasiGeneration,
    digest::Digest,
    egress::EgressRule,
    link::{self as plan, HostInterfaces, Link, LinkPlan},
    name::{Name, WorkloadId},
    spec::{Component as ComponentSpec, RouteProtocol, Service, WorkloadSpec},
};
use warren_net::Network;
use wasmtime::component::InstancePre;

use crate::{
    host::{BindError, GuestContext, HostStates},
    lease::SharedLease,
    logs::ReplicaLog,
    policy::{HostAccess, Policy, Refusal, Refusals, Role},
    volumes::Mount,
};

use super::{
    Code, Compiled, ComponentRuntime, Guest, ReplicaUsage, Runtime, ServiceRuntime,
    cpu::CpuShare,
    guest::GuestTemplate,
    host_memory::HostBudget,
    link::{self, LinkError},
    memory::ReplicaMemory,
    outgoing::{Outgoing, Ways},
    pools::{Account, Claim, TooCostly},
};

/// Marks the lines and refusals of the service; no component has this name.
const SERVICE: &str = "service";

/// The weight of all components of a workload together: that of a service which names none.
const COMPONENTS_CPU_WEIGHT: u32 = 100;

/// What a replica's guests share.
#[derive(Clone)]
pub struct ReplicaContext {
    /// Its service sees its name as that of the program, in front of its arguments.
    pub workload: WorkloadId,
    pub network: Network,
    pub log: ReplicaLog,
    pub host: HostAccess,
    /// The lease by which the guests of an exclusive replica may run.
    pub lease: Option<Arc<SharedLease>>,
    /// Directories that the service sees.
    pub mounts: Arc<[Mount]>,
    /// Receives what the guests were not allowed to do.
    pub refusals: mpsc::Sender<Refusal>,
}

/// A replica that can be started.
pub struct Prepared {
    pub service: Option<Arc<ServiceRuntime>>,
    /// In the order of the spec.
    pub components: Vec<Arc<ComponentRuntime>>,
    pub usage: Arc<ReplicaUsage>,
    /// The code of all its guests, held so that it is known to be in use.
    _code: Vec<Compiled>,
}

/// Why a replica cannot run. Apply refuses such workloads, so most of these are defects of Warren.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("the service: {0}")]
    Service(#[source] GuestError),
    #[error("component `{0}`: {1}")]
    Component(Name, #[source] GuestError),
    #[error("{}", join(.0))]
    Unlinked(Vec<plan::LinkError>),
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
    #[error(transparent)]
    TooCostly(#[from] TooCostly),
    #[error(transparent)]
    Unbound(#[from] BindError),
}

impl PrepareError {
    /// Returns the reason in one word, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Service(GuestError::TooCostly(_))
            | Self::Component(_, GuestError::TooCostly(_)) => "TooLarge",
            _ => "LinkFailed",
        }
    }
}

fn join(errors: &[plan::LinkError]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

impl Runtime {
    /// Links every guest of `spec` as `links` say. Cheap enough to run without yielding.
    ///
    /// `links` are absent where the control plane, or the worker that wrote the state on disk, was
    /// of a version that did not know them. They are then computed as Apply computes them.
    pub fn prepare(
        &self,
        spec: &WorkloadSpec,
        links: Option<&LinkPlan>,
        code: &Code,
        context: &ReplicaContext,
    ) -> Result<Prepared, PrepareError> {
        let guests = Guests::of(spec, code)?;
        let plan = match links {
            Some(links) => Cow::Borrowed(links),
            None => Cow::Owned(guests.plan().map_err(PrepareError::Unlinked)?),
        };
        let memory = self.memory.replica();
        let usage = ReplicaUsage::new(context.network.clone(), Arc::clone(&memory));
        let usage = Arc::new(usage);
        let http2_ports = http2_ports(spec.service.as_ref());
        let service_memory = spec.service.as_ref().map(|service| service.memory_bytes);
        let service_budget = HostBudget::new(service_memory.unwrap_or_default());
        // The network belongs to the service: its buffers count against the service's budget, and
        // against one of their own where there is no service.
        context
            .network
            .count_in(Arc::<HostBudget>::clone(&service_budget));
        let shared = Shared {
            runtime: self,
            context,
            memory: &memory,
            account: self.pools.account(&context.workload),
            usage: &usage,
            // A share of their own, so that a service makes progress while its components spin.
            cpu: Arc::new(CpuShare::new(&self.cpu, COMPONENTS_CPU_WEIGHT, &usage)),
            http2_ports: &http2_ports,
            service_budget: &service_budget,
        };
        let mut components = HashMap::new();
        for at in plan.order() {
            let ((spec, code), (name, links)) = (guests.components[at], &plan.components[at]);
            let component = shared.component(spec, code, links, &components);
            let component = component.map_err(|e| PrepareError::Component(name.clone(), e))?;
            components.insert(name.clone(), Arc::new(component));
        }
        let service = match guests.service {
            None => None,
            Some((spec, code)) => {
                let service = shared.service(spec, code, &plan.service, &components);
                Some(Arc::new(service.map_err(PrepareError::Service)?))
            }
        };
        let in_order = spec.components.iter();
        Ok(Prepared {
            service,
            components: in_order
                .filter_map(|one| components.remove(&one.name))
                .collect(),
            usage,
            _code: code.values().cloned().collect(),
        })
    }

    fn link(
        &self,
        role: Role,
        component: &Compiled,
        links: &[Link],
        exporters: &HashMap<Name, Arc<ComponentRuntime>>,
    ) -> Result<InstancePre<Guest>, GuestError> {
        let half = self.started(role, component.generation());
        let half = half.expect("it has loaded the component");
        let mut linker = half.wasi().map_err(GuestError::Wasmtime)?.clone();
        link::link(&mut linker, component, links, exporters)?;
        linker
            .instantiate_pre(component)
            .map_err(GuestError::Wasmtime)
    }
}

/// A spec's guests with their code.
struct Guests<'a> {
    service: Option<(&'a Service, &'a Compiled)>,
    components: Vec<(&'a ComponentSpec, &'a Compiled)>,
}

impl<'a> Guests<'a> {
    fn of(spec: &'a WorkloadSpec, code: &'a Code) -> Result<Self, PrepareError> {
        let code = |role, digest| {
            let loaded = code.get(&(role, digest));
            loaded.ok_or(GuestError::NotLoaded(digest))
        };
        let service = match &spec.service {
            None => None,
            Some(service) => {
                let code = code(Role::Service, service.component).map_err(PrepareError::Service)?;
                Some((service, code))
            }
        };
        let components = spec.components.iter().map(|component| {
            let code = code(Role::Component, component.component);
            let code = code.map_err(|e| PrepareError::Component(component.name.clone(), e))?;
            Ok((component, code))
        });
        Ok(Self {
            service,
            components: components.collect::<Result<_, PrepareError>>()?,
        })
    }

    fn plan(&self) -> Result<LinkPlan, Vec<plan::LinkError>> {
        let service = self.service.map(|(_, code)| code.info());
        let components = self.components.iter();
        let components: Vec<_> = components
            .map(|(spec, code)| (spec.name.clone(), code.info()))
            .collect();
        plan::plan(service, &components, HostInterfaces::of_this_version())
    }
}

/// What the guests of one replica share.
struct Shared<'a> {
    runtime: &'a Runtime,
    context: &'a ReplicaContext,
    memory: &'a Arc<ReplicaMemory>,
    account: Arc<Account>,
    usage: &'a Arc<ReplicaUsage>,
    /// The share of all components together.
    cpu: Arc<CpuShare>,
    http2_ports: &'a Arc<[u16]>,
    service_budget: &'a Arc<HostBudget>,
}

impl Shared<'_> {
    fn service(
        &self,
        spec: &Service,
        code: &Compiled,
        links: &[Link],
        exporters: &HashMap<Name, Arc<ComponentRuntime>>,
    ) -> Result<ServiceRuntime, GuestError> {
        let Self { context, usage, .. } = self;
        let claim = self.claim(Role::Service, code)?;
        let pre = self.runtime.link(Role::Service, code, links, exporters)?;
        let source: Arc<str> = SERVICE.into();
        let policy = policy(Role::Service, Arc::clone(&source), &spec.egress, context);
        let name = context.workload.name.to_string();
        let host_budget = Arc::clone(self.service_budget);
        let host = host(&source, &spec.config, context)?;
        let template = GuestTemplate {
            source,
            args: [name]
                .into_iter()
                .chain(spec.args.iter().cloned())
                .collect(),
            env: variables(&spec.env),
            memory_limit: spec.memory_bytes,
            memory: self.memory.guest(spec.reserve_bytes),
            claim,
            host_budget: Arc::clone(&host_budget),
            cpu: Arc::new(CpuShare::new(&self.runtime.cpu, spec.cpu_weight, usage)),
            lease: context.lease.clone(),
            network: context.network.clone(),
            outgoing: outgoing(&policy, self.http2_ports, host_budget, context),
            policy,
            host,
            log: context.log.clone(),
        };
        // Apply accepts only a component that can be the service.
        let run_by = code.info().run_by().unwrap_or(WasiGeneration::P2);
        ServiceRuntime::new(template, Arc::clone(&context.mounts), pre, run_by)
            .map_err(GuestError::Wasmtime)
    }

    fn component(
        &self,
        spec: &ComponentSpec,
        code: &Compiled,
        links: &[Link],
        exporters: &HashMap<Name, Arc<ComponentRuntime>>,
    ) -> Result<ComponentRuntime, GuestError> {
        let context = self.context;
        let claim = self.claim(Role::Component, code)?;
        let pre = self.runtime.link(Role::Component, code, links, exporters)?;
        let source: Arc<str> = spec.name.as_str().into();
        let policy = policy(Role::Component, Arc::clone(&source), &spec.egress, context);
        let host_budget = HostBudget::new(spec.memory_bytes);
        let host = host(&source, &spec.config, context)?;
        let template = GuestTemplate {
            source,
            args: Arc::new([spec.name.to_string()]),
            env: variables(&spec.env),
            memory_limit: spec.memory_bytes,
            memory: self.memory.guest(spec.reserve_bytes),
            claim,
            host_budget: Arc::clone(&host_budget),
            cpu: Arc::clone(&self.cpu),
            lease: context.lease.clone(),
            network: context.network.clone(),
            outgoing: outgoing(&policy, self.http2_ports, host_budget, context),
            policy,
            host,
            log: context.log.clone(),
        };
        ComponentRuntime::new(spec, template, pre, code.info().answers_by())
            .map_err(GuestError::Wasmtime)
    }

    fn claim(&self, role: Role, code: &Compiled) -> Result<Claim, TooCostly> {
        self.account.claim(code.cost(role)?)
    }
}

fn variables(env: &BTreeMap<String, String>) -> Arc<[(String, String)]> {
    env.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn host(
    source: &Arc<str>,
    config: &BTreeMap<String, String>,
    context: &ReplicaContext,
) -> Result<HostStates, BindError> {
    HostStates::bind(&GuestContext {
        source,
        config,
        log: &context.log,
    })
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

fn outgoing(
    policy: &Arc<Policy>,
    http2_ports: &Arc<[u16]>,
    host_budget: Arc<HostBudget>,
    context: &ReplicaContext,
) -> Outgoing {
    Outgoing::new(Ways {
        network: context.network.clone(),
        policy: Arc::clone(policy),
        http2_ports: Arc::clone(http2_ports),
        host_budget,
    })
}

/// Returns the ports of the service that speak HTTP/2 with prior knowledge: those of which every
/// route does.
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
