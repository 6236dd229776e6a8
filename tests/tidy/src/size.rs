//! Sizes: of files, and of comment lines.

use crate::{Finding, Tree, rust::Source};

/// Lines that a source file may have.
const LINES: usize = 500;
/// Columns that a comment's line may have, indentation included.
const COLUMNS: usize = 100;

/// Returns source files with too many lines, and comments with too many columns.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        let extension = path.rsplit_once('.').map(|(_, extension)| extension);
        if !matches!(extension, Some("rs" | "py" | "sh" | "js")) && !path.starts_with(".ci/") {
            continue;
        }
        let lines = text.lines().count();
        if lines > LINES {
            let message = format!("{lines} lines; split what is above {LINES}");
            findings.push(Finding::new(path, lines, "lines", message));
        }
    }
    for (path, text) in tree.ending(".rs") {
        let lines: Vec<_> = text.lines().collect();
        for comment in Source::parse(text).comments {
            let of_comment = comment.text.lines().count();
            for number in comment.line..comment.line + of_comment {
                let width = lines[number - 1].chars().count();
                // A long word, such as an address, has no place to break at.
                let breaks = lines[number - 1].split_whitespace().count() > 2;
                if width > COLUMNS && breaks {
                    let message = format!("a comment of {width} columns; {COLUMNS} fit");
                    findings.push(Finding::new(path, number, "width", message));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_501_lines_is_found() {
        let lines = |count| "let a;\n".repeat(count);
        let tree = Tree::of(&[("a.rs", &lines(500)), ("b.rs", &lines(501))]);
        let found = check(&tree);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].path.as_str(), found[0].line), ("b.rs", 501));
        // Pages and lock files are as long as they need to be.
        assert_eq!(check(&Tree::of(&[("a.md", &lines(501))])), []);
    }

    #[test]
    fn a_comment_of_101_columns_is_found() {
        let comment = |length: usize| format!("    // {}", "a ".repeat(length).trim_end());
        let (fits, too_long) = (comment(47), comment(48));
        assert_eq!((fits.len(), too_long.len()), (100, 102));
        let code = format!("let a = \"// {}\";", "a ".repeat(60));
        let tree = Tree::of(&[("a.rs", &[fits, too_long, code].join("\n"))]);
        let found: Vec<_> = check(&tree).iter().map(|f| f.line).collect();
        assert_eq!(found, [2]);
        let address = format!("/// {}", "a".repeat(120));
        assert_eq!(check(&Tree::of(&[("a.rs", &address)])), []);
    }
}
