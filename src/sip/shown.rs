//! Text from outside, as a log and a terminal may show it: it moves no cursor, ends no line, and passes for nothing
//! that we write ourselves.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

/// How many characters of a text from outside a field of the log shows: no number, user or host is longer.
const WORD: usize = 64;
/// The same of an error's sentence, which may name a few of them.
const SENTENCE: usize = 256;

/// Whether a terminal would obey it instead of showing it: a control character (C0, DEL and C1), a separator of lines, or
/// one that is not seen and turns the order of those that are (bidirectional formatting, UAX #9; tags).
pub fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The same text with what a terminal would obey written out, as `\u{1b}`. Allocates only where there is some.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(2 * text.len());
    for letter in text.chars() {
        match is_obeyed(letter) {
            true => plain.extend(letter.escape_unicode()),
            false => plain.push(letter),
        }
    }
    Cow::Owned(plain)
}

/// A text from outside as one word: no space, no quote and no control character, and not longer than 64 characters.
pub struct Word<T>(pub T);

impl<T: Display> Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_barred = |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | '`' | '\\');
        let mut narrow = Narrow { to: f, is_barred, left: WORD, seen: false };
        let cut = write!(narrow, "{}", self.0).is_err();
        let seen = narrow.seen;
        match (cut, seen) {
            (true, _) => f.write_str("…"),
            (false, true) => Ok(()),
            (false, false) => f.write_str("\"\""),
        }
    }
}

/// A sentence of ours that may hold text from outside, as the error of a library does: in quotes, without another quote,
/// without `=`, so that it has no field of its own, and not longer than 256 characters.
pub struct Sentence<T>(pub T);

impl<T: Display> Display for Sentence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let is_barred = |letter: char| matches!(letter, '"' | '\\' | '=');
        let mut narrow = Narrow { to: f, is_barred, left: SENTENCE, seen: false };
        let cut = write!(narrow, "{}", self.0).is_err();
        f.write_str(if cut { "…\"" } else { "\"" })
    }
}

/// What lets only so many characters pass, the barred ones written out; an error says that there were more.
struct Narrow<'f, 'a, B> {
    to: &'f mut fmt::Formatter<'a>,
    is_barred: B,
    left: usize,
    seen: bool,
}

impl<B: Fn(char) -> bool> Write for Narrow<'_, '_, B> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.seen = true;
            match is_obeyed(letter) || (self.is_barred)(letter) {
                true => write!(self.to, "{}", letter.escape_unicode())?,
                false => self.to.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_given_nothing_to_obey() {
        assert!(matches!(printable("Grandstream GXP2170 é …"), Cow::Borrowed(_)));
        assert_eq!(printable("a\u{1b}]0;x\u{7}b"), "a\\u{1b}]0;x\\u{7}b");
        let all = "\0\n\r\t\u{7f}\u{80}\u{9b}\u{9f}\u{61c}\u{200e}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}\u{e0041}";
        assert!(all.chars().all(is_obeyed));
        assert!(!printable(all).chars().any(is_obeyed));
    }

    #[test]
    fn a_word_stays_one_and_is_bounded() {
        assert_eq!(Word("+12015550101;npdi").to_string(), "+12015550101;npdi");
        assert_eq!(
            Word("911;wrong password from=\"x\"\u{a0}\n").to_string(),
            "911;wrong\\u{20}password\\u{20}from=\\u{22}x\\u{22}\\u{a0}\\u{a}"
        );
        assert_eq!(Word("").to_string(), "\"\"");
        assert_eq!(Word("é".repeat(64)).to_string(), "é".repeat(64));
        assert_eq!(Word("é".repeat(65)).to_string(), format!("{}…", "é".repeat(64)));
    }

    #[test]
    fn a_sentence_has_no_field_and_no_quote_of_its_own() {
        assert_eq!(Sentence("no answer").to_string(), "\"no answer\"");
        assert_eq!(
            Sentence("a\" wrong password from=b\u{1b}").to_string(),
            "\"a\\u{22} wrong password from\\u{3d}b\\u{1b}\""
        );
        assert_eq!(Sentence("x".repeat(999)).to_string().chars().count(), SENTENCE + 3);
    }
}
