//! Socket options: ranges and what reads back.

use wasip2::sockets::network::{ErrorCode, IpAddressFamily};

use super::{bound, socket};
use crate::check::{equal, fails, holds, works};

pub fn run(family: IpAddressFamily) {
    for socket in [socket(family), bound(family)] {
        equal(
            "address-family: what it was made for",
            socket.address_family(),
            family,
        );
        holds(
            "unicast-hop-limit has a default",
            socket.unicast_hop_limit().is_ok_and(|n| n > 0),
        );
        holds(
            "receive-buffer-size has one",
            socket.receive_buffer_size().is_ok_and(|n| n > 0),
        );
        holds(
            "send-buffer-size has one",
            socket.send_buffer_size().is_ok_and(|n| n > 0),
        );

        let invalid = ErrorCode::InvalidArgument;
        fails(
            "set-unicast-hop-limit: must be 1 or higher",
            socket.set_unicast_hop_limit(0),
            invalid,
        );
        fails(
            "set-receive-buffer-size: the provided value was 0",
            socket.set_receive_buffer_size(0),
            invalid,
        );
        fails(
            "set-send-buffer-size: the provided value was 0",
            socket.set_send_buffer_size(0),
            invalid,
        );

        for hops in [1, 42, u8::MAX] {
            works(
                "set-unicast-hop-limit: any other value",
                socket.set_unicast_hop_limit(hops),
            );
            equal(
                "unicast-hop-limit: what was set",
                socket.unicast_hop_limit(),
                Ok(hops),
            );
        }
        for size in [1, u64::MAX] {
            works(
                "set-receive-buffer-size: any other value",
                socket.set_receive_buffer_size(size),
            );
            works(
                "set-send-buffer-size: any other value",
                socket.set_send_buffer_size(size),
            );
            holds(
                "clamped to something: receive-buffer-size",
                socket.receive_buffer_size().is_ok_and(|n| n > 0),
            );
            holds(
                "clamped to something: send-buffer-size",
                socket.send_buffer_size().is_ok_and(|n| n > 0),
            );
        }
        for size in [0x4000, 0x1_0000, 0x10_0000] {
            socket.set_receive_buffer_size(size).expect("a size");
            equal(
                "receive-buffer-size: what was set",
                socket.receive_buffer_size(),
                Ok(size),
            );
            socket.set_send_buffer_size(size).expect("a size");
            equal(
                "send-buffer-size: what was set",
                socket.send_buffer_size(),
                Ok(size),
            );
        }
    }
}
