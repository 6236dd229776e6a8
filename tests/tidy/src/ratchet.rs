//! The findings that exist today: they may become fewer, and the list says exactly how many.
//!
//! `tests/tidy/allowed.txt` has a line for each file and rule with findings. The check fails on
//! more findings than are allowed, and on fewer, so that a mended file cannot get worse again.

use std::collections::BTreeMap;

use crate::Finding;

/// Where the counts are kept.
pub const ALLOWED: &str = "tests/tidy/allowed.txt";
/// How to write them again.
pub const COMMAND: &str = "cargo run -p warren-tidy -- --write";

const HEAD: &str =
    "# Findings that exist today, by file and rule. Written by a command: see CONTRIBUTING.md.\n";

/// Numbers of findings by path and rule.
pub type Counts = BTreeMap<(String, String), usize>;

pub fn count(findings: &[Finding]) -> Counts {
    let mut counts = Counts::new();
    for finding in findings {
        let key = (finding.path.clone(), finding.rule.clone());
        *counts.entry(key).or_default() += 1;
    }
    counts
}

/// Reads `allowed.txt`. A line that is not understood allows nothing.
pub fn read(text: &str) -> Counts {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let counts = lines.filter_map(|line| {
        let mut words = line.split(' ');
        let (count, rule, path) = (words.next()?, words.next()?, words.next()?);
        Some(((path.to_owned(), rule.to_owned()), count.parse().ok()?))
    });
    counts.collect()
}

/// Returns `allowed.txt` for these findings.
pub fn write(counts: &Counts) -> String {
    let lines = counts
        .iter()
        .map(|((path, rule), count)| format!("{count} {rule} {path}\n"));
    HEAD.to_owned() + &lines.collect::<String>()
}

/// Returns what to mend: every finding in a file that has more than are allowed, and every count
/// that is too high.
pub fn compare(findings: &[Finding], allowed: &Counts) -> Vec<String> {
    let counts = count(findings);
    let mut problems = Vec::new();
    for finding in findings {
        let key = (finding.path.clone(), finding.rule.clone());
        if counts[&key] > allowed.get(&key).copied().unwrap_or(0) {
            problems.push(finding.to_string());
        }
    }
    for (key, allowed) in allowed {
        let count = counts.get(key).copied().unwrap_or(0);
        if count < *allowed {
            let (path, rule) = key;
            problems.push(format!(
                "{ALLOWED}: {path} has {count} of `{rule}` and not {allowed}: run `{COMMAND}`"
            ));
        }
    }
    problems
}

/// Returns the rules of which there are more findings than before, counted over all files, so that
/// a file may be moved or split.
pub fn risen(counts: &Counts, allowed: &Counts) -> Vec<String> {
    let total = |counts: &Counts| {
        let mut totals = BTreeMap::<String, usize>::new();
        for ((_, rule), count) in counts {
            *totals.entry(rule.clone()).or_default() += count;
        }
        totals
    };
    let (now, before) = (total(counts), total(allowed));
    let risen = now.into_iter().filter_map(|(rule, now)| {
        let before = before.get(&rule).copied().unwrap_or(0);
        (now > before).then(|| format!("`{rule}` has {now} findings and had {before}"))
    });
    risen.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(lines: &[usize]) -> Vec<Finding> {
        lines
            .iter()
            .map(|line| Finding::new("a.rs", *line, "tell", "say"))
            .collect()
    }

    #[test]
    fn counts_are_read_as_they_were_written() {
        let counts = count(&findings(&[1, 2, 2]));
        assert!(write(&counts).ends_with("\n3 tell a.rs\n"));
        assert_eq!(read(&write(&counts)), counts);
    }

    #[test]
    fn more_than_allowed_fails_and_so_does_fewer() {
        let allowed = count(&findings(&[1, 2]));
        assert_eq!(compare(&findings(&[3, 4]), &allowed), [""; 0]);
        let more = compare(&findings(&[1, 2, 3]), &allowed);
        assert_eq!(more.len(), 3, "{more:?}");
        assert_eq!(more[2], "a.rs:3: tell: say");
        let fewer = compare(&findings(&[1]), &allowed);
        assert_eq!(fewer.len(), 1, "{fewer:?}");
        assert!(
            fewer[0].contains("a.rs has 1 of `tell` and not 2"),
            "{fewer:?}"
        );
    }

    #[test]
    fn a_file_may_move_but_no_rule_may_rise() {
        let before = count(&findings(&[1, 2]));
        let mut moved = findings(&[1, 2]);
        moved[0].path = "b.rs".into();
        assert_eq!(risen(&count(&moved), &before), [""; 0]);
        assert_eq!(risen(&count(&findings(&[1, 2, 3])), &before).len(), 1);
        assert_eq!(risen(&count(&findings(&[1])), &Counts::new()).len(), 1);
    }
}
