#![allow(clippy::unwrap_used)]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use super::*;

fn owns(machine: &Kernel, to: &str) -> bool {
    let to = to.parse().unwrap();
    let by_tcp = machine.owns(to, Transport::Tcp).unwrap();
    assert_eq!(machine.owns(to, Transport::Udp).unwrap(), by_tcp, "{to}");
    by_tcp
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status();
    assert!(done.unwrap().success(), "ip {arguments}");
}

/// Runs another test of this program in a separate network namespace.
fn alone(test: &str) {
    let program = std::env::current_exe().unwrap();
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let run = unshare
        .args(["--net", "--"])
        .arg(program)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let cause = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}{cause}");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn loopback_is_the_machines_own_and_documentation_is_not() {
    let machine = Kernel::default();
    for (to, expected) in [
        ("127.0.0.1:80", true),
        ("127.9.9.9:80", true),
        ("192.0.2.1:80", false),
        ("[2001:db8::1]:80", false),
    ] {
        assert_eq!(owns(&machine, to), expected, "{to}");
    }
}

#[test]
fn addresses_and_routes_that_change_while_the_worker_runs_are_seen_at_once() {
    alone("policy::machine::tests::changes");
}

#[test]
#[ignore = "changes the addresses of its network namespace: run by another test"]
fn changes() {
    let machine = Kernel::default();
    ip("link set lo up");
    // Each change with two addresses of the machine and one that is not its own.
    for (change, [first, last, other]) in [
        (
            "addr add 192.0.2.7/24 dev lo",
            ["192.0.2.7:80", "192.0.2.7:1", "192.0.3.8:80"],
        ),
        (
            "-6 addr add 2001:db8::7/64 dev lo nodad",
            ["[2001:db8::7]:80", "[2001:db8::7]:1", "[2001:db8::8]:80"],
        ),
        // Routes without an address.
        (
            "route add local 10.9.0.0/16 dev lo",
            ["10.9.0.0:80", "10.9.255.255:80", "10.10.0.1:80"],
        ),
        (
            "-6 route add local 2001:db8:9::/48 dev lo",
            [
                "[2001:db8:9::1]:80",
                "[2001:db8:9:ffff::]:80",
                "[2001:db8:a::1]:80",
            ],
        ),
        // A route with a preferred source is local too.
        (
            "route add local 10.8.0.0/16 dev lo src 192.0.2.7",
            ["10.8.0.1:80", "10.8.9.9:80", "10.7.0.1:80"],
        ),
        // A separate routing table, chosen by the packet's port.
        (
            "route add local 10.4.0.0/16 dev lo table 100",
            ["10.4.0.1:81", "10.4.0.2:81", "10.4.0.1:80"],
        ),
    ] {
        if change.contains("table") {
            ip("rule add dport 81 lookup 100");
        }
        for to in [first, last, other] {
            assert!(!owns(&machine, to), "{to} before {change}");
        }
        ip(change);
        // An IPv6 address becomes local a moment after it was added.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !owns(&machine, first) {
            assert!(Instant::now() < deadline, "{first} after {change}");
            std::thread::yield_now();
        }
        assert!(owns(&machine, last), "{last} after {change}");
        assert!(!owns(&machine, other), "{other} after {change}");
    }
    ip("addr del 192.0.2.7/24 dev lo");
    assert!(!owns(&machine, "192.0.2.7:80"));
    // An unreachable address is not the machine's; if the kernel does not say, it is an error.
    ip("route add unreachable 10.5.0.0/16");
    ip("route add prohibit 10.6.0.0/16");
    assert!(!owns(&machine, "10.5.0.1:80") && !owns(&machine, "10.6.0.1:80"));
    ip("route add blackhole 10.3.0.0/16");
    let unknown = machine.owns("10.3.0.1:80".parse().unwrap(), Transport::Tcp);
    assert!(unknown.is_err(), "{unknown:?}");
}

#[test]
fn an_unexpected_answer_is_an_error_and_never_a_no() {
    let message = |kind: u16, sequence: u32, rest: &[u8]| {
        let mut message = vec![0; 4];
        message.extend(kind.to_ne_bytes());
        message.extend([0; 2]);
        message.extend(sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(rest);
        message
    };
    let route = |kind| message(RTM_NEWROUTE, 7, &[2, 32, 0, 0, 255, 0, 0, kind, 0, 0, 0, 0]);
    let error = |errno: i32| message(NLMSG_ERROR, 7, &errno.to_ne_bytes());
    for (bytes, expected) in [
        (route(RTN_LOCAL), Some(true)),
        (route(RTN_ANYCAST), Some(true)),
        (route(1), Some(false)),
        (error(-101), Some(false)),
        (error(-113), Some(false)),
        (error(-13), Some(false)),
        (error(-22), None),
        (error(-1), None),
        (error(0), None),
        (error(i32::MIN), None),
        (message(3, 7, &[0; 12]), None),
        (message(RTM_NEWROUTE, 8, &[2; 12]), None),
        (route(2)[..20].to_vec(), None),
        (Vec::new(), None),
    ] {
        assert_eq!(answer(&bytes, 7).ok(), expected, "{bytes:?}");
    }
}

#[test]
fn an_unread_answer_is_not_taken_for_the_next_one() {
    let machine = Kernel::default();
    assert!(owns(&machine, "127.0.0.1:80"));
    let socket = machine.idle.lock().pop().unwrap();
    let stale = question("127.0.0.1:80".parse().unwrap(), Transport::Tcp, 99);
    rustix::net::send(&socket, &stale, SendFlags::empty()).unwrap();
    machine.idle.lock().push(socket);
    assert!(!owns(&machine, "192.0.2.1:80"));
}
