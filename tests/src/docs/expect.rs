//! Comparison of the output that a page shows with the actual output.
//!
//! Lines are equal when their words are: columns may be wider. `...` stands for any text within a
//! line and, alone on one, for any lines. What differs from run to run may be shown as it once was:
//! a replica's id after its workload's name, digests, points in time, durations.

/// Whether the whole of the output is as shown; `so_far` takes one that goes on after.
pub fn matches(shown: &str, output: &str, so_far: bool) -> bool {
    let shown: Vec<&str> = shown.lines().map(str::trim_end).collect();
    let output: Vec<&str> = output.lines().map(str::trim_end).collect();
    lines(trim(&shown), trim(&output), so_far)
}

/// Without empty lines at both ends.
fn trim<'a, 'b>(lines: &'a [&'b str]) -> &'a [&'b str] {
    let first = lines.iter().position(|line| !line.is_empty());
    let last = lines.iter().rposition(|line| !line.is_empty());
    match (first, last) {
        (Some(first), Some(last)) => &lines[first..=last],
        _ => &[],
    }
}

fn lines(shown: &[&str], output: &[&str], so_far: bool) -> bool {
    match (shown.split_first(), output.split_first()) {
        (None, rest) => so_far || rest.is_none(),
        (Some((first, shown)), _) if first.trim() == "..." => {
            (0..=output.len()).any(|skip| lines(shown, &output[skip..], so_far))
        }
        (Some(_), None) => false,
        (Some((first, shown)), Some((line, output))) => {
            line_matches(first, line) && lines(shown, output, so_far)
        }
    }
}

fn line_matches(shown: &str, line: &str) -> bool {
    let shown: Vec<&str> = shown.split_whitespace().collect();
    let line: Vec<&str> = line.split_whitespace().collect();
    words(&shown, &line)
}

fn words(shown: &[&str], line: &[&str]) -> bool {
    match (shown.split_first(), line.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((&"...", shown)), _) => (0..=line.len()).any(|skip| words(shown, &line[skip..])),
        (Some(_), None) => false,
        (Some((first, shown)), Some((word, line))) => {
            word_matches(first, word) && words(shown, line)
        }
    }
}

fn word_matches(shown: &str, word: &str) -> bool {
    if let Some((before, after)) = shown.split_once("...") {
        let Some(rest) = word.strip_prefix(before) else {
            return false;
        };
        let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
        return ends.any(|at| word_matches(after, &rest[at..]));
    }
    shown == word || steady(shown) == steady(word)
}

/// A word with what varies put out of it.
fn steady(word: &str) -> String {
    if is_instant(word.trim_matches(|one: char| !one.is_ascii_alphanumeric())) {
        return "INSTANT".to_owned();
    }
    let mut steady = String::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|one: char| !one.is_ascii_alphanumeric());
        let (token, after) = match end {
            Some(0) => rest.split_at(first.len_utf8()),
            Some(end) => rest.split_at(end),
            None => (rest, ""),
        };
        steady.push_str(kind(token, &steady).unwrap_or(token));
        rest = after;
    }
    steady
}

/// As RFC 3339 writes it.
fn is_instant(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 19 && bytes[4] == b'-' && bytes[7] == b'-' && bytes[10] == b'T'
}

/// What stands for a token that varies.
fn kind(token: &str, before: &str) -> Option<&'static str> {
    let hex = token
        .chars()
        .all(|one| matches!(one, '0'..='9' | 'a'..='f'));
    let plain = token
        .chars()
        .all(|one| matches!(one, '0'..='9' | 'a'..='z'));
    let id = plain && token.len() == 10 && before.ends_with('-');
    match () {
        () if hex && token.len() >= 8 => Some("HEX"),
        () if id => Some("ID"),
        () if is_duration(token) => Some("TIME"),
        () => None,
    }
}

/// `3s`, `150ms`, `1m30s`, `2h`.
fn is_duration(token: &str) -> bool {
    let mut rest = token;
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|one: char| one.is_ascii_digit());
        if after.len() == rest.len() {
            return false;
        }
        let unit = ["ms", "us", "s", "m", "h", "d"]
            .iter()
            .find_map(|unit| after.strip_prefix(unit));
        match unit {
            Some(after) => rest = after,
            None => return false,
        }
    }
    !token.is_empty()
}
