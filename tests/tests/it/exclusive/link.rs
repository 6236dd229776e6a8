//! A proxy between a worker and its control plane that a test can break.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Whole,
    /// Nothing passes and nobody is told.
    Held,
    /// Connections end at once.
    Cut,
}

/// Gone when it is dropped.
pub struct Link {
    pub url: String,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

impl Link {
    /// To the server at this URL.
    pub async fn start(server: &str) -> Self {
        let server: SocketAddr = server.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (state, seen) = watch::channel(State::Whole);
        let task = tokio::spawn(async move {
            // Whatever still runs ends with the link.
            let mut running = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                running.spawn(pass(client, server, seen.clone()));
            }
        });
        Self { url, state, task }
    }

    pub fn hold(&self) {
        self.state.send_replace(State::Held);
    }

    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// What was held passes.
    pub fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(client: TcpStream, server: SocketAddr, state: watch::Receiver<State>) {
    let mut cut = state.clone();
    let both = async {
        let Ok(server) = TcpStream::connect(server).await else {
            return;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = one_way(from_client, to_server, state.clone()) => {}
            () = one_way(from_server, to_client, state) => {}
        }
    };
    tokio::select! {
        () = both => {}
        _ = cut.wait_for(|state| *state == State::Cut) => {}
    }
}

/// Until either end is gone.
async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let passes = state.wait_for(|state| *state == State::Whole).await.is_ok();
        if !passes || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
