//! Orders the lines of several replicas by time. Pure.

use std::collections::HashMap;

use warren_proto::v1;

/// Lines that wait for earlier lines of other replicas.
#[derive(Debug, Default)]
pub struct Merge {
    lines: Vec<v1::LogLine>,
    bytes: usize,
}

/// The memory of a line in addition to its text.
const LINE_BYTES: usize = size_of::<v1::LogLine>() + 64;

// === impl Merge ===

impl Merge {
    pub fn push(&mut self, lines: Vec<v1::LogLine>) {
        self.bytes += lines
            .iter()
            .map(|line| line.line.len() + LINE_BYTES)
            .sum::<usize>();
        self.lines.extend(lines);
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns the memory of the waiting lines.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns all lines in the order of their timestamps. Lines of one replica stay in the order
    /// in which it wrote them, even if its clock was set back.
    pub fn take(&mut self) -> Vec<v1::LogLine> {
        self.bytes = 0;
        let mut latest: HashMap<String, (i64, i32)> = HashMap::new();
        let mut timed: Vec<_> = self
            .lines
            .drain(..)
            .map(|line| {
                let time = line.time.map(|time| (time.seconds, time.nanos));
                let time = time.unwrap_or_default();
                let latest = latest.entry(line.replica.clone()).or_insert(time);
                *latest = time.max(*latest);
                (*latest, line)
            })
            .collect();
        timed.sort_by_key(|(time, _)| *time);
        timed.into_iter().map(|(_, line)| line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_and_within_a_replica_by_order() {
        let line = |replica: &str, seconds| v1::LogLine {
            replica: replica.into(),
            line: format!("{replica}{seconds}"),
            time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            ..Default::default()
        };
        let mut merge = Merge::default();
        merge.push(vec![line("a", 1), line("a", 5), line("a", 3)]);
        merge.push(vec![line("b", 2), line("b", 4), line("b", 5), line("b", 6)]);
        assert!(merge.bytes() > 7 * LINE_BYTES);
        let merged: Vec<String> = merge.take().into_iter().map(|line| line.line).collect();
        assert_eq!(merged, ["a1", "b2", "b4", "a5", "a3", "b5", "b6"]);
        assert!(merge.is_empty() && merge.bytes() == 0);
    }
}
