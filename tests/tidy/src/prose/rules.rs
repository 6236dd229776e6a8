//! The patterns, each with what to write in its place.
//!
//! Each has texts that it finds and texts that it passes, which its test holds it to.

use regex::Regex;

use super::text::Paragraph;

/// A pattern of words that has a plainer form.
#[derive(Debug)]
pub struct Rule {
    /// As `allowed.txt` names it.
    pub name: &'static str,
    /// A regular expression, without regard to case unless it says so.
    pattern: &'static str,
    /// What begins one of these is passed.
    except: &'static [&'static str],
    pub advice: &'static str,
    pub finds: &'static [&'static str],
    pub passes: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        name: "tell",
        pattern: r"\b(tells?|told|telling)\b",
        except: &[],
        advice: "write \"report\", \"notify\", \"say\" or \"send\"",
        finds: &["The worker is told of it.", "It tells the session."],
        passes: &["The worker is notified.", "A teller."],
    },
    Rule {
        name: "hear",
        pattern: r"\b(hear|hears|heard) (of|from|nothing)\b",
        except: &[],
        advice: "write what happened: \"stopped sending heartbeats\", \"was received\"",
        finds: &["The worker is not heard of any more."],
        passes: &["The worker stopped sending heartbeats."],
    },
    Rule {
        name: "whoever",
        pattern: r"\b(whoever|whosoever|nobody)\b",
        except: &[],
        advice: "name the thing; \"who\" is for people",
        finds: &["Whoever holds the port is closed.", "Nobody reads it."],
        passes: &[
            "The socket that holds the port is closed.",
            "Nothing reads it.",
        ],
    },
    Rule {
        name: "anew",
        pattern: r"\banew\b",
        except: &[],
        advice: "write \"again\"",
        finds: &["The service is started anew."],
        passes: &["The service is started again.", "It returns a new one."],
    },
    Rule {
        name: "is-no",
        pattern: r"(\bthere )?\b(is|are|was|were|be) no [a-z]+",
        except: &[
            "there ",
            "is no longer",
            "are no longer",
            "was no longer",
            "were no longer",
            "be no longer",
            "is no more",
            "are no more",
            "be no more",
            "is no less",
            "is no fewer",
            "are no fewer",
        ],
        advice: "write \"is not a\"",
        finds: &["`x` is no address.", "These are no ports."],
        passes: &[
            "`x` is not an address.",
            "There is no route.",
            "It is no longer there.",
        ],
    },
    Rule {
        name: "one-a",
        pattern: r"\bone an? [a-z]+",
        except: &[],
        advice: "write \"one per X\" or \"one for each X\"",
        finds: &["One a process.", "At most one a port."],
        passes: &["One per process.", "One or a few."],
    },
    Rule {
        name: "each-after",
        pattern: r"\b(an?|their) [a-z]+ each\b",
        except: &[],
        advice: "write \"for each X\" or \"each with its own X\"",
        finds: &["Workers, with a port each."],
        passes: &["A port for each worker.", "It costs a little. Each one."],
    },
    Rule {
        name: "so-many",
        pattern: r"\bso[- ]man(y|ieth)\b",
        except: &[],
        advice: "give the number, or write \"at most N\"",
        finds: &["So many replicas more than asked for."],
        passes: &["At most that many replicas.", "As many as there are cores."],
    },
    Rule {
        name: "let-go",
        pattern: r"\b(lets?|letting) (it |them |its [a-z]+ |the [a-z]+ )?go\b",
        except: &[],
        advice: "write \"release\", \"drop\" or \"close\"",
        finds: &["It lets go of the lock.", "It lets the lock go."],
        passes: &["It releases the lock.", "It lets the caller choose."],
    },
    Rule {
        name: "midst",
        pattern: r"\bin the midst\b",
        except: &[],
        advice: "write \"during\" or \"in the middle\"",
        finds: &["Stopped in the midst of a guest."],
        passes: &["Stopped during a call."],
    },
    Rule {
        name: "meanwhile",
        pattern: r"\bmeanwhile\b",
        except: &[],
        advice: "write \"in the meantime\", \"while X\", or leave it out",
        finds: &["The workers go on serving meanwhile."],
        passes: &["The workers keep serving in the meantime."],
    },
    Rule {
        name: "stands",
        pattern: r"\b(stands?|stood)\b( for| in for)?",
        except: &[
            "stands for",
            "stand for",
            "stood for",
            "stands in for",
            "stand in for",
        ],
        advice: "write \"is\", \"exists\" or \"appears\"",
        finds: &["The types stand at the top."],
        passes: &[
            "The types are at the top.",
            "X stands for a digest.",
            "A standard.",
        ],
    },
    Rule {
        name: "of-before",
        pattern: r"\b(of|from) before\b",
        except: &[],
        advice: "write \"previous\" or \"existing\"",
        finds: &["Those of before come first."],
        passes: &["The previous ones come first."],
    },
    Rule {
        name: "go-on",
        pattern: r"\b(goes|go|going|went) on\b",
        except: &[],
        advice: "write \"continue\" or \"keep\"",
        finds: &["The rollout goes on."],
        passes: &["The rollout continues.", "It goes once."],
    },
    Rule {
        name: "come-of",
        pattern: r"\b(comes?|came|becomes?|became) of\b",
        except: &[],
        advice: "write \"is caused by\", \"results from\" or \"happens to\"",
        finds: &["The end comes of a trap.", "What becomes of it."],
        passes: &["The end is caused by a trap.", "It becomes one."],
    },
    Rule {
        name: "take-for",
        pattern: r"\b(takes?|took|taken) (it |them |this |that )?for (an?|the|one|lost|dead|gone)\b",
        except: &[],
        advice: "write \"treat as\", \"regard as\" or \"mistake for\"",
        finds: &["It takes a worker's silence so; it is taken for lost."],
        passes: &["It is treated as lost.", "It takes 3 s for each."],
    },
    Rule {
        name: "give-back",
        pattern: r"\b(gives?|gave|given|giving) (it |them |its [a-z]+ |the [a-z]+ )?back\b",
        except: &[],
        advice: "write \"return\", \"release\" or \"free\"",
        finds: &["It gives back the memory.", "The place is given back."],
        passes: &["It frees the memory.", "It gives a reason."],
    },
    Rule {
        name: "is-asked",
        pattern: r"\b(is|are|was|were|be|been|being) asked\b( for| to)?",
        except: &[
            "is asked for",
            "are asked for",
            "was asked for",
            "were asked for",
            "be asked for",
            "been asked for",
            "is asked to",
            "are asked to",
            "was asked to",
            "were asked to",
            "be asked to",
            "been asked to",
            "being asked to",
            "being asked for",
        ],
        advice: "write \"is queried\", \"is called\" or \"receives a request\"",
        finds: &["The table is asked first."],
        passes: &["The table is queried first.", "It does as it was asked to."],
    },
    Rule {
        name: "there-is-left",
        pattern: r"\bthere (is|are|was|were) ([a-z]+ ){1,3}left\b",
        except: &[],
        advice: "write \"X remains\"",
        finds: &["As long as there is room left."],
        passes: &["As long as room remains."],
    },
    Rule {
        name: "by-then",
        pattern: r"\bby then\b",
        except: &[],
        advice: "name the moment, or write \"already\"",
        finds: &["It has ended by then."],
        passes: &["It has already ended."],
    },
    Rule {
        name: "for-good",
        pattern: r"\bfor good\b",
        except: &[],
        advice: "write \"permanently\"",
        finds: &["The worker is gone for good."],
        passes: &["The worker was removed permanently.", "It is good."],
    },
    Rule {
        name: "archaic",
        pattern: r"\b(lest|whence|thereof|therein|thereto|unto|ere|till|whereby|so as to|save for)\b",
        except: &[],
        advice: "write it in today's words",
        finds: &["Lest it ends.", "It waits till it ends."],
        passes: &[
            "So that it does not end.",
            "It waits until it ends.",
            "The tiller.",
        ],
    },
    Rule {
        name: "please",
        pattern: r"\bplease\b",
        except: &[],
        advice: "say what to do",
        finds: &["Please check the address."],
        passes: &["check the address"],
    },
    Rule {
        name: "bang",
        pattern: r"(?-i)\b[a-z]+!( |$)",
        except: &[],
        advice: "end the sentence with a full stop",
        finds: &["The workload is ready!"],
        passes: &["The workload is ready.", "It uses `vec!`."],
    },
];

/// Words that a clause has its verb from, as far as a list can say: forms of the commonest verbs.
const VERBS: &str = r"\b(is|are|was|were|has|have|had|does|do|did|can|may|must|will|would|should|could|might|cannot|needs?|stays?|gets?|makes?|takes?|holds?|keeps?|ends?|fails?|starts?|runs?|becomes?|remains?|counts?|costs?|depends?|matters?|belongs?|follows?|means?|happens?|applies|apply|decides?|lives?|says?|shows?|goes|comes|isn't|aren't)\b";

/// A clause that begins with a question word is half a sentence.
const CLAUSE: Rule = Rule {
    name: "clause",
    pattern: r"(?-i)^(What|Whether|Who|Whom|Whose|Which|How (many|much|long|often|far|soon))\b",
    except: &[],
    advice: "name the thing: \"The number of ...\", \"Returns whether ...\"",
    finds: &[
        "What it takes.",
        "Whether the worker is ready.",
        "How often it was refused.",
        "Who holds the port.",
    ],
    passes: &[
        "The number of refusals.",
        "What was acknowledged is kept.",
        "Whether it is ready depends on the probe.",
        "What does it do?",
        "Returns whether it is ready.",
    ],
};

/// A few words after a preposition are no sentence.
const FRAGMENT: Rule = Rule {
    name: "fragment",
    pattern: r"(?-i)^(Of|As|Nor|Beside|Besides|Not) ([a-z'X-]+ ){0,3}[a-z'X-]+\.$",
    except: &[],
    advice: "write a sentence, or join it to the one before",
    finds: &["Of the same.", "As before.", "Not the others."],
    passes: &[
        "It has the same owner.",
        "Of several versions, the highest is used.",
    ],
};

/// All rules, ready to be used.
#[derive(Debug)]
pub struct Rules {
    words: Vec<(&'static Rule, Regex)>,
    clause: Regex,
    fragment: Regex,
    verb: Regex,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            words: RULES
                .iter()
                .map(|rule| (rule, regex(rule.pattern)))
                .collect(),
            clause: regex(CLAUSE.pattern),
            fragment: regex(FRAGMENT.pattern),
            verb: regex(VERBS),
        }
    }
}

#[expect(clippy::unwrap_used, reason = "constants, which the tests compile")]
fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("(?i){pattern}")).unwrap()
}

impl Rules {
    /// Returns what is found, where it begins in the text, and the words.
    pub fn find(&self, paragraph: &Paragraph) -> Vec<(&'static Rule, usize, String)> {
        let text = &paragraph.text;
        let mut found = Vec::new();
        for (rule, pattern) in &self.words {
            for words in pattern.find_iter(text) {
                let lower = words.as_str().to_lowercase();
                if !rule.except.iter().any(|except| lower.starts_with(except)) {
                    found.push((*rule, words.start(), words.as_str().to_owned()));
                }
            }
        }
        if paragraph.sentences {
            for (at, sentence) in sentences(text) {
                let question = sentence.ends_with('?');
                let lacks_verb = self.verb.find_iter(sentence).count() < 2;
                let rule = match sentence {
                    s if self.clause.is_match(s) && lacks_verb && !question => &CLAUSE,
                    s if self.fragment.is_match(s) => &FRAGMENT,
                    _ => continue,
                };
                found.push((rule, at, sentence.chars().take(60).collect()));
            }
        }
        found
    }
}

/// Splits a text after full stops, question marks and semicolons that a blank follows.
fn sentences(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    let ends = text
        .match_indices(['.', '?'])
        .map(|(at, mark)| at + mark.len());
    let ends = ends.filter(|end| text[*end..].starts_with(' '));
    ends.chain([text.len()]).filter_map(move |end| {
        let sentence = text[start..end].trim_start();
        let at = end - sentence.len();
        start = end;
        (!sentence.is_empty()).then_some((at, sentence))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prose::text::paragraphs;

    fn found(text: &str) -> Vec<&'static str> {
        let rules = Rules::default();
        let all = paragraphs("a.md", text);
        let found = all.iter().flat_map(|paragraph| rules.find(paragraph));
        found.map(|(rule, ..)| rule.name).collect()
    }

    #[test]
    fn each_rule_finds_its_examples_and_passes_what_is_better() {
        for rule in RULES.iter().chain([&CLAUSE, &FRAGMENT]) {
            for text in rule.finds {
                assert!(found(text).contains(&rule.name), "{}: {text}", rule.name);
            }
            for text in rule.passes {
                assert!(!found(text).contains(&rule.name), "{}: {text}", rule.name);
            }
            assert!(
                !rule.finds.is_empty() && !rule.passes.is_empty(),
                "{}",
                rule.name
            );
        }
    }

    #[test]
    fn names_of_rules_are_words_of_their_own() {
        let mut names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
        names.extend([CLAUSE.name, FRAGMENT.name]);
        assert!(names.iter().all(|name| !name.contains(' ')));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn sentences_end_where_a_blank_follows_a_full_stop() {
        let all: Vec<_> = sentences("One 1.5 is. Two? Three").collect();
        assert_eq!(all, [(0, "One 1.5 is."), (12, "Two?"), (17, "Three")]);
    }
}
