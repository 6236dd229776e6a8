//! Which files go when there are too many. Pure.

use std::time::SystemTime;

/// One file of a replica's log, in the order in which they were begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Position of its first line; its name.
    pub first: u64,
    pub bytes: u64,
    /// The oldest and the newest run that it has lines of.
    pub runs: (u32, u32),
}

/// What a replica is to the worker: the first ones lose their lines first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Nobody has asked for it since the worker started.
    Left,
    /// It will not run again.
    Ended,
    Live,
}

/// What the worker knows of a replica's files when all together are too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub rank: Rank,
    /// When its last line was written.
    pub last: SystemTime,
    pub segments: usize,
}

/// The file that a replica gives up when it has too many: its oldest, but while the present run fills them all, the last
/// one with lines of the run before stays. What a service said before it crashed is looked for long after.
///
/// Never the last one, which is being written.
pub(super) fn first_to_go(segments: &[Segment]) -> Option<usize> {
    let (newest, older) = segments.split_last()?;
    let before = newest.runs.1.checked_sub(1);
    let holds_it = |segment: &Segment| {
        before.is_some_and(|run| (segment.runs.0..=segment.runs.1).contains(&run))
    };
    let last_words = segments.iter().rposition(holds_it);
    (0..older.len()).find(|index| Some(*index) != last_words)
}

/// The replica that gives up its oldest file when all together are too large: those that were left behind first, then
/// ended ones, then the one that has been silent for longest. One that runs keeps the file that is being written.
pub(super) fn next_to_give(held: impl Iterator<Item = Held>) -> Option<usize> {
    let may_give = |held: &Held| match held.rank {
        Rank::Left | Rank::Ended => held.segments > 0,
        Rank::Live => held.segments > 1,
    };
    let giving = held.enumerate().filter(|(_, held)| may_give(held));
    let first = giving.min_by_key(|(_, held)| (held.rank, held.last));
    first.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_goes_but_not_the_last_words_of_the_run_before() {
        // The runs of each segment, and which one goes.
        type Runs<'a> = &'a [(u32, u32)];
        let table: [(Runs<'_>, Option<usize>); 9] = [
            (&[], None),
            (&[(0, 0)], None),
            (&[(0, 0), (0, 0)], Some(0)),
            // The present run has filled all but one.
            (&[(0, 0), (1, 1), (1, 1)], Some(1)),
            (&[(0, 1), (1, 1), (1, 1)], Some(1)),
            // There are later words of the run before.
            (&[(0, 0), (0, 1), (1, 1)], Some(0)),
            // An older run goes first.
            (&[(0, 0), (1, 1), (2, 2)], Some(0)),
            (&[(1, 1), (2, 2)], None),
            // Nobody asks for what was two runs ago.
            (&[(0, 0), (2, 2), (2, 2)], Some(0)),
        ];
        for (runs, expected) in table {
            let segments: Vec<_> = runs
                .iter()
                .enumerate()
                .map(|(first, runs)| Segment {
                    first: first as u64,
                    bytes: 1,
                    runs: *runs,
                })
                .collect();
            assert_eq!(first_to_go(&segments), expected, "{runs:?}");
        }
    }

    #[test]
    fn ended_replicas_give_first_and_of_those_the_oldest() {
        let held = |rank, last, segments| Held {
            rank,
            last: SystemTime::UNIX_EPOCH + Duration::from_secs(last),
            segments,
        };
        let (live, new) = (held(Rank::Live, 1, 4), held(Rank::Live, 9, 4));
        let (ended, old) = (held(Rank::Ended, 5, 1), held(Rank::Ended, 3, 1));
        let left = held(Rank::Left, 8, 2);
        let next = |all: &[Held]| next_to_give(all.iter().copied());
        assert_eq!(next(&[live, ended, old, left]), Some(3));
        assert_eq!(next(&[live, ended, old]), Some(2));
        assert_eq!(next(&[new, live]), Some(1));
        assert_eq!(next(&[held(Rank::Live, 1, 1), new]), Some(1));
        assert_eq!(next(&[held(Rank::Live, 1, 1)]), None);
        assert_eq!(next(&[held(Rank::Ended, 1, 0)]), None);
    }
}
