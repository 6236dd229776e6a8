//! Echoes TCP connections, all at the same time, on 127.0.0.1 and the port given as first argument
//! (7070).

use std::io;

use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "7070".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("tokio-echo: listening on {}", listener.local_addr()?);

    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            if let Err(error) = tokio::io::copy(&mut reader, &mut writer).await {
                eprintln!("tokio-echo: {error}");
            }
        });
    }
}
