use super::*;

#[test]
fn only_addresses_of_the_network_can_be_bound() {
    // (address, the result of bind)
    let cases = [
        ("127.0.0.1:80", Ok(())),
        ("127.0.0.2:80", Ok(())),
        ("127.255.255.254:80", Ok(())),
        ("0.0.0.0:80", Ok(())),
        ("[::1]:80", Ok(())),
        ("[::]:80", Ok(())),
        ("10.0.0.1:80", Err(NetError::AddressNotBindable)),
        ("192.0.0.8:80", Err(NetError::AddressNotBindable)),
        ("255.255.255.255:80", Err(NetError::AddressNotBindable)),
        ("[::2]:80", Err(NetError::AddressNotBindable)),
        ("[fe80::1]:80", Err(NetError::AddressNotBindable)),
        ("[::ffff:127.0.0.1]:80", Err(NetError::AddressNotBindable)),
    ];
    for (address, expected) in cases {
        let network = network();
        let bound = network.scope().bind(at(address));
        assert_eq!(
            bound.as_ref().map(|_| ()).map_err(|e| *e),
            expected,
            "{address}"
        );
        if let Ok(bound) = bound {
            assert_eq!(bound.local_addr(), at(address));
        }
        assert_empty(&network);
    }
}

#[test]
fn a_taken_port_is_in_use_until_its_holder_closes() {
    // (held, requested, whether both may be bound)
    let cases = [
        ("127.0.0.1:80", "127.0.0.1:80", false),
        ("127.0.0.1:80", "127.0.0.1:81", true),
        ("127.0.0.1:80", "127.0.0.2:80", true),
        ("127.0.0.1:80", "0.0.0.0:80", false),
        ("0.0.0.0:80", "127.0.0.2:80", false),
        ("0.0.0.0:80", "0.0.0.0:80", false),
        ("0.0.0.0:80", "[::]:80", true),
        ("127.0.0.1:80", "[::1]:80", true),
        ("[::1]:80", "[::]:80", false),
        ("[::]:80", "[::1]:80", false),
    ];
    for (held, asked, both) in cases {
        let network = network();
        let (one, two) = (network.scope(), network.scope());
        let check = |what: &str| {
            let result = two.bind(at(asked)).map(drop);
            let expected = if both {
                Ok(())
            } else {
                Err(NetError::AddressInUse)
            };
            assert_eq!(result, expected, "{asked} while {held} is {what}");
        };
        let free = |what: &str| {
            assert_eq!(
                two.bind(at(asked)).map(drop),
                Ok(()),
                "{asked} once {held} is {what}"
            );
        };
        let bound = one.bind(at(held)).unwrap();
        check("bound");
        drop(bound);
        free("dropped");

        let listener = listen(&one, held, 1);
        check("listening");
        drop(listener);
        free("closed");

        let _listener = listen(&one, held, 1);
        one.end(End::Aborted);
        free("aborted");
        assert_eq!(network.counts(), Counts::default());
    }
}

#[test]
fn port_0_is_an_ephemeral_port_that_is_not_in_use() {
    let network = network();
    let scope = network.scope();
    let taken = scope.bind(at("127.0.0.1:32768")).unwrap();
    for address in ["127.0.0.1:0", "0.0.0.0:0"] {
        let local = scope.bind(at(address)).unwrap().local_addr();
        assert_eq!(local.ip(), at(address).ip());
        assert!((32_768..=60_999).contains(&local.port()), "{local}");
        assert_ne!(local.port(), taken.local_addr().port());
    }
}

#[test]
fn bind_and_connect_fail_when_no_port_is_free() {
    let network = limited(usize::MAX);
    let scope = network.scope();
    let _listener = listen(&scope, "127.0.0.1:80", 1);
    let mut bound = Vec::new();
    let error = loop {
        match scope.bind(at("0.0.0.0:0")) {
            Ok(port) => bound.push(port),
            Err(error) => break error,
        }
    };
    assert_eq!(error, NetError::AddressInUse);
    assert_eq!(bound.len(), 28_232);
    assert_eq!(
        scope.connect(None, at("127.0.0.1:80")).err(),
        Some(NetError::AddressInUse)
    );
    assert!(
        scope.bind(at("[::1]:0")).is_ok(),
        "the families do not share ports"
    );

    bound.truncate(28_231);
    drop(connected(&scope, at("127.0.0.1:80")));
    assert_eq!(
        network.counts().ports,
        28_232,
        "the client's port is free again"
    );
}

#[test]
fn too_many_sockets() {
    let network = limited(4);
    let scope = network.scope();
    let _listener = listen(&scope, "127.0.0.1:80", 8);
    let first = scope.bind(at("127.0.0.1:0")).unwrap();
    let _second = scope.bind(at("127.0.0.1:0")).unwrap();
    let too_many = Some(NetError::TooManySockets);
    assert_eq!(
        scope.connect(None, at("127.0.0.1:80")).err(),
        too_many,
        "a connection needs two"
    );
    let third = scope.bind(at("127.0.0.1:0")).unwrap();
    assert_eq!(scope.bind(at("127.0.0.1:0")).err(), too_many);
    assert_eq!(
        scope.connect(Some(first), at("127.0.0.1:80")).err(),
        too_many
    );
    drop(third);
    let stream = connected(&scope, at("127.0.0.1:80"));
    assert_eq!(network.used(), 4);
    let peer = at("198.51.100.7:1234");
    assert_eq!(scope.connect_as(peer, at("127.0.0.1:80")).err(), too_many);
    drop(stream);
    assert_eq!(
        network.used(),
        3,
        "a connection that was not accepted still counts"
    );
}

#[test]
fn listeners_are_announced() {
    let network = network();
    let scope = network.scope();
    let mut changes = network.listening();
    assert!(!network.is_listening(80));
    let bound = scope.bind(at("127.0.0.1:80")).unwrap();
    assert!(
        !changes.has_changed().unwrap() && !network.is_listening(80),
        "binding is not listening"
    );
    let listener = bound.listen(1).unwrap();
    assert!(changes.has_changed().unwrap() && network.is_listening(80));
    changes.mark_unchanged();
    drop(listener);
    assert!(changes.has_changed().unwrap() && !network.is_listening(80));

    for (address, found) in [
        ("0.0.0.0:81", true),
        ("[::1]:81", true),
        ("[::]:81", true),
        ("127.0.0.2:81", false),
        ("127.0.0.1:82", false),
    ] {
        let _listener = listen(&scope, address, 1);
        assert_eq!(network.is_listening(81), found, "{address}");
    }
}
