//! Sizes and durations as people write them: `64MiB`, `1m30s`.

use std::time::Duration;

/// The text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BytesError {
    #[error(
        "`{0}` is not a size: write a whole number with a unit of B, KiB, MiB, GiB, TiB, KB, MB, GB or TB, such as 64MiB"
    )]
    Syntax(String),
    #[error("`{0}` is too large: sizes end below 16777216TiB")]
    TooLarge(String),
}

/// The text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error(
        "`{0}` is not a duration: write whole numbers with units of d, h, m, s, ms, us or ns, largest first, such as 100ms, 1m30s or 2h"
    )]
    Syntax(String),
    #[error("`{0}` has no unit: write {0}s or {0}ms")]
    NoUnit(String),
    #[error("`{0}` is too long")]
    TooLong(String),
}

/// Binary units first: they are what [`format_bytes`] chooses from, largest first.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

/// Largest first, in nanoseconds.
const TIME_UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads a size: a whole number and a unit, or a plain number of bytes.
pub fn parse_bytes(text: &str) -> Result<u64, BytesError> {
    let syntax = || BytesError::Syntax(text.to_owned());
    let (number, unit) = split_number(text);
    let factor = match unit {
        "" => 1,
        unit => BYTE_UNITS
            .iter()
            .find_map(|(name, factor)| (*name == unit).then_some(*factor))
            .ok_or_else(syntax)?,
    };
    if number.is_empty() {
        return Err(syntax());
    }
    // Only too many digits are left to fail.
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| BytesError::TooLarge(text.to_owned()))
}

/// Returns the size in the largest binary unit that divides it, so that [`parse_bytes`] returns
/// exactly the same size.
pub fn format_bytes(bytes: u64) -> String {
    BYTE_UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(
            || "0B".to_owned(),
            |(unit, factor)| format!("{}{unit}", bytes / factor),
        )
}

/// A size for people, which need not be read back: as [`format_bytes`] where that is short, else
/// rounded down to the largest binary unit that leaves at least 1, with one digit where it matters.
pub fn rounded_bytes(bytes: u64) -> String {
    let exact = format_bytes(bytes);
    if split_number(&exact).0.len() <= LONGEST_EXACT {
        return exact;
    }
    let units = BYTE_UNITS.iter().filter(|(name, _)| name.ends_with("iB"));
    let unit = units.clone().find(|(_, factor)| bytes >= *factor);
    let (unit, factor) = unit.copied().unwrap_or(("B", 1));
    let tenths = u128::from(bytes) * 10 / u128::from(factor);
    match (tenths / 10, tenths % 10) {
        (whole, tenth) if whole < 10 && tenth > 0 => format!("{whole}.{tenth}{unit}"),
        (whole, _) => format!("{whole}{unit}"),
    }
}

/// The most digits of a size that is easy to read.
const LONGEST_EXACT: usize = 4;

/// Reads a duration: numbers with units, the largest first, each unit once; or `0`.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let syntax = || DurationError::Syntax(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(syntax());
    }
    let (mut rest, mut units) = (text, TIME_UNITS.as_slice());
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        if number.is_empty() {
            return Err(syntax());
        }
        let unit = &after[..after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len())];
        if unit.is_empty() {
            let whole = number.len() == text.len();
            return Err(if whole {
                DurationError::NoUnit(text.to_owned())
            } else {
                syntax()
            });
        }
        let at = units
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(syntax)?;
        let number: u128 = number.parse().map_err(|_| too_long())?;
        total = number
            .checked_mul(units[at].1)
            .and_then(|nanos| total.checked_add(nanos))
            .ok_or_else(too_long)?;
        units = &units[at + 1..];
        rest = &after[unit.len()..];
    }
    let nanos = u32::try_from(total % 1_000_000_000).map_err(|_| too_long())?;
    let seconds = u64::try_from(total / 1_000_000_000).map_err(|_| too_long())?;
    Ok(Duration::new(seconds, nanos))
}

/// Returns the duration with each unit that it needs, so that [`parse_duration`] returns exactly
/// the same duration.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in TIME_UNITS {
        if rest >= factor {
            text.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    text
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64KiB", 64 << 10),
            ("64MiB", 64 << 20),
            ("4GiB", 4 << 30),
            ("2TiB", 2 << 40),
            ("3KB", 3_000),
            ("3MB", 3_000_000),
            ("3GB", 3_000_000_000),
            ("3TB", 3_000_000_000_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_size() {
        for text in [
            "", "MiB", "64Mi", "64mib", "1.5GiB", "-1", " 1", "1 ", "64 MiB", "1MiB1",
        ] {
            assert_eq!(
                parse_bytes(text),
                Err(BytesError::Syntax(text.into())),
                "{text}"
            );
        }
        for text in [
            "18446744073709551616",
            "16777216TiB",
            "99999999999999999999999B",
        ] {
            assert_eq!(
                parse_bytes(text),
                Err(BytesError::TooLarge(text.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn writes_sizes_in_the_largest_unit_that_is_exact() {
        for (bytes, text) in [
            (0, "0B"),
            (1000, "1000B"),
            (1024, "1KiB"),
            (1536, "1536B"),
            (64 << 20, "64MiB"),
            (1536 << 20, "1536MiB"),
            (1 << 40, "1TiB"),
        ] {
            assert_eq!(format_bytes(bytes), text);
        }
    }

    #[test]
    fn rounds_sizes_that_nobody_would_read() {
        for (bytes, text) in [
            (0, "0B"),
            (1536, "1536B"),
            (1536 << 20, "1536MiB"),
            (64 << 20, "64MiB"),
            (3_041_332_428, "2.8GiB"),
            (68_000, "66KiB"),
            (u64::MAX, "16777215TiB"),
        ] {
            assert_eq!(rounded_bytes(bytes), text);
        }
    }

    #[test]
    fn reads_durations() {
        for (text, duration) in [
            ("0", Duration::ZERO),
            ("0s", Duration::ZERO),
            ("7ns", Duration::from_nanos(7)),
            ("7us", Duration::from_micros(7)),
            ("100ms", Duration::from_millis(100)),
            ("90s", Duration::from_secs(90)),
            ("1m30s", Duration::from_secs(90)),
            ("2h", Duration::from_hours(2)),
            (
                "1d2h3m4s5ms",
                Duration::from_millis(((26 * 60 + 3) * 60 + 4) * 1000 + 5),
            ),
        ] {
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "", "s", "1.5s", "-1s", "1s1s", "1s1m", "1m 30s", "1min", "1m30", " 1s", "1é",
        ] {
            assert_eq!(
                parse_duration(text),
                Err(DurationError::Syntax(text.into())),
                "{text}"
            );
        }
        assert_eq!(
            parse_duration("10"),
            Err(DurationError::NoUnit("10".into()))
        );
        for text in [
            "18446744073709551616s",
            "99999999999999999999999999999999999999999s",
        ] {
            assert_eq!(
                parse_duration(text),
                Err(DurationError::TooLong(text.into())),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn sizes_round_trip(number: u64, shift in 0_u32..64) {
            let bytes = number >> shift << shift;
            prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }

        #[test]
        fn durations_round_trip(seconds: u64, nanos in 0_u32..1_000_000_000, coarse: bool) {
            let duration = Duration::new(seconds, if coarse { 0 } else { nanos });
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (parse_bytes(&text), parse_duration(&text));
        }
    }
}
