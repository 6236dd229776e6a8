//! A queue of bytes in transit, which keeps large chunks as they are and gathers small ones.

use std::{cmp, collections::VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Chunks shorter than this many bytes are copied to the tail: keeping them apart would cost more
/// time and memory.
const SMALL: usize = 4 << 10;
/// The size of the tail's allocation in bytes, from that of a new connection to that of one with a
/// steady flow of small writes.
const TAIL: std::ops::RangeInclusive<usize> = 256..=16 << 10;

/// How much is copied at a time, in bytes: see [`put`].
const PIECE: usize = 2 << 10;

/// A queue of bytes. However small the writes are, it allocates at most a small multiple of what it
/// holds or of the smallest tail.
pub(super) struct Buffer {
    chunks: VecDeque<Bytes>,
    /// The bytes after all chunks. Reads copy out of it, so that its allocation can be reused.
    tail: BytesMut,
    /// The size of the tail's next allocation.
    grain: usize,
    len: usize,
}

impl Buffer {
    pub fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            grain: *TAIL.start(),
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a chunk, without copying it unless it is small. A chunk that is not copied keeps its
    /// whole allocation alive.
    pub fn push(&mut self, data: Bytes) {
        if data.len() < SMALL {
            self.append(&data);
        } else {
            self.seal();
            self.len += data.len();
            self.chunks.push_back(data);
        }
    }

    /// Appends a copy of the data.
    pub fn append(&mut self, data: &[u8]) {
        if data.len() >= SMALL {
            let mut copy = BytesMut::with_capacity(data.len());
            put(&mut copy, data);
            return self.push(copy.freeze());
        }
        if self.tail.capacity() - self.tail.len() < data.len() {
            // Grow only for a reader that lags: one that keeps up lets the allocation be reused.
            if !self.is_empty() {
                self.grain = cmp::min(self.grain * 2, *TAIL.end());
            }
            self.seal();
            self.tail.reserve(cmp::max(self.grain, data.len()));
        }
        self.tail.extend_from_slice(data);
        self.len += data.len();
    }

    /// Takes up to `max` bytes from the front as one piece, which is often less than the whole
    /// queue. Chunks are not copied. Bytes of the tail are copied into an allocation of their own,
    /// which a guest's read can then take over without a second copy.
    pub fn pop(&mut self, max: usize) -> Bytes {
        let data = match self.chunks.front_mut() {
            Some(front) if front.len() > max => front.split_to(max),
            Some(_) => self.chunks.pop_front().unwrap_or_default(),
            None => {
                let n = cmp::min(max, self.tail.len());
                let data = Bytes::copy_from_slice(&self.tail[..n]);
                self.tail.advance(n);
                data
            }
        };
        self.len -= data.len();
        data
    }

    /// Copies as many bytes as fit into `out`, and returns how many that was.
    pub fn copy_to(&mut self, out: &mut impl BufMut) -> usize {
        let before = self.len;
        while out.has_remaining_mut() && !self.is_empty() {
            let room = out.remaining_mut();
            if let Some(front) = self.chunks.front_mut() {
                let n = cmp::min(room, front.len());
                put(out, &front[..n]);
                self.len -= n;
                front.advance(n);
                if front.is_empty() {
                    self.chunks.pop_front();
                }
            } else {
                let n = cmp::min(room, self.tail.len());
                put(out, &self.tail[..n]);
                self.len -= n;
                self.tail.advance(n);
            }
        }
        before - self.len
    }

    /// Closes the tail, so that a chunk can follow it.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }
}

/// Copies `data` in pieces of [`PIECE`] bytes.
///
/// From 4 KiB up, glibc 2.36 copies with `rep movsb`. On AMD EPYC this is twenty times slower than
/// a loop when the target's offset within its page is up to 60 bytes above the source's. A large
/// allocation, which begins after its header, and a page of guest memory are such a pair.
fn put(out: &mut impl BufMut, data: &[u8]) {
    for piece in data.chunks(PIECE) {
        out.put_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Append(usize),
        Pop(usize),
        Copy(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = prop_oneof![3 => 0_usize..300, 1 => 0_usize..10_000];
        (0..4_u8, size).prop_map(|(kind, n)| match kind {
            0 => Step::Push(n),
            1 => Step::Append(n),
            2 => Step::Pop(n),
            _ => Step::Copy(n),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn is_a_queue_of_bytes(steps in prop::collection::vec(step(), 1..60)) {
            let mut buffer = Buffer::new();
            let mut model = VecDeque::new();
            let mut next = 0_u8;
            for step in steps {
                let mut fresh = |n: usize| -> Vec<u8> {
                    (0..n).map(|_| { next = next.wrapping_add(1); next }).collect()
                };
                match step {
                    Step::Push(n) => {
                        let data = fresh(n);
                        model.extend(data.iter().copied());
                        buffer.push(data.into());
                    }
                    Step::Append(n) => {
                        let data = fresh(n);
                        model.extend(data.iter().copied());
                        buffer.append(&data);
                    }
                    Step::Pop(n) => {
                        let data = buffer.pop(n);
                        prop_assert!(data.len() <= n);
                        prop_assert!(!data.is_empty() || n == 0 || model.is_empty());
                        prop_assert!(data.iter().copied().eq(model.drain(..data.len())));
                    }
                    Step::Copy(n) => {
                        let mut out = vec![0; n];
                        let copied = buffer.copy_to(&mut &mut out[..]);
                        prop_assert_eq!(copied, cmp::min(n, model.len()));
                        prop_assert!(out[..copied].iter().copied().eq(model.drain(..copied)));
                    }
                }
                prop_assert_eq!(buffer.len(), model.len());
            }
        }
    }

    #[test]
    fn single_bytes_are_gathered_into_few_chunks() {
        let mut buffer = Buffer::new();
        for _ in 0..64 << 10 {
            buffer.push(Bytes::from_static(b"x"));
        }
        assert!(buffer.chunks.len() < 16, "{} chunks", buffer.chunks.len());
        assert!(buffer.tail.capacity() <= *TAIL.end());
    }

    #[test]
    fn a_reader_that_keeps_up_needs_one_small_allocation() {
        let mut buffer = Buffer::new();
        buffer.append(&[0; 64]);
        let allocation = buffer.tail.as_ptr();
        let mut reused = 0;
        for _ in 0..1_000 {
            assert_eq!(buffer.pop(64).len(), 64);
            buffer.append(&[0; 64]);
            reused += usize::from(buffer.tail.as_ptr() == allocation);
        }
        // The allocation is reused each time its end is reached.
        assert!(reused >= 200, "reused {reused} times");
        assert!(buffer.tail.capacity() <= *TAIL.start());
    }
}
