//! The clients of a published UDP port: so many, and each for so long.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::Duration,
};

use tokio::time::Instant;

/// Clients at once; the one that was silent for longest makes room for a new one.
pub(super) const MAX_FLOWS: usize = 4096;
/// How long a client that neither sends nor is sent to is known: what RFC 4787 recommends to those that translate
/// addresses (REQ-5).
pub(super) const IDLE: Duration = Duration::from_secs(300);

/// By the address under which the service knows each.
pub(super) struct Flows {
    idle: Duration,
    flows: HashMap<SocketAddr, Flow>,
    /// By the turn of the last datagram, either way: the first was silent for longest.
    order: BTreeMap<u64, SocketAddr>,
    turn: u64,
}

struct Flow {
    /// Where its datagrams really come from.
    client: SocketAddr,
    turn: u64,
    last: Instant,
}

// === impl Flows ===

impl Flows {
    /// Whoever is silent for `idle` is forgotten.
    pub fn new(idle: Duration) -> Self {
        Self {
            idle,
            flows: HashMap::new(),
            order: BTreeMap::new(),
            turn: 0,
        }
    }

    /// Notes a datagram of a client that the service sees as `seen`. Returns who made room for it.
    pub fn hear(
        &mut self,
        seen: SocketAddr,
        client: SocketAddr,
        now: Instant,
    ) -> Option<SocketAddr> {
        if let Some(flow) = self.flows.get_mut(&seen) {
            flow.client = client;
            self.touch(seen, now);
            return None;
        }
        let forgotten = match self.flows.len() < MAX_FLOWS {
            true => None,
            false => self.order.pop_first().map(|(_, oldest)| oldest),
        };
        if let Some(forgotten) = &forgotten {
            self.flows.remove(forgotten);
        }
        self.turn += 1;
        let flow = Flow {
            client,
            turn: self.turn,
            last: now,
        };
        self.order.insert(self.turn, seen);
        self.flows.insert(seen, flow);
        forgotten
    }

    /// Where a datagram for `seen` goes, if it is still known.
    pub fn answer(&mut self, seen: SocketAddr, now: Instant) -> Option<SocketAddr> {
        let client = self.flows.get(&seen)?.client;
        self.touch(seen, now);
        Some(client)
    }

    /// Forgets, and returns, who was silent for too long.
    pub fn expire(&mut self, now: Instant) -> Vec<SocketAddr> {
        let mut forgotten = Vec::new();
        while let Some(first) = self.order.first_entry() {
            let expired = |flow: &Flow| flow.last + self.idle <= now;
            if !self.flows.get(first.get()).is_none_or(expired) {
                break;
            }
            let client = first.remove();
            self.flows.remove(&client);
            forgotten.push(client);
        }
        forgotten
    }

    /// Nobody expires before.
    pub fn next_expiry(&self, now: Instant) -> Instant {
        let first = self.order.first_key_value();
        let last = first.and_then(|(_, seen)| Some(self.flows.get(seen)?.last));
        last.unwrap_or(now) + self.idle
    }

    fn touch(&mut self, seen: SocketAddr, now: Instant) {
        let Some(flow) = self.flows.get_mut(&seen) else {
            return;
        };
        flow.last = now;
        // The last one to be touched, as a rule.
        if flow.turn != self.turn {
            self.order.remove(&flow.turn);
            self.turn += 1;
            flow.turn = self.turn;
            self.order.insert(self.turn, seen);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn client(n: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + n), 9))
    }

    #[test]
    fn who_was_silent_for_longest_makes_room() {
        let mut flows = Flows::new(IDLE);
        let now = Instant::now();
        let count = u32::try_from(MAX_FLOWS).unwrap();
        for n in 0..count {
            assert_eq!(flows.hear(client(n), client(n), now), None);
        }
        // The first has just been spoken to, the second has just spoken.
        assert_eq!(flows.answer(client(0), now), Some(client(0)));
        assert_eq!(flows.hear(client(1), client(1), now), None);
        for n in 0..count - 2 {
            let forgotten = flows.hear(client(count + n), client(0), now);
            assert_eq!(forgotten, Some(client(2 + n)));
        }
        assert_eq!(
            flows.hear(client(9 * count), client(0), now),
            Some(client(0))
        );
        assert_eq!(flows.flows.len(), MAX_FLOWS);
        assert_eq!(flows.order.len(), MAX_FLOWS);
    }

    #[test]
    fn silence_is_forgotten_after_its_time() {
        let mut flows = Flows::new(IDLE);
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(flows.next_expiry(begin), begin + IDLE);
        flows.hear(client(1), client(1), begin);
        flows.hear(client(2), client(2), after(10));
        flows.answer(client(1), after(20));
        assert_eq!(flows.next_expiry(after(20)), after(10) + IDLE);
        assert!(flows.expire(after(309)).is_empty());
        assert_eq!(flows.expire(after(310)), [client(2)]);
        assert_eq!(flows.answer(client(2), after(310)), None);
        assert_eq!(flows.expire(after(320)), [client(1)]);
        assert!(flows.flows.is_empty() && flows.order.is_empty());
    }

    #[test]
    fn answers_go_where_the_client_was_last() {
        let mut flows = Flows::new(IDLE);
        let now = Instant::now();
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:9".parse().unwrap();
        flows.hear(client(1), client(1), now);
        flows.hear(client(1), mapped, now);
        assert_eq!(flows.answer(client(1), now), Some(mapped));
        assert_eq!(flows.answer(client(2), now), None);
    }
}
