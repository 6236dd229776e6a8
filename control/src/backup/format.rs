//! The format of a backup file: a magic number followed by records. Each record carries its length
//! and CRC-32, and the last one the SHA-256 of everything before it.
//!
//! Damage is found at the record that it affects, before that record is used; a missing record is
//! found at the end of the file. A later version names its additions in the header, so that an
//! earlier version refuses the file and says which version it needs.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message as _;
use prost_types::Timestamp;
use sha2::{Digest as _, Sha256};

/// The version of the format that this version of Warren writes, and the latest that it reads.
pub const FORMAT: u32 = 1;

/// The magic number. Its last bytes reveal that a program treated the file as text.
const MARK: &[u8; 16] = b"WARREN BACKUP\r\n\0";
/// The bytes of the length and the CRC-32, each a big-endian `u32`.
const FRAME: usize = 8;
/// The largest record, in bytes: one entry of the store, with some margin.
const MAX_RECORD: usize = 16 << 20;

/// One record.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(oneof = "Body", tags = "1, 2, 3, 4, 5, 6")]
    body: Option<Body>,
}

/// The kinds of records: a header, entries, then each artifact followed by its bytes, and the end.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Body {
    #[prost(message, tag = "1")]
    Header(Header),
    #[prost(message, tag = "2")]
    Entries(Entries),
    #[prost(message, tag = "3")]
    Artifact(Artifact),
    /// Bytes of the artifact before.
    #[prost(bytes = "bytes", tag = "4")]
    Chunk(Bytes),
    #[prost(message, tag = "5")]
    ArtifactEnd(ArtifactEnd),
    #[prost(message, tag = "6")]
    End(End),
}

/// The first record, which describes the file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Header {
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The version of Warren that wrote it.
    #[prost(string, tag = "2")]
    pub warren: String,
    /// Schema number of the entries.
    #[prost(uint32, tag = "3")]
    pub schema: u32,
    /// The store's revision.
    #[prost(uint64, tag = "4")]
    pub revision: u64,
    /// When it was taken.
    #[prost(message, optional, tag = "5")]
    pub time: Option<Timestamp>,
    #[prost(uint64, tag = "6")]
    pub entries: u64,
    #[prost(uint64, tag = "7")]
    pub artifacts: u64,
    /// The bytes of the entries and artifacts, somewhat less than the size of the file.
    #[prost(uint64, tag = "8")]
    pub size_bytes: u64,
    #[prost(uint64, tag = "9")]
    pub workloads: u64,
}

/// A batch of entries of the store, ordered by key.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entries {
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
}

/// One entry of the store.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    #[prost(uint64, tag = "3")]
    pub revision: u64,
}

/// The artifact whose bytes follow.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Artifact {
    /// `sha256:` and 64 hexadecimal digits.
    #[prost(string, tag = "1")]
    pub digest: String,
}

/// The end of the artifact's bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ArtifactEnd {
    /// Empty if all bytes are included; otherwise the reason why they are not.
    #[prost(string, tag = "1")]
    pub missing: String,
}

/// The end of the file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct End {
    /// SHA-256 of every byte before this record.
    #[prost(bytes = "vec", tag = "1")]
    pub sha256: Vec<u8>,
}

/// The reason why a file cannot be used as a backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("it is not a Warren backup")]
    NotABackup,
    #[error(
        "it is in format {format}, written by Warren {warren}, and this version knows format {FORMAT}: use that \
         version, or a newer one"
    )]
    Newer { format: u32, warren: String },
    #[error("it is damaged at byte {at}: use another copy of it, or another backup")]
    Damaged { at: u64 },
    #[error(
        "it ends at byte {at}, before its last record: the file was truncated; use a complete copy, or another backup"
    )]
    Truncated { at: u64 },
}

/// Encodes a backup file.
pub struct Encoder(Sha256);

/// Decodes a backup file whose bytes arrive in pieces of any size.
#[derive(Default)]
pub struct Decoder {
    arrived: BytesMut,
    /// Bytes before what is in `arrived`.
    read: u64,
    hasher: Sha256,
    place: Place,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Mark,
    Header,
    Records,
    End,
}

// === impl Encoder ===

impl Encoder {
    /// The first bytes, and what makes the others.
    pub fn begin() -> (Self, Bytes) {
        (
            Self(Sha256::new_with_prefix(MARK)),
            Bytes::from_static(MARK),
        )
    }

    pub fn record(&mut self, body: Body) -> Bytes {
        let frame = frame(body);
        self.0.update(&frame);
        frame
    }

    /// The last bytes.
    pub fn end(self) -> Bytes {
        let sha256 = self.0.finalize().to_vec();
        frame(Body::End(End { sha256 }))
    }
}

fn frame(body: Body) -> Bytes {
    let record = Record { body: Some(body) }.encode_to_vec();
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    [
        &length.to_be_bytes()[..],
        &crc32fast::hash(&record).to_be_bytes(),
        &record,
    ]
    .concat()
    .into()
}

// === impl Decoder ===

impl Decoder {
    /// Adds the next bytes. Read all complete records before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
    }

    /// Returns the next record, or `None` if more bytes are needed. After an error or the end,
    /// there are no more records.
    pub fn record(&mut self) -> Result<Option<Body>, FormatError> {
        if self.place == Place::Mark {
            let known = self.arrived.len().min(MARK.len());
            if self.arrived[..known] != MARK[..known] {
                return Err(FormatError::NotABackup);
            }
            if known < MARK.len() {
                return Ok(None);
            }
            self.take(MARK.len());
            self.place = Place::Header;
        }
        let damaged = FormatError::Damaged { at: self.read };
        if self.place == Place::End {
            return match self.arrived.is_empty() {
                true => Ok(None),
                false => Err(damaged),
            };
        }
        let Some((mut frame, rest)) = self.arrived.split_at_checked(FRAME) else {
            return Ok(None);
        };
        let (length, crc) = (frame.get_u32() as usize, frame.get_u32());
        if length > MAX_RECORD {
            return Err(damaged);
        }
        let Some(record) = rest.get(..length) else {
            return Ok(None);
        };
        if crc32fast::hash(record) != crc {
            return Err(damaged);
        }
        let record = Record::decode(record).ok().and_then(|record| record.body);
        let body = record.ok_or_else(|| damaged.clone())?;
        match (&body, self.place) {
            (Body::Header(header), Place::Header) => {
                if header.format > FORMAT {
                    return Err(FormatError::Newer {
                        format: header.format,
                        warren: header.warren.clone(),
                    });
                }
                self.place = Place::Records;
            }
            (Body::Header(_), _) | (_, Place::Header) => return Err(damaged),
            (Body::End(end), _) => {
                if end.sha256 != self.hasher.clone().finalize()[..] {
                    return Err(damaged);
                }
                self.place = Place::End;
            }
            _ => {}
        }
        self.take(FRAME + length);
        Ok(Some(body))
    }

    /// Returns the error to report if no more bytes arrive, unless the end was read.
    pub fn finish(self) -> Result<(), FormatError> {
        match self.place {
            Place::End if self.arrived.is_empty() => Ok(()),
            Place::Mark if self.read == 0 && self.arrived.is_empty() => {
                Err(FormatError::NotABackup)
            }
            _ => Err(FormatError::Truncated {
                at: self.read + self.arrived.len() as u64,
            }),
        }
    }

    fn take(&mut self, length: usize) {
        self.hasher.update(&self.arrived[..length]);
        self.arrived.advance(length);
        self.read += length as u64;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bodies() -> Vec<Body> {
        let header = Header {
            format: FORMAT,
            warren: "0.1.0".to_owned(),
            entries: 2,
            ..Header::default()
        };
        let entry = |key: &str, length: usize| Entry {
            key: key.to_owned(),
            value: vec![7; length].into(),
            revision: 3,
        };
        vec![
            Body::Header(header),
            Body::Entries(Entries {
                entries: vec![entry("a", 10), entry("b", 300)],
            }),
            Body::Artifact(Artifact {
                digest: "sha256:0".to_owned(),
            }),
            Body::Chunk(Bytes::from_static(b"bytes")),
            Body::ArtifactEnd(ArtifactEnd::default()),
        ]
    }

    fn file() -> Vec<u8> {
        let (mut encoder, mark) = Encoder::begin();
        let mut file = mark.to_vec();
        for body in bodies() {
            file.extend_from_slice(&encoder.record(body));
        }
        file.extend_from_slice(&encoder.end());
        file
    }

    fn read(file: &[u8], piece: usize) -> Result<Vec<Body>, FormatError> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for piece in file.chunks(piece) {
            decoder.push(piece);
            while let Some(body) = decoder.record()? {
                found.push(body);
            }
        }
        decoder.finish().map(|()| found)
    }

    #[test]
    fn what_is_written_is_read_in_pieces_of_any_size() {
        let file = file();
        for piece in [1, 7, 16, 100, file.len()] {
            let mut found = read(&file, piece).unwrap();
            assert!(matches!(found.pop(), Some(Body::End(_))));
            assert_eq!(found, bodies());
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let file = file();
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                assert!(read(&damaged, 64).is_err(), "bit {bit} of byte {at}");
            }
            let error = read(&file[..at], 64).unwrap_err();
            let expected = match at {
                0 => FormatError::NotABackup,
                _ => FormatError::Truncated { at: at as u64 },
            };
            assert_eq!(error, expected);
        }
        let longer = [&file[..], b"x"].concat();
        let error = read(&longer, 64).unwrap_err();
        assert_eq!(
            error,
            FormatError::Damaged {
                at: file.len() as u64
            }
        );
    }

    #[test]
    fn a_missing_record_is_found_at_the_end() {
        let (mut encoder, mark) = Encoder::begin();
        let mut file = mark.to_vec();
        for (at, body) in bodies().into_iter().enumerate() {
            let record = encoder.record(body);
            if at != 1 {
                file.extend_from_slice(&record);
            }
        }
        file.extend_from_slice(&encoder.end());
        assert!(matches!(read(&file, 64), Err(FormatError::Damaged { .. })));
    }

    #[test]
    fn other_files_and_later_formats_are_told_apart() {
        assert_eq!(read(b"\0asm\x0d\0\x01\0", 64), Err(FormatError::NotABackup));
        let (mut encoder, mark) = Encoder::begin();
        let header = Header {
            format: FORMAT + 1,
            warren: "9.0.0".to_owned(),
            ..Header::default()
        };
        let later = [mark, encoder.record(Body::Header(header))].concat();
        let error = read(&later, 64).unwrap_err().to_string();
        assert!(error.contains("Warren 9.0.0"), "{error}");
    }
}
