#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, io};

use super::*;
use crate::policy::Whose;

/// A machine with the address 10.1.0.5.
#[derive(Debug)]
struct One;

impl Machine for One {
    fn owns(&self, to: SocketAddr, _: Transport) -> io::Result<bool> {
        Ok(to.ip() == IpAddr::from([10, 1, 0, 5]))
    }
}

fn policy(rules: &[&str], listeners: &[(Whose, &str)]) -> PublishPolicy {
    let known = Arc::<Listeners>::default();
    for (whose, address) in listeners {
        known.set(whose.clone(), [address]);
    }
    let rules = rules.iter().map(|rule| rule.parse().unwrap());
    PublishPolicy::new(rules, known, Arc::new(One))
}

fn ports(policy: &PublishPolicy, listen: &str) -> Result<BTreeSet<u16>, NotAllowed> {
    let candidates = policy.candidates(listen.parse().unwrap())?;
    let ports = candidates.iter().map(|candidate| candidate.address.port());
    Ok(ports.collect())
}

#[test]
fn everything_is_allowed_by_default() {
    let policy = policy(&[], &[]);
    for listen in ["127.0.0.1:6379", "0.0.0.0:53/udp", "[::]:80", "10.1.0.5:0"] {
        let wanted: HostPort = listen.parse().unwrap();
        assert_eq!(policy.candidates(wanted).unwrap(), [wanted]);
    }
}

#[test]
fn only_what_the_operator_lists_is_allowed() {
    let policy = policy(&["127.0.0.1", "0.0.0.0:30000-30003"], &[]);
    for (listen, allowed) in [
        ("127.0.0.1:6379", true),
        ("127.0.0.1:6379/udp", true),
        ("0.0.0.0:30002", true),
        ("10.9.9.9:30002", true),
        ("0.0.0.0:6379", false),
        ("0.0.0.0:53/udp", false),
        ("[::1]:6379", false),
    ] {
        assert_eq!(ports(&policy, listen).is_ok(), allowed, "{listen}");
    }
    let refused = ports(&policy, "0.0.0.0:6379").unwrap_err().to_string();
    for part in [
        "127.0.0.1, 0.0.0.0:30000-30003",
        "--publish-allow 0.0.0.0:6379",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    let chosen = ports(&policy, "[::1]:0").unwrap_err().to_string();
    assert!(chosen.ends_with("--publish-allow ::1"), "{chosen}");
}

#[test]
fn a_port_that_the_worker_chooses_is_one_of_the_rules() {
    let within = policy(&["0.0.0.0:30000-30003", "127.0.0.1:40000"], &[]);
    let all = BTreeSet::from([30000, 30001, 30002, 30003]);
    assert_eq!(ports(&within, "0.0.0.0:0"), Ok(all.clone()));
    assert_eq!(ports(&within, "10.1.0.5:0/udp"), Ok(all));
    assert!(ports(&within, "[::1]:0").is_err());
    let any = policy(&["127.0.0.1"], &[]);
    assert_eq!(ports(&any, "127.0.0.1:0"), Ok(BTreeSet::from([0])));
    // Warren's own ports are never chosen.
    let own = policy(&["0.0.0.0:30000-30001"], &[(Whose::Own, "0.0.0.0:30000")]);
    assert_eq!(ports(&own, "0.0.0.0:0"), Ok(BTreeSet::from([30001])));
    let bounded = policy(&["0.0.0.0:1-60000"], &[]);
    assert_eq!(ports(&bounded, "0.0.0.0:0").unwrap().len(), MAX_TRIES);
}

#[test]
fn workloads_cannot_publish_on_warrens_own_ports() {
    let worker = || Whose::Worker("w2".to_owned());
    for (whose, at, listen, refused) in [
        (Whose::Own, "127.0.0.1:7701", "127.0.0.1:7701", true),
        (Whose::Own, "127.0.0.1:7701", "0.0.0.0:7701", true),
        (Whose::Own, "127.0.0.1:7701", "[::]:7701", true),
        (Whose::Own, "127.0.0.1:7701", "10.1.0.5:7701", false),
        (Whose::Own, "127.0.0.1:7701", "127.0.0.1:7701/udp", false),
        (Whose::Own, "127.0.0.1:7701", "127.0.0.1:7702", false),
        (Whose::Own, "0.0.0.0:7701", "10.1.0.5:7701", true),
        // A control plane may listen on every address, and may be down for a moment.
        (
            Whose::Dialled,
            "http://127.0.0.1:7700",
            "127.0.0.1:7700",
            true,
        ),
        (
            Whose::Dialled,
            "http://127.0.0.1:7700",
            "10.1.0.5:7700",
            true,
        ),
        (
            Whose::Dialled,
            "http://10.1.0.5:7700",
            "127.0.0.1:7700",
            true,
        ),
        (Whose::Control, "10.1.0.5:7700", "127.0.0.1:7700", true),
        // On other machines.
        (
            Whose::Dialled,
            "http://10.2.0.1:7700",
            "127.0.0.1:7700",
            false,
        ),
        (Whose::Control, "10.2.0.1:7700", "0.0.0.0:7700", false),
        (worker(), "10.2.0.2:7701", "0.0.0.0:7701", false),
        (worker(), "10.1.0.5:7702", "0.0.0.0:7702", true),
        (worker(), "10.1.0.5:7702", "127.0.0.1:7702", false),
    ] {
        for rules in [&[][..], &["0.0.0.0", "[::]"]] {
            let policy = policy(rules, &[(whose.clone(), at)]);
            let found = ports(&policy, listen);
            let expected = match refused {
                true => Err(NotAllowed::Warrens(
                    listen.parse::<HostPort>().unwrap().address.port(),
                )),
                false => Ok(BTreeSet::from([listen
                    .parse::<HostPort>()
                    .unwrap()
                    .address
                    .port()])),
            };
            assert_eq!(found, expected, "{whose:?} {at}: {listen}");
        }
    }
}
