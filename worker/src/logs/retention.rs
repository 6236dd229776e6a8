//! Decides which files are removed when there are too many. Pure.

use std::time::SystemTime;

/// One file of a replica's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The position of its first line, which is also its name.
    pub first: u64,
    pub bytes: u64,
    /// The oldest and the newest run of which it contains lines.
    pub runs: (u32, u32),
}

/// The rank of a replica. Lower ranks lose their lines first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// An earlier worker left it, and it was not opened since.
    Left,
    /// The replica will not run again.
    Ended,
    Live,
}

/// A summary of a replica's files, to decide which ones to remove when all together are too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub rank: Rank,
    /// When the last line was written.
    pub last: SystemTime,
    pub segments: usize,
}

/// Returns the index of the file to remove when a replica has too many. This is the oldest, except
/// that the last one with lines of the previous run is kept even if the present run would fill all
/// of them: the lines before a crash are often read much later.
///
/// The newest file, which is being written, is never removed.
pub(super) fn first_to_go(segments: &[Segment]) -> Option<usize> {
    let (newest, older) = segments.split_last()?;
    let before = newest.runs.1.checked_sub(1);
    let holds_it = |segment: &Segment| {
        before.is_some_and(|run| (segment.runs.0..=segment.runs.1).contains(&run))
    };
    let last_words = segments.iter().rposition(holds_it);
    (0..older.len()).find(|index| Some(*index) != last_words)
}

/// Returns the index of the replica whose oldest file is removed when all together are too large:
/// first replicas that an earlier worker left, then ended ones, and among equals the one that has
/// been silent for longest. A running replica keeps the file that is being written.
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
    fn the_oldest_is_removed_but_not_the_last_lines_of_the_previous_run() {
        // The runs of each segment, and which one is removed.
        type Runs<'a> = &'a [(u32, u32)];
        let table: [(Runs<'_>, Option<usize>); 9] = [
            (&[], None),
            (&[(0, 0)], None),
            (&[(0, 0), (0, 0)], Some(0)),
            // The present run fills all but one.
            (&[(0, 0), (1, 1), (1, 1)], Some(1)),
            (&[(0, 1), (1, 1), (1, 1)], Some(1)),
            // A later segment also contains lines of the previous run.
            (&[(0, 0), (0, 1), (1, 1)], Some(0)),
            // An older run is removed first.
            (&[(0, 0), (1, 1), (2, 2)], Some(0)),
            (&[(1, 1), (2, 2)], None),
            // Only the previous run is kept, not the one before it.
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
    fn ended_replicas_lose_files_first_and_among_those_the_oldest() {
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
