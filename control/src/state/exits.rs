//! The latest exits of a replica's service, as its worker reports them, or as the control plane
//! concludes where no worker can.

use prost_types::Timestamp;
use warren_proto::v1::{Exit, Replica, exit::Reason};

/// The number of exits that [`Replica`] promises.
const KEPT: usize = 5;

/// Keeps an exit that no worker reports, before those of earlier lives.
pub fn keep(replica: &mut Replica, exit: Exit) {
    replica.last_exits.insert(0, exit.clone());
    replica.last_exits.truncate(KEPT);
    replica.last_exit = Some(exit);
}

/// Merges what a worker reports: the exits that it saw, newest first, and the last of them with its
/// lines. Exits that it did not see, because another process of it ran the replica then, are kept.
pub fn merge(replica: &mut Replica, last: Option<&Exit>, seen: &[Exit]) {
    let held = std::mem::take(&mut replica.last_exits);
    let is_new = |exit: &Exit| seen.iter().all(|other| other.time != exit.time);
    let before = held.into_iter().filter(is_new);
    let mut exits: Vec<_> = seen.iter().take(KEPT).cloned().chain(before).collect();
    exits.sort_by_key(|exit| std::cmp::Reverse(at(exit.time)));
    exits.truncate(KEPT);
    replica.last_exits = exits;
    if let Some(last) = last {
        replica.last_exit = Some(last.clone());
    }
}

/// Removes the exit that says that a replica was lost at this time: its worker is back and knows
/// better.
pub fn withdraw_loss(replica: &mut Replica, since: Option<Timestamp>) {
    let is_it = |exit: &Exit| exit.reason() == Reason::Lost && exit.time == since;
    replica.last_exits.retain(|exit| !is_it(exit));
    if replica.last_exit.as_ref().is_some_and(is_it) {
        replica.last_exit = replica.last_exits.first().cloned();
    }
}

fn at(time: Option<Timestamp>) -> (i64, i32) {
    time.map_or((0, 0), |time| (time.seconds, time.nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(seconds: i64, reason: Reason) -> Exit {
        Exit {
            reason: reason.into(),
            time: Some(Timestamp { seconds, nanos: 0 }),
            ..Exit::default()
        }
    }

    fn times(replica: &Replica) -> Vec<i64> {
        let times = replica.last_exits.iter().map(|exit| at(exit.time).0);
        times.collect()
    }

    #[test]
    fn a_workers_exits_join_those_of_its_process_before() {
        let mut replica = Replica::default();
        let tell = |replica: &mut Replica, seen: &[i64]| {
            let seen: Vec<_> = seen.iter().map(|at| exit(*at, Reason::Trapped)).collect();
            merge(replica, seen.first(), &seen);
        };
        tell(&mut replica, &[3, 2, 1]);
        tell(&mut replica, &[4, 3, 2, 1]);
        assert_eq!(times(&replica), [4, 3, 2, 1]);
        // Another process, which knows of no earlier exits.
        tell(&mut replica, &[6]);
        tell(&mut replica, &[7, 6]);
        assert_eq!(times(&replica), [7, 6, 4, 3, 2]);
        assert_eq!(
            at(replica.last_exit.as_ref().and_then(|exit| exit.time)).0,
            7
        );
        // A report without exits removes none.
        tell(&mut replica, &[]);
        assert_eq!(times(&replica), [7, 6, 4, 3, 2]);
    }

    #[test]
    fn a_loss_is_taken_back_and_nothing_else() {
        let mut replica = Replica::default();
        keep(&mut replica, exit(1, Reason::Lost));
        keep(&mut replica, exit(2, Reason::Trapped));
        let since = exit(3, Reason::Lost);
        keep(&mut replica, since.clone());
        assert_eq!(times(&replica), [3, 2, 1]);
        withdraw_loss(&mut replica, since.time);
        assert_eq!(times(&replica), [2, 1]);
        assert_eq!(replica.last_exit, Some(exit(2, Reason::Trapped)));
        withdraw_loss(&mut replica, since.time);
        assert_eq!(times(&replica), [2, 1]);
    }
}
