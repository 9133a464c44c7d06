//! Lines of a file of unknown content, in bounded memory.
//!
//! Purpose: a transcript may hold a line of 100 MB, no line end at all, or no text; none of that may cost more than
//! [`MAX_LINE_BYTES`] of memory or end the reading. Depends on std only. Invariants: at most `limit` + 1 bytes of a
//! line are held; a buffer that one long line made is given back before the next; a byte order mark before the
//! first line, a carriage return before a line end and blank lines are no content.

use std::io::{self, BufRead, Read as _};

/// The longest line that is read: 16 MiB. Claude Code caps a tool's result far below; pasted images reach some MiB.
pub const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// What stays of the buffer between two lines.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One line that is not blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// The line without its end; any bytes.
    Whole(&'a [u8]),
    /// A line longer than the limit, passed over.
    TooLong,
}

/// Reads lines one after the other.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    limit: usize,
    number: u64,
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads lines of at most [`MAX_LINE_BYTES`].
    #[must_use]
    pub const fn new(reader: R) -> Self {
        Self::with_limit(reader, MAX_LINE_BYTES)
    }

    /// Reads lines of at most `limit` bytes, their end included.
    #[must_use]
    pub const fn with_limit(reader: R, limit: usize) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            limit,
            number: 0,
            bytes: 0,
        }
    }

    /// How many bytes have been read.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the next line that is not blank, with its number from 1, blank lines counted; `None` at the end.
    ///
    /// The last line needs no line end.
    ///
    /// # Errors
    /// What the reader says.
    pub fn next_line(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        loop {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BUFFER_BYTES);
            let most = u64::try_from(self.limit)
                .unwrap_or(u64::MAX)
                .saturating_add(1);
            let read = (&mut self.reader)
                .take(most)
                .read_until(b'\n', &mut self.buffer)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.bytes += u64::try_from(read).unwrap_or(u64::MAX);
            if read > self.limit {
                if !self.buffer.ends_with(b"\n") {
                    let rest = self.reader.skip_until(b'\n')?;
                    self.bytes += u64::try_from(rest).unwrap_or(u64::MAX);
                }
                return Ok(Some((self.number, Line::TooLong)));
            }
            if !content(&self.buffer, self.number).is_empty() {
                break;
            }
        }
        Ok(Some((
            self.number,
            Line::Whole(content(&self.buffer, self.number)),
        )))
    }
}

fn content(line: &[u8], number: u64) -> &[u8] {
    let line = match line.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) if number == 1 => rest,
        _ => line,
    };
    line.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], limit: usize) -> Vec<Result<Vec<u8>, ()>> {
        let mut lines = Lines::with_limit(io::BufReader::with_capacity(7, text), limit);
        let mut out = Vec::new();
        while let Some((_, line)) = lines.next_line().unwrap() {
            out.push(match line {
                Line::Whole(bytes) => Ok(bytes.to_vec()),
                Line::TooLong => Err(()),
            });
        }
        assert_eq!(lines.bytes(), u64::try_from(text.len()).unwrap());
        out
    }

    #[test]
    fn line_ends_byte_order_mark_and_blank_lines_are_no_content() {
        assert_eq!(
            all(b"\xef\xbb\xbf{1}\r\n\r\n\n{2}\n{3}", 100),
            [
                Ok(b"{1}".to_vec()),
                Ok(b"{2}".to_vec()),
                Ok(b"{3}".to_vec())
            ]
        );
    }

    #[test]
    fn a_line_over_the_limit_is_passed_over_and_the_next_is_read() {
        assert_eq!(
            all(b"0123456789\nab\n0123456789", 4),
            [Err(()), Ok(b"ab".to_vec()), Err(())]
        );
    }

    #[test]
    fn a_line_of_100_mb_takes_memory_for_the_limit_only() {
        let text = io::repeat(b'x').take(100_000_000).chain(&b"\nok\n"[..]);
        let mut lines = Lines::new(io::BufReader::new(text));
        assert_eq!(lines.next_line().unwrap(), Some((1, Line::TooLong)));
        assert!(lines.buffer.capacity() <= 2 * MAX_LINE_BYTES + 2);
        assert_eq!(lines.next_line().unwrap(), Some((2, Line::Whole(b"ok"))));
        assert!(lines.buffer.capacity() <= KEPT_BUFFER_BYTES);
    }
}
