//! The table of ports in use: pure bookkeeping. TCP and UDP have one table each.

use std::{collections::BTreeMap, net::SocketAddr, ops::RangeInclusive};

use super::{
    NetError,
    address::{self, ANY, Family, Host},
    state::SocketKey,
};

/// Linux's default `ip_local_port_range`.
pub(super) const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;
const COUNT: usize = (*EPHEMERAL.end() - *EPHEMERAL.start()) as usize + 1;

/// A port in use, on one address or on all addresses of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PortKey {
    family: Family,
    port: u16,
    host: Host,
}

impl PortKey {
    pub fn family(self) -> Family {
        self.family
    }

    pub fn port(self) -> u16 {
        self.port
    }

    /// Returns the source address of a connection or datagram from this port.
    pub fn source(self) -> SocketAddr {
        SocketAddr::new(address::source(self.family, self.host), self.port)
    }
}

/// The ports of a network. A port that is held on [`ANY`] excludes the same number on every other
/// address of its family.
#[derive(Default)]
pub(super) struct Ports {
    /// The ports in use, each with the socket that listens on it, if any.
    held: BTreeMap<PortKey, Option<SocketKey>>,
    v4: Ephemeral,
    v6: Ephemeral,
}

impl Ports {
    /// Takes the port, or for port 0 an ephemeral one that is free on every address of the family.
    pub fn take(&mut self, family: Family, host: Host, port: u16) -> Result<PortKey, NetError> {
        let port = match port {
            0 => self.ephemeral(family).next_free(),
            port => Some(port).filter(|&port| !self.conflicts(family, host, port)),
        };
        let port = port.ok_or(NetError::AddressInUse)?;
        let key = PortKey { family, port, host };
        self.held.insert(key, None);
        self.ephemeral(family).mark(port, true);
        Ok(key)
    }

    pub fn free(&mut self, key: PortKey) {
        self.held.remove(&key);
        if self.holders(key.family, key.port).next().is_none() {
            self.ephemeral(key.family).mark(key.port, false);
        }
    }

    /// Directs connections to the port to this socket from now on.
    pub fn listen(&mut self, key: PortKey, socket: SocketKey) {
        self.held.insert(key, Some(socket));
    }

    /// Returns the socket that listens for connections to this address.
    pub fn listener(&self, family: Family, host: Host, port: u16) -> Option<SocketKey> {
        let on = |host| self.held.get(&PortKey { family, port, host });
        on(host).or_else(|| on(ANY)).copied().flatten()
    }

    /// Returns how many ports are in use.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    fn conflicts(&self, family: Family, host: Host, port: u16) -> bool {
        if host == ANY {
            return self.holders(family, port).next().is_some();
        }
        let on = |host| self.held.contains_key(&PortKey { family, port, host });
        on(host) || on(ANY)
    }

    fn holders(&self, family: Family, port: u16) -> impl Iterator<Item = &PortKey> {
        let on = |host| PortKey { family, port, host };
        self.held
            .range(on(ANY)..=on(Host(u32::MAX)))
            .map(|(key, _)| key)
    }

    fn ephemeral(&mut self, family: Family) -> &mut Ephemeral {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// A bitmap of the taken ephemeral ports, and one of its full words, so that finding the next free
/// port costs the same however many are taken. Ports rotate: a port that was just freed is not the
/// next one to be taken.
#[derive(Default)]
struct Ephemeral {
    /// Empty until the first mark, as most networks use one family only.
    taken: Vec<u64>,
    full: Vec<u64>,
    cursor: usize,
}

impl Ephemeral {
    fn next_free(&mut self) -> Option<u16> {
        let index = if self.taken.is_empty() {
            Some(0)
        } else {
            self.zero_from(self.cursor).or_else(|| self.zero_from(0))
        }?;
        self.cursor = (index + 1) % COUNT;
        u16::try_from(index)
            .ok()
            .map(|index| EPHEMERAL.start() + index)
    }

    /// Marks a port as taken or free. Ports outside the ephemeral range have no bit.
    fn mark(&mut self, port: u16, taken: bool) {
        if !EPHEMERAL.contains(&port) {
            return;
        }
        if self.taken.is_empty() {
            self.taken = blank(COUNT);
            self.full = blank(self.taken.len());
        }
        let index = usize::from(port - EPHEMERAL.start());
        set(&mut self.taken, index, taken);
        let word = index / 64;
        let full = self.taken[word] == u64::MAX;
        set(&mut self.full, word, full);
    }

    fn zero_from(&self, index: usize) -> Option<usize> {
        let word = index / 64;
        if let Some(bit) = zero_in(self.taken[word], index % 64) {
            return Some(word * 64 + bit);
        }
        let word = next_zero(&self.full, word + 1)?;
        zero_in(self.taken[word], 0).map(|bit| word * 64 + bit)
    }
}

/// Returns a bitmap of `bits` zeroes. The unused bits of the last word are set, so that they are
/// never found.
fn blank(bits: usize) -> Vec<u64> {
    let mut words = vec![0; bits.div_ceil(64)];
    if let (Some(last), used @ 1..) = (words.last_mut(), bits % 64) {
        *last = u64::MAX << used;
    }
    words
}

fn set(words: &mut [u64], index: usize, value: bool) {
    let bit = 1 << (index % 64);
    match value {
        true => words[index / 64] |= bit,
        false => words[index / 64] &= !bit,
    }
}

/// Finds the first zero bit at `from` or above.
fn zero_in(word: u64, from: usize) -> Option<usize> {
    let zeroes = !word & (u64::MAX << from);
    (zeroes != 0).then(|| zeroes.trailing_zeros() as usize)
}

/// Finds the first zero bit at `from` or above in a short bitmap.
fn next_zero(words: &[u64], from: usize) -> Option<usize> {
    let first = from / 64;
    let start = |word| if word == first { from % 64 } else { 0 };
    (first..words.len())
        .find_map(|word| zero_in(words[word], start(word)).map(|bit| word * 64 + bit))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LOCALHOST: Host = Host(0x7f00_0001);
    const OTHER: Host = Host(0x7f00_0002);

    #[test]
    fn a_port_on_all_addresses_conflicts_with_the_same_port_on_one() {
        // (held, requested, whether it is refused)
        let cases = [
            (ANY, ANY, true),
            (ANY, LOCALHOST, true),
            (LOCALHOST, ANY, true),
            (LOCALHOST, LOCALHOST, true),
            (LOCALHOST, OTHER, false),
        ];
        for (held, asked, refused) in cases {
            let mut ports = Ports::default();
            let key = ports.take(Family::V4, held, 80).unwrap();
            assert_eq!(
                ports.take(Family::V4, asked, 80).is_err(),
                refused,
                "{held:?} {asked:?}"
            );
            assert!(
                ports.take(Family::V6, ANY, 80).is_ok(),
                "the families do not share ports"
            );
            ports.free(key);
            assert_eq!(ports.take(Family::V4, held, 80), Ok(key), "free again");
        }
    }

    #[test]
    fn every_ephemeral_port_is_given_out_once_then_none() {
        let mut ports = Ports::default();
        let mut keys: Vec<_> = (0..COUNT)
            .map(|_| ports.take(Family::V4, LOCALHOST, 0).unwrap())
            .collect();
        assert_eq!(ports.len(), COUNT, "all are distinct");
        assert!(keys.iter().all(|key| EPHEMERAL.contains(&key.port())));
        assert_eq!(
            ports.take(Family::V4, LOCALHOST, 0),
            Err(NetError::AddressInUse)
        );
        assert_eq!(ports.take(Family::V4, ANY, 0), Err(NetError::AddressInUse));
        assert!(ports.take(Family::V6, ANY, 0).is_ok());

        let freed = keys.swap_remove(12_345);
        ports.free(freed);
        assert_eq!(ports.take(Family::V4, ANY, 0).unwrap().port(), freed.port());
        assert_eq!(
            ports.take(Family::V4, LOCALHOST, 0),
            Err(NetError::AddressInUse)
        );
    }

    #[test]
    fn an_ephemeral_port_is_free_on_every_address() {
        let mut ports = Ports::default();
        let first = *EPHEMERAL.start();
        let one = ports.take(Family::V4, LOCALHOST, first).unwrap();
        let two = ports.take(Family::V4, OTHER, first).unwrap();
        assert_eq!(
            ports.take(Family::V4, LOCALHOST, 0).unwrap().port(),
            first + 1
        );
        ports.free(one);
        for _ in 2..COUNT {
            ports.take(Family::V4, LOCALHOST, 0).unwrap();
        }
        assert_eq!(
            ports.take(Family::V4, LOCALHOST, 0),
            Err(NetError::AddressInUse)
        );
        ports.free(two);
        assert_eq!(ports.take(Family::V4, LOCALHOST, 0).unwrap().port(), first);
    }

    #[test]
    fn a_freed_port_is_taken_again_after_all_others() {
        let mut ports = Ports::default();
        let mut given = std::collections::HashSet::new();
        for n in 0..COUNT {
            let key = ports.take(Family::V4, ANY, 0).unwrap();
            assert!(
                given.insert(key.port()),
                "port {} again after {n}",
                key.port()
            );
            ports.free(key);
        }
        assert!(given.contains(&ports.take(Family::V4, ANY, 0).unwrap().port()));
    }

    /// The last ports cost about as much as the first, apart from the growth of the table.
    #[test]
    fn the_last_ports_are_found_as_fast_as_the_first() {
        const PART: usize = 1_000;
        let round = || {
            let mut ports = Ports::default();
            let mut part = |n: usize| {
                let began = std::time::Instant::now();
                for _ in 0..n {
                    ports.take(Family::V4, LOCALHOST, 0).unwrap();
                }
                began.elapsed()
            };
            let first = part(PART);
            part(COUNT - 2 * PART);
            (first, part(PART))
        };
        // The best of several rounds counts, as other processes load the machine too.
        let rounds: Vec<_> = (0..5).map(|_| round()).collect();
        let first = rounds.iter().map(|(first, _)| *first).min().unwrap();
        let last = rounds.iter().map(|(_, last)| *last).min().unwrap();
        assert!(
            last < first * 5,
            "the first {PART}: {first:?}, the last: {last:?}"
        );
    }
}
