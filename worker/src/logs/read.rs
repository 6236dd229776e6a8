//! Reads a replica's files while they are written and removed. Lines that were removed in the
//! meantime are skipped; the numbers of the next lines show how many there were.

use std::{
    fs::{self, File},
    io,
    time::SystemTime,
};

use super::{
    files::{Files, read_at},
    line::Line,
    record,
    retention::Segment,
};

/// Selects the lines to read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub source: Option<String>,
    /// Selects one run; `Some(None)` selects a run that does not exist, and so no lines.
    pub run: Option<Option<u32>>,
}

/// The place in the files after the last page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    segment: u64,
    offset: u64,
}

/// The result of one read.
pub(super) struct Page {
    /// The lines that were selected.
    pub lines: Vec<Line>,
    /// The position of the next line to read.
    pub next: u64,
    pub cursor: Option<Cursor>,
}

/// A backward search for the position at which the selected lines begin.
#[derive(Clone, Debug)]
pub(super) struct Search {
    /// Only lines before this position are searched.
    pub below: u64,
    /// The position at which the lines begin if none is found.
    pub begin: u64,
    /// How many more lines to find.
    pub tail: usize,
    pub since: Option<SystemTime>,
}

/// How many bytes are read at once. This is several of the longest lines and, including the
/// overhead per line, far below the 4 MiB limit of a message.
const CHUNK: u64 = 256 << 10;

// === impl Wanted ===

impl Wanted {
    pub fn takes(&self, source: &str, run: u32) -> bool {
        let is_source = self.source.as_ref().is_none_or(|wanted| wanted == source);
        is_source && self.run.is_none_or(|wanted| wanted == Some(run))
    }
}

// === impl Files ===

impl Files {
    /// Reads the next chunk that contains lines from position `from` on, and returns the selected
    /// ones before `until`.
    pub fn page(
        &self,
        from: u64,
        until: u64,
        cursor: Option<Cursor>,
        wanted: &Wanted,
    ) -> io::Result<Page> {
        let segments = self.segments();
        let (mut index, mut offset) = place(&segments, from, cursor);
        while let Some(segment) = segments.get(index) {
            let chunk = match File::open(self.path(segment.first)) {
                Ok(mut file) => read_at(&mut file, offset, CHUNK)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            };
            let whole = whole_lines(&chunk);
            if whole.is_empty() {
                // A full chunk without a line end is damage and is skipped. A shorter one is the
                // end of the file.
                (index, offset) = match chunk.len() as u64 == CHUNK {
                    true => (index, offset + CHUNK),
                    false => (index + 1, 0),
                };
                continue;
            }
            offset += whole.len() as u64;
            let mut page = Page {
                lines: Vec::new(),
                next: from,
                cursor: Some(Cursor {
                    segment: segment.first,
                    offset,
                }),
            };
            for line in whole.split(|byte| *byte == b'\n') {
                let Some((head, text)) = record::parse(line) else {
                    continue;
                };
                if head.position >= until {
                    page.next = until;
                    break;
                }
                // Positions never go backwards, whatever a file contains.
                if head.position < page.next {
                    continue;
                }
                page.next = head.position + 1;
                if wanted.takes(head.source, head.run) {
                    page.lines.extend(head.line(text));
                }
            }
            return Ok(page);
        }
        Ok(Page {
            lines: Vec::new(),
            next: until,
            cursor: None,
        })
    }

    /// Finds the position of the first selected line. Reads one file at a time.
    pub fn find(&self, search: &Search, wanted: &Wanted) -> io::Result<u64> {
        let (mut begin, mut left) = (search.begin, search.tail);
        let segments = self.segments();
        let before = segments.iter().filter(|it| it.first < search.below);
        for segment in before.rev() {
            let bytes = match fs::read(self.path(segment.first)) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in whole_lines(&bytes).rsplit(|byte| *byte == b'\n') {
                let Some((head, _)) = record::parse(line) else {
                    continue;
                };
                if head.position >= search.below {
                    continue;
                }
                if let Some(since) = search.since
                    && head.time().is_some_and(|time| time < since)
                {
                    return Ok(begin);
                }
                if wanted.takes(head.source, head.run) {
                    begin = head.position;
                    left -= 1;
                    if left == 0 {
                        return Ok(begin);
                    }
                }
            }
        }
        Ok(begin)
    }
}

/// Returns the index of the file in which to read, and the offset in it.
fn place(segments: &[Segment], from: u64, cursor: Option<Cursor>) -> (usize, u64) {
    let resumed = cursor.and_then(|cursor| {
        let index = segments.iter().position(|it| it.first == cursor.segment)?;
        Some((index, cursor.offset))
    });
    resumed.unwrap_or_else(|| {
        let after = segments.partition_point(|segment| segment.first <= from);
        (after.saturating_sub(1), 0)
    })
}

/// Returns the bytes up to the last line end. What follows is being written or was left incomplete.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    end.map_or(&[], |end| &bytes[..=end])
}
