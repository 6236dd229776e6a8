//! Progress of a wait: on a terminal, one line for each replica that is changing; elsewhere, the
//! numbers every few seconds.

use std::collections::BTreeMap;

use warren_proto::v1::{self, replica::Phase};

use super::{judge, lines::Lines};
use crate::{
    explain,
    output::{
        self,
        progress::{self, Bar},
    },
};

/// Shows on stderr what the replicas of one workload are doing.
pub struct Show {
    title: String,
    /// Set if progress is wanted where there is no terminal.
    lines: Option<Lines>,
    bars: BTreeMap<String, Bar>,
}

/// The maximum number of lines: more would push everything else off the screen.
const MAX_BARS: usize = 12;

// === impl Show ===

impl Show {
    pub fn new(title: String, lines: bool) -> Self {
        Self {
            title,
            lines: (lines && !progress::is_shown()).then(|| Lines::new(print)),
            bars: BTreeMap::new(),
        }
    }

    pub fn replicas(&mut self, summary: String, replicas: &[v1::Replica]) {
        if !progress::is_shown() {
            self.say(summary);
            return;
        }
        // Ready replicas make room for those that are not.
        let moving = replicas.iter().filter(|replica| !replica.ready);
        let shown: BTreeMap<&str, &v1::Replica> = moving
            .chain(replicas.iter().filter(|replica| replica.ready))
            .take(MAX_BARS)
            .map(|replica| (replica.id.as_str(), replica))
            .collect();
        self.bars.retain(|id, _| shown.contains_key(id.as_str()));
        for (id, replica) in shown {
            let bar = self.bars.entry(id.to_owned());
            let bar = bar.or_insert_with(|| progress::spinner(""));
            bar.say(&explain::headline(replica));
        }
    }

    /// Reports that the connection is broken.
    pub fn broken(&mut self, why: &str) {
        let why = why.lines().next().unwrap_or_default();
        let text = format!("{why}; trying again");
        if progress::is_shown() {
            self.bars.clear();
            let bar = self.bars.entry(String::new());
            bar.or_insert_with(|| progress::spinner("")).say(&text);
        } else {
            self.say(text);
        }
    }

    fn say(&self, text: String) {
        if let Some(lines) = &self.lines {
            lines.say(format!("{}: {text}", self.title));
        }
    }
}

fn print(line: &str) {
    output::note(line);
}

/// One line of progress: on a terminal it is updated in place, elsewhere it is printed every few
/// seconds.
pub struct Line {
    title: String,
    place: Place,
}

enum Place {
    Terminal(Bar),
    Elsewhere(Lines),
}

// === impl Line ===

impl Line {
    pub fn new(title: String) -> Self {
        let place = match progress::is_shown() {
            true => Place::Terminal(progress::spinner("")),
            false => Place::Elsewhere(Lines::new(print)),
        };
        Self { title, place }
    }

    pub fn say(&self, text: &str) {
        let line = format!("{}: {text}", self.title);
        match &self.place {
            Place::Terminal(bar) => bar.say(&line),
            Place::Elsewhere(lines) => lines.say(line),
        }
    }
}

/// Formats `1 of 4 ready, 2 STARTING, 1 PENDING, 3 of earlier revisions`.
pub fn rollout(workload: &v1::Workload, replicas: &[v1::Replica]) -> String {
    if judge::wanted(workload) == 0 {
        return leaving(replicas);
    }
    let present = |replica: &&v1::Replica| replica.revision == workload.revision;
    let settled = replicas
        .iter()
        .filter(present)
        .filter(|replica| judge::is_settled(replica))
        .count();
    let wanted = judge::wanted(workload) as usize;
    let more = settled.saturating_sub(wanted);
    let mut text = match more {
        0 => format!("{settled} of {wanted} ready"),
        more => format!("{wanted} of {wanted} ready, {more} more still to stop"),
    };
    let rest = replicas
        .iter()
        .filter(present)
        .filter(|replica| !judge::is_settled(replica));
    for ((_, phase), count) in phases(rest) {
        text.push_str(&format!(", {count} {phase}"));
    }
    match replicas.iter().filter(|replica| !present(replica)).count() {
        0 => {}
        1 => text.push_str(", 1 of an earlier revision"),
        count => text.push_str(&format!(", {count} of earlier revisions")),
    }
    text
}

/// Formats `2 replicas left: 1 RUNNING, 1 STOPPING`.
pub fn leaving(replicas: &[v1::Replica]) -> String {
    let count = replicas.len();
    let each: Vec<String> = phases(replicas.iter())
        .into_iter()
        .map(|((_, phase), count)| format!("{count} {phase}"))
        .collect();
    match count {
        0 => "no replicas left".to_owned(),
        1 => format!("1 replica left: {}", each.join(", ")),
        count => format!("{count} replicas left: {}", each.join(", ")),
    }
}

/// Counts the replicas in each phase, in the order of a replica's life.
fn phases<'a>(replicas: impl Iterator<Item = &'a v1::Replica>) -> BTreeMap<(Phase, String), usize> {
    let mut phases = BTreeMap::new();
    for replica in replicas {
        let phase = (replica.phase(), explain::phase(replica));
        *phases.entry(phase).or_default() += 1;
    }
    phases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_words() {
        let replica = |revision, phase: Phase, ready| v1::Replica {
            revision,
            phase: phase.into(),
            ready,
            ..Default::default()
        };
        let workload = v1::Workload {
            revision: 2,
            spec: Some(v1::WorkloadSpec {
                replicas: Some(3),
                ..Default::default()
            }),
            ..Default::default()
        };
        let replicas = [
            replica(2, Phase::Running, true),
            replica(2, Phase::Pending, false),
            replica(2, Phase::Backoff, false),
            replica(1, Phase::Stopping, false),
        ];
        assert_eq!(rollout(&workload, &[]), "0 of 3 ready");
        assert_eq!(
            rollout(&workload, &replicas),
            "1 of 3 ready, 1 PENDING, 1 BACKOFF, 1 of an earlier revision"
        );
        let mut fewer = workload;
        let mut ready = vec![replica(2, Phase::Running, true); 3];
        for (wanted, expected) in [
            (3, "3 of 3 ready"),
            (1, "1 of 1 ready, 2 more still to stop"),
            (0, "3 replicas left: 3 RUNNING"),
        ] {
            fewer.spec.get_or_insert_default().replicas = Some(wanted);
            assert_eq!(rollout(&fewer, &ready), expected);
        }
        ready.push(replica(2, Phase::Stopping, false));
        assert_eq!(
            rollout(&fewer, &ready),
            "4 replicas left: 3 RUNNING, 1 STOPPING"
        );
        assert_eq!(
            leaving(&replicas),
            "4 replicas left: 1 PENDING, 1 RUNNING, 1 BACKOFF, 1 STOPPING"
        );
        assert_eq!(leaving(&[]), "no replicas left");
    }
}
