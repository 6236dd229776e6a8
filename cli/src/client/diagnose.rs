//! Finds out what answers at an address where there is no control plane.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time,
};

use super::ServerUrl;

/// The time limit for each request. A server that takes longer counts as silent.
const WITHIN: Duration = Duration::from_secs(2);

/// The first bytes of an HTTP/2 client (RFC 9113, 3.4), with an empty SETTINGS frame.
const HTTP2_HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A ClientHello of TLS 1.2 (RFC 5246, 7.4.1.2) with one cipher suite and no extensions. Any TLS
/// server answers it, if only with an alert.
const TLS_HELLO: &[u8] = b"\x16\x03\x01\0\x2d\x01\0\0\x29\x03\x03\
    warren asks whether TLS is there\0\0\x02\xc0\x2f\x01\0";

/// The protocol that the first bytes of an answer belong to.
#[derive(Debug, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
    Tls,
    Other(String),
    Nothing,
}

/// Describes what answers at the address if that is not HTTP/2. Returns `None` if it is HTTP/2, or
/// if nothing listens.
pub async fn diagnose(url: &ServerUrl) -> Option<String> {
    let speaks = match ask(url, HTTP2_HELLO).await? {
        // Some TLS servers close the connection silently when they receive anything else.
        Speaks::Nothing => match ask(url, TLS_HELLO).await {
            Some(Speaks::Tls) => Speaks::Tls,
            _ => Speaks::Nothing,
        },
        speaks => speaks,
    };
    Some(match speaks {
        Speaks::Http2 => return None,
        Speaks::Http1 => "it answered with HTTP/1, so it is not a control plane".to_owned(),
        Speaks::Tls => "it answered with TLS, but this version of Warren supports only http:// \
                        without TLS"
            .to_owned(),
        Speaks::Other(words) => format!("it is not a gRPC server: it answered {words:?}"),
        Speaks::Nothing => "it accepts connections but does not answer".to_owned(),
    })
}

/// Returns the answer to these bytes, or `None` if there is no connection.
async fn ask(url: &ServerUrl, hello: &[u8]) -> Option<Speaks> {
    let connecting = time::timeout(WITHIN, TcpStream::connect(url.peer()));
    let mut stream = connecting.await.ok()?.ok()?;
    let mut answer = [0; 64];
    let mut filled = 0;
    let conversation = async {
        stream.write_all(hello).await?;
        // The first five bytes identify the protocol.
        while filled < 5 {
            match stream.read(&mut answer[filled..]).await? {
                0 => break,
                read => filled += read,
            }
        }
        std::io::Result::Ok(())
    };
    // However it ended, the bytes received so far are the answer.
    let _ = time::timeout(WITHIN, conversation).await;
    Some(classify(&answer[..filled]))
}

/// Identifies the protocol by its first bytes.
fn classify(answer: &[u8]) -> Speaks {
    match answer {
        [] => Speaks::Nothing,
        [b'H', b'T', b'T', b'P', b'/', ..] => Speaks::Http1,
        // A TLS record: an alert or a handshake, of version 3.
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
    fn first_bytes_identify_the_protocol() {
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
    async fn a_server_that_only_speaks_tls_is_found_by_the_second_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it listens");
        let server = tokio::spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else {
                    return;
                };
                let mut first = [0; 1];
                // Closes silently on everything except a handshake.
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
        assert_eq!(diagnose(&url).await, None, "nothing listens any more");
    }
}
