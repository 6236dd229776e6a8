//! What answers at an address where no control plane does.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time,
};

use super::ServerUrl;

/// For each question. Whoever takes longer says nothing.
const WITHIN: Duration = Duration::from_secs(2);

/// A client's first bytes in HTTP/2 (RFC 9113, 3.4), with an empty SETTINGS frame.
const HTTP2_HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A ClientHello of TLS 1.2 (RFC 5246, 7.4.1.2) with one cipher suite and no extensions. Any server of TLS answers it,
/// be it with an alert.
const TLS_HELLO: &[u8] = b"\x16\x03\x01\0\x2d\x01\0\0\x29\x03\x03\
    warren asks whether TLS is there\0\0\x02\xc0\x2f\x01\0";

/// What the first bytes of an answer tell.
#[derive(Debug, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
    Tls,
    Other(String),
    Nothing,
}

/// Says in words what speaks there when it is not HTTP/2; `None` when it is, or when nobody listens.
pub async fn diagnose(url: &ServerUrl) -> Option<String> {
    let speaks = match ask(url, HTTP2_HELLO).await? {
        // Some servers of TLS close without a word on what is none.
        Speaks::Nothing => match ask(url, TLS_HELLO).await {
            Some(Speaks::Tls) => Speaks::Tls,
            _ => Speaks::Nothing,
        },
        speaks => speaks,
    };
    Some(match speaks {
        Speaks::Http2 => return None,
        Speaks::Http1 => "a server of HTTP/1 answers there, which is no control plane".to_owned(),
        Speaks::Tls => "a server of TLS answers there, and this version of Warren speaks http:// \
                        without TLS only"
            .to_owned(),
        Speaks::Other(words) => format!("it is no gRPC server: it answered {words:?}"),
        Speaks::Nothing => "it takes connections and says nothing".to_owned(),
    })
}

/// The answer to these bytes; `None` when there is no connection.
async fn ask(url: &ServerUrl, hello: &[u8]) -> Option<Speaks> {
    let connecting = time::timeout(WITHIN, TcpStream::connect(url.peer()));
    let mut stream = connecting.await.ok()?.ok()?;
    let mut answer = [0; 64];
    let mut filled = 0;
    let conversation = async {
        stream.write_all(hello).await?;
        // What tells them apart stands in the first five bytes.
        while filled < 5 {
            match stream.read(&mut answer[filled..]).await? {
                0 => break,
                read => filled += read,
            }
        }
        std::io::Result::Ok(())
    };
    // However it ended: what came until then is the answer.
    let _ = time::timeout(WITHIN, conversation).await;
    Some(classify(&answer[..filled]))
}

/// Pure: who begins like this.
fn classify(answer: &[u8]) -> Speaks {
    match answer {
        [] => Speaks::Nothing,
        [b'H', b'T', b'T', b'P', b'/', ..] => Speaks::Http1,
        // A record of TLS: an alert or a handshake, of version 3.
        [0x15 | 0x16, 3, ..] => Speaks::Tls,
        // Length in three bytes, then the type SETTINGS or GOAWAY.
        [_, _, _, 4 | 7, ..] => Speaks::Http2,
        other => {
            let text = String::from_utf8_lossy(other);
            let line = text.lines().next().unwrap_or_default();
            Speaks::Other(line.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn first_bytes_tell_who_speaks() {
        for (answer, speaks) in [
            (&b""[..], Speaks::Nothing),
            (b"HTTP/1.1 400 Bad Request\r\n", Speaks::Http1),
            (b"\x15\x03\x03\0\x02\x02\x28", Speaks::Tls),
            (b"\x16\x03\x03\0\x40\x02\0\0", Speaks::Tls),
            (b"\0\0\x12\x04\0\0\0\0\0", Speaks::Http2),
            (b"\0\0\x08\x07\0\0\0\0\0", Speaks::Http2),
            (
                b"-ERR unknown command\r\nmore",
                Speaks::Other("-ERR unknown command".into()),
            ),
        ] {
            assert_eq!(classify(answer), speaks, "{answer:?}");
        }
    }

    #[test]
    fn the_hello_of_tls_is_as_long_as_it_says() {
        let length = |at: usize| usize::from(TLS_HELLO[at]) << 8 | usize::from(TLS_HELLO[at + 1]);
        assert_eq!(length(3), TLS_HELLO.len() - 5, "the record");
        assert_eq!(length(7), TLS_HELLO.len() - 9, "the message");
    }

    #[tokio::test]
    async fn one_that_only_knows_tls_is_found_by_the_second_question() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it listens");
        let server = tokio::spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else {
                    return;
                };
                let mut first = [0; 1];
                // Closes without a word on everything but a handshake.
                if stream.read_exact(&mut first).await.is_ok() && first == [0x16] {
                    let _ = stream.write_all(b"\x15\x03\x03\0\x02\x02\x28").await;
                }
            }
        });
        let url: ServerUrl = format!("http://{address}").parse().expect("a URL");
        let words = diagnose(&url).await.unwrap_or_default();
        assert!(words.contains("TLS"), "{words}");
        server.abort();
        let _ = server.await;
        assert_eq!(diagnose(&url).await, None, "nobody listens any more");
    }
}
