//! Warren's own listeners, which no rule permits.

use std::collections::HashSet;

use super::{decisions::kind, *};

/// Decides with every address listed, on a worker that lets guests reach its loopback.
fn open(host: &HostAccess, to: &str) -> Verdict {
    let listed = ["host.warren.internal:*", "0.0.0.0/0:*", "[::/0]:*", to];
    let policy = Policy::new(Role::Service, rules(&listed), host.clone());
    policy.decide(Op::TcpConnect(at(to)))
}

fn host_with_loopback() -> HostAccess {
    HostAccess {
        allow_host_loopback: true,
        ..host()
    }
}

#[test]
fn no_address_that_leads_to_a_listener_is_permitted() {
    // (owner, listener, destination, verdict); the machine's addresses are 10.1.0.5 and
    // 2001:db8::5.
    let worker = || Whose::Worker("w2".to_owned());
    for (whose, listens, to, expected) in [
        // This worker, by each of its addresses.
        (Whose::Own, "127.0.0.1:7701", "192.0.0.8:7701", "warren"),
        (Whose::Own, "127.0.0.1:7701", "192.0.0.8:7702", "machine"),
        (Whose::Own, "0.0.0.0:7701", "192.0.0.8:7701", "warren"),
        (Whose::Own, "0.0.0.0:7701", "10.1.0.5:7701", "warren"),
        (Whose::Own, "[::]:7701", "10.1.0.5:7701", "warren"),
        (Whose::Own, "[::]:7701", "[2001:db8::5]:7701", "warren"),
        (
            Whose::Own,
            "[::ffff:10.1.0.5]:7701",
            "10.1.0.5:7701",
            "warren",
        ),
        (Whose::Own, "0.0.0.0:7701", "10.1.0.6:7701", "machine"),
        (Whose::Own, "0.0.0.0:7701", "10.1.0.5:7702", "machine"),
        // A control plane that is dialled. If it is on this machine, it may listen on all
        // addresses.
        (
            Whose::Dialled,
            "http://127.0.0.1:7700",
            "192.0.0.8:7700",
            "warren",
        ),
        (
            Whose::Dialled,
            "http://127.0.0.1:7700",
            "10.1.0.5:7700",
            "warren",
        ),
        (
            Whose::Dialled,
            "http://10.1.0.5:7700",
            "192.0.0.8:7700",
            "warren",
        ),
        (
            Whose::Dialled,
            "http://10.2.0.1:7700",
            "10.2.0.1:7700",
            "warren",
        ),
        (
            Whose::Dialled,
            "http://10.2.0.1:7700",
            "192.0.0.8:7700",
            "machine",
        ),
        (
            Whose::Dialled,
            "http://10.2.0.1:7700",
            "10.2.0.1:7701",
            "machine",
        ),
        (Whose::Dialled, "http://10.2.0.1", "10.2.0.1:80", "warren"),
        (
            Whose::Dialled,
            "https://10.2.0.1/",
            "10.2.0.1:443",
            "warren",
        ),
        (
            Whose::Dialled,
            "http://[2001:db8::9]:7700",
            "[2001:db8::9]:7700",
            "warren",
        ),
        // Listeners that the control plane reports, its own and those of other workers.
        (Whose::Control, "10.3.0.1:7700", "10.3.0.1:7700", "warren"),
        (worker(), "10.2.0.2:7701", "10.2.0.2:7701", "warren"),
        (worker(), "10.2.0.2:7701", "10.2.0.3:7701", "machine"),
        (worker(), "http://10.1.0.5:7702", "192.0.0.8:7702", "warren"),
    ] {
        let host = host_with_loopback();
        host.listeners.set(whose.clone(), [listens]);
        assert_eq!(
            kind(&open(&host, to)),
            expected,
            "{whose:?} {listens}: {to}"
        );
    }
}

#[test]
fn no_name_that_leads_to_a_listener_is_permitted_whenever_it_changes() {
    let host = host_with_loopback();
    host.listeners.set(
        Whose::Dialled,
        ["http://Control.Example:7700", "http://10.2.0.9:7700"],
    );
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(kind(&open(&host, "10.2.0.1:7700")), "machine");
    host.listeners
        .resolved("control.example", &[ip("10.2.0.1")]);
    host.listeners.resolved("other.example", &[ip("10.2.0.3")]);
    assert_eq!(kind(&open(&host, "10.2.0.1:7700")), "warren");
    assert_eq!(kind(&open(&host, "10.2.0.3:7700")), "machine");
    // DNS answers may rotate: the earlier answer still counts.
    host.listeners
        .resolved("control.example", &[ip("10.2.0.2")]);
    for to in ["10.2.0.1:7700", "10.2.0.2:7700", "10.2.0.9:7700"] {
        assert_eq!(kind(&open(&host, to)), "warren", "{to}");
    }
    assert_eq!(kind(&open(&host, "10.2.0.2:7701")), "machine");
}

#[test]
fn the_listeners_follow_the_fleet() {
    let host = host_with_loopback();
    let worker = |name: &str| Whose::Worker(name.to_owned());
    host.listeners.set(worker("w2"), ["10.2.0.2:7701"]);
    host.listeners
        .set(worker("w3"), ["10.2.0.3:7701", "nonsense", ""]);
    host.listeners.set(Whose::Own, ["10.1.0.5:7701"]);
    let refused = || {
        let all = ["10.2.0.2:7701", "10.2.0.3:7701", "10.1.0.5:7701"];
        all.map(|to| kind(&open(&host, to)) == "warren")
    };
    assert_eq!(refused(), [true; 3]);
    host.listeners.set(worker("w2"), ["10.2.0.4:7701"]);
    assert_eq!(refused(), [false, true, true]);
    host.listeners.keep_workers(&HashSet::from(["w2"]));
    assert_eq!(refused(), [false, false, true]);
    assert_eq!(kind(&open(&host, "10.2.0.4:7701")), "warren");
    host.listeners.set(worker("w2"), [] as [&str; 0]);
    assert_eq!(kind(&open(&host, "10.2.0.4:7701")), "machine");
}

#[test]
fn the_listeners_do_not_affect_datagrams() {
    let host = host_with_loopback();
    host.listeners.set(Whose::Dialled, ["http://10.2.0.1:7700"]);
    let policy = Policy::new(Role::Service, rules(&["10.2.0.1:7700"]), host);
    let to = at("10.2.0.1:7700");
    assert_eq!(kind(&policy.decide(Op::UdpSend(to))), "machine");
    assert_eq!(kind(&policy.decide(Op::TcpConnect(to))), "warren");
}
