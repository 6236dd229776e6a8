//! What is stored of revisions and their rollouts, as the shell does it.

use std::collections::BTreeMap;

use warren_model::host_port::HostPort;

use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Revision {
    ports: Vec<HostPort>,
    works: bool,
}

pub(super) struct Revisions {
    all: BTreeMap<u32, Revision>,
    rollout: Option<Noted>,
    /// The newest that was rolled out whole.
    stable: Option<u32>,
    /// Whether the present one goes back when it stalls.
    returns: bool,
}

struct Noted {
    state: RolloutState,
    moved: Duration,
    most_available: u32,
    fewest_earlier: Option<u32>,
}

// === impl Revisions ===

impl Revisions {
    pub fn beginning() -> Self {
        let first = Revision {
            ports: Vec::new(),
            works: true,
        };
        Self {
            all: [(1, first)].into(),
            rollout: None,
            stable: None,
            returns: true,
        }
    }

    pub fn works(&self, revision: u32) -> bool {
        self.all[&revision].works
    }

    pub fn is_stalled(&self) -> bool {
        self.is(RolloutState::Stalled)
    }

    pub fn is_complete(&self) -> bool {
        self.is(RolloutState::Complete)
    }

    fn is(&self, state: RolloutState) -> bool {
        self.rollout
            .as_ref()
            .is_some_and(|noted| noted.state == state)
    }

    /// Tells the plan what is stored.
    pub fn describe(&self, desired: &mut Desired, now: Duration) {
        desired.rollout = self.rollout.as_ref().map(|noted| Rollout {
            state: noted.state,
            most_available: noted.most_available,
            fewest_earlier: noted.fewest_earlier,
            idle: now - noted.moved,
        });
        desired.roll_back_to = self.stable.filter(|_| self.returns);
    }

    /// A new revision, as `desired` has it by now but for the number.
    pub fn update(&mut self, desired: &mut Desired, works: bool, returns: bool, now: Duration) {
        let revision = Revision {
            ports: desired.needs.ports.clone(),
            works,
        };
        self.begin(desired, revision, now);
        self.returns = returns;
    }

    pub fn note(&mut self, note: &Note, now: Duration) {
        let before = self.rollout.as_ref();
        assert!(
            note.moved || before.is_some_and(|before| before.state != note.state),
            "{note:?} is no news"
        );
        self.rollout = Some(Noted {
            state: note.state,
            moved: match before {
                Some(before) if !note.moved => before.moved,
                _ => now,
            },
            most_available: note.most_available,
            fewest_earlier: Some(note.fewest_earlier),
        });
        if note.state == RolloutState::Complete {
            self.stable = self.all.keys().last().copied();
        }
    }

    pub fn roll_back(&mut self, desired: &mut Desired, to: u32, now: Duration) {
        assert!(self.returns, "nobody asked for it, or it was done once");
        assert!(!self.is_stalled() && !self.is_complete());
        let earlier = self.all[&to].clone();
        if Some(&earlier) == self.all.values().last() {
            // It would be the same again.
            self.rollout.as_mut().unwrap().state = RolloutState::Stalled;
            return;
        }
        desired.needs.ports.clone_from(&earlier.ports);
        self.begin(desired, earlier, now);
        // A rollback that stalls does not go back once more.
        self.returns = false;
    }

    /// Who asks for another number gives it time again.
    pub fn scaled(&mut self, now: Duration) {
        if let Some(noted) = &mut self.rollout
            && noted.state != RolloutState::Complete
        {
            (noted.state, noted.moved) = (RolloutState::Progressing, now);
        }
    }

    fn begin(&mut self, desired: &mut Desired, revision: Revision, now: Duration) {
        desired.revision += 1;
        self.all.insert(desired.revision, revision);
        self.rollout = Some(Noted {
            state: RolloutState::Progressing,
            moved: now,
            most_available: 0,
            fewest_earlier: None,
        });
    }
}
