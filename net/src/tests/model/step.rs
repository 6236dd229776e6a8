//! The operations of two guests, as random steps.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::reference::BUFFER;

const ADDRESSES: [&str; 7] = [
    "127.0.0.1",
    "127.0.0.2",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "10.0.0.1",
    "127.0.0.1",
];
const PORTS: [u16; 4] = [0, 80, 81, 40_000];

/// An operation and the socket that it applies to, as an index into the sockets that support it,
/// modulo their number.
#[derive(Clone, Debug)]
pub enum Step {
    Bind {
        scope: usize,
        address: usize,
        port: usize,
    },
    Listen {
        which: usize,
        backlog: usize,
    },
    Connect {
        scope: usize,
        address: usize,
        port: usize,
    },
    /// Connects to the address of a listener, which a random address rarely is.
    ConnectTo {
        scope: usize,
        which: usize,
    },
    ConnectFrom {
        which: usize,
        address: usize,
        port: usize,
    },
    Finish {
        which: usize,
    },
    Accept {
        which: usize,
    },
    SetBacklog {
        which: usize,
        backlog: usize,
    },
    Write {
        which: usize,
        len: usize,
    },
    Read {
        which: usize,
        len: usize,
    },
    WaitReadable {
        which: usize,
    },
    WaitWritable {
        which: usize,
    },
    Shutdown {
        which: usize,
    },
    Stop {
        which: usize,
    },
    DropReader {
        which: usize,
    },
    DropWriter {
        which: usize,
    },
    /// Sets the buffer of a socket in any state.
    SetBuffer {
        which: usize,
        size: usize,
    },
    DropOther {
        which: usize,
    },
    BindUdp {
        scope: usize,
        address: usize,
        port: usize,
    },
    /// Sends to a random address, which is rarely that of a socket.
    Send {
        which: usize,
        address: usize,
        port: usize,
        len: usize,
    },
    SendTo {
        which: usize,
        whom: usize,
        len: usize,
    },
    Receive {
        which: usize,
    },
    WaitReceivable {
        which: usize,
    },
    /// Restricts a socket to one peer, or lifts the restriction.
    SetPeer {
        which: usize,
        whom: Option<usize>,
    },
    SetQueue {
        which: usize,
        size: usize,
    },
    End {
        scope: usize,
        aborted: bool,
    },
}

/// Generates each step from a single number, which costs a fraction of a strategy per field and
/// shrinks as well.
pub fn step() -> impl Strategy<Value = Step> {
    any::<u64>().prop_map(|bits| {
        let field = |at: u32, modulo: usize| ((bits >> at) & 0xff) as usize % modulo;
        let (which, scope) = (field(8, 12), field(16, 2));
        let (address, port) = (field(24, ADDRESSES.len()), field(32, PORTS.len()));
        let (len, backlog, size) = (field(40, BUFFER + 9), field(48, 4), field(40, 3) * BUFFER);
        let whom = field(56, 12);
        match field(0, 88) {
            0..=2 => Step::Bind {
                scope,
                address,
                port,
            },
            3..=6 => Step::Listen { which, backlog },
            9..=14 => Step::ConnectTo { scope, which },
            7..=8 => Step::Connect {
                scope,
                address,
                port,
            },
            15..=16 => Step::ConnectFrom {
                which,
                address,
                port,
            },
            17..=20 => Step::Finish { which },
            21..=25 => Step::Accept { which },
            26 => Step::SetBacklog { which, backlog },
            27..=34 => Step::Write { which, len },
            35..=40 => Step::Read { which, len },
            41..=43 => Step::WaitReadable { which },
            44..=46 => Step::WaitWritable { which },
            47..=48 => Step::Shutdown { which },
            49 => Step::Stop { which },
            50..=51 => Step::DropReader { which },
            52..=53 => Step::DropWriter { which },
            54..=55 => Step::DropOther { which },
            56..=60 => Step::SetBuffer { which, size },
            61..=65 => Step::BindUdp {
                scope,
                address,
                port,
            },
            66..=67 => Step::Send {
                which,
                address,
                port,
                len,
            },
            68..=75 => Step::SendTo { which, whom, len },
            76..=80 => Step::Receive { which },
            81..=82 => Step::WaitReceivable { which },
            83..=85 => Step::SetPeer {
                which,
                whom: (backlog > 0).then_some(whom),
            },
            86 => Step::SetQueue {
                which,
                size: size * 4,
            },
            _ => Step::End {
                scope,
                aborted: backlog % 2 == 0,
            },
        }
    })
}

/// Returns the address at these indices of the lists.
pub fn place(address: usize, port: usize) -> SocketAddr {
    super::at(&format!("{}:{}", ADDRESSES[address], PORTS[port]))
}
