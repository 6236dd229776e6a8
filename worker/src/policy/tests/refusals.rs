use super::*;

#[tokio::test]
async fn each_attempt_is_reported_once_with_guest_address_and_rule() {
    let (sender, mut told) = refusals();
    let component = policy(Role::Component, &[]).with_refusals(Refusals::new(
        Role::Component,
        "api".into(),
        sender.clone(),
    ));
    let service = policy(Role::Service, &[]).with_refusals(Refusals::new(
        Role::Service,
        "service".into(),
        sender,
    ));
    for _ in 0..3 {
        component.decide(Op::TcpBind(at("127.0.0.1:9000")));
        component.decide(Op::TcpConnect(at("127.0.0.1:9000")));
        service.decide(Op::TcpConnect(at("192.0.2.1:443")));
        assert!(component.resolve("db.example").await.is_err());
    }
    let mut lines = Vec::new();
    while let Ok(refusal) = told.try_recv() {
        assert_eq!(refusal.times.get(), 3, "{refusal}");
        lines.push(refusal.to_string());
    }
    assert_eq!(
        lines,
        [
            "component `api` was not allowed to bind TCP 127.0.0.1:9000: components cannot listen; only the service of \
             a workload can: move the listener into the service",
            "the service was not allowed to connect to TCP 192.0.2.1:443: egress does not allow 192.0.2.1:443: add \
             \"192.0.2.1:443\" or its host name to `egress`",
            "component `api` was not allowed to look up db.example: egress does not name db.example: add \
             \"db.example:PORT\" to `egress`",
        ]
    );
}

#[test]
fn a_guest_that_tries_every_port_is_reported_a_few_times() {
    let (sender, mut told) = refusals();
    let policy = policy(Role::Component, &[]).with_refusals(Refusals::new(
        Role::Component,
        "api".into(),
        sender,
    ));
    for port in 1..=u16::MAX {
        policy.decide(Op::TcpBind(SocketAddr::new(at("127.0.0.1:1").ip(), port)));
    }
    let mut count = 0;
    let mut last = None;
    while let Ok(refusal) = told.try_recv() {
        count += 1;
        last = Some(refusal);
    }
    assert_eq!(count, 16);
    let last = last.unwrap();
    let text = last.to_string();
    assert!(
        text.ends_with("further refusals of this guest are only counted"),
        "{text}"
    );
    assert_eq!(last.times.get(), u64::from(u16::MAX) - 15);
}

#[test]
fn a_refusal_that_does_not_fit_is_reported_the_next_time() {
    let (sender, mut told) = refusals();
    let policies: Vec<_> = (0..5)
        .map(|_| {
            let refusals = Refusals::new(Role::Component, "api".into(), sender.clone());
            policy(Role::Component, &[]).with_refusals(refusals)
        })
        .collect();
    let attempt = |policy: &Policy, port: u16| {
        policy.decide(Op::TcpBind(SocketAddr::new(at("127.0.0.1:1").ip(), port)));
    };
    for policy in &policies {
        (1..=16).for_each(|port| attempt(policy, port));
    }
    let mut count = 0;
    while told.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 64);
    attempt(&policies[4], 1);
    assert_eq!(told.try_recv().unwrap().times.get(), 1);
}
