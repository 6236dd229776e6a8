//! A client of the Redis protocol (RESP2), as small as it can be.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::within;

pub struct Resp(BufReader<TcpStream>);

// === impl Resp ===

impl Resp {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await;
        Self(BufReader::new(stream.expect("somebody listens")))
    }

    /// Sends a command and returns its reply: status, error, number or text, without the type's
    /// mark.
    pub async fn ask(&mut self, words: &[&str]) -> String {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        within("the request is taken", self.0.write_all(request.as_bytes()))
            .await
            .expect("the connection is open");
        within("a reply", self.reply()).await
    }

    async fn reply(&mut self) -> String {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).await;
        assert!(read.is_ok_and(|bytes| bytes > 0), "no reply");
        let line = line.trim_end();
        match (&line[..1], line[1..].parse::<usize>()) {
            ("$", Ok(length)) => {
                let mut text = vec![0; length + 2];
                let read = self.0.read_exact(&mut text).await;
                read.expect("the whole reply comes");
                text.truncate(length);
                String::from_utf8(text).expect("the tests write text")
            }
            _ => line[1..].to_owned(),
        }
    }
}
