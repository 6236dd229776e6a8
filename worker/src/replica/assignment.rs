//! Checks the assignments that the control plane sends, and derives what to do. This is pure logic.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use warren_model::{
    error::Violations,
    link::LinkPlan,
    name::{Name, WorkloadId},
    spec::WorkloadSpec,
};
use warren_proto::v1;

/// One replica that this worker should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The replica's id.
    pub replica: String,
    pub id: WorkloadId,
    /// Distinguishes workloads that had the same name one after another.
    pub uid: String,
    pub revision: u32,
    pub spec: WorkloadSpec,
    /// The link plan of `spec`, or `None` if the control plane did not send one.
    pub links: Option<LinkPlan>,
    /// The number of the service's next start. It is 0 unless a worker ran this replica before and
    /// has forgotten it.
    pub restarts: u32,
    /// The fence, which only an exclusive service has.
    pub fence: Option<Fence>,
}

/// Orders the assignments of an exclusive service: a later assignment of the same workload has a
/// greater fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(u32);

/// The greatest fence that a replica received. The control plane sends a new one with each session,
/// because another replica may have run between two sessions.
#[derive(Clone, Default)]
pub struct NewestFence(Arc<AtomicU32>);

/// An assignment that this worker cannot run, because it is from another version or damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub replica: String,
    pub why: Violations,
}

/// The actions for one message of assignments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    pub assign: Vec<Assignment>,
    pub refused: Vec<Refused>,
    /// The replicas that the supervisor holds. It stops them, and reports when they have stopped.
    pub stop: Vec<String>,
    /// The replicas that are not held, and have already stopped.
    pub gone: Vec<String>,
}

// === impl Assignment ===

impl Assignment {
    /// Reads an assignment. The error lists everything that is wrong with it.
    pub fn from_proto(assignment: v1::Assignment) -> Result<Self, Refused> {
        let mut why = Violations::default();
        let replica = assignment.replica;
        // The id is used as the name of directories.
        let is_id = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if replica.is_empty() || !replica.bytes().all(is_id) {
            why.push("replica", "it should be letters, digits and '-'");
        }
        let namespace = why.ok("namespace", Name::parse(&assignment.namespace));
        let name = why.ok("workload", Name::parse(&assignment.workload));
        let spec = match WorkloadSpec::from_proto(&assignment.spec.unwrap_or_default()) {
            Ok(spec) => Some(spec),
            Err(violations) => {
                why.0.extend(violations.0);
                None
            }
        };
        let plan = assignment.link_plan.as_ref().zip(spec.as_ref());
        let links = match plan.map(|(plan, spec)| LinkPlan::from_proto(plan, spec)) {
            Some(Err(violations)) => {
                why.0.extend(violations.0);
                None
            }
            Some(Ok(links)) => Some(links),
            None => None,
        };
        let exclusive = spec.as_ref().and_then(|spec| spec.service.as_ref());
        let exclusive = exclusive.is_some_and(|service| service.exclusive);
        let fence = u32::try_from(assignment.fence).ok().filter(|it| *it > 0);
        if exclusive && fence.is_none() {
            why.push(
                "fence",
                "an exclusive service needs one, from 1 to 4294967295",
            );
        }
        let (Some(namespace), Some(name), Some(spec), true) =
            (namespace, name, spec, why.0.is_empty())
        else {
            return Err(Refused { replica, why });
        };
        Ok(Self {
            replica,
            id: WorkloadId { namespace, name },
            uid: assignment.workload_uid,
            revision: assignment.revision,
            spec,
            links,
            restarts: assignment.restarts,
            fence: fence.filter(|_| exclusive).map(Fence),
        })
    }
}

// === impl Fence ===

impl Fence {
    /// Returns the number of one start of the service. It is greater than those of all starts
    /// before it, both of earlier assignments and of this one in the same process. `starts` counts
    /// the latter from 0.
    pub fn of_start(self, starts: u32) -> u64 {
        u64::from(self.0) << 32 | u64::from(starts)
    }
}

// === impl NewestFence ===

impl NewestFence {
    pub fn raise(&self, fence: Option<Fence>) {
        self.0.fetch_max(fence.map_or(0, |fence| fence.0), Relaxed);
    }

    /// Returns the fence, or `None` if there was none.
    pub fn get(&self) -> Option<Fence> {
        let fence = self.0.load(Relaxed);
        (fence > 0).then_some(Fence(fence))
    }
}

// === impl Orders ===

impl Orders {
    /// Returns the actions for a message. `held` are the supervisor's replicas, `known` all that
    /// are not reported as stopped.
    pub fn of(message: v1::Assignments, held: &[String], known: &[String]) -> Self {
        let held: BTreeSet<&str> = held.iter().map(String::as_str).collect();
        let wanted: BTreeSet<String> = message.assign.iter().map(|a| a.replica.clone()).collect();

        let mut ending: BTreeSet<String> = message.stop.into_iter().collect();
        if message.complete {
            let all = known.iter().map(String::as_str).chain(held.iter().copied());
            ending.extend(all.filter(|id| !wanted.contains(*id)).map(str::to_owned));
        }
        let (stop, gone) = ending
            .into_iter()
            .partition(|id| held.contains(id.as_str()));

        let mut orders = Self {
            stop,
            gone,
            ..Self::default()
        };
        for assignment in message.assign {
            match Assignment::from_proto(assignment) {
                // A replica that is assigned and stopped by the same message must not run, because
                // ids are never reused.
                Ok(a) if orders.stop.contains(&a.replica) || orders.gone.contains(&a.replica) => {}
                Ok(assignment) => orders.assign.push(assignment),
                // Without an id there is no replica to report as failed.
                Err(refused) if refused.replica.is_empty() => {
                    tracing::warn!(why = %refused.why, "dropped an assignment without a replica id");
                }
                Err(refused) => orders.refused.push(refused),
            }
        }
        orders
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::replica::testing::assignment;

    fn orders(
        complete: bool,
        assign: &[&str],
        stop: &[&str],
        held: &[&str],
        known: &[&str],
    ) -> Orders {
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let message = v1::Assignments {
            term: 1,
            generation: 1,
            complete,
            assign: assign.iter().map(|id| assignment(id)).collect(),
            stop: owned(stop),
        };
        Orders::of(message, &owned(held), &owned(known))
    }

    fn assigned(orders: &Orders) -> Vec<&str> {
        orders.assign.iter().map(|a| a.replica.as_str()).collect()
    }

    #[test]
    fn changes_leave_the_rest_alone() {
        let orders = orders(false, &["c"], &["a", "x"], &["a", "b"], &["a", "b"]);
        assert_eq!(assigned(&orders), ["c"]);
        assert_eq!(
            (orders.stop, orders.gone),
            (vec!["a".to_owned()], vec!["x".to_owned()])
        );
    }

    #[test]
    fn a_complete_message_ends_replicas_that_it_does_not_list() {
        let orders = orders(true, &["b"], &[], &["a", "b"], &["a", "b", "refused"]);
        assert_eq!(assigned(&orders), ["b"]);
        assert_eq!(
            (orders.stop, orders.gone),
            (vec!["a".to_owned()], vec!["refused".to_owned()])
        );
    }

    #[test]
    fn a_replica_that_must_stop_is_not_run() {
        let orders = orders(false, &["a", "b"], &["a", "b"], &["a"], &["a"]);
        assert_eq!(assigned(&orders), Vec::<&str>::new());
        assert_eq!(
            (orders.stop, orders.gone),
            (vec!["a".to_owned()], vec!["b".to_owned()])
        );
    }

    #[test]
    fn an_assignment_is_read_completely() {
        let read = Assignment::from_proto(assignment("r-1")).unwrap();
        assert_eq!(
            (read.replica.as_str(), read.uid.as_str(), read.revision),
            ("r-1", "uid", 3)
        );
        assert_eq!(read.id.to_string(), "default/counter");
        assert!(read.spec.service.is_some());
    }

    #[test]
    fn the_link_plan_is_read_if_there_is_one() {
        let with = |link_plan| {
            Assignment::from_proto(v1::Assignment {
                link_plan,
                ..assignment("r-1")
            })
        };
        // An earlier control plane sends it like this, and an earlier worker stored it like this.
        assert_eq!(with(None).unwrap().links, None);
        let interfaces = vec!["wasi:cli/exit@0.2.3".to_owned()];
        let mut plan = v1::LinkPlan {
            interfaces,
            ..v1::LinkPlan::default()
        };
        let read = with(Some(plan.clone())).unwrap().links.unwrap();
        assert_eq!(read.to_proto(), plan);
        plan.links.push(v1::Link {
            importer: "service".to_owned(),
            exporter: "nobody".to_owned(),
            ..v1::Link::default()
        });
        let refused = with(Some(plan)).unwrap_err();
        assert_eq!(refused.why.0[0].field, "link_plan.links[0].exporter");
    }

    #[test]
    fn an_exclusive_service_has_a_fence_and_no_other_has() {
        let read = |exclusive, fence| {
            let mut assignment = v1::Assignment {
                fence,
                ..assignment("r-1")
            };
            let spec = assignment.spec.as_mut().unwrap();
            spec.service.as_mut().unwrap().exclusive = exclusive;
            Assignment::from_proto(assignment).map(|read| read.fence)
        };
        assert_eq!(read(false, 0), Ok(None));
        assert_eq!(read(false, 7), Ok(None));
        assert_eq!(read(true, 7), Ok(Some(Fence(7))));
        for none in [0, 1 << 32] {
            let refused = read(true, none).unwrap_err();
            assert_eq!(refused.why.0[0].field, "fence");
        }
    }

    #[test]
    fn fences_of_starts_grow_from_assignment_to_assignment() {
        let starts = [
            (Fence(1), 0),
            (Fence(1), 1),
            (Fence(1), u32::MAX),
            (Fence(2), 0),
            (Fence(u32::MAX), u32::MAX),
        ];
        let fences = starts.map(|(fence, starts)| fence.of_start(starts));
        assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
        assert_eq!(fences[0], 1 << 32);
    }

    #[test]
    fn a_replica_that_is_assigned_again_starts_with_the_newest_fence() {
        let newest = NewestFence::default();
        assert_eq!(newest.get(), None);
        for (told, holds) in [
            (None, None),
            (Some(Fence(5)), Some(Fence(5))),
            (Some(Fence(9)), Some(Fence(9))),
            (Some(Fence(8)), Some(Fence(9))),
            (None, Some(Fence(9))),
        ] {
            newest.raise(told);
            assert_eq!(newest.get(), holds);
        }
    }

    #[test]
    fn everything_wrong_is_reported_at_once() {
        let refused = Assignment::from_proto(v1::Assignment::default()).unwrap_err();
        let fields: Vec<_> = refused.why.0.iter().map(|v| v.field.as_str()).collect();
        assert!(
            fields.len() > 3 && fields.starts_with(&["replica", "namespace", "workload"]),
            "{fields:?}"
        );
    }
}
