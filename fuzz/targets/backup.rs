//! Backups: what arrives in whatever pieces is read or refused, and nothing is made of what is
//! damaged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_control::backup::Decoder;

/// The marks of a file, and frames whose CRC-32 is right where the input asks for it: no fuzzer
/// guesses one.
fn file(input: &[u8]) -> Vec<u8> {
    let Some((&kind, rest)) = input.split_first() else {
        return Vec::new();
    };
    if kind & 1 == 0 {
        return rest.to_vec();
    }
    let mut file = b"WARREN BACKUP\r\n\0".to_vec();
    for record in rest.split(|byte| *byte == 0xff) {
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        file.extend(length.to_be_bytes());
        file.extend(crc(record).to_be_bytes());
        file.extend(record);
    }
    file
}

/// CRC-32 of IEEE 802.3, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let folded = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    !folded
}

/// Everything that a decoder makes of the pieces.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> String {
    let mut decoder = Decoder::default();
    let mut read = String::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.record() {
                Ok(Some(body)) => read.push_str(&format!("{body:?}")),
                Ok(None) => break,
                Err(error) => return format!("{read}{error}"),
            }
        }
    }
    match decoder.finish() {
        Ok(()) => read + "whole",
        Err(error) => format!("{read}{error}"),
    }
}

fuzz_target!(|input: &[u8]| {
    let file = file(input);
    let at_once = read([&*file].into_iter());
    let size = 1 + input.first().map_or(0, |byte| usize::from(*byte >> 1));
    assert_eq!(read(file.chunks(size)), at_once);
});
