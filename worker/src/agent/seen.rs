//! What this worker has seen last, and so which control planes and which of their messages it
//! follows. Pure.

/// The newest assignments seen: a control plane that was replaced may still talk.
///
/// Terms order the control planes of one cluster. Generations order the assignments of one term to
/// one worker: those that were counted for another name say nothing, because a control plane of an
/// earlier version counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Empty where no control plane has said which it is.
    pub cluster: String,
    /// The name that this worker had. Empty where an earlier version did not note it.
    pub worker: String,
    pub term: u64,
    pub generation: u64,
}

/// A control plane that this worker does not follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    #[error(
        "this control plane serves cluster {theirs}, and this worker follows cluster {ours}: what it runs goes on; start \
         this worker again and it follows this control plane instead"
    )]
    OtherCluster { theirs: String, ours: String },
    #[error(
        "this control plane is at term {term}, and a later one of the same cluster, of term {seen}, was heard before: \
         either it was replaced and should be stopped, or its data was set back; in that case start this worker again and \
         it follows this control plane"
    )]
    EarlierTerm { term: u64, seen: u64 },
}

/// Longer than any id that a control plane makes.
const MAX_CLUSTER: usize = 128;
/// Stands in the file for a cluster or a name that is not known.
const UNKNOWN: &str = "-";

// === impl Seen ===

impl Seen {
    /// The same for a worker of this name.
    pub fn under(mut self, name: &str) -> Self {
        if self.worker != name {
            name.clone_into(&mut self.worker);
            self.generation = 0;
        }
        self
    }

    /// Whether assignments of this term and generation are to be followed; if so they are the
    /// newest seen.
    pub fn admit(&mut self, term: u64, generation: u64) -> bool {
        let newer = (term, generation) >= (self.term, self.generation);
        if newer {
            (self.term, self.generation) = (term, generation);
        }
        newer
    }

    /// A control plane says which it is. One of another cluster, or of an earlier term, is only
    /// followed by a worker that `may_switch`, which forgets what it has seen of the one before.
    /// Returns whether it did.
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

    /// As it is kept in its file.
    pub fn to_text(&self) -> String {
        let or_unknown = |text: &str| match text {
            "" => UNKNOWN.to_owned(),
            text => text.to_owned(),
        };
        let (cluster, worker) = (or_unknown(&self.cluster), or_unknown(&self.worker));
        let (term, generation) = (self.term, self.generation);
        format!("{term} {generation} {cluster} {worker}\n")
    }

    /// An earlier version wrote term and generation alone.
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

/// Whether it can be kept in a file of words.
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
    fn only_what_is_older_is_dropped() {
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
    fn generations_of_another_name_say_nothing() {
        assert_eq!(seen("a", 3, 9).under("w1"), seen("a", 3, 9));
        let renamed = seen("a", 3, 9).under("z");
        assert_eq!(
            (renamed.worker.as_str(), renamed.term, renamed.generation),
            ("z", 3, 0)
        );
    }

    #[test]
    fn a_stranger_is_followed_by_a_worker_that_may_switch_alone() {
        // What was seen, who is met, and what the worker has seen then.
        let same = |term| Ok(seen("a", term, 9));
        let table = [
            (seen("a", 5, 9), ("a", 5), same(5), same(5)),
            (seen("a", 5, 9), ("a", 6), same(5), same(5)),
            // A control plane of an earlier version does not say which it is.
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
    fn an_id_that_is_none_is_none() {
        for odd in ["a b", "-", "\n", &"x".repeat(129)] {
            let mut seen = Seen::default();
            seen.meet(odd, 1, false).unwrap();
            assert_eq!(seen.cluster, "", "{odd:?}");
        }
    }

    #[test]
    fn what_is_kept_is_read_back_also_of_an_earlier_version() {
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
