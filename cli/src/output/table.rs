//! Tables without borders, whose columns are aligned and easy to split with `awk`.
//!
//! Nothing is cut off on a narrow terminal. The least important columns are left out, a last column
//! of prose is wrapped, and the terminal breaks lines that are still too wide.

use std::{borrow::Cow, fmt};

use console::{Alignment, measure_text_width, pad_str};

use super::harmless;

/// Rows under upper-case headers.
#[derive(Clone, Debug, Default)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    gives_way: &'static [&'static str],
    flows: bool,
}

/// The columns of a table that has been printed in part, so that later rows align with them.
#[derive(Debug, Default)]
pub struct Columns {
    widths: Vec<usize>,
    /// Columns for which there was no room when the header was printed.
    hidden: Vec<bool>,
    headed: bool,
}

/// The space between columns.
const GAP: &str = "   ";

/// The minimum width at which a column of prose is readable.
const LEAST_FLOW: usize = 30;

/// The indentation of prose that is printed below its row because its column would be narrower.
const BELOW: &str = "    ";

// === impl Table ===

impl Table {
    pub fn new<'a>(header: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            header: header.into_iter().map(str::to_owned).collect(),
            ..Self::default()
        }
    }

    /// Sets the columns to leave out, in this order, until the others fit.
    pub fn giving_way(mut self, columns: &'static [&'static str]) -> Self {
        self.gives_way = columns;
        self
    }

    /// Makes the last column prose, which may take several lines.
    pub fn flowing(mut self) -> Self {
        self.flows = true;
        self
    }

    /// Adds a row. Empty cells print as `-`, so that columns can be counted.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                // Escaped before it is measured, because an escape is wider than the character that
                // it replaces.
                harmless::cell(&cell).into_owned()
            }
        });
        self.rows.push(cells.collect());
    }

    /// Formats the rows without the header.
    pub fn body(&self) -> String {
        let mut columns = Columns {
            headed: true,
            ..Columns::default()
        };
        columns.next(self, None)
    }

    /// Formats the table for a terminal of this width.
    pub fn within(&self, width: usize) -> String {
        Columns::default().next(self, Some(width))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Columns::default().next(self, None))
    }
}

// === impl Columns ===

impl Columns {
    /// Formats the rows of `more` as lines below the previous ones, the first time below its
    /// header. A cell that is wider than its column widens the column from then on.
    pub fn next(&mut self, more: &Table, limit: Option<usize>) -> String {
        let header = (!self.headed).then_some(&more.header);
        let lines: Vec<&Vec<String>> = header.into_iter().chain(&more.rows).collect();
        for line in &lines {
            self.widths.resize(self.widths.len().max(line.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(*line) {
                *width = (*width).max(measure_text_width(cell));
            }
        }
        self.hidden.resize(self.widths.len(), false);
        if let Some(limit) = limit.filter(|_| !self.headed) {
            self.make_room(more, limit);
        }
        self.headed = true;
        let lines = lines.into_iter().map(|line| self.line(more, line, limit));
        lines.collect()
    }

    fn make_room(&mut self, table: &Table, limit: usize) {
        for name in table.gives_way {
            if self.width(table) <= limit {
                return;
            }
            if let Some(at) = table.header.iter().position(|held| held == name) {
                self.hidden[at] = true;
            }
        }
    }

    /// Returns the minimum width of a line.
    fn width(&self, table: &Table) -> usize {
        let last = self.widths.len().saturating_sub(1);
        let shown = self.widths.iter().zip(&self.hidden).enumerate();
        let widths = shown.filter(|(_, (_, hidden))| !**hidden);
        let widths = widths.map(|(at, (width, _))| match table.flows && at == last {
            true => (*width).min(LEAST_FLOW),
            false => *width,
        });
        let widths: Vec<usize> = widths.collect();
        widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
    }

    fn line(&self, table: &Table, cells: &[String], limit: Option<usize>) -> String {
        let mut padded: Vec<Cow<'_, str>> = cells
            .iter()
            .zip(&self.widths)
            .zip(&self.hidden)
            .filter(|(_, hidden)| !**hidden)
            .map(|((cell, width), _)| pad_str(cell, *width, Alignment::Left, None))
            .collect();
        let Some(limit) = limit.filter(|_| table.flows && padded.len() > 1) else {
            return padded.join(GAP).trim_end().to_owned() + "\n";
        };
        let text = padded.pop().unwrap_or_default();
        let head = padded.join(GAP) + GAP;
        let room = limit.saturating_sub(measure_text_width(&head));
        let text = text.trim_end();
        let (indent, mut lines) = if measure_text_width(text) <= room || room >= LEAST_FLOW {
            let indent = " ".repeat(measure_text_width(&head));
            (indent, wrapped(text, room))
        } else {
            let mut lines = wrapped(text, limit.saturating_sub(BELOW.len()));
            lines.insert(0, String::new());
            (BELOW.to_owned(), lines)
        };
        for line in lines.iter_mut().skip(1) {
            line.insert_str(0, &indent);
        }
        let text = head + &lines.join("\n");
        let lines = text.lines().map(|line| line.trim_end().to_owned() + "\n");
        lines.collect()
    }
}

/// Breaks text at spaces into lines of at most this width. A longer word stays whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let wide = lines.last().map_or(0, |line| measure_text_width(line));
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if wide + 1 + measure_text_width(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[&str; 3]]) -> Table {
        let mut table = Table::new(["NAME", "READY", "AGE"]);
        for row in rows {
            table.row(row.map(str::to_owned));
        }
        table
    }

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let table = table(&[["counter", "1/1", "5s"], ["a", "", "12d"]]);
        assert_eq!(
            table.to_string(),
            "NAME      READY   AGE\n\
             counter   1/1     5s\n\
             a         -       12d\n"
        );
        assert_eq!(
            table.body(),
            "counter   1/1   5s\n\
             a         -     12d\n"
        );
    }

    #[test]
    fn the_least_important_columns_are_left_out_and_nothing_is_cut() {
        let table = table(&[["counter", "1/1", "5s"], ["a", "", "12d"]]);
        let narrow = table.clone().giving_way(&["AGE", "READY"]);
        assert_eq!(narrow.within(21), table.to_string());
        assert_eq!(
            narrow.within(20),
            "NAME      READY\n\
             counter   1/1\n\
             a         -\n"
        );
        for width in [0, 3, 7] {
            assert_eq!(narrow.within(width), "NAME\ncounter\na\n");
        }
        // Columns that may not be left out stay, however narrow the terminal is.
        assert_eq!(table.within(3), table.to_string());
    }

    #[test]
    fn prose_is_wrapped_within_its_column() {
        let mut table = Table::new(["OBJECT", "MESSAGE"]).flowing();
        let message = "nothing listens on port 6379 of its own network yet";
        table.row(["replica/a".to_owned(), message.to_owned()]);
        table.row(["b".to_owned(), "short".to_owned()]);
        assert_eq!(
            table.within(43),
            "OBJECT      MESSAGE\n\
             replica/a   nothing listens on port 6379 of\n            its own network yet\n\
             b           short\n"
        );
        assert_eq!(
            table.within(30),
            "OBJECT      MESSAGE\n\
             replica/a\n    nothing listens on port\n    6379 of its own network\n    yet\n\
             b           short\n"
        );
    }

    #[test]
    fn wide_letters_count_as_two() {
        assert_eq!(
            table(&[["日本", "1/1", "é"], ["abcd", "x\ny", "z"]]).to_string(),
            "NAME   READY   AGE\n\
             日本   1/1     é\n\
             abcd   x\\ny    z\n"
        );
    }

    #[test]
    fn later_rows_stand_below_the_same_columns() {
        let mut columns = Columns::default();
        columns.next(&table(&[["counter", "1/1", "5s"]]), None);
        assert_eq!(
            columns.next(&table(&[["a", "0/1", "6s"]]), None),
            "a         0/1     6s\n"
        );
        assert_eq!(
            columns.next(&table(&[["much-longer", "0/1", "6s"]]), None),
            "much-longer   0/1     6s\n"
        );
        assert_eq!(
            columns.next(&table(&[["a", "0/1", "6s"]]), None),
            "a             0/1     6s\n"
        );
    }
}
