//! A statement's normal form: what is kept and logged of it.
//!
//! Depends on nothing. Invariants: a normal form holds no literal, quoted name or comment, so that no value of a row can
//! be in it, and at most 2,000 characters; statements that differ in those alone have one form, and one id.

use std::iter::Peekable;
use std::str::Chars;

/// Bounds what is kept and logged of one statement.
const LONGEST: usize = 2_000;

/// The statement with `?` for each literal and parameter, `"?"` for each quoted name, one space for each gap.
pub(super) fn normal_form(sql: &str) -> String {
    let mut form = String::with_capacity(sql.len().min(LONGEST));
    let mut rest = sql.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '-' if rest.peek() == Some(&'-') => {
                skip_while(&mut rest, |c| c != '\n');
                gap(&mut form);
            }
            '/' if rest.peek() == Some(&'*') => {
                skip_comment(&mut rest);
                gap(&mut form);
            }
            '\'' => {
                skip_quoted(&mut rest, '\'');
                form.push('?');
            }
            'x' | 'X' if rest.peek() == Some(&'\'') => {
                rest.next();
                skip_quoted(&mut rest, '\'');
                form.push('?');
            }
            // SQLite takes a quoted name that names nothing for a text: it may hold a value.
            '"' | '`' | '[' => {
                skip_quoted(&mut rest, if next == '[' { ']' } else { next });
                form.push_str("\"?\"");
            }
            '?' | ':' | '@' | '$' | '#' => {
                skip_while(&mut rest, is_of_name);
                form.push('?');
            }
            c if c.is_ascii_digit() || (c == '.' && starts_number(rest.peek())) => {
                skip_number(&mut rest);
                form.push('?');
            }
            c if is_of_name(c) => {
                form.push(c);
                while let Some(more) = rest.next_if(|c| is_of_name(*c)) {
                    form.push(more);
                }
            }
            c if c.is_whitespace() => gap(&mut form),
            c => form.push(c),
        }
    }
    form.truncate(form.trim_end().len());
    if let Some((end, _)) = form.char_indices().nth(LONGEST) {
        form.truncate(end);
        form.push('…');
    }
    form
}

/// A short name of a normal form: eight hexadecimal digits of its BLAKE3. The same in every process.
pub(super) fn id(form: &str) -> String {
    blake3::hash(form.as_bytes())
        .to_hex()
        .chars()
        .take(8)
        .collect()
}

fn gap(form: &mut String) {
    if !form.is_empty() && !form.ends_with(' ') {
        form.push(' ');
    }
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn starts_number(next: Option<&char>) -> bool {
    next.is_some_and(char::is_ascii_digit)
}

fn skip_while(rest: &mut Peekable<Chars<'_>>, skipped: impl Fn(char) -> bool) {
    while rest.next_if(|c| skipped(*c)).is_some() {}
}

fn skip_comment(rest: &mut Peekable<Chars<'_>>) {
    rest.next();
    let mut before = ' ';
    for c in rest.by_ref() {
        if before == '*' && c == '/' {
            break;
        }
        before = c;
    }
}

/// To the closing quote; a doubled one is part of what is quoted.
fn skip_quoted(rest: &mut Peekable<Chars<'_>>, close: char) {
    while let Some(c) = rest.next() {
        if c == close && rest.next_if_eq(&close).is_none() {
            break;
        }
    }
}

/// The rest of a number, as `0x1F`, `1_000`, `2.5e-3`.
fn skip_number(rest: &mut Peekable<Chars<'_>>) {
    let mut before = '0';
    while let Some(c) = rest.next_if(|c| {
        is_of_name(*c) || *c == '.' || (matches!(c, '+' | '-') && matches!(before, 'e' | 'E'))
    }) {
        before = c;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_literal_name_or_comment_is_left() {
        let cases = [
            (
                "SELECT *\n   FROM users WHERE email = 'ada@acme.dev' -- secret\n  LIMIT 5",
                "SELECT * FROM users WHERE email = ? LIMIT ?",
            ),
            (
                "SELECT 'it''s secret', x'5EC4E7', \"secret\"\"er\", [secret], `secret` /* secret */",
                "SELECT ?, ?, \"?\", \"?\", \"?\"",
            ),
            (
                "a=?1 AND b=:name AND c=@x AND d=$y",
                "a=? AND b=? AND c=? AND d=?",
            ),
            (
                "x > 0x1F OR y < 2.5e-3 OR z = .5 OR -7",
                "x > ? OR y < ? OR z = ? OR -?",
            ),
            ("SELECT t1.c2 FROM table3 t1", "SELECT t1.c2 FROM table3 t1"),
            ("SELECT 'never closed", "SELECT ?"),
            ("SELECT 1 /* never closed", "SELECT ?"),
            ("SELECT max(x) FROM y", "SELECT max(x) FROM y"),
        ];
        for (sql, form) in cases {
            assert_eq!(normal_form(sql), form);
        }
    }

    #[test]
    fn statements_that_differ_in_values_alone_have_one_id() {
        let of = |sql| id(&normal_form(sql));
        assert_eq!(of("SELECT  1"), of("SELECT 'a'"));
        assert_ne!(of("SELECT a"), of("SELECT b"));
        assert_eq!(of("SELECT a").len(), 8);
    }

    #[test]
    fn a_form_is_of_bounded_length() {
        let long = format!("SELECT {}", "a + ".repeat(10_000));
        assert!(normal_form(&long).chars().count() <= LONGEST + 1);
        let name = format!("SELECT {}", "a".repeat(10_000));
        assert!(normal_form(&name).chars().count() <= LONGEST + 1);
    }
}
