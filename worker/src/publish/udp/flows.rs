//! The clients of a published UDP port, bounded in number and in time.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::Duration,
};

use tokio::time::Instant;

/// The largest number of clients. Beyond it, the one that was silent for longest is forgotten.
pub(super) const MAX_FLOWS: usize = 4096;
/// How long a client is remembered after the last datagram in either direction, as RFC 4787
/// recommends for address translators (REQ-5).
pub(super) const IDLE: Duration = Duration::from_secs(300);

/// The known clients, by the address under which the service sees each.
pub(super) struct Flows {
    idle: Duration,
    flows: HashMap<SocketAddr, Flow>,
    /// The clients by the turn of their last datagram in either direction, least recent first.
    order: BTreeMap<u64, SocketAddr>,
    turn: u64,
}

struct Flow {
    /// The address that its datagrams come from.
    client: SocketAddr,
    turn: u64,
    last: Instant,
}

// === impl Flows ===

impl Flows {
    /// Creates an empty table that forgets clients after they have been silent for `idle`.
    pub fn new(idle: Duration) -> Self {
        Self {
            idle,
            flows: HashMap::new(),
            order: BTreeMap::new(),
            turn: 0,
        }
    }

    /// Records a datagram of a client that the service sees as `seen`. Returns the client that was
    /// forgotten to make room for it.
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

    /// Returns the destination of a datagram for `seen`, if that client is still known.
    pub fn answer(&mut self, seen: SocketAddr, now: Instant) -> Option<SocketAddr> {
        let client = self.flows.get(&seen)?.client;
        self.touch(seen, now);
        Some(client)
    }

    /// Forgets and returns the clients that have been silent for too long.
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

    /// Returns the earliest time at which a client can expire.
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
        // Usually it was the last one to be touched.
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
    fn the_client_that_was_silent_for_longest_makes_room() {
        let mut flows = Flows::new(IDLE);
        let now = Instant::now();
        let count = u32::try_from(MAX_FLOWS).unwrap();
        for n in 0..count {
            assert_eq!(flows.hear(client(n), client(n), now), None);
        }
        // The first client has just been sent to, and the second has just sent.
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
    fn silent_clients_are_forgotten_in_time() {
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
    fn answers_go_to_the_clients_last_address() {
        let mut flows = Flows::new(IDLE);
        let now = Instant::now();
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:9".parse().unwrap();
        flows.hear(client(1), client(1), now);
        flows.hear(client(1), mapped, now);
        assert_eq!(flows.answer(client(1), now), Some(mapped));
        assert_eq!(flows.answer(client(2), now), None);
    }
}
