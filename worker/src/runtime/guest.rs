//! What one guest is, and the store that one of its instances lives in.

use std::{future::Future, sync::Arc};

use http::HeaderMap;
use warren_net::{End, Network, Scope};
use wasmtime::{Engine, Store, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks as _, WasiHttpView};

use crate::{
    lease::{LeaseExpired, SharedLease, Tenure},
    logs::{ReplicaLog, Stream},
    policy::{Policy, Role},
    sockets::{GuestNetwork, HasSockets, SocketsView},
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

/// What one call for random bytes may ask for. Larger ones trap.
const RANDOM_BYTES: u64 = 4 << 20;

/// What every instance of a guest shares: the service's, or one component's.
#[derive(Clone)]
pub struct GuestTemplate {
    /// "service" or the component's name: how its lines are marked.
    pub source: Arc<str>,
    pub args: Arc<[String]>,
    pub env: Arc<[(String, String)]>,
    /// In bytes, of one instance.
    pub memory_limit: u64,
    pub memory: Arc<GuestMemory>,
    /// What each instance takes of the worker's pools.
    pub claim: Claim,
    /// For what the worker itself holds for all instances of the guest.
    pub host_budget: Arc<HostBudget>,
    pub cpu: Arc<CpuShare>,
    /// What an exclusive replica's guests may run by; `None`: nothing forbids it.
    pub lease: Option<Arc<SharedLease>>,
    pub network: Network,
    pub policy: Arc<Policy>,
    pub(super) outgoing: Outgoing,
    pub log: ReplicaLog,
}

impl GuestTemplate {
    /// For instances that share no HTTP connection with others: a service's next life.
    pub fn renewed(&self) -> Self {
        Self {
            outgoing: self.outgoing.renewed(),
            ..self.clone()
        }
    }

    /// With this variable in its environment, in place of one of its name.
    pub fn with_variable(self, name: &str, value: &str) -> Self {
        let others = self.env.iter().filter(|(other, _)| other != name);
        let variable = (name.to_owned(), value.to_owned());
        Self {
            env: others.cloned().chain([variable]).collect(),
            ..self
        }
    }

    /// Runs `work`, which calls into this guest, by its share of the CPU and for as long as it may
    /// run at all. Dropping the future drops `work`.
    pub async fn run<W: Future>(&self, work: W) -> Result<W::Output, LeaseExpired> {
        self.run_in(self.tenure().as_ref(), work).await
    }

    /// As [`Self::run`], in a tenure that has begun; `None`: nothing forbids it.
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

    /// What a guest that starts now may run in.
    pub fn tenure(&self) -> Option<Tenure> {
        self.lease.as_ref().map(SharedLease::tenure)
    }

    /// A fresh store with nothing open, which has this memory and place. `depth` counts the WIT
    /// calls that led here.
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

    /// As [`Self::store`], for a service, which sees directories.
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
                self.log.writer(&self.source, Stream::Stdout),
            ))
            .stderr(GuestOutput::new(
                self.log.writer(&self.source, Stream::Stderr),
            ))
            // Real sockets are made by our faces alone, after the policy's word: wasmtime's TCP by
            // that of 0.2.
            .allow_tcp(true)
            .socket_addr_check(|_, _| Box::pin(async { true }))
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(RANDOM_BYTES);
        wasi
    }

    /// Bytes of the arguments and variables, of which each store has a copy.
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
                table,
                network,
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

/// Looks at what the host holds for the guest, and at the lease, on every way into the guest and
/// out of it: host calls, their returns, and the ticks of the epoch, which are calls too. So what a
/// process does that was stopped in the midst of a guest, for however long, is to end it; and what
/// the guest is told, such as the time, was so while the lease was held.
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
/// Dropping it is what a trap, a kill or a limit does: peers read what was sent, then an error.
pub struct GuestStore {
    /// Before `store`: fields drop in order, and the sockets in the store's table close cleanly
    /// when nobody told the network otherwise.
    sockets: SocketsOfStore,
    pub store: Store<Guest>,
    /// After `store`, which takes it.
    _place: Place,
}

impl GuestStore {
    /// Closes what the guest left open as a process that ends does: peers read an end of stream.
    pub fn finish(self) {
        self.sockets.0.end(End::Closed);
    }
}

struct SocketsOfStore(Scope);

impl Drop for SocketsOfStore {
    fn drop(&mut self) {
        // Nothing happens after `finish`: the first word counts.
        self.0.end(End::Aborted);
    }
}

/// The data of a store.
pub struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    table: ResourceTable,
    network: GuestNetwork,
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

    /// What the host holds for this guest.
    pub(super) fn account(&mut self) -> &mut Account {
        &mut self.account
    }

    pub(super) fn account_and_table(&mut self) -> (&mut Account, &mut ResourceTable) {
        (&mut self.account, &mut self.table)
    }

    pub(super) fn host_budget(&self) -> &Arc<HostBudget> {
        self.account.budget()
    }

    /// Charges for the head of a request that is about to be in the table.
    pub(super) fn hold_head(&mut self, headers: &HeaderMap) -> Result<(), Exceeded> {
        let bytes = host_memory::fields_bytes(headers);
        self.account.expect(&mut self.table, Held::Fields, bytes)
    }

    /// Charges for a piece of a body that may wait to be taken.
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
        }
    }

    fn hold_datagram(&self, bytes: usize) -> Option<Charge> {
        self.host_budget().take(Held::Datagrams, bytes).ok()
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
