//! The lines of one replica on disk, in files that are only appended to. The oldest file is removed
//! when there are too many.
//!
//! Everything here blocks on the disk, so it is called on dedicated threads. Nothing is synced:
//! lines survive the end of the worker, however it ends, but not a crash of the machine.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;

use super::{
    line::Line,
    record::{self, HEAD_BYTES},
    retention::{Held, Rank, Segment, first_to_go},
};

/// The most files that a replica has.
pub(super) const SEGMENTS: usize = 4;

/// How many bytes are read at each end of a file to find out what it contains: more than the
/// longest line takes.
const EDGE: u64 = 40 << 10;

const EXTENSION: &str = "log";

pub(super) struct Files {
    dir: PathBuf,
    segment_bytes: u64,
    /// Separate from `state`, whose lock is held while blocking on the disk.
    rank: Mutex<Rank>,
    state: Mutex<State>,
}

struct State {
    segments: Vec<Segment>,
    /// When the last line was written.
    last: SystemTime,
    /// The number of the next line of each source, if no line has been dropped since the last
    /// write.
    numbers: HashMap<Arc<str>, u64>,
    /// Whether the newest file ends in an incomplete record that could not be removed, so that
    /// nothing may be appended to it.
    spoiled: bool,
    #[cfg(test)]
    appends: usize,
}

/// Where a log continues that an earlier worker has written.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    /// The position of the next line.
    pub next: u64,
    pub run: u32,
    /// The number of the next line of each source.
    pub numbers: HashMap<Arc<str>, u64>,
}

// === impl Files ===

impl Files {
    /// Creates the state of a replica without files. The directory is created with the first line.
    pub fn new(dir: PathBuf, segment_bytes: u64) -> Self {
        Self {
            dir,
            segment_bytes,
            rank: Mutex::new(Rank::Live),
            state: Mutex::new(State {
                segments: Vec::new(),
                last: SystemTime::UNIX_EPOCH,
                numbers: HashMap::new(),
                spoiled: false,
                #[cfg(test)]
                appends: 0,
            }),
        }
    }

    /// Recovers the files of an earlier worker, which may have been killed while writing a line.
    /// Returns `None` if they contain nothing readable.
    pub fn recover(dir: PathBuf, segment_bytes: u64) -> io::Result<Option<(Self, Resumed)>> {
        let files = Self::new(dir, segment_bytes);
        *files.rank.lock() = Rank::Left;
        let mut firsts = Vec::new();
        for entry in fs::read_dir(&files.dir)? {
            firsts.extend(first_of(&entry?.path()));
        }
        firsts.sort_unstable();
        let mut state = files.state.lock();
        let mut resumed = Resumed::default();
        for first in firsts {
            let path = files.path(first);
            let Some((segment, last)) = recover_segment(&path, first, &mut resumed)? else {
                fs::remove_file(&path)?;
                continue;
            };
            state.segments.push(segment);
            state.last = last;
        }
        state.numbers.clone_from(&resumed.numbers);
        let found = !state.segments.is_empty();
        drop(state);
        Ok(found.then_some((files, resumed)))
    }

    pub fn rank(&self) -> Rank {
        *self.rank.lock()
    }

    pub fn set_rank(&self, rank: Rank) {
        *self.rank.lock() = rank;
    }

    /// Returns the largest number of bytes that one call of [`Self::append`] may write.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Returns the size of all files together.
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes()
    }

    pub fn held(&self) -> Held {
        let state = self.state.lock();
        Held {
            rank: self.rank(),
            last: state.last,
            segments: state.segments.len(),
        }
    }

    /// Returns the files, oldest first.
    pub fn segments(&self) -> Vec<Segment> {
        self.state.lock().segments.clone()
    }

    pub fn path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:020}.{EXTENSION}"))
    }

    /// Appends lines in one write, all of them or none if it fails. Removes files that no longer
    /// fit.
    pub fn append(&self, lines: &[Arc<Line>]) -> io::Result<()> {
        let (Some(oldest), Some(newest)) = (lines.first(), lines.last()) else {
            return Ok(());
        };
        let mut state = self.state.lock();
        let mut numbers = state.numbers.clone();
        let mut batch = Vec::new();
        let mut runs = (oldest.run, oldest.run);
        for line in lines {
            let first = line.number - line.dropped_before;
            let expected = numbers.get(&line.source).copied().unwrap_or(first);
            record::write(&mut batch, line, line.number.saturating_sub(expected));
            numbers.insert(Arc::clone(&line.source), line.number + 1);
            runs = (runs.0.min(line.run), runs.1.max(line.run));
        }

        let size = batch.len() as u64;
        let fits = |segment: &Segment| segment.bytes + size <= self.segment_bytes;
        let open = state.segments.last().filter(|last| fits(last));
        let appended = match open.filter(|_| !state.spoiled) {
            Some(segment) => append_to(&self.path(segment.first), segment.bytes, &batch),
            None => Err(Failed::Gone),
        };
        match appended {
            Ok(()) => {
                if let Some(segment) = state.segments.last_mut() {
                    segment.bytes += size;
                    segment.runs = (segment.runs.0.min(runs.0), segment.runs.1.max(runs.1));
                }
            }
            Err(Failed::Gone) => {
                self.create(oldest.position, &batch)?;
                state.segments.push(Segment {
                    first: oldest.position,
                    bytes: size,
                    runs,
                });
                state.spoiled = false;
            }
            Err(Failed::TakenBack(error)) => return Err(error),
            Err(Failed::Spoiled(error)) => {
                state.spoiled = true;
                return Err(error);
            }
        }
        #[cfg(test)]
        {
            state.appends += 1;
        }
        state.numbers = numbers;
        state.last = newest.time;
        let most = self.segment_bytes * SEGMENTS as u64;
        while state.segments.len() > SEGMENTS || state.bytes() > most {
            let Some(index) = first_to_go(&state.segments) else {
                break;
            };
            self.remove(&mut state, index);
        }
        Ok(())
    }

    /// Returns the number of writes so far.
    #[cfg(test)]
    pub fn appends(&self) -> usize {
        self.state.lock().appends
    }

    /// Removes the oldest file.
    pub fn give(&self) {
        let mut state = self.state.lock();
        if !state.segments.is_empty() {
            self.remove(&mut state, 0);
        }
    }

    /// Removes all files.
    pub fn remove_all(&self) {
        self.state.lock().segments.clear();
        if let Err(error) = fs::remove_dir_all(&self.dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.dir.display(), %error, "cannot remove a replica's log files");
        }
    }

    fn remove(&self, state: &mut State, index: usize) {
        let segment = state.segments.remove(index);
        let path = self.path(segment.first);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove an old log file");
        }
    }

    fn create(&self, first: u64, batch: &[u8]) -> io::Result<()> {
        let path = self.path(first);
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600);
        let mut file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut dir = DirBuilder::new();
                dir.recursive(true).mode(0o700).create(&self.dir)?;
                options.open(&path)?
            }
            opened => opened?,
        };
        file.write_all(batch).inspect_err(|_| {
            // If this fails too, the next attempt truncates the file.
            let _ = fs::remove_file(&path);
        })
    }
}

// === impl State ===

impl State {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// Why nothing was appended.
enum Failed {
    /// The file does not exist.
    Gone,
    /// The file is unchanged.
    TakenBack(io::Error),
    /// The file ends in an incomplete record.
    Spoiled(io::Error),
}

fn append_to(path: &Path, length: u64, batch: &[u8]) -> Result<(), Failed> {
    let mut file = match OpenOptions::new().append(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Failed::Gone),
        Err(error) => return Err(Failed::TakenBack(error)),
    };
    let written = file.write_all(batch);
    written.map_err(|error| match file.set_len(length) {
        Ok(()) => Failed::TakenBack(error),
        Err(_) => Failed::Spoiled(error),
    })
}

fn first_of(path: &Path) -> Option<u64> {
    let is_ours = path.extension().is_some_and(|it| it == EXTENSION);
    let name = path.file_stem()?.to_str()?;
    name.parse().ok().filter(|_| is_ours)
}

/// Reads both ends of a file, and cuts off an incomplete line at its end. Returns the segment and
/// the time of its last line, or `None` if no line can be read.
fn recover_segment(
    path: &Path,
    first: u64,
    resumed: &mut Resumed,
) -> io::Result<Option<(Segment, SystemTime)>> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let head = read_at(&mut file, 0, EDGE)?;
    let begin = length.saturating_sub(EDGE);
    let tail = read_at(&mut file, begin, EDGE)?;
    let whole = tail
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let bytes = begin + whole as u64;
    if bytes < length {
        file.set_len(bytes)?;
    }

    let oldest = head.split(|byte| *byte == b'\n').find_map(record::parse);
    let mut last = None;
    for line in tail[..whole].split(|byte| *byte == b'\n') {
        let Some((head, _)) = record::parse(line) else {
            continue;
        };
        let Some(time) = head.time() else { continue };
        resumed.next = resumed.next.max(head.position + 1);
        resumed.run = resumed.run.max(head.run);
        resumed
            .numbers
            .insert(Arc::from(head.source), head.number + 1);
        last = Some((head.run, time));
    }
    let (Some((oldest, _)), Some((run, time))) = (oldest, last) else {
        return Ok(None);
    };
    let segment = Segment {
        first,
        bytes,
        runs: (oldest.run.min(run), oldest.run.max(run)),
    };
    Ok(Some((segment, time)))
}

/// Reads up to `most` bytes from an offset on.
pub(super) fn read_at(file: &mut File, offset: u64, most: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the most bytes that a line takes in a file.
pub(super) fn record_bytes(line: &Line) -> u64 {
    (line.text.len() + HEAD_BYTES) as u64
}
