//! Where replicas run, and how a new revision takes the place of the one before.

use std::{ops::RangeInclusive, time::Duration};

use warren_proto::v1;

use super::checks::{self, Bounds, DAY, HOUR, SECOND};
use crate::{
    error::Violations,
    label,
    spec::{Placement, Update},
};

const REPLICAS: RangeInclusive<u32> = 0..=super::MAX_REPLICAS;

pub(super) fn placement(v: &mut Violations, placement: &v1::Placement) -> Placement {
    label::check("spec.placement.labels", &placement.labels, v);
    let spread = match placement.spread.as_str() {
        "" => None,
        key => {
            label::check_key("spec.placement.spread", key, v);
            Some(key.to_owned())
        }
    };
    Placement {
        labels: placement.labels.clone(),
        spread,
    }
}

pub(super) fn update(v: &mut Violations, update: &v1::Update) -> Update {
    let default = Update::default();
    let mut read = |name: &str, given: Option<u32>, default| {
        checks::within(
            v,
            format!("spec.update.{name}"),
            given.unwrap_or(default),
            &REPLICAS,
            u32::to_string,
        )
    };
    let max_surge = read("max_surge", update.max_surge, default.max_surge);
    let max_unavailable = read(
        "max_unavailable",
        update.max_unavailable,
        default.max_unavailable,
    );
    if max_surge == 0 && max_unavailable == 0 {
        v.push(
            "spec.update.max_surge",
            "0 together with `maxUnavailable` 0 leaves a rollout no step to take: set one of them to 1 or more",
        );
    }
    let deadline = Bounds {
        default: default.progress_deadline,
        range: SECOND..=DAY,
    };
    let progress_deadline = checks::duration(
        v,
        "spec.update.progress_deadline".to_owned(),
        update.progress_deadline,
        &deadline,
    );
    let while_ready = Bounds {
        default: default.min_ready,
        range: Duration::ZERO..=HOUR,
    };
    let min_ready = checks::duration(
        v,
        "spec.update.min_ready".to_owned(),
        update.min_ready,
        &while_ready,
    );
    Update {
        max_surge,
        max_unavailable,
        progress_deadline,
        rollback_on_failure: update
            .rollback_on_failure
            .unwrap_or(default.rollback_on_failure),
        min_ready,
    }
}
