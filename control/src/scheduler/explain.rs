//! Says in words why a replica has no worker.

use std::{collections::BTreeMap, fmt};

use warren_model::{
    component::InterfaceName,
    host_port::HostPort,
    name::{Name, WorkloadId},
    quantity::rounded_bytes,
};

use super::{Hold, TakenPort};

/// Why a worker cannot take a replica, in the order in which the reasons are tried and reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    CannotCompile,
    NotReady,
    /// It is stopping in order.
    Stopping,
    Stopped,
    Cordoned,
    DropsAssignments,
    /// Its version does not know this field of the spec.
    LacksFeature(String),
    /// The label as `key=value`.
    LacksLabel(String),
    LacksVolume(Name),
    /// The replica must write to it.
    ReadOnlyVolume(Name),
    /// Its operator does not let workloads publish there.
    PublishNotAllowed(HostPort),
    /// It does not provide what a guest imports.
    LacksInterface(InterfaceName),
    Full {
        replicas: u32,
    },
    PortTaken {
        taken: TakenPort,
        /// Whether the holder is on another worker of the same network.
        shared: bool,
    },
    /// The worker tried, and a process outside Warren has the port.
    PortRefused(HostPort),
    LacksMemory {
        needed: u64,
        free: u64,
    },
}

/// A reason that does not pass with time alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    Ports,
    Uncompilable,
}

/// No worker can take a replica. `Display` says why: "3 workers: 1 cordoned, 2 lack memory (64MiB
/// needed, 10MiB free)".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    pub(super) refusals: Vec<Refusal>,
}

// === impl Unschedulable ===

impl Unschedulable {
    /// Returns what keeps every worker from taking the replica until a person changes something:
    /// published ports whose holders keep them, or components that do not compile. `None` where
    /// time alone may help.
    pub fn lasting(&self) -> Option<Lasting> {
        let is_port = |refusal: &Refusal| {
            matches!(
                refusal,
                Refusal::PortTaken { .. } | Refusal::PortRefused(_) | Refusal::PublishNotAllowed(_)
            )
        };
        let passes = |refusal: &Refusal| match refusal {
            Refusal::NotReady
            | Refusal::Stopping
            | Refusal::Stopped
            | Refusal::DropsAssignments
            | Refusal::Full { .. }
            | Refusal::LacksMemory { .. } => true,
            Refusal::PortTaken { taken, .. } => taken.hold != Hold::Stays,
            Refusal::Cordoned
            | Refusal::LacksFeature(_)
            | Refusal::LacksLabel(_)
            | Refusal::LacksVolume(_)
            | Refusal::ReadOnlyVolume(_)
            | Refusal::PublishNotAllowed(_)
            | Refusal::LacksInterface(_)
            | Refusal::CannotCompile
            | Refusal::PortRefused(_) => false,
        };
        match () {
            () if self.count(passes) > 0 => None,
            () if self.count(|refusal| *refusal == Refusal::CannotCompile) > 0 => {
                Some(Lasting::Uncompilable)
            }
            () if self.count(is_port) > 0 => Some(Lasting::Ports),
            () => None,
        }
    }

    fn count(&self, which: impl Fn(&Refusal) -> bool) -> usize {
        self.refusals
            .iter()
            .filter(|refusal| which(refusal))
            .count()
    }

    /// Returns one phrase for each kind of refusal, with the number of workers.
    fn phrases(&self) -> Vec<String> {
        let mut phrases = Vec::new();
        for (kind, one, several) in [
            (
                Refusal::CannotCompile,
                "cannot compile it",
                "cannot compile it",
            ),
            (Refusal::NotReady, "not ready", "not ready"),
            (Refusal::Stopping, "stopping", "stopping"),
            (Refusal::Stopped, "stopped", "stopped"),
            (Refusal::Cordoned, "cordoned", "cordoned"),
            (
                Refusal::DropsAssignments,
                "drops assignments",
                "drop assignments",
            ),
        ] {
            let count = self.count(|refusal| *refusal == kind);
            let words = if count == 1 { one } else { several };
            if count > 0 {
                phrases.push(format!("{count} {words}"));
            }
        }
        phrases.extend(self.offers());
        phrases.extend(self.full());
        phrases.extend(self.ports());
        phrases.extend(self.memory());
        phrases
    }

    fn offers(&self) -> Vec<String> {
        let mut lacking: BTreeMap<String, (&str, &str, usize)> = BTreeMap::new();
        for refusal in &self.refusals {
            let (what, one, several) = match refusal {
                Refusal::LacksFeature(field) => {
                    let what = format!("know `{field}` (upgrade the worker)");
                    (what, "does not", "do not")
                }
                Refusal::LacksLabel(label) => (format!("label {label}"), "lacks", "lack"),
                Refusal::LacksVolume(name) => (format!("volume `{name}`"), "lacks", "lack"),
                Refusal::ReadOnlyVolume(name) => {
                    let what = format!("volume `{name}` for reading only");
                    (what, "offers", "offer")
                }
                Refusal::PublishNotAllowed(listen) => {
                    let what = format!("let workloads publish on {listen} (see --publish-allow)");
                    (what, "does not", "do not")
                }
                Refusal::LacksInterface(name) => {
                    (format!("provide `{name}`"), "does not", "do not")
                }
                _ => continue,
            };
            lacking.entry(what).or_insert((one, several, 0)).2 += 1;
        }
        let phrase = |(what, (one, several, count)): (String, (&str, &str, usize))| {
            let lack = if count == 1 { one } else { several };
            format!("{count} {lack} {what}")
        };
        lacking.into_iter().map(phrase).collect()
    }

    fn full(&self) -> Option<String> {
        let bounds = self.refusals.iter().filter_map(|refusal| match refusal {
            Refusal::Full { replicas } => Some(*replicas),
            _ => None,
        });
        let (count, most) =
            bounds.fold((0, 0), |(count, most), bound| (count + 1, most.max(bound)));
        let at_most = if count == 1 { "" } else { "at most " };
        (count > 0).then(|| format!("{count} full ({at_most}{most} replicas)"))
    }

    fn ports(&self) -> Vec<String> {
        // The number of workers that have the port taken, and of those that share a network with
        // one.
        let mut taken: BTreeMap<(HostPort, &Option<WorkloadId>), (usize, usize)> = BTreeMap::new();
        let mut refused: BTreeMap<HostPort, usize> = BTreeMap::new();
        for refusal in &self.refusals {
            match refusal {
                Refusal::PortTaken {
                    taken: TakenPort { port, holder, .. },
                    shared,
                } => {
                    let (own, others) = taken.entry((*port, holder)).or_default();
                    *(if *shared { others } else { own }) += 1;
                }
                Refusal::PortRefused(port) => *refused.entry(*port).or_default() += 1,
                _ => {}
            }
        }
        let taken = taken.into_iter().map(|((port, holder), (own, others))| {
            let by = match holder {
                Some(holder) => format!("workload `{holder}`"),
                None => "another replica".to_owned(),
            };
            let have = if own == 1 { "has" } else { "have" };
            let share = if others == 1 { "shares" } else { "share" };
            match (own, others) {
                (own, 0) => format!("{own} {have} {port} taken by {by}"),
                (0, others) => format!(
                    "{others} {share} the machine of a worker that has {port} taken by {by}"
                ),
                (own, others) => {
                    format!("{own} {have} {port} taken by {by}, {others} more {share} its machine")
                }
            }
        });
        let refused = refused
            .into_iter()
            .map(|(port, count)| format!("{count} could not listen on {port}"));
        taken.chain(refused).collect()
    }

    fn memory(&self) -> Option<String> {
        let lacking = self.refusals.iter().filter_map(|refusal| match refusal {
            Refusal::LacksMemory { needed, free } => Some((*needed, *free)),
            _ => None,
        });
        let count = lacking.clone().count();
        let (lack, at_most) = match count {
            0 => return None,
            1 => ("lacks", ""),
            _ => ("lack", "at most "),
        };
        // The worker that lacks least. The need differs between workers that keep reserves and
        // those that do not: of several workers that lack the same, the one that needs least.
        let nearest = lacking.min_by_key(|(needed, free)| (needed.saturating_sub(*free), *needed));
        let (needed, most) = nearest.unwrap_or_default();
        let short = rounded_bytes(needed.saturating_sub(most));
        let (needed, free) = (rounded_bytes(needed), rounded_bytes(most));
        Some(if needed == free {
            format!("{count} {lack} memory ({needed} needed, {at_most}{short} less than that free)")
        } else {
            format!("{count} {lack} memory ({needed} needed, {at_most}{free} free)")
        })
    }
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refusals.len() {
            0 => return f.write_str("no workers"),
            1 => f.write_str("1 worker: ")?,
            count => write!(f, "{count} workers: ")?,
        }
        f.write_str(&self.phrases().join(", "))
    }
}

impl std::error::Error for Unschedulable {}
