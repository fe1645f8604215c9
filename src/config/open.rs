//! What is open at a byte of a TOML text (lists, inline tables, texts), and where each opens. It walks a text that need not
//! be whole, and stops where that shows.

/// Where it shows that something opened and was not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unclosed {
    List(usize),
    Table(usize),
    /// A text in quotes of this kind, that ends in its line.
    Text(usize, u8),
    /// The same in three of them.
    Long(usize, u8),
}

impl Unclosed {
    /// Where it opens.
    pub fn at(self) -> usize {
        match self {
            Unclosed::List(at) | Unclosed::Table(at) | Unclosed::Text(at, _) | Unclosed::Long(at, _) => at,
        }
    }

    /// As the TOML reader says it.
    pub fn said(self) -> &'static str {
        match self {
            Unclosed::List(_) => "unclosed array, expected `]`",
            Unclosed::Table(_) => "unclosed inline table, expected `}`",
            Unclosed::Text(_, b'"') => "invalid basic string, expected `\"`",
            Unclosed::Text(..) => "invalid literal string, expected `'`",
            Unclosed::Long(_, b'"') => "invalid multi-line basic string, expected `\"`",
            Unclosed::Long(..) => "invalid multi-line literal string, expected `'`",
        }
    }
}

/// A walk through a text.
#[derive(Clone, Debug, Default)]
pub(super) struct Open {
    /// The byte that comes next.
    at: usize,
    brackets: Vec<(usize, u8)>,
    /// A text in three quotes of this kind, and where it opens.
    long: Option<(usize, u8)>,
    /// Where the walk ended, since something is surely not closed, or not open.
    broken: Option<Option<Unclosed>>,
}

impl Open {
    /// Begins at a byte where nothing is open.
    pub fn from(at: usize) -> Open {
        Open { at, ..Open::default() }
    }

    /// Nothing is open here, and all was closed that was opened.
    pub fn is_closed(&self) -> bool {
        self.broken.is_none() && self.is_level()
    }

    /// Something is open here that what follows may close.
    pub fn is_open(&self) -> bool {
        self.broken.is_none() && !self.is_level()
    }

    fn is_level(&self) -> bool {
        self.brackets.is_empty() && self.long.is_none()
    }

    /// What is not closed, where the text ends here: what showed first, else what was opened last.
    pub fn unclosed(&self) -> Option<Unclosed> {
        if let Some(broken) = self.broken {
            return broken;
        }
        let long = self.long.map(|(at, quote)| Unclosed::Long(at, quote));
        long.or_else(|| self.brackets.last().map(|open| unclosed(*open)))
    }

    /// Walks on to this byte, which begins a line or ends the text.
    pub fn to(&mut self, text: &str, until: usize) {
        let bytes = &text.as_bytes()[..until];
        while self.at < until && self.broken.is_none() {
            self.step(bytes);
        }
    }

    fn step(&mut self, bytes: &[u8]) {
        let (at, byte) = (self.at, bytes[self.at]);
        if let Some((_, quote)) = self.long {
            return self.in_long(bytes, quote);
        }
        self.at += 1;
        match byte {
            b'#' => self.at = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end),
            b'"' | b'\'' => self.quote(bytes, at, byte),
            b'[' | b'{' => self.brackets.push((at, byte)),
            b']' | b'}' => match self.brackets.pop() {
                Some((_, open)) if (open == b'[') == (byte == b']') => {}
                other => self.broken = Some(other.map(unclosed)),
            },
            // A list holds no keys: it was to end before this one.
            b'=' => {
                self.broken =
                    self.brackets.last().filter(|(_, open)| *open == b'[').map(|open| Some(unclosed(*open)))
            }
            _ => {}
        }
    }

    fn quote(&mut self, bytes: &[u8], at: usize, quote: u8) {
        if bytes[at..].starts_with(&[quote; 3]) {
            self.long = Some((at, quote));
            self.at = at + 3;
            return;
        }
        while let Some(byte) = bytes.get(self.at) {
            match *byte {
                b'\n' => break,
                b'\\' if quote == b'"' && bytes.get(self.at + 1).is_some_and(|next| *next != b'\n') => {
                    self.at += 2
                }
                byte => {
                    self.at += 1;
                    if byte == quote {
                        return self.closed(bytes);
                    }
                }
            }
        }
        self.broken = Some(Some(Unclosed::Text(at, quote)));
    }

    fn in_long(&mut self, bytes: &[u8], quote: u8) {
        /// A text may end with two quotes of its own.
        const CLOSING: usize = 5;
        match bytes[self.at] {
            b'\\' if quote == b'"' => self.at = (self.at + 2).min(bytes.len()),
            byte if byte == quote => {
                let run = bytes[self.at..].iter().take(CLOSING).take_while(|byte| **byte == quote).count();
                self.at += run;
                if run >= 3 {
                    self.long = None;
                    self.closed(bytes);
                }
            }
            _ => self.at += 1,
        }
    }

    /// After a text: what goes on with neither a separator nor a new line shows that it did not end here.
    fn closed(&mut self, bytes: &[u8]) {
        let next = bytes[self.at..].iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
        if next.is_some_and(|byte| !matches!(byte, b'\n' | b'#' | b',' | b']' | b'}' | b'=' | b'.')) {
            self.broken = Some(None);
        }
    }
}

fn unclosed((at, open): (usize, u8)) -> Unclosed {
    if open == b'[' { Unclosed::List(at) } else { Unclosed::Table(at) }
}
