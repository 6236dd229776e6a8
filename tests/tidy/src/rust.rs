//! Rust sources, taken apart into code, comments and string literals.

/// A comment or string literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The line that it begins in, starting at 1.
    pub line: usize,
    /// Without the marks around it.
    pub text: String,
}

/// A source file in parts.
#[derive(Debug, Default)]
pub struct Source {
    /// The file with blanks in place of comments and of what literals hold; lines are kept.
    pub code: String,
    /// Line comments, one entry for each line, and block comments.
    pub comments: Vec<Text>,
    pub strings: Vec<Text>,
}

impl Source {
    /// Takes a file apart. Text that is not Rust gives some result, and no panic.
    pub fn parse(text: &str) -> Self {
        let mut parser = Parser {
            rest: text,
            line: 1,
            source: Self::default(),
        };
        while !parser.rest.is_empty() {
            parser.step();
        }
        parser.source
    }

    /// Returns the code without modules and items that only tests compile.
    pub fn product_code(&self) -> String {
        let mut code = self.code.clone();
        while let Some(start) = code.find("#[cfg(test)]") {
            let rest = &code[start..];
            let end = match (rest.find('{'), rest.find(';')) {
                (Some(brace), Some(semicolon)) if semicolon < brace => semicolon + 1,
                (Some(brace), _) => brace + closing(&rest[brace..]),
                (None, Some(semicolon)) => semicolon + 1,
                (None, None) => rest.len(),
            };
            let blank: String = rest[..end].chars().filter(|c| *c == '\n').collect();
            code.replace_range(start..start + end, &blank);
        }
        code
    }
}

/// Returns the length of a block that begins with `{`, braces included.
fn closing(code: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    source: Source,
}

impl Parser<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            let text = rest[..end].to_owned();
            self.comment(text, end);
        } else if rest.starts_with("/*") {
            let end = block(rest);
            let text = rest[..end].to_owned();
            self.comment(text, end);
        } else if let Some((open, end, close)) = literal(rest, &self.source.code) {
            self.copy(open);
            let line = self.line;
            let text = rest[open..end - close].to_owned();
            self.blank(end - close - open);
            self.copy(close);
            self.source.strings.push(Text { line, text });
        } else if let Some(end) = character(rest) {
            self.blank(end);
        } else {
            self.copy(rest.chars().next().map_or(1, char::len_utf8));
        }
    }

    fn comment(&mut self, text: String, length: usize) {
        let line = self.line;
        self.source.comments.push(Text { line, text });
        self.blank(length);
    }

    fn copy(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.source.code.push_str(taken);
        self.rest = rest;
    }

    fn blank(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        let blank = taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' });
        self.source.code.extend(blank);
        self.rest = rest;
    }
}

/// Returns the length of a block comment, which may hold others.
fn block(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Returns the length of a string's opening mark, of the whole literal, and of its closing mark.
fn literal(text: &str, before: &str) -> Option<(usize, usize, usize)> {
    let in_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let prefix = match in_word {
        true => 0,
        false => text
            .find(|c: char| !matches!(c, 'b' | 'c' | 'r'))
            .filter(|length| *length <= 2)?,
    };
    let raw = text[..prefix].contains('r');
    let hashes = match raw {
        true => text[prefix..].len() - text[prefix..].trim_start_matches('#').len(),
        false => 0,
    };
    let open = prefix + hashes + 1;
    if !text[prefix + hashes..].starts_with('"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    if raw {
        let end = text[open..].find(&close)? + open + close.len();
        return Some((open, end, close.len()));
    }
    let mut escaped = false;
    for (at, c) in text[open..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((open, open + at + 1, 1)),
            _ => {}
        }
    }
    None
}

/// Returns the length of a character literal; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    if inside.starts_with('\\') {
        let end = inside.get(2..)?.find('\'')?;
        return Some(1 + 2 + end + 1);
    }
    let first = inside.chars().next()?.len_utf8();
    inside[first..].starts_with('\'').then_some(first + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[Text]) -> Vec<(usize, &str)> {
        all.iter().map(|t| (t.line, t.text.as_str())).collect()
    }

    #[test]
    fn comments_strings_and_code_are_separated() {
        let source = Source::parse(
            "let a = \"x // y \\\" z\"; // one\n/* two\n/* in */ */ let b = r#\"\"q\"\"#;\n\
             let c = '\"'; let d: &'static str = b\"e\"; '\\''\n",
        );
        assert_eq!(
            texts(&source.strings),
            [(1, "x // y \\\" z"), (3, "\"q\""), (4, "e")]
        );
        assert_eq!(
            texts(&source.comments),
            [(1, "// one"), (2, "/* two\n/* in */ */")]
        );
        assert!(source.code.contains("let d: &'static str = b\" \";"));
        assert!(!source.code.contains('x'));
        assert_eq!(source.code.lines().count(), 4);
    }

    #[test]
    fn product_code_is_what_no_test_adds() {
        let source = Source::parse(
            "use a::b;\n#[cfg(test)]\nmod tests {\n fn f() { use c::d; }\n}\nuse e::f;\n\
             #[cfg(test)]\nuse g::h;\nuse i::j;",
        );
        let code = source.product_code();
        let kept: Vec<_> = code.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(kept, ["use a::b;", "use e::f;", "use i::j;"]);
    }
}
