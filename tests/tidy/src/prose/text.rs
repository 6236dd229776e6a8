//! The texts in a file: paragraphs of comments and pages, and string literals.

use crate::{
    paths,
    rooms::is_test,
    rust::{Source, Text},
};

/// Text that is read as a whole, with blanks in place of code.
#[derive(Debug, Default)]
pub struct Paragraph {
    pub text: String,
    /// Where each line begins in `text`, and its number in the file.
    lines: Vec<(usize, usize)>,
    /// Whether its sentences are to be whole ones, which those of messages need not be.
    pub sentences: bool,
}

impl Paragraph {
    /// Returns the line of the file that a place in the text is in.
    pub fn line_of(&self, at: usize) -> usize {
        let before = self.lines.iter().rev().find(|(start, _)| *start <= at);
        before.or(self.lines.first()).map_or(1, |(_, line)| *line)
    }

    fn push(&mut self, line: usize, text: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.lines.push((self.text.len(), line));
        self.text.push_str(&without_code(text.trim()));
    }
}

/// Returns the texts of a file, by what kind of file it is.
pub fn paragraphs(path: &str, text: &str) -> Vec<Paragraph> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "md" => blocks(paths::prose(text).map(|(line, text)| (line, text.to_owned()))),
        "rs" => {
            let source = Source::parse(text);
            let mut all = of_comments(&source.comments);
            if !is_test(path) {
                let product = source.product_code();
                let lines: Vec<_> = product.lines().collect();
                let shipped = |text: &&Text| {
                    let line = lines.get(text.line - 1);
                    line.is_some_and(|line| !line.trim().is_empty())
                };
                all.extend(source.strings.iter().filter(shipped).map(message));
            }
            all
        }
        "proto" => of_comments(&Source::parse(text).comments),
        "sh" | "py" | "toml" | "yaml" | "yml" => hashes(text),
        _ if name == "Dockerfile" || path.starts_with(".ci/") => hashes(text),
        _ => Vec::new(),
    }
}

/// A string literal, whose lines may be broken and whose places for values stand for a word.
fn message(text: &Text) -> Paragraph {
    let mut paragraph = Paragraph::default();
    for (number, line) in text.text.lines().enumerate() {
        let line = line.trim_end_matches('\\').replace("\\n", " ");
        paragraph.push(text.line + number, &line);
    }
    paragraph
}

fn of_comments(comments: &[Text]) -> Vec<Paragraph> {
    let lines = comments.iter().flat_map(|comment| {
        comment.text.lines().enumerate().map(|(number, line)| {
            let marks = ['/', '!', '*'];
            (
                comment.line + number,
                line.trim().trim_start_matches(marks).to_owned(),
            )
        })
    });
    let mut fenced = false;
    let prose = lines.filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    });
    blocks(prose)
}

/// Comments that begin with `#`, in a line of their own.
fn hashes(text: &str) -> Vec<Paragraph> {
    let lines = text.lines().enumerate().filter_map(|(number, line)| {
        let comment = line.trim().strip_prefix('#')?;
        let comment = comment.strip_prefix('!').map_or(comment, |_| "");
        Some((number + 1, comment.to_owned()))
    });
    blocks(lines)
}

/// Joins lines that follow each other; a list's entry, a cell and a heading are by themselves.
fn blocks(lines: impl Iterator<Item = (usize, String)>) -> Vec<Paragraph> {
    let mut all = Vec::<Paragraph>::new();
    let mut last = 0;
    let mut open = false;
    for (number, line) in lines {
        let text = line.trim();
        let starts_entry = text.starts_with(['-', '*', '+', '|', '>'])
            || text
                .split_once(". ")
                .is_some_and(|(n, _)| n.parse::<u8>().is_ok());
        let heading = text.starts_with('#');
        let rule = !text.contains(|c: char| c.is_alphanumeric());
        if rule {
            open = false;
            continue;
        }
        if text.starts_with('|') {
            for cell in text.split('|').filter(|cell| !cell.trim().is_empty()) {
                all.push(Paragraph::default());
                if let Some(paragraph) = all.last_mut() {
                    paragraph.push(number, cell);
                }
            }
            open = false;
            continue;
        }
        if !open || number != last + 1 || starts_entry || heading {
            all.push(Paragraph::default());
        }
        if let Some(paragraph) = all.last_mut() {
            paragraph.sentences = !heading;
            paragraph.push(
                number,
                text.trim_start_matches(['-', '*', '+', '>', '#', ' ']),
            );
        }
        last = number;
        open = !heading;
    }
    all
}

/// Puts a name in place of what is in backticks, and blanks in place of a link's target.
fn without_code(text: &str) -> String {
    let mut kept = String::new();
    for (number, part) in text.split('`').enumerate() {
        match number % 2 {
            0 => kept.push_str(part),
            // As long as before, so that places stay.
            _ => kept.push_str(&"X".repeat(part.len() + 2)),
        }
    }
    while let Some(at) = kept.find("](") {
        let end = kept[at..].find(')').map_or(kept.len(), |end| at + end + 1);
        let blank = " ".repeat(end - at);
        kept.replace_range(at..end, &blank);
    }
    kept.replace('[', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &str, text: &str) -> Vec<String> {
        let all = paragraphs(path, text);
        all.into_iter().map(|p| p.text).collect()
    }

    #[test]
    fn paragraphs_end_at_blank_lines_entries_and_headings() {
        let text =
            "# A title\nOne\ntwo.\n\n- three\n  four\n- five\n\n| six | seven |\n|---|---|\n";
        let expected = [
            "A title",
            "One two.",
            "three four",
            "five",
            " six ",
            " seven ",
        ];
        let trimmed: Vec<_> = expected.iter().map(|text| text.trim()).collect();
        assert_eq!(texts("a.md", text), trimmed);
        let source = "//! One\n//! two.\n//!\n//! - three\n\n// four\nlet a; // five\n";
        assert_eq!(texts("a.rs", source), ["One two.", "three", "four five"]);
    }

    #[test]
    fn places_are_in_the_line_that_they_were_in() {
        let text = "One `two`\nthree";
        let paragraph = &paragraphs("a.md", text)[0];
        let at = paragraph.text.find("three").unwrap_or_default();
        assert_eq!((paragraph.line_of(0), paragraph.line_of(at)), (1, 2));
        assert_eq!(paragraph.text, "One XXXXX three");
    }
}
