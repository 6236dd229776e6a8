//! The Redis serialisation protocol, version 2: requests in, replies out.

use std::fmt::{self, Display};
use std::io::Write;
use std::ops::Range;
use std::slice;

const MAX_REQUEST: usize = 16 * 1024 * 1024;
const MAX_ARGS: usize = 64 * 1024;
const MAX_INLINE: usize = 16 * 1024;
/// `*` or `$`, a number and the line's end.
const MAX_HEADER: usize = 24;

// === Parser ===

/// Finds requests in a connection's input without copying them. It remembers how far it got in a
/// request that is not complete yet, so a large request that arrives in many pieces is looked at
/// once.
#[derive(Default)]
pub struct Parser {
    args: Vec<Range<usize>>,
    missing: usize,
    position: usize,
    complete: bool,
}

/// One complete request. Its caller drops `length` bytes from the front of the input before it asks
/// for the next.
pub struct Request<'a> {
    pub args: Args<'a>,
    pub length: usize,
}

#[derive(Debug, PartialEq)]
pub enum ProtocolError {
    InvalidMultibulkLength,
    InvalidBulkLength,
    ExpectedBulk(u8),
    UnterminatedBulk,
    HeaderTooLong,
    InlineTooLong,
    RequestTooLarge,
}

impl Parser {
    /// The request at the front of `input`, or `None` when more input is needed.
    pub fn next<'a>(&'a mut self, input: &'a [u8]) -> Result<Option<Request<'a>>, ProtocolError> {
        if self.complete {
            self.args.clear();
            self.position = 0;
            self.complete = false;
        }
        self.complete = self.advance(input)?;
        Ok(self.complete.then(|| Request {
            args: Args {
                input,
                ranges: self.args.iter(),
            },
            length: self.position,
        }))
    }

    fn advance(&mut self, input: &[u8]) -> Result<bool, ProtocolError> {
        if self.position == 0 {
            match input.first() {
                None => return Ok(false),
                Some(b'*') => {
                    let Some((header, end)) = header(input, 0)? else {
                        return Ok(false);
                    };
                    // A negative count is an empty request, as in Redis.
                    let count = number(header)
                        .ok_or(ProtocolError::InvalidMultibulkLength)?
                        .max(0);
                    self.missing = usize::try_from(count)
                        .ok()
                        .filter(|count| *count <= MAX_ARGS)
                        .ok_or(ProtocolError::InvalidMultibulkLength)?;
                    self.position = end;
                }
                Some(_) => return self.inline(input),
            }
        }
        while self.missing > 0 {
            let Some((header, start)) = header(input, self.position)? else {
                return Ok(false);
            };
            let marker = input[self.position];
            if marker != b'$' {
                return Err(ProtocolError::ExpectedBulk(marker));
            }
            let length = number(header)
                .and_then(|length| usize::try_from(length).ok())
                .ok_or(ProtocolError::InvalidBulkLength)?;
            // Refused by what it announces, before any of it is buffered.
            if length > MAX_REQUEST - start.min(MAX_REQUEST) {
                return Err(ProtocolError::RequestTooLarge);
            }
            let end = start + length;
            let Some(terminator) = input.get(end..end + 2) else {
                return Ok(false);
            };
            if terminator != b"\r\n" {
                return Err(ProtocolError::UnterminatedBulk);
            }
            self.args.push(start..end);
            self.missing -= 1;
            self.position = end + 2;
        }
        Ok(true)
    }

    /// A request as a person types it into telnet: one line, words between blanks.
    fn inline(&mut self, input: &[u8]) -> Result<bool, ProtocolError> {
        let Some(end) = input
            .iter()
            .take(MAX_INLINE)
            .position(|byte| *byte == b'\n')
        else {
            return if input.len() < MAX_INLINE {
                Ok(false)
            } else {
                Err(ProtocolError::InlineTooLong)
            };
        };
        let mut start = 0;
        for word in input[..end].split(u8::is_ascii_whitespace) {
            if !word.is_empty() {
                self.args.push(start..start + word.len());
            }
            start += word.len() + 1;
        }
        self.position = end + 1;
        Ok(true)
    }
}

/// The header line at `start` without its marker and line end, and where the next line begins.
fn header(input: &[u8], start: usize) -> Result<Option<(&[u8], usize)>, ProtocolError> {
    let line = &input[start..input.len().min(start + MAX_HEADER)];
    match line.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let header = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
            Ok(Some((header.get(1..).unwrap_or_default(), start + end + 1)))
        }
        None if line.len() < MAX_HEADER => Ok(None),
        None => Err(ProtocolError::HeaderTooLong),
    }
}

/// A decimal integer as Redis takes it: no plus sign, no blanks.
pub fn number(text: &[u8]) -> Option<i64> {
    if text.starts_with(b"+") {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

impl Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidMultibulkLength => f.write_str("invalid multibulk length"),
            Self::InvalidBulkLength => f.write_str("invalid bulk length"),
            Self::ExpectedBulk(got) => write!(f, "expected '$', got '{}'", got.escape_ascii()),
            Self::UnterminatedBulk => f.write_str("bulk string without line end"),
            Self::HeaderTooLong => f.write_str("length line too long"),
            Self::InlineTooLong => f.write_str("too big inline request"),
            Self::RequestTooLarge => f.write_str("request too large"),
        }
    }
}

// === Args ===

/// The words of a request that nobody has taken yet, the command's name first.
#[derive(Clone)]
pub struct Args<'a> {
    input: &'a [u8],
    ranges: slice::Iter<'a, Range<usize>>,
}

impl<'a> Args<'a> {
    /// All that is left, if it is `N` words.
    pub fn exactly<const N: usize>(mut self) -> Option<[&'a [u8]; N]> {
        if self.len() == N {
            self.take_array()
        } else {
            None
        }
    }

    /// The next `N` words, if there are so many.
    pub fn take_array<const N: usize>(&mut self) -> Option<[&'a [u8]; N]> {
        if self.len() < N {
            return None;
        }
        Some(std::array::from_fn(|_| self.next().unwrap_or_default()))
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.ranges.next().map(|range| &self.input[range.clone()])
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranges.size_hint()
    }
}

impl ExactSizeIterator for Args<'_> {}

// === Reply ===

/// Replies on their way to one client, in order.
#[derive(Default)]
pub struct Reply {
    bytes: Vec<u8>,
}

impl Reply {
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Empties the buffer, and gives back what one huge reply made it grow beyond `keep`.
    pub fn clear(&mut self, keep: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep);
    }

    pub fn ok(&mut self) {
        self.simple("OK");
    }

    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `error` begins with its code and holds no line end.
    pub fn error(&mut self, error: impl Display) {
        write!(self.bytes, "-{error}\r\n").expect("writing to memory does not fail");
    }

    pub fn integer(&mut self, value: i64) {
        self.line(b':', itoa::Buffer::new().format(value).as_bytes());
    }

    /// How many there are of something.
    pub fn count(&mut self, value: usize) {
        self.line(b':', itoa::Buffer::new().format(value).as_bytes());
    }

    pub fn bulk(&mut self, value: &[u8]) {
        self.line(b'$', itoa::Buffer::new().format(value.len()).as_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub fn nil(&mut self) {
        self.bytes.extend_from_slice(b"$-1\r\n");
    }

    pub fn nil_array(&mut self) {
        self.bytes.extend_from_slice(b"*-1\r\n");
    }

    pub fn bulk_or_nil(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bulk(value),
            None => self.nil(),
        }
    }

    /// `length` replies follow, which are the array's items.
    pub fn array(&mut self, length: usize) {
        self.line(b'*', itoa::Buffer::new().format(length).as_bytes());
    }

    fn line(&mut self, marker: u8, text: &[u8]) {
        self.bytes.push(marker);
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `step` bytes and returns the requests found.
    fn parse(input: &[u8], step: usize) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let mut parser = Parser::default();
        let mut buffer = Vec::new();
        let mut found = Vec::new();
        for piece in input.chunks(step) {
            buffer.extend_from_slice(piece);
            while let Some(request) = parser.next(&buffer)? {
                found.push(request.args.map(<[u8]>::to_vec).collect());
                buffer.drain(..request.length);
            }
        }
        assert!(buffer.is_empty(), "left over: {}", buffer.escape_ascii());
        Ok(found)
    }

    fn fails(input: &[u8]) -> ProtocolError {
        Parser::default()
            .next(input)
            .err()
            .expect("a protocol error")
    }

    #[test]
    fn requests_are_found_however_they_are_cut() {
        let input = b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\nPING  x\t y\r\n\r\n*0\r\n*-1\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\n\xff\x00\r\nQUIT\n";
        let expected: Vec<Vec<&[u8]>> = vec![
            vec![b"GET", b"a\r\nb"],
            vec![b"PING", b"x", b"y"],
            vec![],
            vec![],
            vec![],
            vec![b"SET", b"", b"\xff\x00"],
            vec![b"QUIT"],
        ];
        for step in 1..=input.len() {
            assert_eq!(parse(input, step).unwrap(), expected, "in pieces of {step}");
        }
    }

    #[test]
    fn broken_requests_are_refused() {
        assert_eq!(fails(b"*x\r\n"), ProtocolError::InvalidMultibulkLength);
        assert_eq!(fails(b"*+1\r\n"), ProtocolError::InvalidMultibulkLength);
        assert_eq!(fails(b"*65537\r\n"), ProtocolError::InvalidMultibulkLength);
        assert_eq!(fails(b"*1\r\n$-1\r\n"), ProtocolError::InvalidBulkLength);
        assert_eq!(fails(b"*1\r\n:1\r\n"), ProtocolError::ExpectedBulk(b':'));
        assert_eq!(fails(b"*1\r\n$1\r\nabc"), ProtocolError::UnterminatedBulk);
        assert_eq!(
            fails(b"*0000000000000000000000001"),
            ProtocolError::HeaderTooLong
        );
        assert_eq!(fails(&[b'a'; MAX_INLINE]), ProtocolError::InlineTooLong);
    }

    #[test]
    fn a_request_that_announces_too_much_is_refused_before_it_arrives() {
        assert_eq!(
            fails(b"*2\r\n$3\r\nSET\r\n$16777216\r\n"),
            ProtocolError::RequestTooLarge
        );
        assert_eq!(
            fails(b"*1\r\n$9223372036854775807\r\n"),
            ProtocolError::RequestTooLarge
        );
        assert!(
            Parser::default()
                .next(b"*1\r\n$16000000\r\n")
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn args_are_taken_from_the_front() {
        let mut parser = Parser::default();
        let request = parser.next(b"SET key value\n").unwrap().unwrap();
        let mut args = request.args.clone();
        assert!(args.clone().exactly::<2>().is_none());
        assert!(args.take_array::<4>().is_none());
        assert_eq!(args.take_array(), Some([&b"SET"[..], b"key"]));
        assert_eq!(args.exactly(), Some([&b"value"[..]]));
    }

    #[test]
    fn replies_are_framed() {
        let mut reply = Reply::default();
        reply.ok();
        reply.error("ERR no");
        reply.integer(-7);
        reply.array(3);
        reply.bulk(b"");
        reply.bulk_or_nil(None);
        reply.count(12);
        assert_eq!(
            reply.as_bytes(),
            b"+OK\r\n-ERR no\r\n:-7\r\n*3\r\n$0\r\n\r\n$-1\r\n:12\r\n"
        );
    }
}
