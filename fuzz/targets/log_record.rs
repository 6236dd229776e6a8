//! Records of log files: whatever a disk holds is a record or is none, and one that was read is
//! written as it was.
#![no_main]

#[allow(dead_code)]
// Paths within are from this file's directory.
#[path = "."]
mod logs {
    #[path = "../../worker/src/logs/line.rs"]
    mod line;
    #[path = "../../worker/src/logs/record.rs"]
    mod record;

    pub fn run(bytes: &[u8]) {
        for bytes in bytes.split(|byte| *byte == b'\n') {
            let Some((head, text)) = record::parse(bytes) else {
                continue;
            };
            let Some(line) = head.line(text) else {
                continue;
            };
            let mut written = Vec::new();
            record::write(&mut written, &line, head.dropped_before);
            assert_eq!(written.pop(), Some(b'\n'));
            let (again, same) = record::parse(&written).expect("it was written");
            assert_eq!(same, text);
            assert_eq!(again.time(), head.time());
            assert_eq!(
                (again.source, again.stream, again.run, again.position),
                (head.source, head.stream, head.run, head.position)
            );
            assert_eq!(
                (again.number, again.dropped_before, again.truncated),
                (head.number, head.dropped_before, head.truncated)
            );
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| logs::run(bytes));
