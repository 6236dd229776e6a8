//! Steps of a replica's life: those that belong to one event are recorded once. Pure.

use std::collections::HashMap;

use prost_types::Timestamp;
use warren_model::reason;
use warren_proto::v1;

use crate::{clock, events::REPEATS_WITHIN};

/// The number of kinds of steps in one report. A worker has about twenty, and one more for each
/// thing whose refusal it reports.
const MAX_KINDS: usize = 256;

/// Drops each step that a later one of its kind covers: the later one's `total` counts both, and
/// both are one event.
pub(super) fn newest_of_each(steps: Vec<v1::Transition>) -> Vec<v1::Transition> {
    let mut next: HashMap<(i32, String, String), Option<Timestamp>> = HashMap::new();
    let mut kept: Vec<_> = steps
        .into_iter()
        .rev()
        .filter(|step| {
            let message = match step.reason == reason::REFUSED {
                true => step.message.clone(),
                false => String::new(),
            };
            let kind = (step.r#type, step.reason.clone(), message);
            let later = next.insert(kind, step.time);
            !later.is_some_and(|later| are_one_event(step.time, later))
        })
        .take(MAX_KINDS)
        .collect();
    kept.reverse();
    kept
}

fn are_one_event(step: Option<Timestamp>, later: Option<Timestamp>) -> bool {
    match (step, later) {
        (Some(step), Some(later)) => clock::is_within(&step, REPEATS_WITHIN, &later),
        // Both are of now.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(reason: &str, seconds: i64, total: u32) -> v1::Transition {
        v1::Transition {
            reason: reason.to_owned(),
            message: format!("the {total}."),
            time: Some(Timestamp { seconds, nanos: 0 }),
            total,
            ..v1::Transition::default()
        }
    }

    fn told(steps: &[v1::Transition]) -> Vec<(&str, u32)> {
        let steps = steps.iter();
        steps.map(|it| (it.reason.as_str(), it.total)).collect()
    }

    #[test]
    fn the_last_of_each_kind_counts_for_those_before() {
        let life = (1..=20).flat_map(|life| {
            let at = i64::from(life);
            [step("Exited", at, life), step("Started", at, life + 1)]
        });
        let steps = newest_of_each(life.collect());
        assert_eq!(told(&steps), [("Exited", 20), ("Started", 21)]);
    }

    #[test]
    fn what_was_refused_and_what_is_long_ago_stands_for_itself() {
        let steps = newest_of_each(vec![
            step(reason::REFUSED, 1, 1),
            step("Exited", 1, 1),
            step(reason::REFUSED, 2, 2),
            step("Exited", 500, 2),
            step("Exited", 1200, 3),
        ]);
        let expected = [
            (reason::REFUSED, 1),
            (reason::REFUSED, 2),
            ("Exited", 2),
            ("Exited", 3),
        ];
        assert_eq!(told(&steps), expected);
    }

    #[test]
    fn kinds_are_bounded_and_the_newest_stay() {
        let kinds = (0..1000).map(|kind| step(&format!("Kind{kind}"), 1, 1));
        let steps = newest_of_each(kinds.collect());
        assert_eq!(
            (steps.len(), steps[0].reason.as_str()),
            (MAX_KINDS, "Kind744")
        );
    }
}
