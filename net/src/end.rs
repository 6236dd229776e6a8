//! How each direction of a connection ends, as each side sees it.

use std::io;

/// Why there is nothing more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadEnd {
    /// The peer ended its direction cleanly, or this side shut down receiving.
    #[error("end of stream")]
    Eof,
    /// The peer was ended by force, or closed the connection with unread bytes.
    #[error("connection reset by peer")]
    Reset,
}

/// Why nothing more can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteEnd {
    /// The peer has closed the connection (`EPIPE`).
    #[error("the peer has closed the connection")]
    Closed,
    /// The peer was ended by force (`ECONNRESET`).
    #[error("connection reset by peer")]
    Reset,
    /// This side has shut down its direction.
    #[error("this side of the connection is shut down")]
    Shutdown,
}

impl From<ReadEnd> for io::Error {
    fn from(end: ReadEnd) -> Self {
        match end {
            ReadEnd::Eof => io::ErrorKind::UnexpectedEof.into(),
            ReadEnd::Reset => io::ErrorKind::ConnectionReset.into(),
        }
    }
}

impl From<WriteEnd> for io::Error {
    fn from(end: WriteEnd) -> Self {
        match end {
            WriteEnd::Closed | WriteEnd::Shutdown => io::ErrorKind::BrokenPipe.into(),
            WriteEnd::Reset => io::ErrorKind::ConnectionReset.into(),
        }
    }
}
