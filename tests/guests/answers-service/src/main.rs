//! An HTTP/1.1 service on 127.0.0.1:8080: one way to answer for each path, most of them wrong.

use wstd::{
    io::{self, AsyncRead, AsyncWrite},
    iter::AsyncIterator as _,
    net::{TcpListener, TcpStream},
    runtime::spawn,
    task::sleep,
    time::Duration,
};

#[wstd::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    let mut clients = listener.incoming();
    while let Some(client) = clients.next().await {
        let client = client?;
        spawn(async move {
            if let Err(error) = serve(&client).await {
                println!("answers-service: {error}");
            }
        })
        .detach();
    }
    Ok(())
}

/// One request: each connection is closed after it, in the way that the path names.
async fn serve(client: &TcpStream) -> io::Result<()> {
    let Some((head, rest)) = head(client).await? else {
        return Ok(());
    };
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    match path {
        "/early" => answer(client, "", "early\n").await,
        "/short" => {
            write(
                client,
                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
            )
            .await
        }
        "/long" => {
            write(
                client,
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\nand more than that",
            )
            .await
        }
        "/informational" => {
            write(client, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await?;
            answer(client, "", "hinted\n").await
        }
        "/trap" => panic!("asked to"),
        "/trap-in-body" => {
            write(
                client,
                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of the ans",
            )
            .await?;
            // For the bytes to be taken: those of a service that traps are lost with it.
            sleep(Duration::from_millis(300)).await;
            panic!("asked to, in the body")
        }
        "/none" => Ok(()),
        "/error" => write(client, "this is not HTTP\r\n\r\n").await,
        "/read" => {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
            let size = read(client, rest.len(), length.unwrap_or(0)).await?;
            answer(client, "", &format!("{size} bytes\n")).await
        }
        "/wait" => {
            sleep(Duration::from_millis(300)).await;
            answer(client, "", "waited\n").await
        }
        "/huge" => {
            let field = format!("X-Huge: {}\r\n", "h".repeat(100_000));
            answer(client, &field, "huge\n").await
        }
        "/many" => {
            let fields: String = (0..250).map(|n| format!("X-{n}: v\r\n")).collect();
            answer(client, &fields, "many\n").await
        }
        "/length" => answer(client, "", "sized\n").await,
        _ => answer(client, "", "ok\n").await,
    }
}

/// The head of a request, and what was read beyond it.
async fn head(mut client: &TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), rest)));
        }
        let mut piece = [0; 8192];
        match client.read(&mut piece).await? {
            0 => return Ok(None),
            size => bytes.extend_from_slice(&piece[..size]),
        }
    }
}

async fn read(mut client: &TcpStream, mut size: usize, length: usize) -> io::Result<usize> {
    let mut piece = [0; 8192];
    while size < length {
        match client.read(&mut piece).await? {
            0 => break,
            count => size += count,
        }
    }
    Ok(size)
}

async fn answer(client: &TcpStream, fields: &str, text: &str) -> io::Result<()> {
    let length = text.len();
    let head =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n");
    write(client, &(head + text)).await
}

async fn write(mut client: &TcpStream, text: &str) -> io::Result<()> {
    client.write_all(text.as_bytes()).await
}
