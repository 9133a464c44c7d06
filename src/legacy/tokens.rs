//! A statement as tokens, and the text that is sent: written anew from the tokens, never copied.
//!
//! Depends on nothing of ours. Invariants: what was checked is what is sent, whatever a database would read in the
//! original text (comments, escapes, white space are gone); each token lies at line 1, column `index + 1`, so that a
//! name of the parsed statement tells its token; a kind of token that is not listed is refused; at most
//! [`LENGTH_MAX`] bytes and [`TOKENS_MAX`] tokens.

use std::collections::BTreeMap;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use super::error::Refusal;

/// Longest statement, in bytes.
pub(super) const LENGTH_MAX: usize = 64 * 1024;
/// Most tokens of a statement: what is nested is gone through by recursion.
pub(super) const TOKENS_MAX: usize = 8_000;

/// Which database reads the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// A tenant's SQLite file, or the registry.
    Local,
    /// PostgreSQL.
    Central,
}

/// A statement's tokens, without white space, comments and a semicolon at the end.
#[derive(Debug)]
pub(super) struct Tokens(Vec<Token>);

/// What is put in the place of tokens, and around them.
#[derive(Debug, Default)]
pub(super) struct Edits {
    by_token: BTreeMap<usize, Edit>,
    tail: String,
}

#[derive(Debug, Default)]
struct Edit {
    before: String,
    instead: Option<String>,
    after: String,
}

impl Edits {
    pub(super) const fn new() -> Self {
        Self {
            by_token: BTreeMap::new(),
            tail: String::new(),
        }
    }

    pub(super) fn before(&mut self, at: usize, text: &str) {
        self.by_token.entry(at).or_default().before.push_str(text);
    }

    pub(super) fn instead(&mut self, at: usize, text: String) {
        self.by_token.entry(at).or_default().instead = Some(text);
    }

    pub(super) fn after(&mut self, at: usize, text: &str) {
        self.by_token.entry(at).or_default().after.push_str(text);
    }

    /// Before the token at `at`, or at the end where there is none.
    pub(super) fn before_or_last(&mut self, at: Option<usize>, text: &str) {
        match at {
            Some(at) => self.before(at, text),
            None => self.tail.push_str(text),
        }
    }
}

impl Tokens {
    pub(super) fn read(sql: &str) -> Result<Self, Refusal> {
        if sql.len() > LENGTH_MAX {
            return Err(Refusal::Long { max: LENGTH_MAX });
        }
        let mut all: Vec<Token> = Tokenizer::new(&PostgreSqlDialect {}, sql)
            .tokenize()
            .map_err(|source| Refusal::Unreadable(source.message))?;
        all.retain(|token| !matches!(token, Token::Whitespace(_) | Token::EOF));
        if all.last() == Some(&Token::SemiColon) {
            all.pop();
        }
        if all.len() > TOKENS_MAX {
            return Err(Refusal::Long { max: TOKENS_MAX });
        }
        for token in &all {
            // Refused here, so that nothing is ever parsed that could not be written.
            write(token, Side::Central)?;
        }
        Ok(Self(all))
    }

    /// The tokens for the parser, each at its own place.
    pub(super) fn placed(&self) -> Vec<TokenWithSpan> {
        (1..)
            .zip(&self.0)
            .map(|(column, token)| {
                let place = Location { line: 1, column };
                TokenWithSpan::new(token.clone(), Span::new(place, place))
            })
            .collect()
    }

    /// The token that a name of the parsed statement stands at.
    pub(super) fn index(&self, of: Span) -> Result<usize, Refusal> {
        usize::try_from(of.start.column)
            .ok()
            .filter(|column| of.start.line == 1 && (1..=self.0.len()).contains(column))
            .map(|column| column - 1)
            .ok_or(Refusal::Shape("a name that stands nowhere in it"))
    }

    /// The first such keyword from `from` on that stands in no parentheses.
    pub(super) fn keyword(&self, from: usize, keyword: Keyword) -> Option<usize> {
        let mut depth = 0_usize;
        self.0
            .iter()
            .enumerate()
            .skip(from)
            .find_map(|(at, token)| {
                match token {
                    Token::LParen => depth += 1,
                    Token::RParen => depth = depth.saturating_sub(1),
                    Token::Word(word) if depth == 0 && word.keyword == keyword => return Some(at),
                    _ => {}
                }
                None
            })
    }

    /// The highest number of a parameter.
    pub(super) fn parameters(&self) -> Result<usize, Refusal> {
        let numbers = self.0.iter().filter_map(|token| match token {
            Token::Placeholder(name) => Some(number(name)),
            _ => None,
        });
        numbers.into_iter().try_fold(0, |most, n| Ok(n?.max(most)))
    }

    /// The text, edited.
    pub(super) fn text(&self, edits: &Edits, side: Side) -> Result<String, Refusal> {
        let mut text = String::new();
        for (at, token) in self.0.iter().enumerate() {
            let edit = edits.by_token.get(&at);
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(edit.map_or("", |edit| &edit.before));
            match edit.and_then(|edit| edit.instead.as_deref()) {
                Some(instead) => text.push_str(instead),
                None => text.push_str(&write(token, side)?),
            }
            text.push_str(edit.map_or("", |edit| &edit.after));
        }
        text.push_str(&edits.tail);
        Ok(text)
    }

    /// The statement without its values, as a log may show it.
    pub(super) fn shape(&self) -> String {
        let words = self.0.iter().map(|token| match token {
            Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) => {
                "?".to_owned()
            }
            other => other.to_string(),
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

/// The number of a parameter `$n`.
fn number(name: &str) -> Result<usize, Refusal> {
    name.strip_prefix('$')
        .and_then(|digits| digits.parse().ok())
        .filter(|number| (1..=999).contains(number))
        .ok_or_else(|| Refusal::Parameter(name.to_owned()))
}

/// A token as a database reads it.
fn write(token: &Token, side: Side) -> Result<String, Refusal> {
    let refused = || Refusal::Token(token.to_string());
    Ok(match token {
        Token::Word(word) => match word.quote_style {
            None if is_plain(&word.value) => word.value.clone(),
            Some('"') if !word.value.contains('\0') => quoted(&word.value),
            _ => return Err(refused()),
        },
        Token::Number(digits, false)
            if digits
                .bytes()
                .all(|c| c.is_ascii_digit() || b".eE+-".contains(&c)) =>
        {
            digits.clone()
        }
        Token::SingleQuotedString(text) if !text.contains('\0') => literal(text, side),
        Token::Placeholder(name) => {
            let number = number(name)?;
            match side {
                Side::Local => format!("?{number}"),
                Side::Central => format!("${number}"),
            }
        }
        Token::Comma
        | Token::Eq
        | Token::Neq
        | Token::Lt
        | Token::Gt
        | Token::LtEq
        | Token::GtEq
        | Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::Mod
        | Token::StringConcat
        | Token::LParen
        | Token::RParen
        | Token::LBracket
        | Token::RBracket
        | Token::Period
        | Token::DoubleColon
        | Token::Arrow
        | Token::LongArrow
        | Token::HashArrow
        | Token::HashLongArrow
        | Token::AtArrow
        | Token::ArrowAt
        | Token::Tilde
        | Token::TildeAsterisk
        | Token::ExclamationMarkTilde
        | Token::ExclamationMarkTildeAsterisk => token.to_string(),
        Token::SemiColon => return Err(Refusal::Several),
        _ => return Err(refused()),
    })
}

fn is_plain(word: &str) -> bool {
    word.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        && !word.starts_with(|c: char| c.is_ascii_digit())
}

/// Quotes an identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str, side: Side) -> String {
    let doubled = text.replace('\'', "''");
    if side == Side::Central && doubled.contains('\\') {
        // Whatever standard_conforming_strings says.
        return format!("E'{}'", doubled.replace('\\', "\\\\"));
    }
    format!("'{doubled}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(sql: &str, side: Side) -> Result<String, Refusal> {
        Tokens::read(sql)?.text(&Edits::default(), side)
    }

    #[test]
    fn what_is_sent_is_written_from_the_tokens() {
        let sql = "SELECT /* a -- b */ \"we\"\"ird\", 'it''s' -- end\n FROM x WHERE y=$2;";
        assert_eq!(
            sent(sql, Side::Local).unwrap(),
            "SELECT \"we\"\"ird\" , 'it''s' FROM x WHERE y = ?2"
        );
        assert_eq!(
            sent("SELECT 'a\\''b'", Side::Central).unwrap(),
            "SELECT E'a\\\\''b'"
        );
        assert_eq!(
            sent("SELECT 'a\\''b'", Side::Local).unwrap(),
            "SELECT 'a\\''b'"
        );
    }

    #[test]
    fn a_token_that_two_databases_could_read_differently_is_refused() {
        for bad in [
            "SELECT E'\\''",
            "SELECT $$text$$",
            "SELECT U&'\\0041'",
            "SELECT X'00'",
            "SELECT ?",
            "SELECT :a",
            "SELECT @a",
            "SELECT $0",
            "SELECT $1000",
            "SELECT 1; SELECT 2",
            "SELECT `a`",
            "SELECT a\\b",
            "SELECT 'open",
            "SELECT \u{fc}ber",
        ] {
            assert!(sent(bad, Side::Central).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_shows_no_value() {
        let tokens =
            Tokens::read("SELECT * FROM users WHERE email = 'ada' AND n > 7 OR a = $1").unwrap();
        assert_eq!(
            tokens.shape(),
            "SELECT * FROM users WHERE email = ? AND n > ? OR a = ?"
        );
    }
}
