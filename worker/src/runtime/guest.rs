//! What one guest is, and the store that one of its instances lives in.

use std::sync::Arc;

use wasmtime::{Engine, Store, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::{
    logs::{ReplicaLog, Stream},
    net::{End, Network, Scope},
    policy::{Policy, Role},
    sockets::{GuestNetwork, SocketsView},
    volumes::Mount,
};

use super::{
    cpu::{self, CpuShare},
    files::OpenFiles,
    limits::Limiter,
    outgoing::Outgoing,
    stdio::GuestOutput,
    usage::ReplicaUsage,
};

/// Handles that one instance may hold: sockets, streams, requests, pollables.
const HANDLES: usize = 10_000;

/// What the host allocates at most for the arguments and results of one call, in bytes.
const HOSTCALL_BYTES: usize = 64 << 20;

/// What every instance of a guest shares: the service's, or one component's.
#[derive(Clone)]
pub struct GuestTemplate {
    /// "service" or the component's name: how its lines are marked.
    pub source: Arc<str>,
    pub args: Arc<[String]>,
    pub env: Arc<[(String, String)]>,
    /// In bytes, of one instance.
    pub memory_limit: u64,
    pub usage: Arc<ReplicaUsage>,
    pub cpu: Arc<CpuShare>,
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

    /// A fresh store with nothing open. `depth` counts the WIT calls that led here.
    pub fn store(&self, engine: &Engine, depth: u32) -> GuestStore {
        self.store_of(engine, depth, self.wasi().build())
    }

    /// As [`Self::store`], for a service, which sees directories.
    pub fn service_store(&self, engine: &Engine, mounts: &[Mount]) -> wasmtime::Result<GuestStore> {
        let mut wasi = self.wasi();
        for mount in mounts {
            mount.open(&mut wasi)?;
        }
        Ok(self.store_of(engine, 0, wasi.build()))
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
            // Real sockets are made by our faces alone, after the policy's word: wasmtime's TCP by that of 0.2.
            .allow_tcp(true)
            .socket_addr_check(|_, _| Box::pin(async { true }))
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        wasi
    }

    fn store_of(&self, engine: &Engine, depth: u32, wasi: WasiCtx) -> GuestStore {
        let scope = self.network.scope();
        let network = GuestNetwork {
            scope: scope.clone(),
            policy: Arc::clone(&self.policy),
        };
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let mut store = Store::new(
            engine,
            Guest {
                wasi,
                http: WasiHttpCtx::new(),
                outgoing: self.outgoing.clone(),
                table,
                network,
                limiter: Limiter::new(self.memory_limit, Arc::clone(&self.usage)),
                files: OpenFiles::default(),
                depth,
            },
        );
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        cpu::share_cpu(&mut store);
        GuestStore {
            sockets: SocketsOfStore(scope),
            store,
        }
    }
}

/// A store and all that it holds in the workload's network.
///
/// Dropping it is what a trap, a kill or a limit does: peers read what was sent, then an error.
pub struct GuestStore {
    /// Before `store`: fields drop in order, and the sockets in the store's table close cleanly when
    /// nobody told the network otherwise.
    sockets: SocketsOfStore,
    pub store: Store<Guest>,
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
    depth: u32,
}

impl Guest {
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    pub(super) fn files(&mut self) -> &mut OpenFiles {
        &mut self.files
    }

    pub fn role(&self) -> Role {
        self.network.policy.role()
    }

    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// What the socket interfaces work on.
    pub fn sockets(&mut self) -> SocketsView<'_> {
        SocketsView {
            table: &mut self.table,
            wasi: self.wasi.sockets(),
            network: &self.network,
        }
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
