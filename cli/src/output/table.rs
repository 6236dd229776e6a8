//! Tables without borders: columns that line up, and that `awk` can take apart.

use std::{borrow::Cow, fmt};

use console::{Alignment, measure_text_width, pad_str, truncate_str};

/// Rows under upper-case headers.
#[derive(Clone, Debug, Default)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// What was printed of a table so far, so that later rows stand below its columns.
#[derive(Debug, Default)]
pub struct Columns {
    widths: Vec<usize>,
    headed: bool,
}

/// Between columns.
const GAP: &str = "   ";

// === impl Table ===

impl Table {
    pub fn new<'a>(header: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            header: header.into_iter().map(str::to_owned).collect(),
            rows: Vec::new(),
        }
    }

    /// Cells that are empty print as `-`, so that columns can be counted.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                // Guests write some of them: none may move the cursor.
                cell.replace(char::is_control, " ")
            }
        });
        self.rows.push(cells.collect());
    }

    /// Its rows alone, for where no header is wanted.
    pub fn body(&self) -> String {
        let mut columns = Columns {
            headed: true,
            ..Columns::default()
        };
        columns.next(self, None)
    }

    /// With lines cut where this width ends.
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
    /// The rows of `more` as lines below what came before; the first time below its header. A cell that is wider than
    /// its column so far moves what stands to its right, from then on.
    pub fn next(&mut self, more: &Table, limit: Option<usize>) -> String {
        let header = (!self.headed).then_some(&more.header);
        self.headed = true;
        let lines: Vec<&Vec<String>> = header.into_iter().chain(&more.rows).collect();
        for line in &lines {
            self.widths.resize(self.widths.len().max(line.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(*line) {
                *width = (*width).max(measure_text_width(cell));
            }
        }
        let lines = lines.into_iter().map(|line| self.line(line, limit) + "\n");
        lines.collect()
    }

    fn line(&self, cells: &[String], limit: Option<usize>) -> String {
        let padded: Vec<Cow<'_, str>> = cells
            .iter()
            .zip(&self.widths)
            .map(|(cell, width)| pad_str(cell, *width, Alignment::Left, None))
            .collect();
        let line = padded.join(GAP);
        let line = line.trim_end();
        match limit {
            Some(width) => truncate_str(line, width, "…").into_owned(),
            None => line.to_owned(),
        }
    }
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
        assert_eq!(
            table.within(10),
            "NAME     …\n\
             counter  …\n\
             a        …\n"
        );
    }

    #[test]
    fn wide_letters_count_as_two() {
        assert_eq!(
            table(&[["日本", "1/1", "é"], ["abcd", "x\ny", "z"]]).to_string(),
            "NAME   READY   AGE\n\
             日本   1/1     é\n\
             abcd   x y     z\n"
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
