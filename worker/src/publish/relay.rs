//! Bytes between a client's real socket and a guest's connection, each direction by itself.

use std::{cmp, future::poll_fn, io};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use crate::net::{End, ReadEnd, Reader, Scope, Stream, WriteEnd, Writer};

/// Bytes moved at a time, each way.
const CHUNK: usize = 16 << 10;

/// What either side had sent, and nobody read, when the relay takes over. Nothing, as a rule.
#[derive(Default)]
pub(crate) struct Early {
    /// From the client.
    pub(crate) up: Bytes,
    /// From the guest.
    pub(crate) down: Bytes,
}

/// Copies both ways until both directions have ended; an end of stream is passed on, and the other direction goes
/// on. An error, which is a reset on either side, ends both at once. Neither side is read from faster than the
/// other one takes it.
///
/// After an error the guest's side, which is all that `scope` holds, has been reset; the client's is the caller's.
pub(crate) async fn relay(
    client: &mut TcpStream,
    guest: Stream,
    scope: &Scope,
    early: Early,
) -> io::Result<()> {
    let (from_client, mut to_client) = client.split();
    let (mut from_guest, mut to_guest) = guest.split();
    let up = async {
        to_guest.write_all(&early.up).await?;
        upload(from_client, &mut to_guest).await
    };
    let down = async {
        to_client.write_all(&early.down).await?;
        download(&mut from_guest, to_client).await
    };
    let result = tokio::try_join!(up, down);
    if result.is_err() {
        // While both halves are held: dropping one would end its direction in good order.
        scope.end(End::Aborted);
    }
    result.map(|_| ())
}

async fn upload(client: ReadHalf<'_>, guest: &mut Writer) -> io::Result<()> {
    loop {
        poll_fn(|cx| guest.poll_ready(cx)).await;
        // A guest that has closed is not kept waiting for by a client that has nothing to say.
        tokio::select! {
            end = poll_fn(|cx| guest.poll_end(cx)) => return ended(end),
            readable = client.readable() => readable?,
        }
        // Asked only now: what is promised is kept from all others.
        let room = match guest.capacity() {
            Ok(0) => continue,
            Ok(room) => cmp::min(room, CHUNK),
            Err(end) => return ended(end),
        };
        // Allocated only now, so that idle connections cost nothing.
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

async fn download(guest: &mut Reader, mut client: WriteHalf<'_>) -> io::Result<()> {
    loop {
        poll_fn(|cx| guest.poll_ready(cx)).await;
        match guest.try_read(CHUNK) {
            Ok(data) => client.write_all(&data).await?,
            Err(ReadEnd::Eof) => return client.shutdown().await,
            Err(end @ ReadEnd::Reset) => return Err(end.into()),
        }
    }
}

/// Closes with a reset instead of an end of stream.
pub(crate) fn reset(client: TcpStream) {
    // Without it the client would read an end of stream: not wrong enough to keep the connection for.
    let _ = client.set_zero_linger();
    drop(client);
}

/// A guest that closed in good order takes nothing more, but what it sent before still goes to the client.
fn ended(end: WriteEnd) -> io::Result<()> {
    match end {
        WriteEnd::Closed | WriteEnd::Shutdown => Ok(()),
        WriteEnd::Reset => Err(end.into()),
    }
}
