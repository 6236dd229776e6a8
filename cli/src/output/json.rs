//! JSON that is safe for a terminal. The format itself escapes only C0 characters.

use std::fmt::Write as _;

use super::{Shown, harmless::is_hazard};

/// Returns the same JSON with every hazardous character escaped. Such characters occur only in
/// strings, where an escape has the same meaning.
pub fn harmless(json: String) -> Shown {
    // Line feeds separate values; inside strings they are already escaped.
    let is_hazard = |c: char| c != '\n' && is_hazard(c);
    if !json.contains(is_hazard) {
        return Shown::unchanged(json);
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if is_hazard(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Shown::unchanged(out)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn escaped_json_means_the_same_and_is_harmless() -> anyhow::Result<()> {
        let value = json!({ "k\u{9b}2J": ["\x1b[2J\r\n\u{7f}", "\u{202e}\u{e0041}é👩\u{200d}👩"] });
        for text in [
            serde_json::to_string(&value)?,
            serde_json::to_string_pretty(&value)?,
        ] {
            let shown = harmless(text);
            assert_eq!(serde_json::from_str::<Value>(shown.as_str())?, value);
            let obeyed = shown
                .as_str()
                .chars()
                .filter(|c| *c != '\n' && is_hazard(*c));
            assert_eq!(obeyed.count(), 0, "{shown:?}");
            assert!(shown.as_str().contains("é👩\u{200d}👩"), "{shown:?}");
        }
        Ok(())
    }
}
