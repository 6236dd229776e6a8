//! Where replicas run, and how a new revision replaces the previous one.

use std::{collections::BTreeMap, time::Duration};

use warren_proto::v1;

use super::{duration_to_proto, place::Place};
use crate::{error::Violations, label};

/// Which workers may run a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The worker must have every one of them.
    pub labels: BTreeMap<String, String>,
    /// The label over whose values replicas are spread.
    pub spread: Option<String>,
}

/// How a new revision replaces the previous one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub max_surge: u32,
    /// Not 0 together with `max_surge`.
    pub max_unavailable: u32,
    pub progress_deadline: Duration,
    pub rollback_on_failure: bool,
    /// How long a replica is ready before it counts for a rollout.
    pub min_ready: Duration,
}

// === impl Placement ===

impl Placement {
    pub(super) fn from_proto(v: &mut Violations, at: &Place, given: &v1::Placement) -> Self {
        label::check(&at.field("labels"), &given.labels, v);
        let spread = match given.spread.as_str() {
            "" => None,
            key => {
                label::check_key(&at.field("spread"), key, v);
                Some(key.to_owned())
            }
        };
        Self {
            labels: given.labels.clone(),
            spread,
        }
    }

    /// `None` where it makes no choice.
    pub(super) fn to_proto(&self) -> Option<v1::Placement> {
        (*self != Self::default()).then(|| v1::Placement {
            labels: self.labels.clone(),
            spread: self.spread.clone().unwrap_or_default(),
        })
    }
}

// === impl Update ===

impl Update {
    pub(super) fn from_proto(v: &mut Violations, at: &Place, given: &v1::Update) -> Self {
        let update = Self {
            max_surge: at.number(v, "max_surge", given.max_surge),
            max_unavailable: at.number(v, "max_unavailable", given.max_unavailable),
            progress_deadline: at.duration(v, "progress_deadline", given.progress_deadline),
            rollback_on_failure: at.boolean("rollback_on_failure", given.rollback_on_failure),
            min_ready: at.duration(v, "min_ready", given.min_ready),
        };
        if update.max_surge == 0 && update.max_unavailable == 0 {
            v.push(
                at.field("max_surge"),
                "0 together with `maxUnavailable` 0 leaves a rollout no step to take: set one of them to 1 or more",
            );
        }
        update
    }

    /// `None` where it makes no choice.
    pub(super) fn to_proto(&self) -> Option<v1::Update> {
        (*self != Self::default()).then(|| v1::Update {
            max_surge: Some(self.max_surge),
            max_unavailable: Some(self.max_unavailable),
            progress_deadline: Some(duration_to_proto(self.progress_deadline)),
            rollback_on_failure: Some(self.rollback_on_failure),
            min_ready: Some(duration_to_proto(self.min_ready)),
        })
    }
}

impl Default for Update {
    fn default() -> Self {
        let at = Place::spec().group("update");
        Self::from_proto(&mut Violations::default(), &at, &v1::Update::default())
    }
}
