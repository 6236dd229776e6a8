//! Tables without borders: columns that line up, and that `awk` can take apart.

use std::fmt;

use comfy_table::{ContentArrangement, presets};

/// Rows under upper-case headers.
pub struct Table(comfy_table::Table);

/// Between columns.
const GAP: u16 = 3;

// === impl Table ===

impl Table {
    pub fn new<'a>(header: impl IntoIterator<Item = &'a str>) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_preset(presets::NOTHING)
            // A cell that wraps is neither read nor parsed.
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(header.into_iter().collect::<Vec<_>>());
        Self(table)
    }

    /// Cells that are empty print as `-`, so that columns can be counted.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells.into_iter().map(|cell| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell.replace(['\n', '\t'], " ")
            }
        }));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = self.0.clone();
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        for line in table.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new(["NAME", "READY", "AGE"]);
        table.row(["counter".to_owned(), "1/1".to_owned(), "5s".to_owned()]);
        table.row(["a".to_owned(), String::new(), "12d".to_owned()]);
        assert_eq!(
            table.to_string(),
            "NAME      READY   AGE\n\
             counter   1/1     5s\n\
             a         -       12d\n"
        );
    }
}
