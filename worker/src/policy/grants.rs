//! The addresses that the resolver has returned, each with the rule that named it and its expiry.

use std::{
    cmp,
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// How long a guest may connect at least, however short the answer's TTL is.
pub(super) const MIN_GRANT: Duration = Duration::from_secs(60);
/// How many grants are kept. Beyond it, the one that expires first is dropped.
pub(super) const MAX_GRANTS: usize = 1024;

/// When each grant expires, by address and by the index of the rule that named the host. A grant
/// permits connections to that rule's ports.
///
/// A connection is checked only against these addresses and never by a second DNS query, so an
/// answer that changes in between (DNS rebinding) has no effect.
#[derive(Debug, Default)]
pub(super) struct Grants(HashMap<(IpAddr, usize), Instant>);

impl Grants {
    /// Grants each address under each rule until `valid_until`, and for at least [`MIN_GRANT`].
    pub fn add(
        &mut self,
        addresses: &[IpAddr],
        rules: &[usize],
        valid_until: Instant,
        now: Instant,
    ) {
        let until = cmp::max(valid_until, now + MIN_GRANT);
        for &address in addresses {
            for &rule in rules {
                self.insert((address, rule), until, now);
            }
        }
    }

    pub fn covers(&self, address: IpAddr, rule: usize, now: Instant) -> bool {
        self.0
            .get(&(address, rule))
            .is_some_and(|until| *until > now)
    }

    fn insert(&mut self, key: (IpAddr, usize), until: Instant, now: Instant) {
        if let Some(present) = self.0.get_mut(&key) {
            *present = cmp::max(*present, until);
            return;
        }
        if self.0.len() >= MAX_GRANTS {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() >= MAX_GRANTS {
            let first = self
                .0
                .iter()
                .min_by_key(|(_, until)| **until)
                .map(|(key, _)| *key);
            if let Some(first) = first {
                self.0.remove(&first);
            }
        }
        self.0.insert(key, until);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ip(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn grants_last_for_the_ttl_and_at_least_a_minute() {
        let now = Instant::now();
        // (TTL in seconds, seconds later, whether it is still granted)
        let cases = [
            (0, 59, true),
            (0, 60, false),
            (30, 59, true),
            (30, 61, false),
            (300, 299, true),
            (300, 301, false),
        ];
        for (ttl, later, granted) in cases {
            let mut grants = Grants::default();
            grants.add(&[ip(1)], &[0], now + Duration::from_secs(ttl), now);
            let then = now + Duration::from_secs(later);
            assert_eq!(
                grants.covers(ip(1), 0, then),
                granted,
                "TTL {ttl}, after {later}"
            );
            assert!(!grants.covers(ip(1), 1, now), "another rule");
            assert!(!grants.covers(ip(2), 0, now), "another address");
        }
    }

    #[test]
    fn a_shorter_answer_does_not_shorten_a_grant() {
        let now = Instant::now();
        let mut grants = Grants::default();
        grants.add(&[ip(1)], &[0], now + Duration::from_secs(300), now);
        grants.add(&[ip(1)], &[0], now, now);
        assert!(grants.covers(ip(1), 0, now + Duration::from_secs(299)));
    }

    #[test]
    fn grants_are_bounded_and_the_first_to_expire_is_dropped() {
        let now = Instant::now();
        let mut grants = Grants::default();
        let count = u32::try_from(MAX_GRANTS).unwrap();
        for n in 0..count * 2 {
            let until = now + Duration::from_secs(100 + u64::from(n));
            grants.add(&[ip(n)], &[0], until, now);
        }
        assert_eq!(grants.0.len(), MAX_GRANTS);
        assert!(grants.covers(ip(count * 2 - 1), 0, now));
        assert!(grants.covers(ip(count), 0, now));
        assert!(!grants.covers(ip(count - 1), 0, now));

        let later = now + Duration::from_secs(100_000);
        grants.add(&[ip(0)], &[0], later, later);
        assert_eq!(grants.0.len(), 1, "expired grants are dropped");
    }
}
