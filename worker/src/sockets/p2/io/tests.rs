//! Streams of connections beside streams of wasmtime.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, sync::Arc};

use warren_net::{NetLimits, Network, Reader};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{
    WasiCtx,
    p2::pipe::{MemoryInputPipe, MemoryOutputPipe},
};

use crate::{
    policy::{HostAccess, Policy, Role},
    sockets::{GuestNetwork, p2::Wakeups},
};

use super::*;

#[tokio::test]
async fn bytes_are_spliced_between_streams_of_both_kinds() {
    let scope = Network::new(NetLimits::default()).scope();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listener = scope.bind(any).unwrap().listen_default().unwrap();
    let client = scope.connect(None, listener.local_addr()).unwrap();
    let (_, writer) = client.await.unwrap().split();
    let (reader, _keep): (Reader, _) = listener.accept().await.unwrap().split();
    let policy = Policy::new(Role::Service, Vec::new(), HostAccess::default());
    let network = GuestNetwork {
        scope,
        policy: Arc::new(policy),
    };
    let mut wasi = WasiCtx::builder().build();
    let mut table = ResourceTable::new();
    let result = MemoryOutputPipe::new(1 << 10);
    let source: DynInputStream = Box::new(MemoryInputPipe::new("over the connection"));
    let source = table.push(source).unwrap();
    let sink: DynOutputStream = Box::new(result.clone());
    let sink = table.push(sink).unwrap();
    let output = table.push(TcpOutput::new(Arc::new(writer))).unwrap();
    let input = table.push(TcpInput::new(Arc::new(reader))).unwrap();
    let mut view = SocketsView {
        table: &mut table,
        wasi: wasi.sockets(),
        network: &network,
        wakeups: &mut Wakeups::default(),
    };
    let source = || Resource::new_borrow(source.rep());
    let sink = || Resource::new_borrow(sink.rep());
    let output = || Resource::new_borrow(output.rep());
    let input = || Resource::new_borrow(input.rep());

    assert_eq!(view.splice(sink(), input(), 9).unwrap(), 0);
    assert_eq!(view.splice(output(), source(), 5).unwrap(), 5);
    assert_eq!(view.splice(sink(), input(), 100).unwrap(), 5);
    assert_eq!(
        view.blocking_splice(output(), source(), 9).await.unwrap(),
        9
    );
    assert_eq!(view.blocking_splice(sink(), input(), 4).await.unwrap(), 4);
    assert_eq!(view.splice(output(), source(), 100).unwrap(), 5);
    let rest = view.blocking_splice(sink(), input(), 100).await.unwrap();
    assert_eq!(
        result.contents(),
        &b"over the connection"[..9 + usize::try_from(rest).unwrap()]
    );
    view.write_zeroes(output(), 3).unwrap();
    view.write_zeroes(sink(), 3).unwrap();
    let too_long = view.blocking_write_and_flush(output(), vec![0; 4097]).await;
    assert!(matches!(too_long, Err(StreamError::Trap(_))));
}
