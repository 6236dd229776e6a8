//! A proxy to a server that breaks or stalls while a request is sent.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Gone when it is dropped.
pub struct Proxy {
    pub url: String,
    stopped: watch::Receiver<usize>,
    released: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What happens to a connection that has sent so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Cut,
    /// Until it is released.
    Stall,
}

impl Proxy {
    /// Passes everything on to the server at this URL, but the first connections that send more
    /// than `bytes`, so many of them, stop there.
    pub async fn start(server: &str, bytes: u64, connections: usize, then: Then) -> Self {
        let server: SocketAddr = server.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = watch::channel(0);
        let stop = Arc::new(stop);
        let (released, may_go_on) = watch::channel(false);
        let task = tokio::spawn(async move {
            // Whatever still runs ends with the proxy.
            let mut running = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let stop = stop.clone();
                let mut may_go_on = may_go_on.clone();
                running.spawn(async move {
                    let server = TcpStream::connect(server).await.unwrap();
                    let (from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let up = async {
                        let mut first = from_client.take(bytes);
                        let sent = copy(&mut first, &mut to_server).await.unwrap_or_default();
                        if sent < bytes {
                            return;
                        }
                        let stops = stop.send_if_modified(|stopped| {
                            let more = *stopped < connections;
                            *stopped += usize::from(more);
                            more
                        });
                        if stops && then == Then::Cut {
                            return;
                        }
                        // An error is the end of the test.
                        if stops && may_go_on.wait_for(|go| *go).await.is_err() {
                            return;
                        }
                        // However it ends, it is the end of the connection.
                        let _ = copy(&mut first.into_inner(), &mut to_server).await;
                    };
                    tokio::select! {
                        () = up => {}
                        _ = copy(&mut from_server, &mut to_client) => {}
                    }
                });
            }
        });
        Self {
            url,
            stopped,
            released,
            task,
        }
    }

    /// How many connections were stopped.
    pub fn stopped(&self) -> usize {
        *self.stopped.borrow()
    }

    /// Lets those go on that stall.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// Waits until one is.
    pub async fn has_stopped_one(&self) {
        let mut stopped = self.stopped.clone();
        let one = stopped.wait_for(|stopped| *stopped > 0);
        warren_tests::within("a connection stops", one)
            .await
            .unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
