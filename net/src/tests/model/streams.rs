//! Connections: the reference of their two ends, and the steps on it and on the real network.

use super::*;

/// How many bytes each direction of a connection has apart from the pool.
const FLOOR: usize = BUFFER / 16;

/// One end of a connection and what happened to it.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Bytes that arrived and are unread.
    pub inbox: VecDeque<u8>,
    /// The receive buffer's size.
    pub buffer: usize,
    /// How many bytes the peer was promised that it may write.
    promised: usize,
    /// How it ended its direction: `Some(true)` is an end of stream, `Some(false)` a reset.
    ended: Option<bool>,
    stopped: bool,
    reader_dropped: bool,
    lost: bool,
    /// Whether it is closed, and if so whether cleanly.
    closed: Option<bool>,
}

impl Side {
    /// Returns whether bytes that arrive are discarded.
    fn discards(&self) -> bool {
        self.stopped || self.reader_dropped || self.closed.is_some()
    }

    /// Returns how many bytes it takes from the pool.
    fn taken(&self) -> usize {
        match self.discards() {
            true => 0,
            false => (self.inbox.len() + self.promised).saturating_sub(FLOOR),
        }
    }
}

impl Reference {
    /// Closes an end by itself (`None`) or with its scope.
    pub fn close_end(&mut self, conn: usize, side: usize, how: Option<End>) {
        let this = &mut self.conns[conn][side];
        let clean = match how {
            None => !this.lost && this.inbox.is_empty(),
            Some(end) => end == End::Closed,
        };
        this.inbox.clear();
        this.closed = Some(clean);
        self.end(conn, side, clean);
    }

    pub fn read_end(&self, conn: usize, side: usize) -> Option<ReadEnd> {
        let (this, peer) = (&self.conns[conn][side], &self.conns[conn][1 - side]);
        let end = |clean| if clean { ReadEnd::Eof } else { ReadEnd::Reset };
        match this {
            Side {
                closed: Some(clean),
                ..
            } => Some(end(*clean)),
            Side { stopped: true, .. } => Some(ReadEnd::Eof),
            Side { inbox, .. } if !inbox.is_empty() => None,
            _ => peer.ended.map(end),
        }
    }

    pub fn write_end(&self, conn: usize, side: usize) -> Option<WriteEnd> {
        let (this, peer) = (&self.conns[conn][side], &self.conns[conn][1 - side]);
        match (this.ended, peer.closed) {
            (Some(true), _) => Some(WriteEnd::Shutdown),
            (Some(false), _) | (None, Some(false)) => Some(WriteEnd::Reset),
            (None, Some(true)) => Some(WriteEnd::Closed),
            (None, None) => None,
        }
    }

    /// Returns how many bytes a write takes.
    pub fn room(&self, conn: usize, side: usize) -> usize {
        let peer = &self.conns[conn][1 - side];
        self.offered(conn, side).max(peer.promised)
    }

    fn offered(&self, conn: usize, side: usize) -> usize {
        let peer = &self.conns[conn][1 - side];
        if peer.discards() {
            return peer.buffer;
        }
        let others = self.taken() - peer.taken();
        let most = FLOOR + self.buffered.saturating_sub(others);
        peer.buffer.min(most).saturating_sub(peer.inbox.len())
    }

    /// Promises how many bytes the next write takes.
    pub fn offer(&mut self, conn: usize, side: usize) -> Result<usize, WriteEnd> {
        if let Some(end) = self.write_end(conn, side) {
            return Err(end);
        }
        let offered = self.offered(conn, side);
        self.conns[conn][1 - side].promised = offered;
        Ok(offered)
    }

    /// Returns how many bytes of `buffered` are taken.
    pub fn taken(&self) -> usize {
        let streams: usize = self.conns.iter().flatten().map(Side::taken).sum();
        let datagrams: usize = self.sockets.iter().map(|socket| socket.queued()).sum();
        streams + datagrams
    }

    pub fn set_buffer(&mut self, socket: usize, size: usize) {
        self.sockets[socket].buffer = size.max(BUFFER);
        if let State::Connected(conn, side) = self.sockets[socket].state {
            self.conns[conn][side].buffer = size.max(BUFFER);
        }
    }

    pub fn write(&mut self, conn: usize, side: usize, data: &[u8]) -> Result<usize, WriteEnd> {
        if let Some(end) = self.write_end(conn, side) {
            return Err(end);
        }
        let n = data.len().min(self.room(conn, side));
        let peer = &mut self.conns[conn][1 - side];
        peer.lost |= peer.reader_dropped && !peer.stopped && n > 0;
        if n > 0 {
            peer.promised = 0;
        }
        if !peer.discards() {
            peer.inbox.extend(&data[..n]);
        }
        Ok(n)
    }

    pub fn shutdown(&mut self, conn: usize, side: usize) {
        self.end(conn, side, true);
    }

    /// Sends an end of stream or a reset, if neither was sent before.
    fn end(&mut self, conn: usize, side: usize, clean: bool) {
        if self.conns[conn][side].ended.is_none() {
            self.conns[conn][side].ended = Some(clean);
            self.conns[conn][1 - side].promised = 0;
        }
    }

    pub fn stop(&mut self, conn: usize, side: usize) {
        let side = &mut self.conns[conn][side];
        if side.closed.is_none() {
            side.stopped = true;
            side.inbox.clear();
        }
    }

    pub fn drop_reader(&mut self, conn: usize, side: usize) {
        let side = &mut self.conns[conn][side];
        if side.closed.is_none() && !side.stopped {
            side.reader_dropped = true;
            side.lost = !side.inbox.is_empty();
            side.inbox.clear();
        }
    }

    pub fn drop_writer(&mut self, conn: usize, side: usize) {
        if !self.conns[conn][side].lost {
            self.shutdown(conn, side);
        }
    }

    pub fn is_readable(&self, conn: usize, side: usize) -> bool {
        !self.conns[conn][side].inbox.is_empty() || self.read_end(conn, side).is_some()
    }

    pub fn is_writable(&self, conn: usize, side: usize) -> bool {
        self.write_end(conn, side).is_some() || self.room(conn, side) > 0
    }

    /// Returns whether a task that waits to write must have been woken. Bytes that other
    /// connections return to the pool wake no task: the next byte that the peer reads below its
    /// floor does.
    pub fn wakes_writer(&self, conn: usize, side: usize) -> bool {
        let peer = &self.conns[conn][1 - side];
        let floor = peer.inbox.len() < peer.buffer.min(FLOOR);
        let ample = self.buffered >= SOCKETS * 1_000;
        self.write_end(conn, side).is_some() || floor || ample && self.is_writable(conn, side)
    }
}

impl World {
    pub fn write(&mut self, socket: usize, step: &Step) -> Result<(), TestCaseError> {
        let (conn, side) = self.end_of(socket).unwrap();
        let Some(Real::Connected { writer, reader }) = self.real.get_mut(&socket) else {
            unreachable!()
        };
        let closes = reader.is_none();
        let (real, waiter) = writer.as_mut().unwrap();
        match *step {
            Step::Write { len, .. } => {
                self.next = self.next.wrapping_add(1);
                let data = vec![self.next; len];
                prop_assert_eq!(real.end(), self.model.write_end(conn, side));
                // Only sometimes, as a promise lasts until the next call.
                if len % 2 == 0 {
                    prop_assert_eq!(real.capacity(), self.model.offer(conn, side));
                }
                let result = real.try_write(Bytes::from(data.clone()));
                prop_assert_eq!(result, self.model.write(conn, side, &data));
            }
            Step::WaitWritable { .. } => {
                let ready = waiter.poll(|cx| real.poll_ready(cx)).is_ready();
                prop_assert_eq!(ready, self.model.is_writable(conn, side));
            }
            Step::Shutdown { .. } => {
                real.shutdown();
                self.model.shutdown(conn, side);
            }
            _ => {
                *writer = None;
                self.model.drop_writer(conn, side);
                if closes {
                    self.real.remove(&socket);
                    self.model.close(socket, None);
                }
            }
        }
        Ok(())
    }

    pub fn read(&mut self, socket: usize, step: &Step) -> Result<(), TestCaseError> {
        let (conn, side) = self.end_of(socket).unwrap();
        let Some(Real::Connected { writer, reader }) = self.real.get_mut(&socket) else {
            unreachable!()
        };
        let closes = writer.is_none();
        let (real, waiter) = reader.as_mut().unwrap();
        match *step {
            Step::Read { len, .. } => match read(real, waiter, len) {
                Ok(data) => {
                    let inbox = &mut self.model.conns[conn][side].inbox;
                    prop_assert!(data.len() <= len.min(inbox.len()));
                    prop_assert!(!data.is_empty() || len == 0 || inbox.is_empty());
                    prop_assert!(data.iter().copied().eq(inbox.drain(..data.len())));
                    if data.is_empty() && len > 0 {
                        prop_assert_eq!(self.model.read_end(conn, side), None);
                    }
                }
                Err(end) => prop_assert_eq!(Some(end), self.model.read_end(conn, side)),
            },
            Step::WaitReadable { .. } => {
                prop_assert_eq!(real.is_ready(), self.model.is_readable(conn, side));
                let ready = waiter.poll(|cx| real.poll_ready(cx)).is_ready();
                prop_assert_eq!(ready, self.model.is_readable(conn, side));
            }
            Step::Stop { .. } => {
                real.stop();
                self.model.stop(conn, side);
            }
            _ => {
                *reader = None;
                self.model.drop_reader(conn, side);
                if closes {
                    self.real.remove(&socket);
                    self.model.close(socket, None);
                }
            }
        }
        Ok(())
    }
}

/// Reads in one of two ways, depending on the length.
fn read(reader: &Reader, waiter: &mut Waiter, len: usize) -> Result<Bytes, ReadEnd> {
    if len.is_multiple_of(2) {
        return reader.try_read(len);
    }
    match waiter.poll(|cx| reader.poll_take(cx, len)) {
        Poll::Ready(read) => read,
        Poll::Pending => Ok(Bytes::new()),
    }
}
