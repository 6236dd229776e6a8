//! Echoes TCP connections, all at the same time, on 127.0.0.1 and the port given as first argument
//! (7070).

use wstd::io;
use wstd::iter::AsyncIterator;
use wstd::net::TcpListener;

#[wstd::main]
async fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "7070".into());
    let listener = TcpListener::bind(&format!("127.0.0.1:{port}")).await?;
    println!("wstd-echo: listening on {}", listener.local_addr()?);

    let mut incoming = listener.incoming();
    while let Some(stream) = incoming.next().await {
        let stream = stream?;
        wstd::runtime::spawn(async move {
            if let Err(error) = io::copy(&stream, &stream).await {
                eprintln!("wstd-echo: {error}");
            }
        })
        .detach();
    }
    Ok(())
}
