//! Text in sections, in which each line is indented by its depth.

use std::time::SystemTime;

use prost_types::Timestamp;
use warren_proto::v1;

use crate::output::{self, Colour, Shown, Style, Table, harmless};

/// A description that is being written, and the time that its ages refer to.
pub struct Text {
    out: Shown,
    pub now: SystemTime,
    style: Style,
}

// === impl Text ===

impl Text {
    pub fn new(now: SystemTime, style: Style) -> Self {
        Self {
            out: Shown::default(),
            now,
            style,
        }
    }

    pub fn into_shown(self) -> Shown {
        self.out
    }

    /// Begins a section.
    pub fn heading(&mut self, title: &str) {
        if !self.out.is_empty() {
            self.out.push("\n");
        }
        let title = self.style.paint(Colour::Bold, &harmless::line(title));
        self.out.push(title.and("\n"));
    }

    /// Adds a line. Further lines of the same text are indented more, so that text from a guest
    /// cannot be mistaken for a line of this program.
    pub fn line(&mut self, depth: usize, line: impl AsRef<str>) {
        for (i, line) in line.as_ref().trim_end().split('\n').enumerate() {
            let depth = if i == 0 { depth } else { depth + 2 };
            self.out.push("  ".repeat(depth));
            self.out.push(Shown::line(line).and("\n"));
        }
    }

    /// Formats `5s ago`, or `never`.
    pub fn ago(&self, time: Option<&Timestamp>) -> String {
        output::ago_at(self.now, time)
    }

    /// Formats `5s`; empty without a time.
    pub fn age(&self, time: Option<&Timestamp>) -> String {
        output::age_at(self.now, time)
    }

    /// Adds rows that are aligned, below a heading.
    pub fn rows<const N: usize>(&mut self, rows: impl IntoIterator<Item = [String; N]>) {
        let mut table = Table::default();
        for row in rows {
            table.row(row);
        }
        for line in table.body().lines() {
            self.line(1, line);
        }
    }

    pub fn labels(&mut self, labels: &std::collections::BTreeMap<String, String>) {
        if labels.is_empty() {
            return;
        }
        let labels = labels.iter().map(|(key, value)| format!("{key}={value}"));
        let labels: Vec<_> = labels.collect();
        self.line(1, format!("labels {}", labels.join(", ")));
    }

    /// Adds conditions with the time since their last change.
    pub fn conditions(&mut self, conditions: &[v1::Condition]) {
        for condition in conditions {
            let since = match self.age(condition.last_transition_time.as_ref()) {
                age if age.is_empty() => String::new(),
                age => format!(" for {age}"),
            };
            let line = crate::explain::condition(condition);
            let kind = &condition.r#type;
            let status = condition.status().as_str_name();
            let head = format!("{kind} is {status}");
            let rest = line.strip_prefix(&head).unwrap_or_default();
            self.line(1, format!("{head}{since}{rest}"));
        }
    }

    pub fn events(&mut self, events: &[v1::Event]) {
        if events.is_empty() {
            return self.heading("No events are kept");
        }
        self.heading("Recent events");
        let rows: Vec<_> = events.iter().map(|event| self.event(event)).collect();
        self.rows(rows);
    }

    fn event(&self, event: &v1::Event) -> [String; 5] {
        let times = match event.count {
            0 | 1 => String::new(),
            count => format!(" (x{count})"),
        };
        [
            self.ago(event.time.as_ref()),
            event.r#type().as_str_name().to_owned(),
            format!("{}{times}", event.reason),
            event.object.clone(),
            // Backtraces are shown with their replica.
            event.message.lines().next().unwrap_or_default().to_owned(),
        ]
    }
}
