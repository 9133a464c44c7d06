//! The name of the program that a shell command runs, and nothing else of the command.
//!
//! Purpose: "which programs do agents run" without keeping command lines, which hold secrets. Depends on `domain`
//! only. Invariants: the answer is the last part of the first word that is neither an assignment nor a wrapper; it
//! begins with a letter or digit and holds only ASCII letters, digits, `.`, `_`, `+` and `-`, at most
//! [`MAX_PROGRAM_CHARS`]; anything else (quotes, expansions, text glued to it) gives no answer rather than a guess.

use crate::domain::tool_metric::Program;

/// The longest name that is taken for a program's: 39 characters, above common ones and below a GitHub token's 40.
pub const MAX_PROGRAM_CHARS: usize = 39;

/// How far a command is searched: what comes later is not its first program.
const MAX_WORDS: usize = 64;

/// Commands that run the command after them.
const WRAPPERS: [&str; 12] = [
    "builtin", "command", "doas", "env", "exec", "ionice", "nice", "nohup", "setsid", "sudo",
    "time", "timeout",
];

/// The program that `command` runs first: `/usr/bin/git push` gives `git`, `KEY=x sudo -E make` gives `make`.
#[must_use]
pub fn program_of(command: &str) -> Option<Program> {
    let mut after_wrapper = false;
    for word in command.split_ascii_whitespace().take(MAX_WORDS) {
        if is_assignment(word) {
            // A quoted value with blanks goes on into the next words: they may be part of a secret.
            if word.contains(['"', '\'', '`', '(', '\\']) && !is_closed(word) {
                return None;
            }
            continue;
        }
        if after_wrapper && (word.starts_with('-') || is_amount(word)) {
            // An option may take a value (`sudo -u ada`), and which do is each wrapper's own: only the few that are
            // known to stand alone are passed over.
            if is_amount(word) || STANDALONE.contains(&word) {
                continue;
            }
            return None;
        }
        // `\grep` and the like ask the shell for the program instead of an alias.
        let word = word.strip_prefix('\\').unwrap_or(word);
        let name = word.rsplit('/').next().unwrap_or(word);
        let name = name.strip_suffix(';').unwrap_or(name);
        if WRAPPERS.contains(&name) {
            after_wrapper = true;
            continue;
        }
        return is_safe(name)
            .then(|| Program::parse("program", name).ok())
            .flatten();
    }
    None
}

/// Options of the wrappers that take no value.
const STANDALONE: [&str; 10] = [
    "--",
    "-E",
    "-H",
    "-S",
    "-i",
    "-k",
    "-n",
    "-p",
    "-v",
    "--preserve-env",
];

/// Whether a word is `NAME=value`, by the shell's rule for names.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        let name = name.strip_suffix('+').unwrap_or(name);
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || character == '_')
    })
}

/// Whether the quotes of an assignment are closed and nothing in it is expanded or escaped.
fn is_closed(word: &str) -> bool {
    let even = |quote: char| word.matches(quote).count().is_multiple_of(2);
    even('"') && even('\'') && !word.contains(['`', '(', '\\'])
}

/// Whether a word is an amount, as in `timeout 30s` or `nice 10`.
fn is_amount(word: &str) -> bool {
    let digits = word.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or(word);
    !digits.is_empty()
        && digits.len() <= 9
        && digits
            .chars()
            .all(|character| character.is_ascii_digit() || character == '.')
}

fn is_safe(name: &str) -> bool {
    name.len() <= MAX_PROGRAM_CHARS
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|character| {
            character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '+' | '-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(command: &str) -> Option<String> {
        program_of(command).map(|program| program.as_str().to_owned())
    }

    #[test]
    fn the_program_is_the_first_word_without_its_folder() {
        for (command, expected) in [
            ("git push origin main", "git"),
            ("/usr/bin/env python3 -c 'x'", "python3"),
            ("sudo -E make install", "make"),
            ("timeout 30s cargo test", "cargo"),
            ("./target/debug/app --key s3cret", "app"),
            ("cd /srv && ls", "cd"),
            ("g++ -o a a.cc", "g++"),
            ("\\grep x", "grep"),
            ("A=1 B='two' cmd", "cmd"),
        ] {
            assert_eq!(program(command).as_deref(), Some(expected), "{command}");
        }
    }

    #[test]
    fn no_secret_slips_through() {
        assert_eq!(program("AWS_SECRET=x cmd").as_deref(), Some("cmd"));
        for command in [
            "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI",
            "TOKEN=\"a secret\" cmd",
            "TOKEN='a secret' cmd",
            "TOKEN=$(cat secret) cmd",
            "TOKEN=a\\ secret cmd",
            "sudo -u secret cmd",
            "\"my secret\"",
            "$(secret)",
            "secret|base64",
            "secret>file",
            "-secret",
            "",
            "  ",
        ] {
            assert_eq!(program(command), None, "{command}");
        }
        assert_eq!(program(&"x".repeat(40)), None);
    }
}
