//! The records of how a service ended.

use std::time::{Duration, SystemTime};

use warren_proto::v1::{Exit, exit};

use crate::{
    lease::LeaseExpired,
    replica::reports::{MAX_EXITS, ReplicaState},
    runtime::ServiceEnd,
};

/// How many lines of stderr an exit contains.
pub(super) const STDERR_LINES: usize = 20;
/// How Rust's standard library prints EINVAL, by `Debug` and by `Display`.
const EINVAL: [&str; 2] = ["Os { code: 28,", "(os error 28)"];
/// Before Rust 1.97, `fcntl` of wasi-libc fails on sockets. tokio calls it on every socket that it
/// accepts.
const OLD_TOKIO: &str = "Error 28 is EINVAL. A tokio program that was built with Rust before 1.97 fails like this when \
     it accepts its first connection: if this is one, build it with Rust 1.97 or later.";

/// The limit of an exit's message in bytes, as the backtrace of a deep recursion can be very long.
const MESSAGE_BYTES: usize = 8 << 10;

/// Records that a service ended by itself, or was ended for a reason that `end` gives.
pub(super) fn exit(end: &ServiceEnd, ran_for: Duration, stderr: Vec<String>) -> Exit {
    let (reason, code, message) = match end {
        ServiceEnd::Exited(code) => (exit::Reason::Exited, *code, format!("exit code {code}")),
        ServiceEnd::Trapped(cause) => (exit::Reason::Trapped, 0, cause.clone()),
        ServiceEnd::OutOfMemory(cause) => (exit::Reason::OutOfMemory, 0, cause.clone()),
        ServiceEnd::StartFailed(cause) => (exit::Reason::StartFailed, 0, cause.clone()),
        ServiceEnd::Unhealthy(cause) => (exit::Reason::Unhealthy, 0, cause.clone()),
        ServiceEnd::LeaseExpired => (exit::Reason::Lost, 0, LeaseExpired.to_string()),
    };
    let mut message = truncated(readable(&message));
    if let Some(hint) = hint(end, &stderr) {
        message.push('\n');
        message.push_str(hint);
    }
    Exit {
        code,
        stderr,
        ..now(reason, message, Some(ran_for))
    }
}

/// Explains a known error of guests' libraries whose message does not say what it means.
fn hint(end: &ServiceEnd, stderr: &[String]) -> Option<&'static str> {
    let failed = match end {
        ServiceEnd::Exited(code) => *code != 0,
        ServiceEnd::Trapped(_) => true,
        _ => false,
    };
    let says = |line: &String| EINVAL.iter().any(|text| line.contains(text));
    (failed && stderr.iter().any(says)).then_some(OLD_TOKIO)
}

/// Records the end of a service that was asked to stop.
pub(super) fn stopped(ran_for: Duration, stderr: Vec<String>) -> Exit {
    let message = "it was asked to stop".to_owned();
    Exit {
        stderr,
        ..now(exit::Reason::Stopped, message, Some(ran_for))
    }
}

/// Records the end of a service whose worker ended before it could report the exit.
pub(super) fn lost() -> Exit {
    now(
        exit::Reason::Lost,
        "the worker that ran it ended".to_owned(),
        None,
    )
}

/// Adds an exit in front of those of earlier runs.
pub(super) fn keep(state: &mut ReplicaState, exit: Exit) {
    let without_lines = Exit {
        stderr: Vec::new(),
        ..exit.clone()
    };
    state.last_exits.insert(0, without_lines);
    state.last_exits.truncate(MAX_EXITS);
    state.last_exit = Some(exit);
}

fn now(reason: exit::Reason, message: String, ran_for: Option<Duration>) -> Exit {
    Exit {
        reason: reason.into(),
        message,
        time: Some(SystemTime::now().into()),
        run_duration: ran_for.and_then(|ran_for| ran_for.try_into().ok()),
        ..Exit::default()
    }
}

/// Removes the hashes that distinguish versions of a crate from function names:
/// `std[4c88cc36bc376bad]::io` becomes `std::io`.
fn readable(message: &str) -> String {
    let mut parts = message.split('[');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_hash = |hash: &str| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        match part.split_once(']').filter(|(hash, _)| is_hash(hash)) {
            Some((_, rest)) => text.push_str(rest),
            None => {
                text.push('[');
                text.push_str(part);
            }
        }
    }
    text
}

fn truncated(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
        message.push_str("\n...");
    }
    message
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use warren_proto::v1::replica::Phase;

    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let cut = truncated("ä".repeat(MESSAGE_BYTES));
        assert!(cut.len() <= MESSAGE_BYTES + 4 && cut.ends_with("..."));
    }

    #[test]
    fn the_failure_of_an_old_tokio_is_explained() {
        let message = |end: &ServiceEnd, line: &str| {
            let lines = vec!["listening".to_owned(), line.to_owned()];
            exit(end, Duration::ZERO, lines).message
        };
        let returned = "Error: Os { code: 28, kind: InvalidInput, message: \"Invalid argument\" }";
        let printed = "accept: Invalid argument (os error 28)";
        let trapped = ServiceEnd::Trapped("unreachable".into());
        for (end, line, is_explained) in [
            (&ServiceEnd::Exited(1), returned, true),
            (&ServiceEnd::Exited(1), printed, true),
            (&trapped, returned, true),
            (&trapped, "Os { code: 2, kind: PermissionDenied }", false),
            (&trapped, "Os { code: 280, kind: Other }", false),
            (&ServiceEnd::Exited(0), printed, false),
            (&ServiceEnd::Unhealthy("no answer".into()), printed, false),
        ] {
            let message = message(end, line);
            assert_eq!(
                message.contains("Rust 1.97 or later"),
                is_explained,
                "{message}"
            );
        }
        // The cause still comes first.
        assert!(message(&trapped, returned).starts_with("unreachable\n"));
    }

    #[test]
    fn functions_are_named_without_hashes() {
        for (message, told) in [
            (
                "2: 0x5bb7 - t.wasm!trapper[6c99bc16cfa6a6fa]::fall_over::<&[u8]>",
                "2: 0x5bb7 - t.wasm!trapper::fall_over::<&[u8]>",
            ),
            ("a[0] b[[c", "a[0] b[[c"),
            ("", ""),
        ] {
            assert_eq!(readable(message), told);
        }
    }

    #[test]
    fn the_newest_exits_are_kept_and_only_the_last_has_its_lines() {
        let mut state = ReplicaState::new(Phase::Running);
        for code in 0..8 {
            let ran_for = Duration::from_millis(1500);
            let lines = vec![format!("line {code}")];
            keep(&mut state, exit(&ServiceEnd::Exited(code), ran_for, lines));
        }
        let codes: Vec<_> = state.last_exits.iter().map(|exit| exit.code).collect();
        assert_eq!(codes, [7, 6, 5, 4, 3]);
        assert!(state.last_exits.iter().all(|exit| exit.stderr.is_empty()));
        let last = state.last_exit.unwrap();
        assert_eq!((last.code, last.stderr), (7, vec!["line 7".to_owned()]));
        let ran_for = last.run_duration.unwrap();
        assert_eq!((ran_for.seconds, ran_for.nanos), (1, 500_000_000));
        assert_eq!(lost().run_duration, None);
    }
}
