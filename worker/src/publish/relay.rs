//! Copies bytes between a client's socket and a guest's connection, each direction independently.

use std::{cmp, future::poll_fn, io};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};
use warren_net::{End, ReadEnd, Reader, Scope, Stream, WriteEnd, Writer};

/// How many bytes are copied at a time, in each direction.
const CHUNK: usize = 16 << 10;

/// Bytes that were already read from either side when the relay starts. Usually there are none.
#[derive(Default)]
pub(crate) struct Early {
    /// Bytes from the client.
    pub(crate) up: Bytes,
    /// Bytes from the guest.
    pub(crate) down: Bytes,
}

/// Copies in both directions until both have ended. An end of stream is passed on while the other
/// direction continues. An error, which is a reset on either side, ends both at once. Neither side
/// is read faster than the other accepts the bytes.
///
/// After an error the guest's side, which must be everything that `scope` holds, has been reset.
/// The caller must reset the client's side.
pub(crate) async fn relay(
    client: &mut TcpStream,
    guest: Stream,
    scope: &Scope,
    early: Early,
) -> io::Result<()> {
    let (from_client, mut to_client) = client.split();
    let (from_guest, mut to_guest) = guest.split();
    let up = async {
        to_guest.write_all(&early.up).await?;
        upload(from_client, &to_guest).await
    };
    let down = async {
        to_client.write_all(&early.down).await?;
        download(&from_guest, to_client).await
    };
    let result = tokio::try_join!(up, down);
    if result.is_err() {
        // Both halves must still be alive: dropping one would end its direction cleanly.
        scope.end(End::Aborted);
    }
    result.map(|_| ())
}

async fn upload(client: ReadHalf<'_>, guest: &Writer) -> io::Result<()> {
    loop {
        poll_fn(|cx| guest.poll_ready(cx)).await;
        // If the guest has closed, do not wait for a client that sends nothing.
        tokio::select! {
            end = poll_fn(|cx| guest.poll_end(cx)) => return ended(end),
            readable = client.readable() => readable?,
        }
        // Requested only now, as promised room is not available to other connections.
        let room = match guest.capacity() {
            Ok(0) => continue,
            Ok(room) => cmp::min(room, CHUNK),
            Err(end) => return ended(end),
        };
        // Allocated only now, so that idle connections hold no buffer.
        let mut data = BytesMut::with_capacity(room).limit(room);
        match client.try_read_buf(&mut data) {
            Ok(0) => {
                guest.shutdown();
                return Ok(());
            }
            Ok(_) => match guest.try_write(data.into_inner().freeze()) {
                Ok(_) => {}
                Err(end) => return ended(end),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn download(guest: &Reader, mut client: WriteHalf<'_>) -> io::Result<()> {
    loop {
        poll_fn(|cx| guest.poll_ready(cx)).await;
        match guest.try_read(CHUNK) {
            Ok(data) => client.write_all(&data).await?,
            Err(ReadEnd::Eof) => return client.shutdown().await,
            Err(end @ ReadEnd::Reset) => return Err(end.into()),
        }
    }
}

/// Closes the connection with a reset instead of an end of stream.
pub(crate) fn reset(client: TcpStream) {
    // If this fails, the client reads an end of stream, which is acceptable.
    let _ = client.set_zero_linger();
    drop(client);
}

/// Maps the end of the guest's side to the result of the upload. A guest that closed cleanly
/// accepts nothing more, but the bytes that it sent before must still reach the client.
fn ended(end: WriteEnd) -> io::Result<()> {
    match end {
        WriteEnd::Closed | WriteEnd::Shutdown => Ok(()),
        WriteEnd::Reset => Err(end.into()),
    }
}
