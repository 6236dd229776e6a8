//! Remembers the last control plane and assignments that this worker has seen, and decides from
//! that which ones it follows. This is pure logic.

/// The newest assignments seen. They are needed because a control plane that was replaced may still
/// send messages.
///
/// Terms order the control planes of one cluster. Generations order the assignments of one term to
/// one worker. Generations that were counted for another name are ignored, because a control plane
/// of an earlier version counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The cluster's id, or empty if no control plane has sent one.
    pub cluster: String,
    /// The name that this worker had, or empty if an earlier version did not record it.
    pub worker: String,
    pub term: u64,
    pub generation: u64,
}

/// The reason why this worker does not follow a control plane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    #[error(
        "this control plane serves cluster {theirs}, and this worker follows cluster {ours}: its replicas keep running; start \
         this worker again to follow this control plane instead"
    )]
    OtherCluster { theirs: String, ours: String },
    #[error(
        "this control plane is at term {term}, and a later one of the same cluster, of term {seen}, was seen before: \
         either it was replaced and should be stopped, or its data was set back; in that case start this worker again to \
         follow this control plane"
    )]
    EarlierTerm { term: u64, seen: u64 },
}

/// This is longer than any id that a control plane creates.
const MAX_CLUSTER: usize = 128;
/// Replaces an unknown cluster or name in the file.
const UNKNOWN: &str = "-";

// === impl Seen ===

impl Seen {
    /// Returns the same for a worker of this name.
    pub fn under(mut self, name: &str) -> Self {
        if self.worker != name {
            name.clone_into(&mut self.worker);
            self.generation = 0;
        }
        self
    }

    /// Returns whether assignments of this term and generation must be followed. If so, they become
    /// the newest seen.
    pub fn admit(&mut self, term: u64, generation: u64) -> bool {
        let newer = (term, generation) >= (self.term, self.generation);
        if newer {
            (self.term, self.generation) = (term, generation);
        }
        newer
    }

    /// Handles the id and term of a control plane. A control plane of another cluster, or of an
    /// earlier term, is only followed if `may_switch`, and the worker then forgets what it has seen
    /// of the previous one. Returns whether that happened.
    pub fn meet(&mut self, cluster: &str, term: u64, may_switch: bool) -> Result<bool, Stranger> {
        let cluster = if is_id(cluster) { cluster } else { "" };
        let is_known = !cluster.is_empty() && !self.cluster.is_empty();
        let stranger = if is_known && cluster != self.cluster {
            Some(Stranger::OtherCluster {
                theirs: cluster.to_owned(),
                ours: self.cluster.clone(),
            })
        } else if term < self.term {
            let seen = self.term;
            Some(Stranger::EarlierTerm { term, seen })
        } else {
            None
        };
        let switches = stranger.is_some();
        match stranger {
            Some(stranger) if !may_switch => return Err(stranger),
            Some(_) => (self.term, self.generation) = (term, 0),
            None => {}
        }
        if !cluster.is_empty() {
            cluster.clone_into(&mut self.cluster);
        }
        Ok(switches)
    }

    /// Returns the content of the file.
    pub fn to_text(&self) -> String {
        let or_unknown = |text: &str| match text {
            "" => UNKNOWN.to_owned(),
            text => text.to_owned(),
        };
        let (cluster, worker) = (or_unknown(&self.cluster), or_unknown(&self.worker));
        let (term, generation) = (self.term, self.generation);
        format!("{term} {generation} {cluster} {worker}\n")
    }

    /// Parses the content of the file. An earlier version wrote only the term and the generation.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let term = words.next()?.parse().ok()?;
        let generation = words.next()?.parse().ok()?;
        let mut known = || {
            let word = words.next().unwrap_or(UNKNOWN);
            if word == UNKNOWN { "" } else { word }.to_owned()
        };
        Some(Self {
            cluster: known(),
            worker: known(),
            term,
            generation,
        })
    }
}

/// Returns whether the id can be stored in a file of words.
fn is_id(cluster: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=MAX_CLUSTER).contains(&cluster.len()) && cluster != UNKNOWN && cluster.bytes().all(is_part)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seen(cluster: &str, term: u64, generation: u64) -> Seen {
        Seen {
            cluster: cluster.to_owned(),
            worker: "w1".to_owned(),
            term,
            generation,
        }
    }

    #[test]
    fn only_older_assignments_are_dropped() {
        let mut seen = Seen::default();
        for (term, generation, admitted) in [
            (2, 5, true),
            (2, 5, true),
            (2, 4, false),
            (1, 9, false),
            (3, 1, true),
            (2, 6, false),
        ] {
            assert_eq!(
                seen.admit(term, generation),
                admitted,
                "{term} {generation}"
            );
        }
    }

    #[test]
    fn generations_of_another_name_are_ignored() {
        assert_eq!(seen("a", 3, 9).under("w1"), seen("a", 3, 9));
        let renamed = seen("a", 3, 9).under("z");
        assert_eq!(
            (renamed.worker.as_str(), renamed.term, renamed.generation),
            ("z", 3, 0)
        );
    }

    #[test]
    fn a_stranger_is_followed_only_by_a_worker_that_may_switch() {
        // The state before, the control plane, and the state after.
        let same = |term| Ok(seen("a", term, 9));
        let table = [
            (seen("a", 5, 9), ("a", 5), same(5), same(5)),
            (seen("a", 5, 9), ("a", 6), same(5), same(5)),
            // A control plane of an earlier version sends no cluster id.
            (seen("a", 5, 9), ("", 5), same(5), same(5)),
            (seen("", 5, 9), ("a", 5), same(5), same(5)),
            (
                seen("", 0, 0),
                ("a", 1),
                Ok(seen("a", 0, 0)),
                Ok(seen("a", 0, 0)),
            ),
            (
                seen("a", 5, 9),
                ("a", 4),
                Err(Stranger::EarlierTerm { term: 4, seen: 5 }),
                Ok(seen("a", 4, 0)),
            ),
            (
                seen("", 5, 9),
                ("", 4),
                Err(Stranger::EarlierTerm { term: 4, seen: 5 }),
                Ok(seen("", 4, 0)),
            ),
            (
                seen("a", 5, 9),
                ("b", 9),
                Err(Stranger::OtherCluster {
                    theirs: "b".into(),
                    ours: "a".into(),
                }),
                Ok(seen("b", 9, 0)),
            ),
        ];
        for (before, (cluster, term), bound, free) in table {
            for (may_switch, expected) in [(false, bound), (true, free)] {
                let mut seen = before.clone();
                let met = seen.meet(cluster, term, may_switch).map(|_| seen.clone());
                assert_eq!(met, expected, "{before:?} meets {cluster} {term}");
                if met.is_err() {
                    assert_eq!(seen, before, "a refusal changes nothing");
                }
            }
        }
    }

    #[test]
    fn an_invalid_id_is_ignored() {
        for odd in ["a b", "-", "\n", &"x".repeat(129)] {
            let mut seen = Seen::default();
            seen.meet(odd, 1, false).unwrap();
            assert_eq!(seen.cluster, "", "{odd:?}");
        }
    }

    #[test]
    fn the_file_is_read_back_also_from_an_earlier_version() {
        for seen in [seen("a-1", 3, 9), seen("", 0, 1), Seen::default()] {
            assert_eq!(Seen::from_text(&seen.to_text()), Some(seen));
        }
        let earlier = Seen {
            worker: String::new(),
            ..seen("", 3, 9)
        };
        assert_eq!(Seen::from_text("3 9\n"), Some(earlier));
        for odd in ["", "odd", "3", "3 x a b", "\0"] {
            assert_eq!(Seen::from_text(odd), None, "{odd:?}");
        }
    }
}
