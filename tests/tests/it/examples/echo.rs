//! A published TCP server.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use warren_tests::within;

use super::{manifest, restarts};
use crate::cluster;

/// More than all buffers on the way hold, those of the kernel included.
const MUCH: usize = 32 << 20;

#[tokio::test]
async fn every_client_gets_back_all_that_it_sent() {
    let cluster = cluster(1).await;
    cluster.apply(&manifest("echo")).await;
    let address = cluster.published("echo").await;

    // A client that does not read: its own stream stands still, and no other.
    let mut silent = TcpStream::connect(address).await.unwrap();
    let sent = async { silent.write_all(&vec![0; MUCH]).await };
    let stuck = timeout(Duration::from_millis(500), sent).await;
    assert!(stuck.is_err(), "somebody keeps {MUCH} bytes for a client");

    let clients = (1..=4_u8).map(|number| async move {
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let mut heard = Vec::new();
        let bytes = (0..=250_u8).cycle().map(|byte| byte ^ number);
        let said: Vec<u8> = bytes.take(MUCH / 8).collect();
        let (_, read) = tokio::join!(
            async {
                writer.write_all(&said).await.unwrap();
                writer.shutdown().await.unwrap();
            },
            reader.read_to_end(&mut heard)
        );
        read.unwrap();
        assert!(heard == said, "client {number} got something else back");
    });
    within("all echoes", futures::future::join_all(clients)).await;

    // Gone with bytes on their way, which is a reset.
    drop(silent);
    let mut last = TcpStream::connect(address).await.unwrap();
    last.write_all(b"still there?").await.unwrap();
    let mut answer = [0; 12];
    within("an echo", last.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"still there?");
    assert_eq!(restarts(&cluster, "echo").await, 0);
}
