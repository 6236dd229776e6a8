//! Renders the command line as a documentation page, generated from its definition.

use clap::{Arg, ArgAction, Command};

use super::examples;

/// Lines of prose end before this column.
const WIDTH: usize = 110;

/// Returns the reference of every command as Markdown: its purpose, its arguments with their
/// defaults, and examples.
pub fn reference() -> String {
    let mut page = Page(String::new());
    let command = super::command();
    page.heading(1, "Command line");
    page.paragraph(
        "This page is generated from the definition of the command line; `warren help COMMAND` prints the same. The exit \
         code is 0 on success, 1 on failure and 2 on wrong usage. Tables are for people and may change; `-o json` and \
         `-o yaml` are for programs.",
    );
    page.heading(2, "Options of every command that connects to a server");
    for argument in command.get_arguments().filter(|one| one.is_global_set()) {
        page.argument(argument);
    }
    page.0.push('\n');
    for subcommand in shown(&command) {
        page.command(2, "", subcommand);
    }
    page.0.truncate(page.0.trim_end().len());
    page.0.push('\n');
    page.0
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    let subcommands = command.get_subcommands();
    subcommands.filter(|one| !one.is_hide_set() && one.get_name() != "help")
}

struct Page(String);

// === impl Page ===

impl Page {
    fn heading(&mut self, level: usize, title: &str) {
        self.0
            .push_str(&format!("{} {title}\n\n", "#".repeat(level)));
    }

    fn paragraph(&mut self, text: &str) {
        self.0.push_str(&wrapped(text, ""));
        self.0.push_str("\n\n");
    }

    /// Writes one command. `above` are the words before its name.
    fn command(&mut self, level: usize, above: &str, command: &Command) {
        let words = format!("{above} {}", command.get_name());
        let words = words.trim_start();
        self.heading(level, &format!("warren {words}"));
        let about = command.get_about().map(ToString::to_string);
        let aliases: Vec<_> = command
            .get_visible_aliases()
            .map(|one| format!("`{one}`"))
            .collect();
        let also = match aliases.as_slice() {
            [] => String::new(),
            aliases => format!(" Also called {}.", aliases.join(", ")),
        };
        self.paragraph(&format!("{}.{also}", about.unwrap_or_default()));
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").trim();
        self.0.push_str(&format!("```text\n{usage}\n```\n\n"));
        let mut own = command.get_arguments().filter(|one| is_own(one)).peekable();
        if own.peek().is_some() {
            own.for_each(|argument| self.argument(argument));
            self.0.push('\n');
        }
        let of_its_own = shown(command).next().is_none();
        let examples = if of_its_own { examples::of(words) } else { &[] };
        if !examples.is_empty() {
            let lines = examples
                .iter()
                .map(|(line, good_for)| format!("# {good_for}\n{line}\n"));
            let lines: Vec<String> = lines.collect();
            self.0
                .push_str(&format!("```text\n{}```\n\n", lines.concat()));
        }
        for subcommand in shown(command) {
            self.command(level + 1, words, subcommand);
        }
    }

    fn argument(&mut self, argument: &Arg) {
        let help = argument.get_help().map(ToString::to_string);
        let mut text = format!("- {}", spelling(argument));
        if let Some(help) = help {
            text.push_str(&format!(": {help}"));
        }
        let values = argument.get_possible_values();
        // A flag has the values `true` and `false`, which are never written.
        if takes_value(argument) && !values.is_empty() {
            let values = values.iter().filter(|one| !one.is_hide_set()).map(|one| {
                let name = one.get_name();
                match one.get_help() {
                    Some(help) => format!("`{name}` ({})", lower_first(&help.to_string())),
                    None => format!("`{name}`"),
                }
            });
            let values: Vec<String> = values.collect();
            text.push_str(&format!("; one of {}", values.join(", ")));
        }
        let defaults = argument.get_default_values();
        if takes_value(argument) && !defaults.is_empty() && !argument.is_hide_default_value_set() {
            let defaults = defaults.iter().map(|one| one.to_string_lossy());
            let defaults: Vec<_> = defaults.collect();
            text.push_str(&format!(" [default: {}]", defaults.join(",")));
        }
        self.0.push_str(&wrapped(&text, "  "));
        self.0.push('\n');
    }
}

fn is_own(argument: &Arg) -> bool {
    let named = argument.get_id().as_str();
    !argument.is_global_set() && !argument.is_hide_set() && named != "help" && named != "version"
}

fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
}

/// Formats the names of an argument: `` `-o`, `--output <FORMAT>` ``, `` `<NAME>...` ``.
fn spelling(argument: &Arg) -> String {
    if argument.is_positional() {
        return format!("`{argument}`");
    }
    let value = argument.get_value_names().filter(|_| takes_value(argument));
    let value = value.map_or_else(String::new, |names| format!(" <{}>", names.join(" ")));
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let mut spellings: Vec<String> = short.into_iter().chain(long).collect();
    if let Some(last) = spellings.last_mut() {
        last.push_str(&value);
    }
    let quoted: Vec<String> = spellings
        .into_iter()
        .map(|one| format!("`{one}`"))
        .collect();
    quoted.join(", ")
}

/// Lowercases the first letter, for the middle of a sentence.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_lowercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// Wraps text at spaces before [`WIDTH`]. All lines except the first begin with `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let wide = lines
            .last()
            .map_or(0, |line| line.chars().count() + 1 + word.chars().count());
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if wide <= WIDTH => line.push_str(&format!(" {word}")),
            _ => lines.push(format!("{indent}{word}")),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_contains_every_command_and_every_argument() {
        fn check(page: &str, above: &str, command: &Command) {
            for subcommand in shown(command) {
                let words = format!("{above} {}", subcommand.get_name());
                assert!(page.contains(&format!("# warren{words}\n")), "{words}");
                for argument in subcommand.get_arguments().filter(|one| is_own(one)) {
                    let line = format!("- {}", spelling(argument));
                    assert!(page.contains(&line), "{words}: {line}");
                }
                check(page, &words, subcommand);
            }
        }
        let page = reference();
        check(&page, "", &super::super::command());
        assert!(
            page.contains("- `--server <URL,...>`: Control planes"),
            "{page}"
        );
        assert!(page.contains("WARREN_NAMESPACE"), "{page}");
        assert!(page.contains("`manifest` ("), "{page}");
    }

    #[test]
    fn lines_are_tidy() {
        let page = reference();
        let mut code = false;
        for line in page.lines() {
            code ^= line.starts_with("```");
            assert!(code || line.chars().count() <= WIDTH, "{line}");
            assert_eq!(line.trim_end(), line);
        }
        assert!(!page.contains("\n\n\n") && page.ends_with("```\n"));
    }
}
