//! The same guests over the kernel's loopback: plain `wasmtime-wasi` on the worker's own engines.

use std::time::Duration;

use anyhow::bail;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, DuplexStream},
    task::JoinHandle,
};
use wasmtime::{
    Store,
    component::{Component, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, cli::AsyncStdoutStream, p2, p3};

use crate::guests::{Client, Did, Generation, Guest, Lines, Server, Serving};

/// More than a guest prints at once, in bytes.
const PRINTED: usize = 4 << 10;
/// The most that the host allocates for one call, in bytes, as in the worker.
const HOSTCALL_BYTES: usize = 64 << 20;

struct Data {
    wasi: WasiCtx,
    table: ResourceTable,
}

type Printed = tokio::io::Lines<BufReader<DuplexStream>>;

pub async fn serve(
    generation: Generation,
    guest: &Guest,
    server: Server,
) -> anyhow::Result<Serving> {
    let (mut printed, task) = start(generation, guest, server.args());
    Serving::of(&mut printed, task.abort_handle()).await
}

pub async fn run(
    generation: Generation,
    guest: &Guest,
    client: Client,
    port: u16,
    time: Duration,
    holding: impl FnMut(),
) -> anyhow::Result<Did> {
    let (mut printed, task) = start(generation, guest, client.args(port, time));
    let did = Did::of(&mut printed, holding).await?;
    match task.await? {
        Ok(Ok(())) => Ok(did),
        Ok(Err(())) => bail!("the client failed"),
        Err(error) => bail!("the client trapped: {error:?}"),
    }
}

fn start(
    generation: Generation,
    guest: &Guest,
    args: Vec<String>,
) -> (Printed, JoinHandle<wasmtime::Result<Result<(), ()>>>) {
    let (writer, reader) = tokio::io::duplex(PRINTED);
    let code = Component::clone(&guest.code);
    let task = tokio::spawn(async move {
        let store = store(&code, &args, writer);
        run_to_end(generation, &code, store).await
    });
    (BufReader::new(reader).lines(), task)
}

fn store(code: &Component, args: &[String], stdout: DuplexStream) -> Store<Data> {
    let wasi = WasiCtx::builder()
        .arg("service")
        .args(args)
        .stdout(AsyncStdoutStream::new(PRINTED, stdout))
        .inherit_stderr()
        .inherit_network()
        .allow_tcp(true)
        .build();
    let table = ResourceTable::new();
    let mut store = Store::new(code.engine(), Data { wasi, table });
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    store
}

async fn run_to_end(
    generation: Generation,
    code: &Component,
    mut store: Store<Data>,
) -> wasmtime::Result<Result<(), ()>> {
    let mut linker = Linker::new(code.engine());
    p2::add_to_linker_async(&mut linker)?;
    match generation {
        Generation::P2 => {
            let command =
                p2::bindings::Command::instantiate_async(&mut store, code, &linker).await?;
            command.wasi_cli_run().call_run(&mut store).await
        }
        Generation::P3 => {
            p3::add_to_linker(&mut linker)?;
            let command =
                p3::bindings::Command::instantiate_async(&mut store, code, &linker).await?;
            store
                .run_concurrent(async |store| command.wasi_cli_run().call_run(store).await)
                .await
                .flatten()
        }
    }
}

impl WasiView for Data {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl Lines for Printed {
    async fn next(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.next_line().await?)
    }
}
