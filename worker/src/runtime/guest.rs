//! A guest, and the store that holds one of its instances.

use std::{future::Future, sync::Arc};

use http::HeaderMap;
use warren_net::{End, Network, Scope};
use wasmtime::{Engine, Store, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks as _, WasiHttpView};

use crate::{
    host::{HasHost, HostStates},
    lease::{LeaseExpired, SharedLease, Tenure},
    logs::{ReplicaLog, Stream},
    policy::{Policy, Role},
    sockets::{GuestNetwork, HasSockets, SocketsView, p2::Wakeups},
    volumes::Mount,
};

use super::{
    cpu::{self, CpuShare},
    files::OpenFiles,
    host_memory::{self, Account, Charge, Exceeded, Held, HostBudget},
    limits::Limiter,
    memory::{GuestMemory, InstanceMemory},
    outgoing::Outgoing,
    pools::{Claim, Place},
    stdio::GuestOutput,
};

/// The most random bytes that one call may ask for. A larger request traps.
const RANDOM_BYTES: u64 = 4 << 20;

/// The state that all instances of a guest share. A guest is the service or one component.
#[derive(Clone)]
pub struct GuestTemplate {
    /// "service" or the component's name, which marks its lines in the log.
    pub source: Arc<str>,
    pub args: Arc<[String]>,
    pub env: Arc<[(String, String)]>,
    /// The limit of one instance, in bytes.
    pub memory_limit: u64,
    pub memory: Arc<GuestMemory>,
    /// The part of the worker's pools that each instance takes.
    pub claim: Claim,
    /// The budget for memory that the worker holds on behalf of all instances.
    pub host_budget: Arc<HostBudget>,
    pub cpu: Arc<CpuShare>,
    /// The lease by which guests of an exclusive replica may run. `None` for other replicas.
    pub lease: Option<Arc<SharedLease>>,
    pub network: Network,
    pub policy: Arc<Policy>,
    pub(super) outgoing: Outgoing,
    pub host: HostStates,
    pub log: ReplicaLog,
}

impl GuestTemplate {
    /// Returns a template whose instances share no HTTP connection with earlier ones, as the next
    /// life of a service needs.
    pub fn renewed(&self) -> Self {
        Self {
            outgoing: self.outgoing.renewed(),
            ..self.clone()
        }
    }

    /// Sets a variable of the environment, replacing one of the same name.
    pub fn with_variable(self, name: &str, value: &str) -> Self {
        let others = self.env.iter().filter(|(other, _)| other != name);
        let variable = (name.to_owned(), value.to_owned());
        Self {
            env: others.cloned().chain([variable]).collect(),
            ..self
        }
    }

    /// Runs `work`, which calls into this guest, within its share of the CPU and while its lease
    /// lasts. Dropping the future drops `work`.
    pub async fn run<W: Future>(&self, work: W) -> Result<W::Output, LeaseExpired> {
        self.run_in(self.tenure().as_ref(), work).await
    }

    /// Runs `work` like [`Self::run`], in a tenure that has begun. `None` means no lease.
    pub async fn run_in<W: Future>(
        &self,
        tenure: Option<&Tenure>,
        work: W,
    ) -> Result<W::Output, LeaseExpired> {
        let work = self.cpu.run(work);
        match tenure {
            Some(tenure) => tenure.guard(work).await,
            None => Ok(work.await),
        }
    }

    /// Returns the tenure of a guest that starts now.
    pub fn tenure(&self) -> Option<Tenure> {
        self.lease.as_ref().map(SharedLease::tenure)
    }

    /// Returns a fresh store with nothing open, which owns this memory and place. `depth` is the
    /// number of WIT calls that led here.
    pub fn store(
        &self,
        engine: &Engine,
        depth: u32,
        memory: &Arc<InstanceMemory>,
        place: Place,
    ) -> GuestStore {
        let wasi = self.wasi().build();
        self.store_of(engine, depth, wasi, self.tenure(), memory, place)
    }

    /// Returns a store like [`Self::store`], for a service, which sees directories.
    pub fn service_store(
        &self,
        engine: &Engine,
        mounts: &[Mount],
        tenure: Option<Tenure>,
        memory: &Arc<InstanceMemory>,
        place: Place,
    ) -> wasmtime::Result<GuestStore> {
        let mut wasi = self.wasi();
        for mount in mounts {
            mount.open(&mut wasi)?;
        }
        let mut store = self.store_of(engine, 0, wasi.build(), tenure, memory, place);
        store.store.data_mut().bound(mounts)?;
        Ok(store)
    }

    fn wasi(&self) -> WasiCtxBuilder {
        let mut wasi = WasiCtx::builder();
        wasi.args(&self.args)
            .envs(&self.env)
            .stdout(GuestOutput::new(
                self.log.writer(Arc::clone(&self.source), Stream::Stdout),
            ))
            .stderr(GuestOutput::new(
                self.log.writer(Arc::clone(&self.source), Stream::Stderr),
            ))
            // Only our own sockets reach the network, once the policy has allowed it. The face of
            // 0.2 creates its outgoing TCP sockets through wasmtime, which must allow them.
            .allow_tcp(true)
            .socket_addr_check(|_, _| Box::pin(async { true }))
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(RANDOM_BYTES);
        wasi
    }

    /// Returns the bytes of the arguments and variables. Each store has a copy of them.
    fn environment_bytes(&self) -> usize {
        let args = self.args.iter().map(String::len);
        let variables = self
            .env
            .iter()
            .map(|(name, value)| name.len() + value.len());
        args.chain(variables).sum()
    }

    fn store_of(
        &self,
        engine: &Engine,
        depth: u32,
        wasi: WasiCtx,
        tenure: Option<Tenure>,
        memory: &Arc<InstanceMemory>,
        place: Place,
    ) -> GuestStore {
        let scope = self.network.scope();
        let network = GuestNetwork {
            scope: scope.clone(),
            policy: Arc::clone(&self.policy),
        };
        let mut table = ResourceTable::new();
        table.set_max_capacity(host_memory::HOST_HANDLES);
        let mut store = Store::new(
            engine,
            Guest {
                wasi,
                http: WasiHttpCtx::new(),
                outgoing: self.outgoing.clone(),
                host: self.host.clone(),
                table,
                network,
                wakeups: Wakeups::default(),
                limiter: Limiter::new(self.memory_limit, Arc::clone(memory)),
                files: OpenFiles::default(),
                account: Account::new(&self.host_budget, self.environment_bytes()),
                depth,
            },
        );
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(self.host_budget.limit());
        store.set_max_component_handles(host_memory::HANDLES);
        cpu::share_cpu(&mut store);
        watch(&mut store, tenure);
        GuestStore {
            sockets: SocketsOfStore(scope),
            store,
            _place: place,
        }
    }
}

/// Checks the host budget and the lease on every transition into and out of the guest: host calls,
/// their returns, and the ticks of the epoch, which are calls too. A process that was paused inside
/// a guest, for however long, therefore ends that guest when it resumes. Likewise, whatever the
/// host returns to the guest, such as the time, was true while the lease was held.
fn watch(store: &mut Store<Guest>, tenure: Option<Tenure>) {
    match tenure {
        None => store.call_hook(host_memory::watch),
        Some(tenure) => store.call_hook(move |store, hook| {
            tenure.check()?;
            host_memory::watch(store, hook)
        }),
    }
}

/// A store and all that it holds in the workload's network.
///
/// A trap, a kill or a limit drops it: peers read what was already sent, and then get an error.
pub struct GuestStore {
    /// It is declared before `store` because fields drop in order: the sockets in the store's table
    /// would otherwise close cleanly.
    sockets: SocketsOfStore,
    pub store: Store<Guest>,
    /// It is declared after `store`, which occupies it.
    _place: Place,
}

impl GuestStore {
    /// Closes what the guest left open, as for a process that exits: peers read an end of stream.
    pub fn finish(self) {
        self.sockets.0.end(End::Closed);
    }
}

struct SocketsOfStore(Scope);

impl Drop for SocketsOfStore {
    fn drop(&mut self) {
        // This has no effect after `finish`: only the first end counts.
        self.0.end(End::Aborted);
    }
}

/// The data of a store.
pub struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    host: HostStates,
    table: ResourceTable,
    network: GuestNetwork,
    wakeups: Wakeups,
    limiter: Limiter,
    files: OpenFiles,
    account: Account,
    depth: u32,
}

impl Guest {
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    pub(super) fn files(&mut self) -> &mut OpenFiles {
        &mut self.files
    }

    /// Returns the account of what the host holds for this guest.
    pub(super) fn account(&mut self) -> &mut Account {
        &mut self.account
    }

    pub(super) fn account_and_table(&mut self) -> (&mut Account, &mut ResourceTable) {
        (&mut self.account, &mut self.table)
    }

    pub(super) fn host_budget(&self) -> &Arc<HostBudget> {
        self.account.budget()
    }

    /// Charges for the head of a request that is about to enter the table.
    pub(super) fn hold_head(&mut self, headers: &HeaderMap) -> Result<(), Exceeded> {
        let bytes = host_memory::fields_bytes(headers);
        self.account.expect(&mut self.table, Held::Fields, bytes)
    }

    /// Charges for a piece of a body that may wait until it is read.
    pub(super) fn hold_piece(&mut self) -> Result<Charge, Exceeded> {
        let bytes = self.outgoing.p3_outgoing_body_chunk_size();
        self.host_budget().take(Held::Bodies, bytes)
    }

    pub fn role(&self) -> Role {
        self.network.policy.role()
    }

    pub fn depth(&self) -> u32 {
        self.depth
    }
}

impl HasSockets for Guest {
    type Charge = Charge;

    fn sockets(&mut self) -> SocketsView<'_> {
        SocketsView {
            table: &mut self.table,
            wasi: self.wasi.sockets(),
            network: &self.network,
            wakeups: &mut self.wakeups,
        }
    }

    fn hold_datagram(&self, bytes: usize) -> Option<Charge> {
        self.host_budget().take(Held::Datagrams, bytes).ok()
    }
}

impl HasHost for Guest {
    fn host(&mut self) -> &mut HostStates {
        &mut self.host
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.outgoing,
        }
    }
}
