//! What a session still has to say, and how much of what it said has arrived. Pure.

use std::collections::VecDeque;

use warren_proto::v1::ReplicaReport;

use crate::{agent::reports::Batch, lease::BootTime};

/// Reports on their way to the control plane. The stream keeps order, so a heartbeat that is acknowledged tells that
/// every report sent before it has arrived; one that is kept, that they are on the control plane's disk.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The rest of the last batch. The next is taken when it is empty: a slow control plane gets the newest
    /// state of each replica and not every state between.
    pending: VecDeque<ReplicaReport>,
    /// Version of the last batch.
    taken: u64,
    /// Version up to which everything was sent.
    sent: u64,
    sequence: u64,
    /// The last heartbeat that was answered.
    answered: u64,
    /// Heartbeats whose reports may get lost yet.
    beats: VecDeque<Beat>,
}

/// A heartbeat that was sent.
#[derive(Clone, Copy, Debug)]
struct Beat {
    sequence: u64,
    at: BootTime,
    /// Version of what was sent before it.
    sent: u64,
}

/// More heartbeats than this without an answer and the session has long timed out.
const MAX_BEATS: usize = 1024;

impl Outbox {
    /// Everything up to this version went with Hello.
    pub fn new(version: u64) -> Self {
        Self {
            taken: version,
            sent: version,
            ..Self::default()
        }
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Version after which the next batch begins.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes the next batch; only when empty.
    pub fn fill(&mut self, batch: Batch) {
        self.pending.extend(batch.reports);
        self.taken = batch.version;
        self.note_sent();
    }

    /// The next report to send.
    pub fn pop(&mut self) -> Option<ReplicaReport> {
        let report = self.pending.pop_front();
        self.note_sent();
        report
    }

    /// The sequence of the next heartbeat, which is sent at once: `now`, or a little later.
    pub fn beat(&mut self, now: BootTime) -> u64 {
        self.sequence += 1;
        self.beats.push_back(Beat {
            sequence: self.sequence,
            at: now,
            sent: self.sent,
        });
        if self.beats.len() > MAX_BEATS {
            self.beats.pop_front();
        }
        self.sequence
    }

    /// A heartbeat was answered: when it was sent. `None` for one that was before, or was never sent.
    pub fn acknowledged(&mut self, sequence: u64) -> Option<BootTime> {
        if sequence <= self.answered {
            return None;
        }
        let beat = self.beats.iter().rfind(|beat| beat.sequence == sequence)?;
        self.answered = sequence;
        Some(beat.at)
    }

    /// What was reported before a heartbeat is kept: the version up to which it need not be told again.
    /// `None` where that is no news.
    pub fn kept(&mut self, sequence: u64) -> Option<u64> {
        if sequence > self.sequence {
            return None;
        }
        let mut confirmed = None;
        while let Some(beat) = self.beats.pop_front_if(|beat| beat.sequence <= sequence) {
            confirmed = Some(beat.sent);
        }
        confirmed
    }

    /// Whether the last heartbeat was answered.
    pub fn all_acknowledged(&self) -> bool {
        self.answered == self.sequence
    }

    fn note_sent(&mut self) {
        if self.pending.is_empty() {
            self.sent = self.taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: BootTime = BootTime(Duration::from_secs(1));
    const LATER: BootTime = BootTime(Duration::from_secs(2));

    fn batch(reports: usize, version: u64) -> Batch {
        Batch {
            reports: vec![ReplicaReport::default(); reports],
            version,
        }
    }

    #[test]
    fn a_heartbeat_that_is_kept_confirms_the_reports_before_it() {
        let mut outbox = Outbox::new(3);
        let hello = outbox.beat(NOW);
        outbox.fill(batch(2, 9));
        outbox.pop();
        let half = outbox.beat(NOW);
        outbox.pop();
        let whole = outbox.beat(NOW);
        assert!(outbox.is_empty());
        assert_eq!(outbox.kept(0), None);
        assert_eq!(outbox.kept(hello), Some(3));
        assert_eq!(outbox.kept(half), Some(3));
        assert_eq!(outbox.kept(whole), Some(9));
    }

    #[test]
    fn one_answer_stands_for_those_before_and_nonsense_for_none() {
        let mut outbox = Outbox::new(0);
        outbox.beat(NOW);
        outbox.fill(batch(0, 5));
        let second = outbox.beat(LATER);
        assert_eq!(outbox.acknowledged(second + 1), None);
        assert_eq!(outbox.acknowledged(0), None);
        assert_eq!(outbox.kept(second + 1), None);
        assert!(!outbox.all_acknowledged());
        assert_eq!(outbox.acknowledged(second), Some(LATER));
        assert!(outbox.all_acknowledged());
        assert_eq!(outbox.acknowledged(second), None);
        assert_eq!(outbox.acknowledged(second - 1), None);
        assert_eq!(outbox.kept(second), Some(5));
        assert_eq!(outbox.kept(second), None);
    }

    #[test]
    fn heartbeats_that_are_not_kept_are_bounded() {
        let mut outbox = Outbox::new(0);
        (0..3 * MAX_BEATS).for_each(|_| _ = outbox.beat(NOW));
        assert_eq!(outbox.beats.len(), MAX_BEATS);
    }
}
