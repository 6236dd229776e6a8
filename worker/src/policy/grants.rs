//! Which addresses the resolver has handed out, for which rule and until when.

use std::{
    cmp,
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// However short an answer's TTL is, a guest has this long to connect.
pub(super) const MIN_GRANT: Duration = Duration::from_secs(60);
/// More than this are not kept: those that end first make room.
pub(super) const MAX_GRANTS: usize = 1024;

/// Ends of grants, by address and by the place of the rule that named the host: a grant opens that rule's ports.
///
/// A connection is checked against these addresses only, never by asking DNS again, so an answer that changes
/// meanwhile (rebinding) gains nothing.
#[derive(Debug, Default)]
pub(super) struct Grants(HashMap<(IpAddr, usize), Instant>);

impl Grants {
    /// Grants each address to each rule until `valid_until`, and for [`MIN_GRANT`] at least.
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
    fn last_for_the_ttl_and_a_minute_at_least() {
        let now = Instant::now();
        // (TTL, seconds later, still granted), in seconds
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
    fn are_bounded_and_the_next_to_end_go_first() {
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
        assert_eq!(grants.0.len(), 1, "those that ended are forgotten");
    }
}
