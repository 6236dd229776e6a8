//! A line protocol whose messages a component answers.

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use warren_tests::within;

use super::{logs_with, manifest, restarts};
use crate::cluster;

/// Somebody with `nc`.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(address: std::net::SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await;
        Self(BufReader::new(stream.unwrap()))
    }

    async fn ask(&mut self, line: &[u8]) -> Vec<u8> {
        self.0.write_all(&[line, b"\n"].concat()).await.unwrap();
        let mut answer = Vec::new();
        let read = self.0.read_until(b'\n', &mut answer);
        within("an answer", read).await.unwrap();
        assert_eq!(answer.pop(), Some(b'\n'), "{}", answer.escape_ascii());
        answer
    }
}

#[tokio::test]
async fn each_line_is_answered_by_a_component() {
    let cluster = cluster(1).await;
    cluster.apply(&manifest("bridge")).await;
    let address = cluster.published("bridge").await;

    let mut first = Client::connect(address).await;
    assert_eq!(first.ask(b"upper hello, world").await, b"ok HELLO, WORLD");
    // Bytes, not text.
    assert_eq!(first.ask(b"reverse \xff\x00ab").await, b"ok ba\x00\xff");
    assert_eq!(first.ask(b"reverse").await, b"ok ");
    let answer = first.ask(b"lower HELLO").await;
    assert!(answer.starts_with(b"error nobody knows `lower`"));
    let crash = String::from_utf8(first.ask(b"crash").await).unwrap();
    for words in ["error ", "`handler`", "handle", "trapped"] {
        assert!(crash.contains(words), "`{words}` is missing in {crash}");
    }
    assert_eq!(first.ask(b"upper again").await, b"ok AGAIN");
    let long = [b"upper ", &vec![b'x'; 60_000][..]].concat();
    assert_eq!(first.ask(&long).await.len(), "ok ".len() + 60_000);

    // A second one is connected while the first is served, and answered after.
    let mut second = Client::connect(address).await;
    second.0.write_all(b"upper next\n").await.unwrap();
    assert_eq!(first.ask(b"upper first").await, b"ok FIRST");
    drop(first);
    assert_eq!(second.ask(b"upper after").await, b"ok NEXT");

    // A line that does not end is not collected for ever.
    // The service may have closed it before all of this is sent.
    let _ = second.0.write_all(&vec![b'x'; 70_000]).await;
    logs_with(&cluster, "bridge", "too long").await;
    let mut third = Client::connect(address).await;
    assert_eq!(third.ask(b"upper third").await, b"ok THIRD");
    assert_eq!(restarts(&cluster, "bridge").await, 0);
}
