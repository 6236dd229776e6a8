use std::time::Duration;

use super::{dns::Dns, *};

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn asking(dns: &Dns, egress: &[&str]) -> Policy {
    policy(Role::Component, egress).with_resolver(Resolver::servers([dns.address]))
}

fn allows(policy: &Policy, to: &str) -> bool {
    matches!(policy.decide(Op::TcpConnect(at(to))), Verdict::Machine(_))
}

#[tokio::test]
async fn some_names_need_neither_dns_nor_permission() {
    let dns = Dns::start(&[("localhost", "192.0.2.1", 60)]).await;
    let policy = asking(&dns, &[]);
    // (name, addresses)
    let cases: &[(&str, &[&str])] = &[
        ("localhost", &["127.0.0.1", "::1"]),
        ("LocalHost.", &["127.0.0.1", "::1"]),
        ("db.localhost", &["127.0.0.1", "::1"]),
        ("192.0.2.7", &["192.0.2.7"]),
        ("2001:db8::7", &["2001:db8::7"]),
        ("::ffff:192.0.2.7", &["192.0.2.7"]),
    ];
    for (name, addresses) in cases {
        assert_eq!(policy.resolve(name).await, Ok(ips(addresses)), "{name}");
    }
    assert!(
        !allows(&policy, "192.0.2.7:80"),
        "an IP literal grants nothing"
    );
    assert_eq!(dns.asked(), 0);
}

#[tokio::test]
async fn names_that_egress_does_not_list_are_never_queried() {
    let dns = Dns::start(&[("secret.example.net", "192.0.2.1", 60)]).await;
    let policy = asking(
        &dns,
        &["example.com:443", "*.example.org:443", "192.0.2.0/24:*"],
    );
    let denied = [
        "secret.example.net",
        "example.org",
        "badexample.org",
        "a.example.com",
        "host.warren.internal",
        "notlocalhost",
        "localhost.example.net",
    ];
    for name in denied {
        let result = policy.resolve(name).await;
        assert!(
            matches!(result, Err(ResolveError::Denied(_))),
            "{name}: {result:?}"
        );
    }
    let invalid = [
        "",
        ".",
        "a b",
        "a..b",
        "exa\0mple.com",
        "exa/mple.com",
        "*.example.org",
    ];
    for name in invalid {
        assert_eq!(
            policy.resolve(name).await,
            Err(ResolveError::InvalidName),
            "{name:?}"
        );
    }
    let long = format!("{}.example.org", "a".repeat(64));
    assert_eq!(policy.resolve(&long).await, Err(ResolveError::InvalidName));
    assert_eq!(dns.asked(), 0);
}

#[tokio::test]
async fn a_lookup_permits_its_addresses_on_the_rules_ports() {
    let dns = Dns::start(&[
        ("db.example.com", "192.0.2.1", 300),
        ("db.example.com", "2001:db8:1::1", 300),
        ("a.b.example.org", "192.0.2.2", 300),
    ])
    .await;
    let policy = asking(
        &dns,
        &[
            "db.example.com:5432",
            "db.example.com:5433",
            "*.example.org:*",
        ],
    );
    assert!(!allows(&policy, "192.0.2.1:5432"), "not before the lookup");
    let mut found = policy.resolve("DB.Example.com.").await.unwrap();
    found.sort();
    assert_eq!(found, ips(&["192.0.2.1", "2001:db8:1::1"]));
    for (to, allowed) in [
        ("192.0.2.1:5432", true),
        ("192.0.2.1:5433", true),
        ("[2001:db8:1::1]:5432", true),
        ("192.0.2.1:5434", false),
        ("192.0.2.2:5432", false),
    ] {
        assert_eq!(allows(&policy, to), allowed, "{to}");
    }
    assert_eq!(
        policy.resolve("a.b.example.org").await,
        Ok(ips(&["192.0.2.2"]))
    );
    assert!(allows(&policy, "192.0.2.2:9"));
    assert!(
        !allows(&policy, "192.0.2.1:9"),
        "a rule permits only the addresses of its own names"
    );
}

#[tokio::test]
async fn a_grant_lasts_for_the_ttl_and_at_least_a_minute() {
    let dns = Dns::start(&[
        ("short.example.com", "192.0.2.1", 1),
        ("long.example.com", "192.0.2.2", 300),
    ])
    .await;
    let policy = asking(&dns, &["*.example.com:443"]);
    let before = Instant::now();
    policy.resolve("short.example.com").await.unwrap();
    policy.resolve("long.example.com").await.unwrap();
    let after = Instant::now();
    // (address, seconds, since when, whether it is still granted)
    for (to, seconds, since, granted) in [
        ("192.0.2.1:443", 59, before, true),
        ("192.0.2.1:443", 60, after, false),
        ("192.0.2.2:443", 298, before, true),
        ("192.0.2.2:443", 301, after, false),
    ] {
        let then = since + Duration::from_secs(seconds);
        let verdict = policy.decide_at(Op::TcpConnect(at(to)), then);
        assert_eq!(
            matches!(verdict, Verdict::Machine(_)),
            granted,
            "{to} after {seconds} s"
        );
    }
}

#[tokio::test]
async fn a_changed_answer_permits_nothing_before_the_next_lookup() {
    let dns = Dns::start(&[("evil.example.com", "192.0.2.1", 0)]).await;
    let policy = asking(&dns, &["evil.example.com:80"]);
    policy.resolve("evil.example.com").await.unwrap();
    assert!(allows(&policy, "192.0.2.1:80"));
    for (address, reached) in [
        ("192.0.2.66", true),
        ("169.254.169.254", false),
        ("10.1.0.5", false),
        ("64:ff9b::a9fe:a9fe", false),
        ("192.0.0.8", false),
        ("0.0.0.0", false),
        ("224.0.0.1", false),
    ] {
        let ip: IpAddr = address.parse().unwrap();
        dns.zone.lock().answers = vec![("evil.example.com", ip, 0)];
        let to = SocketAddr::new(ip, 80).to_string();
        assert!(!allows(&policy, &to), "{address} before it is looked up");
        assert_eq!(policy.resolve("evil.example.com").await, Ok(vec![ip]));
        assert_eq!(allows(&policy, &to), reached, "{address}");
        assert!(
            allows(&policy, "192.0.2.1:80"),
            "the earlier grant still holds"
        );
    }
    // Loopback is the workload itself.
    dns.zone.lock().answers = vec![("evil.example.com", Ipv4Addr::LOCALHOST.into(), 0)];
    policy.resolve("evil.example.com").await.unwrap();
    assert_eq!(
        policy.decide(Op::TcpConnect(at("127.0.0.1:80"))),
        Verdict::Workload
    );
}

#[tokio::test]
async fn addresses_that_guests_cannot_use_are_left_out() {
    let dns = Dns::start(&[
        ("a.example.com", "192.0.2.1", 60),
        ("a.example.com", "::ffff:192.0.2.2", 60),
        ("b.example.com", "::ffff:192.0.2.2", 60),
    ])
    .await;
    let policy = asking(&dns, &["*.example.com:80"]);
    assert_eq!(
        policy.resolve("a.example.com").await,
        Ok(ips(&["192.0.2.1"]))
    );
    assert_eq!(
        policy.resolve("b.example.com").await,
        Err(ResolveError::NotFound)
    );
}

#[tokio::test]
async fn errors_distinguish_permanent_from_temporary_failures() {
    let dns = Dns::start(&[]).await;
    dns.zone.lock().broken.push("broken.example.com");
    let policy = asking(&dns, &["*.example.com:80"]);
    assert_eq!(
        policy.resolve("nothing.example.com").await,
        Err(ResolveError::NotFound)
    );
    let broken = policy.resolve("broken.example.com").await;
    assert!(
        matches!(broken, Err(ResolveError::Temporary(_))),
        "{broken:?}"
    );
}

#[tokio::test]
async fn lookups_time_out_when_servers_do_not_answer() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let servers = [silent.local_addr().unwrap()];
    let resolver = Resolver::patient_servers(servers, Duration::from_millis(20));
    let policy = policy(Role::Component, &["*.example.com:80"]).with_resolver(resolver);
    let answer = policy.resolve("a.example.com").await;
    assert_eq!(answer, Err(ResolveError::TimedOut));
}

#[tokio::test]
async fn the_host_name_needs_a_rule_to_be_resolved() {
    let dns = Dns::start(&[("host.warren.internal", "192.0.2.1", 60)]).await;
    for (egress, resolves) in [
        (&["host.warren.internal:5432"][..], true),
        (&["*.warren.internal:*"][..], false),
        (&["0.0.0.0/0:*"][..], false),
    ] {
        let result = asking(&dns, egress).resolve("Host.Warren.internal").await;
        match resolves {
            true => assert_eq!(result, Ok(ips(&["192.0.0.8"]))),
            false => assert!(matches!(result, Err(ResolveError::Denied(_))), "{egress:?}"),
        }
    }
    assert_eq!(dns.asked(), 0);
}

#[tokio::test]
async fn names_in_other_scripts_are_queried_in_ascii() {
    let dns = Dns::start(&[("xn--bcher-kva.example.com", "192.0.2.1", 60)]).await;
    let policy = asking(&dns, &["*.example.com:80"]);
    assert_eq!(
        policy.resolve("bücher.example.com").await,
        Ok(ips(&["192.0.2.1"]))
    );
}

#[tokio::test]
async fn answers_are_cached_for_their_ttl() {
    let dns = Dns::start(&[
        ("a.example.com", "192.0.2.1", 300),
        ("a.example.com", "2001:db8:1::1", 300),
    ])
    .await;
    let policy = asking(&dns, &["*.example.com:80"]);
    for _ in 0..5 {
        policy.resolve("a.example.com").await.unwrap();
    }
    assert_eq!(dns.asked(), 2, "A and AAAA, once");
}
