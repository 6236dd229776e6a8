//! What no manifest may hold, whatever its fields are called: all of it in one walk over a
//! document's events, where the loader would stop at the first.

use std::{borrow::Cow, collections::HashMap};

use yaml_rust2::{
    Event,
    parser::{Parser, Tag},
    scanner::{Marker, ScanError, TScalarStyle},
};

use super::surrogate::{self, StandIns};

/// One thing that a document may not hold.
pub(super) struct Finding {
    /// Line and column in the document, from 1.
    pub position: (usize, usize),
    pub what: What,
    /// Whether the rest of the document can be read all the same.
    pub readable: bool,
}

pub(super) enum What {
    Syntax(String),
    Tab,
    /// With the line of the first, in the document.
    Duplicate(String, usize),
    Anchor,
    Alias,
    MergeKey,
    Tag,
    ComplexKey,
    LoneSurrogate,
    TooDeep,
}

/// More than a manifest needs, and less than what the loader's recursion can bear.
const MAX_DEPTH: usize = 32;

/// Everything of that kind, in the order of the text; a syntax error ends the walk. The text is
/// scanned with its stand-ins, where it has some.
pub(super) fn survey(text: &str, stand_ins: Option<&StandIns>) -> Vec<Finding> {
    let mut walk = Walk {
        text,
        stand_ins,
        open: Vec::new(),
        findings: Vec::new(),
    };
    let mut parser = Parser::new_from_str(stand_ins.map_or(text, StandIns::text));
    loop {
        match parser.next_token() {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, at)) => {
                walk.see(event, at);
                if walk.open.len() > MAX_DEPTH {
                    walk.note(at, What::TooDeep);
                    break;
                }
            }
            Err(error) => {
                walk.findings.push(syntax(text, &error));
                break;
            }
        }
    }
    walk.findings
}

/// A tab that indents is found late, and told as many things.
fn syntax(text: &str, error: &ScanError) -> Finding {
    let found = position(error.marker());
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let mut lines = text.lines().zip(1..).skip(found.0 - 1);
    let tab = lines.find_map(|(line, number)| {
        let column = line[..indent(line)].find('\t')?;
        Some((number, column + 1))
    });
    let (position, what) = match tab.filter(|_| error.info().contains("tab")) {
        Some(position) => (position, What::Tab),
        None => (found, What::Syntax(error.info().to_owned())),
    };
    Finding {
        position,
        what,
        readable: false,
    }
}

fn position(at: &Marker) -> (usize, usize) {
    (at.line(), at.col() + 1)
}

struct Walk<'t> {
    text: &'t str,
    stand_ins: Option<&'t StandIns>,
    open: Vec<Open>,
    findings: Vec<Finding>,
}

/// A collection that has not ended yet.
enum Open {
    Sequence,
    /// The keys so far, each with its line, and whether a key comes next.
    Mapping {
        keys: HashMap<String, usize>,
        key_next: bool,
    },
}

// === impl Walk ===

impl Walk<'_> {
    fn see(&mut self, event: Event, at: Marker) {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.node(at, anchor, tag);
                let text = self.decoded(text, at);
                self.scalar(text, style, at);
            }
            Event::Alias(_) => {
                self.note(at, What::Alias);
                self.next();
            }
            Event::SequenceStart(anchor, tag) => {
                self.node(at, anchor, tag);
                self.collection(at);
                self.open.push(Open::Sequence);
            }
            Event::MappingStart(anchor, tag) => {
                self.node(at, anchor, tag);
                self.collection(at);
                self.open.push(Open::Mapping {
                    keys: HashMap::new(),
                    key_next: true,
                });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart
            | Event::DocumentEnd => {}
        }
    }

    fn node(&mut self, at: Marker, anchor: usize, tag: Option<Tag>) {
        if anchor != 0 {
            self.note(at, What::Anchor);
        }
        if tag.is_some() {
            self.note(at, What::Tag);
        }
    }

    fn decoded(&mut self, text: String, at: Marker) -> String {
        match self.stand_ins.map(|stand_ins| stand_ins.decode(&text)) {
            None => text,
            Some(Ok(decoded)) => Cow::into_owned(decoded),
            Some(Err(surrogate::Lone)) => {
                let place = surrogate::lone(self.text, at.index());
                self.findings.push(Finding {
                    position: place.unwrap_or(position(&at)),
                    what: What::LoneSurrogate,
                    readable: false,
                });
                text
            }
        }
    }

    fn scalar(&mut self, text: String, style: TScalarStyle, at: Marker) {
        let first = match self.open.last_mut() {
            Some(Open::Mapping {
                keys,
                key_next: true,
            }) => {
                let first = keys.get(&text).copied();
                keys.entry(text.clone()).or_insert(at.line());
                if text == "<<" && style == TScalarStyle::Plain {
                    self.note(at, What::MergeKey);
                }
                first
            }
            _ => None,
        };
        if let Some(first) = first {
            self.note(at, What::Duplicate(text, first));
        }
        self.next();
    }

    fn collection(&mut self, at: Marker) {
        if let Some(Open::Mapping { key_next: true, .. }) = self.open.last() {
            self.note(at, What::ComplexKey);
        }
        self.next();
    }

    /// A whole node was seen: in a mapping, key and value take turns.
    fn next(&mut self) {
        if let Some(Open::Mapping { key_next, .. }) = self.open.last_mut() {
            *key_next = !*key_next;
        }
    }

    fn note(&mut self, at: Marker, what: What) {
        self.findings.push(Finding {
            position: position(&at),
            readable: matches!(what, What::Duplicate(..)),
            what,
        });
    }
}

// === impl What ===

impl What {
    /// `lines_before` are those of the file before the document.
    pub(super) fn message(&self, lines_before: usize) -> String {
        match self {
            Self::Syntax(message) => format!("not valid YAML: {message}"),
            Self::Tab => "not valid YAML: a tab cannot indent a line: use spaces".to_owned(),
            Self::Duplicate(key, first) => {
                let line = first + lines_before;
                format!("`{key}` is given twice: it stands at line {line} already")
            }
            Self::Anchor | Self::Alias => {
                "anchors and aliases are not supported: write the value out".to_owned()
            }
            Self::MergeKey => "merge keys are not supported: write the fields out".to_owned(),
            Self::Tag => "tags are not supported: leave it out".to_owned(),
            Self::ComplexKey => "a field's name must be plain text".to_owned(),
            Self::LoneSurrogate => "this escape is half of a character: write both halves, such as \"\\ud83d\\ude00\", \
                                    or the character itself"
                .to_owned(),
            Self::TooDeep => {
                format!(
                    "more than {MAX_DEPTH} mappings and lists in each other: no manifest needs so many"
                )
            }
        }
    }
}
