//! Reads a replica's log from a position on.

use std::{collections::HashMap, io, sync::Arc, time::SystemTime};

use tokio::task;
use warren_proto::v1;

use super::{
    LogQuery, ReplicaLog,
    files::Files,
    line::Line,
    read::{Cursor, Page, Search, Wanted},
};

/// The lines of one replica in the order in which they were written, first from files and then from
/// memory.
pub struct LogStream {
    log: ReplicaLog,
    wanted: Wanted,
    /// The search to run in files to find the beginning, if it is not known yet.
    search: Option<Search>,
    /// The position of the next line to read.
    position: u64,
    /// The place in the files at which reading continues.
    cursor: Option<Cursor>,
    /// The position at which to stop; `None` follows the log.
    until: Option<u64>,
    /// The number of the next line of each source of which a line was read, if none is missed.
    expected: HashMap<Arc<str>, u64>,
    /// A position and the number of the next line of each source there, for sources of which no
    /// earlier line is read.
    known: (u64, HashMap<Arc<str>, u64>),
}

/// The next thing to read.
enum Found {
    Lines(Vec<Arc<Line>>),
    /// Lines up to this position must be read from files.
    Files(u64),
    Nothing,
    End,
}

/// The most lines and bytes that are read at once, far below the 4 MiB limit of a gRPC message.
const BATCH_LINES: usize = 256;
const BATCH_BYTES: usize = 256 << 10;

// === impl LogStream ===

impl LogStream {
    pub(super) fn new(log: ReplicaLog, query: LogQuery) -> Self {
        let since = query
            .since
            .and_then(|since| SystemTime::now().checked_sub(since));
        let ring = log.0.ring.lock();
        let wanted = Wanted {
            source: query.source,
            run: query.previous.then(|| ring.run().checked_sub(1)),
        };
        let (position, search) = ring.start(since, query.tail, &wanted);
        let until = (!query.follow).then(|| ring.next());
        let known_at = position.max(ring.base());
        let known = (known_at, ring.expected(known_at));
        drop(ring);
        Self {
            log,
            wanted,
            search,
            position,
            cursor: None,
            until,
            expected: HashMap::new(),
            known,
        }
    }

    /// Returns the next lines: at least one, and as many as are available up to a limit. Waits for
    /// them when following. Returns `None` at the end. Cancel safe: a dropped future has read
    /// nothing.
    pub async fn next(&mut self) -> Option<Vec<v1::LogLine>> {
        if let Some(search) = self.search.clone() {
            let begin = self.find(search.clone()).await;
            self.position = begin.unwrap_or(search.begin);
            self.search = None;
        }
        loop {
            let shared = Arc::clone(&self.log.0);
            // Registered before reading, so that a line added in between is not missed.
            let changed = shared.changed.notified();
            let lines = match self.read() {
                Found::Lines(lines) => lines.iter().map(|line| self.message(line)).collect(),
                Found::Files(until) => self.page(until).await,
                Found::Nothing => {
                    changed.await;
                    continue;
                }
                Found::End => return None,
            };
            if !lines.is_empty() {
                return Some(lines);
            }
        }
    }

    fn read(&mut self) -> Found {
        let mut found: Vec<Arc<Line>> = Vec::new();
        let mut bytes = 0;
        let ring = self.log.0.ring.lock();
        if self.until.is_some_and(|until| self.position >= until) {
            return Found::End;
        }
        if self.position < ring.base() {
            let written = ring.written();
            return Found::Files(self.until.map_or(written, |until| until.min(written)));
        }
        let mut more = false;
        // Lines that were dropped before they were read are skipped; the next line contains their
        // number.
        for line in ring.from(self.position) {
            if self.until.is_some_and(|until| line.position >= until) {
                break;
            }
            if found.len() == BATCH_LINES || bytes > BATCH_BYTES {
                more = true;
                break;
            }
            self.position = line.position + 1;
            if self.wanted.takes(&line.source, line.run) {
                bytes += line.text.len();
                found.push(Arc::clone(line));
            }
        }
        let at_end = !more && (self.until.is_some() || ring.is_closed());
        match found.is_empty() && !more {
            true if at_end => Found::End,
            true => Found::Nothing,
            false => Found::Lines(found),
        }
    }

    /// Finds where the selected lines begin. Returns `None` if the files cannot be read.
    async fn find(&self, search: Search) -> Option<u64> {
        let wanted = self.wanted.clone();
        let begin = self.blocking(move |files| files.find(&search, &wanted));
        begin.await
    }

    /// Reads the next chunk of files, up to a position, and returns the selected lines, of which
    /// there may be none.
    async fn page(&mut self, until: u64) -> Vec<v1::LogLine> {
        let (from, cursor, wanted) = (self.position, self.cursor, self.wanted.clone());
        let page = self.blocking(move |files| files.page(from, until, cursor, &wanted));
        let page = page.await.unwrap_or(Page {
            lines: Vec::new(),
            next: until,
            cursor: None,
        });
        self.position = page.next;
        self.cursor = page.cursor;
        page.lines.iter().map(|line| self.message(line)).collect()
    }

    /// Runs `read` on a thread that may block. If it fails, logs a warning and returns `None`.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Files) -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        let file = self.log.0.file.as_ref()?;
        // The semaphore is never closed.
        let _turn = file.disk.reads.acquire().await;
        let files = Arc::clone(&file.files);
        let read = task::spawn_blocking(move || read(&files)).await;
        let read = read.map_err(io::Error::other).flatten();
        let replica = &self.log.0.replica;
        read.inspect_err(
            |error| tracing::warn!(%replica, %error, "cannot read the replica's earlier log lines"),
        )
        .ok()
    }

    fn message(&mut self, line: &Line) -> v1::LogLine {
        let expected = self.expected.entry(Arc::clone(&line.source));
        let expected = expected.or_insert_with(|| match line.position < self.known.0 {
            true => line.number - line.dropped_before,
            false => self.known.1.get(&line.source).copied().unwrap_or(0),
        });
        let missed = line.number.saturating_sub(*expected);
        *expected = line.number + 1;
        v1::LogLine {
            time: Some(line.time.into()),
            replica: self.log.0.replica.clone(),
            source: line.source.to_string(),
            stream: v1::log_line::Stream::from(line.stream).into(),
            line: line.text.clone(),
            dropped_before: u32::try_from(missed).unwrap_or(u32::MAX),
            restarts: line.run,
            truncated: line.truncated,
        }
    }
}
