//! The patterns of KEYS: `*`, `?`, `[abc]`, `[a-z]`, `[^a]`, and `\` before a character meant
//! literally.

/// Whether `text` as a whole matches `pattern`. Only the last `*` is ever tried again, so the time
/// is bounded by the product of the two lengths, whatever a client sends.
pub fn matches(mut pattern: &[u8], mut text: &[u8]) -> bool {
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            retry = Some((pattern, text));
        } else if let [byte, rest @ ..] = text
            && let Some(next) = matches_one(pattern, *byte)
        {
            (pattern, text) = (next, rest);
        } else if text.is_empty() && pattern.is_empty() {
            return true;
        } else if let Some((after_star, [_, rest @ ..])) = retry {
            (pattern, text) = (after_star, rest);
            retry = Some((after_star, rest));
        } else {
            return false;
        }
    }
}

/// The pattern after its first element, if that element matches `byte`.
fn matches_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', class @ ..] => matches_class(class, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte).then_some(rest),
    }
}

fn matches_class(class: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut class) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    loop {
        class = match class {
            // A class that is never closed matches nothing.
            [] => return None,
            [b']', rest @ ..] => return (found != negated).then_some(rest),
            [low, b'-', high, rest @ ..] if *high != b']' => {
                found |= (*low.min(high)..=*low.max(high)).contains(&byte);
                rest
            }
            [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
                found |= *literal == byte;
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("user:*:name", "user:1:2:name", true),
            ("user:*:name", "user:1:names", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("[a", "a", false),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            ("*a*a*a*b", &"a".repeat(2000), false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} on {text}"
            );
        }
    }
}
