//! Socket options. A value that was set can be read back, clamped as operating systems clamp it.

use warren_net::{MAX_BUFFER, MIN_BUFFER, NetLimits};

use super::SocketError;

const SECOND: u64 = 1_000_000_000;
/// The longest keep-alive time that Linux accepts, in seconds.
const KEEP_ALIVE_SECONDS: u64 = 32_767;
/// The largest number of keep-alive probes that Linux accepts.
const KEEP_ALIVE_PROBES: u32 = 127;

/// The options of one TCP socket, which the sockets it accepts inherit. Times are in nanoseconds,
/// sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub keep_alive: bool,
    pub keep_alive_idle: u64,
    pub keep_alive_interval: u64,
    pub keep_alive_count: u32,
    pub hop_limit: u8,
    pub receive_buffer: u64,
    pub send_buffer: u64,
}

impl Default for Options {
    /// Returns the options of a new socket in a network with the default limits.
    fn default() -> Self {
        Self::new(&NetLimits::default())
    }
}

impl Options {
    /// Returns the options of a new socket.
    pub fn new(limits: &NetLimits) -> Self {
        Self {
            keep_alive: false,
            keep_alive_idle: 7_200 * SECOND,
            keep_alive_interval: 75 * SECOND,
            keep_alive_count: 9,
            hop_limit: 64,
            receive_buffer: limits.buffer as u64,
            // There is no send buffer: written bytes go straight to the receiver's buffer.
            send_buffer: limits.buffer as u64,
        }
    }

    pub fn receive_bytes(&self) -> usize {
        usize::try_from(self.receive_buffer).unwrap_or(usize::MAX)
    }
}

/// Rounds a keep-alive time up to whole seconds and clamps it, as Linux does. 0 is
/// `invalid-argument`.
pub fn keep_alive_time(nanoseconds: u64) -> Result<u64, SocketError> {
    match nanoseconds {
        0 => Err(SocketError::InvalidArgument),
        n => Ok(n.div_ceil(SECOND).min(KEEP_ALIVE_SECONDS) * SECOND),
    }
}

/// Clamps a number of keep-alive probes. 0 is `invalid-argument`.
pub fn keep_alive_count(count: u32) -> Result<u32, SocketError> {
    match count {
        0 => Err(SocketError::InvalidArgument),
        n => Ok(n.min(KEEP_ALIVE_PROBES)),
    }
}

/// Checks a hop limit. 0 is `invalid-argument`.
pub fn hop_limit(hops: u8) -> Result<u8, SocketError> {
    match hops {
        0 => Err(SocketError::InvalidArgument),
        n => Ok(n),
    }
}

/// Clamps a buffer size, which is a hint, as the network does. 0 is `invalid-argument`.
pub fn buffer_size(bytes: u64) -> Result<u64, SocketError> {
    match bytes {
        0 => Err(SocketError::InvalidArgument),
        n => Ok(n.clamp(MIN_BUFFER as u64, MAX_BUFFER as u64)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn extremes_are_clamped_and_zero_is_refused() {
        assert_eq!(keep_alive_time(1), Ok(SECOND));
        assert_eq!(keep_alive_time(u64::MAX), Ok(KEEP_ALIVE_SECONDS * SECOND));
        assert_eq!(keep_alive_count(u32::MAX), Ok(KEEP_ALIVE_PROBES));
        assert_eq!(buffer_size(1), Ok(MIN_BUFFER as u64));
        assert_eq!(buffer_size(u64::MAX), Ok(MAX_BUFFER as u64));
        assert_eq!(keep_alive_time(0), Err(SocketError::InvalidArgument));
        assert_eq!(keep_alive_count(0), Err(SocketError::InvalidArgument));
        assert_eq!(hop_limit(0), Err(SocketError::InvalidArgument));
        assert_eq!(buffer_size(0), Err(SocketError::InvalidArgument));
    }
}
