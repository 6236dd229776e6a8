//! Sends back what it is sent, to all of its clients at the same time: an ordinary asynchronous TCP
//! server, with `wstd` for a runtime.

use wstd::io;
use wstd::iter::AsyncIterator;
use wstd::net::TcpListener;
use wstd::runtime::spawn;

#[wstd::main]
async fn main() -> io::Result<()> {
    // The localhost of this workload, not the machine's: the manifest says whether anybody outside
    // gets here, and by which port.
    let listener = TcpListener::bind("127.0.0.1:7070").await?;
    println!("listening on {}", listener.local_addr()?);

    let mut clients = listener.incoming();
    while let Some(client) = clients.next().await {
        let client = client?;
        spawn(async move {
            // A client that breaks off ends its own task and nobody else's.
            if let Err(error) = io::copy(&client, &client).await {
                eprintln!("client: {error}");
            }
        })
        .detach();
    }
    Ok(())
}
