//! As much of a Redis client as counting needs.

use std::fmt::{self, Display};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;

pub const ADDRESS: &str = "127.0.0.1:6379";

pub struct Cache {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub enum Error {
    Io(io::Error),
    /// The cache refused the command.
    Refused(String),
    /// Not a reply to what was asked.
    Unexpected(String),
}

impl Cache {
    pub fn connect() -> Result<Self, Error> {
        Ok(Self {
            stream: BufReader::new(TcpStream::connect(ADDRESS)?),
        })
    }

    /// Adds one to the number under `key` and returns the sum.
    pub fn increment(&mut self, key: &str) -> Result<i64, Error> {
        self.send(&["INCR", key])?;
        let reply = self.line(b':')?;
        reply.parse().map_err(|_| Error::Unexpected(reply))
    }

    /// What tells this start of the service from any other.
    pub fn run_id(&mut self) -> Result<String, Error> {
        self.send(&["INFO", "server"])?;
        let length = self.line(b'$')?;
        let length: usize = length.parse().map_err(|_| Error::Unexpected(length))?;
        let mut info = vec![0; length + "\r\n".len()];
        self.stream.read_exact(&mut info)?;
        let info = String::from_utf8_lossy(&info);
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        run_id
            .map(str::to_owned)
            .ok_or_else(|| Error::Unexpected("INFO without run_id".into()))
    }

    fn send(&mut self, words: &[&str]) -> Result<(), Error> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        Ok(self.stream.get_mut().write_all(request.as_bytes())?)
    }

    /// The rest of a reply line that begins with `marker`.
    fn line(&mut self, marker: u8) -> Result<String, Error> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let Some(line) = line.strip_suffix("\r\n") else {
            return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
        };
        match line.as_bytes().first() {
            Some(first) if *first == marker => Ok(line[1..].to_owned()),
            Some(b'-') => Err(Error::Refused(line[1..].to_owned())),
            _ => Err(Error::Unexpected(line.to_owned())),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The kind's words (`connection refused`) are the same on every host; the error's own
            // carry its number.
            Self::Io(error) => write!(f, "{}", error.kind()),
            Self::Refused(reply) => write!(f, "refused: {reply}"),
            Self::Unexpected(reply) => write!(f, "unexpected reply: {reply}"),
        }
    }
}
