//! Reading a replica's files, while they are written and removed. What is gone meanwhile is passed over: the numbers
//! of the next lines tell how many it were.

use std::{
    fs::{self, File},
    io,
    time::SystemTime,
};

use super::{
    files::{Files, read_at},
    kept::Line,
    record,
    retention::Segment,
};

/// Which lines are read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub source: Option<String>,
    /// One run only; nothing where there was none.
    pub run: Option<Option<u32>>,
}

/// Where reading went on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    segment: u64,
    offset: u64,
}

/// What was read at once.
pub(super) struct Page {
    /// Those that are wanted.
    pub lines: Vec<Line>,
    /// Position of the next line to read.
    pub next: u64,
    pub cursor: Option<Cursor>,
}

/// Looks for where the wanted lines begin, from the newest back.
#[derive(Clone, Debug)]
pub(super) struct Search {
    /// Only lines before this position; those from it on were looked at.
    pub below: u64,
    /// Where they begin if nothing is found.
    pub begin: u64,
    /// How many more to find.
    pub tail: usize,
    pub since: Option<SystemTime>,
}

/// Read at once: several of the longest lines, and with what a message needs for each line far below the 4 MiB that it
/// may have.
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
    /// The wanted lines of the next chunk that has lines from a position on; none at or after `until`.
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
                // Longer than any line of ours: damage, to be passed over. Else the end of the file.
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
                // Never backwards, whatever stands in a file.
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

    /// Position of the first line that is wanted. Reads one file at a time.
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

/// Which file, and where in it.
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

/// Up to the last line end: what follows is being written, or was torn off.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    end.map_or(&[], |end| &bytes[..=end])
}
