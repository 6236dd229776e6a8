use super::*;

/// Returns the kind of a verdict, as it is written in the tables.
pub(super) fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Workload => "workload",
        Verdict::Machine(_) => "machine",
        Verdict::Deny(reason) => match reason {
            DenyReason::ComponentMayNotListen => "component",
            DenyReason::NotLoopbackBind => "not bindable",
            DenyReason::NotAHost { .. } => "no host",
            DenyReason::NoEgressRule { .. } => "no rule",
            DenyReason::NameNotInEgress { .. } => "no name",
            DenyReason::LinkLocal { .. } => "link-local",
            DenyReason::WorkerAddress { .. } => "worker",
            DenyReason::Metadata { .. } => "metadata",
            DenyReason::WarrenListener { .. } => "warren",
            DenyReason::Unknown { .. } => "unknown",
            DenyReason::NoHostRule { .. } => "no host rule",
            DenyReason::HostLoopbackNotAllowed { .. } => "not allowed",
        },
    }
}

#[test]
fn only_a_service_listens_and_only_in_its_network() {
    let tcp = [Op::TcpBind, Op::TcpListen];
    // (address, TCP of a service, TCP of a component, UDP of a service, UDP of a component)
    let cases = [
        (
            "127.0.0.1:80",
            "workload",
            "component",
            "workload",
            "component",
        ),
        (
            "127.0.0.1:0",
            "workload",
            "component",
            "workload",
            "workload",
        ),
        (
            "127.9.9.9:80",
            "workload",
            "component",
            "workload",
            "component",
        ),
        ("0.0.0.0:0", "workload", "component", "workload", "workload"),
        ("[::]:80", "workload", "component", "workload", "component"),
        ("[::1]:0", "workload", "component", "workload", "workload"),
        (
            "10.1.0.5:0",
            "not bindable",
            "component",
            "not bindable",
            "not bindable",
        ),
        (
            "192.0.0.8:80",
            "not bindable",
            "component",
            "not bindable",
            "component",
        ),
        (
            "[2001:db8::5]:80",
            "not bindable",
            "component",
            "not bindable",
            "component",
        ),
        (
            "[::ffff:127.0.0.1]:80",
            "not bindable",
            "component",
            "not bindable",
            "component",
        ),
    ];
    // Egress rules do not affect binding and listening.
    let everything = ["0.0.0.0/0:*", "[::/0]:*"];
    let service = policy(Role::Service, &everything);
    let component = policy(Role::Component, &everything);
    for (address, service_tcp, component_tcp, service_udp, component_udp) in cases {
        for op in tcp {
            assert_eq!(
                kind(&service.decide(op(at(address)))),
                service_tcp,
                "{address}"
            );
            assert_eq!(
                kind(&component.decide(op(at(address)))),
                component_tcp,
                "{address}"
            );
        }
        let udp = Op::UdpBind(at(address));
        assert_eq!(kind(&service.decide(udp)), service_udp, "{address}");
        assert_eq!(kind(&component.decide(udp)), component_udp, "{address}");
    }
}

#[test]
fn connections_leave_only_by_egress_rules() {
    const ALL: &[&str] = &["0.0.0.0/0:*", "[::/0]:*"];
    // (egress, destination, verdict)
    let cases: &[(&[&str], &str, &str)] = &[
        // Loopback is always the workload's own network, whatever the rules.
        (&[], "127.0.0.1:80", "workload"),
        (&[], "127.255.0.1:80", "workload"),
        (&[], "[::1]:80", "workload"),
        (ALL, "127.0.0.1:80", "workload"),
        (&[], "127.0.0.1:0", "workload"),
        // Rules by address and port.
        (&[], "192.0.2.1:443", "no rule"),
        (&["192.0.2.1:443"], "192.0.2.1:443", "machine"),
        (&["192.0.2.1:443"], "192.0.2.1:444", "no rule"),
        (&["192.0.2.1:443"], "192.0.2.2:443", "no rule"),
        (&["192.0.2.0/24:*"], "192.0.2.77:9", "machine"),
        (&["192.0.2.0/24:*"], "192.0.3.1:9", "no rule"),
        (&["[2001:db8:1::/48]:443"], "[2001:db8:1::9]:443", "machine"),
        (&["[2001:db8:1::/48]:443"], "[2001:db8:2::9]:443", "no rule"),
        (ALL, "192.0.2.1:443", "machine"),
        (ALL, "[2001:db8:1::9]:443", "machine"),
        // A name does not permit an address until it is looked up.
        (
            &["example.com:443", "*.example.com:443"],
            "192.0.2.1:443",
            "no rule",
        ),
        // These cannot be addresses of a host.
        (ALL, "0.0.0.0:80", "no host"),
        (ALL, "[::]:80", "no host"),
        (ALL, "224.0.0.1:80", "no host"),
        (ALL, "[ff02::1]:80", "no host"),
        (ALL, "255.255.255.255:80", "no host"),
        (ALL, "[::ffff:192.0.2.1]:80", "no host"),
        (ALL, "[::ffff:127.0.0.1]:80", "no host"),
        (ALL, "[::ffff:169.254.169.254]:80", "no host"),
        (ALL, "[::192.0.2.1]:80", "no host"),
        (ALL, "192.0.2.1:0", "no host"),
        // Link-local addresses and the worker's own are permitted only if they are listed exactly.
        (ALL, "169.254.169.254:80", "link-local"),
        (&["169.254.0.0/16:*"], "169.254.169.254:80", "link-local"),
        (
            &["169.254.169.254/31:80"],
            "169.254.169.254:80",
            "link-local",
        ),
        (&["169.254.169.254:80"], "169.254.169.254:80", "machine"),
        (&["169.254.169.254/32:80"], "169.254.169.254:80", "machine"),
        (&["169.254.169.254:*"], "169.254.169.254:80", "machine"),
        (&["169.254.169.254:81"], "169.254.169.254:80", "link-local"),
        (ALL, "[fe80::1]:80", "link-local"),
        (&["[fe80::/10]:80"], "[fe80::1]:80", "link-local"),
        (&["[fe80::1]:80"], "[fe80::1]:80", "machine"),
        (ALL, "[64:ff9b::a9fe:a9fe]:80", "link-local"),
        (
            &["[64:ff9b::a9fe:a9fe]:80"],
            "[64:ff9b::a9fe:a9fe]:80",
            "machine",
        ),
        (ALL, "[64:ff9b::c000:201]:80", "machine"),
        (ALL, "10.1.0.5:80", "worker"),
        (&["10.1.0.0/24:80"], "10.1.0.5:80", "worker"),
        (&["10.1.0.5:80"], "10.1.0.5:80", "machine"),
        (&["10.1.0.5:80"], "10.1.0.5:81", "worker"),
        (ALL, "[2001:db8::5]:80", "worker"),
        (&["[2001:db8::5]:80"], "[2001:db8::5]:80", "machine"),
        (ALL, "[64:ff9b::a01:5]:80", "worker"),
        // The worker's loopback is permitted only by its name.
        (ALL, "192.0.0.8:5432", "no host rule"),
        (&["192.0.0.8:5432"], "192.0.0.8:5432", "no host rule"),
        (&["*.warren.internal:*"], "192.0.0.8:5432", "no host rule"),
        (
            &["host.warren.internal:5433"],
            "192.0.0.8:5432",
            "no host rule",
        ),
        (
            &["host.warren.internal:5432"],
            "192.0.0.8:5432",
            "not allowed",
        ),
    ];
    for (egress, to, expected) in cases {
        for role in [Role::Service, Role::Component] {
            let policy = policy(role, egress);
            for op in [Op::TcpConnect(at(to)), Op::UdpSend(at(to))] {
                let verdict = policy.decide(op);
                assert_eq!(kind(&verdict), *expected, "{to} by {egress:?}");
                if let Verdict::Machine(address) = verdict {
                    assert_eq!(address, at(to));
                }
            }
        }
    }
}

#[test]
fn the_workers_loopback_must_be_permitted_by_the_manifest_and_the_worker() {
    let allowed = HostAccess {
        allow_host_loopback: true,
        ..host()
    };
    let to = Op::TcpConnect(at("192.0.0.8:5432"));
    // (egress, whether the worker permits it, verdict)
    let cases = [
        ("host.warren.internal:5432", true, "machine"),
        ("host.warren.internal:*", true, "machine"),
        ("host.warren.internal:1", true, "no host rule"),
        ("0.0.0.0/0:*", true, "no host rule"),
        ("host.warren.internal:5432", false, "not allowed"),
    ];
    for (egress, allows, expected) in cases {
        let host = if allows { allowed.clone() } else { host() };
        let policy = Policy::new(Role::Component, rules(&[egress]), host);
        let verdict = policy.decide(to);
        assert_eq!(kind(&verdict), expected, "{egress}, {allows}");
        if let Verdict::Machine(address) = verdict {
            assert_eq!(address, at("127.0.0.1:5432"));
        }
        // 127.0.0.1 always means the workload itself.
        assert_eq!(
            policy.decide(Op::TcpConnect(at("127.0.0.1:5432"))),
            Verdict::Workload
        );
    }
}

#[test]
fn a_refusal_says_what_to_add() {
    let policy = policy(Role::Component, &["host.warren.internal:1"]);
    // (operation, part of the message)
    let cases = [
        (Op::TcpConnect(at("192.0.2.1:443")), "add \"192.0.2.1:443\""),
        (
            Op::TcpConnect(at("[2001:db8::9]:443")),
            "add \"[2001:db8::9]:443\"",
        ),
        (
            Op::TcpConnect(at("169.254.169.254:80")),
            "add \"169.254.169.254:80\" itself",
        ),
        (
            Op::TcpConnect(at("192.0.0.8:5432")),
            "add \"host.warren.internal:5432\"",
        ),
        (Op::TcpConnect(at("192.0.0.8:1")), "--allow-host-loopback"),
        (Op::TcpBind(at("127.0.0.1:80")), "only the service"),
    ];
    for (op, part) in cases {
        let Verdict::Deny(reason) = policy.decide(op) else {
            panic!("{op:?}")
        };
        assert!(reason.to_string().contains(part), "{reason}");
    }
}
