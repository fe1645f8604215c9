//! Which bytes may stand where (RFC 3261 §25.1), and the walks over them that every reader here needs.

const TOKEN: u8 = 1;
const HOST: u8 = 2;
/// In a user or password, colon and `%` excepted.
const PLAIN_USER: u8 = 4;
const URI: u8 = 8;
const WORD: u8 = 16;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let alnum = byte.is_ascii_alphanumeric();
        if alnum || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~') {
            table[at] |= TOKEN;
        }
        // RFC 3261 has no underscore in a host; networks in use do.
        if alnum || matches!(byte, b'-' | b'.' | b'_') {
            table[at] |= HOST;
        }
        if byte > b' ' && byte != 0x7f && !matches!(byte, b'"' | b',' | b';') {
            table[at] |= WORD;
        }
        let delimiter = matches!(byte, b'<' | b'>' | b'"' | b'@');
        if byte.is_ascii_graphic() && !delimiter {
            table[at] |= URI;
        }
        // Wider than the RFC's user: phones send '#' and UTF-8 unescaped, and nothing is lost by reading them.
        if (byte.is_ascii_graphic() && !delimiter && byte != b':' && byte != b'%') || byte >= 0x80 {
            table[at] |= PLAIN_USER;
        }
        at += 1;
    }
    table
}

fn has(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}

/// A token: one character or more, none but those of `token`.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| has(byte, TOKEN))
}

/// How many bytes at the start could be a host name or an IPv4 address.
pub(crate) fn host_run(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !has(byte, HOST)).unwrap_or(bytes.len())
}

/// How many bytes at the start are token characters.
pub(crate) fn token_run(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !has(byte, TOKEN)).unwrap_or(bytes.len())
}

/// How many bytes at the start can stand in a parameter's unquoted value.
pub(crate) fn word_run(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !has(byte, WORD)).unwrap_or(bytes.len())
}

/// How many bytes at the start can stand in a user or password, where among them the first colon is, and
/// whether there is a `%`.
#[inline]
pub(crate) fn user_run(bytes: &[u8]) -> (usize, Option<usize>, bool) {
    let (mut colon, mut escaped) = (None, false);
    for (at, &byte) in bytes.iter().enumerate() {
        if has(byte, PLAIN_USER) {
            continue;
        }
        match byte {
            b':' if colon.is_none() => colon = Some(at),
            b':' => {}
            b'%' => escaped = true,
            _ => return (at, colon, escaped),
        }
    }
    (bytes.len(), colon, escaped)
}

/// Whether every `%` is followed by two hex digits (RFC 3261 §25.1 `escaped`).
pub(crate) fn escapes_are_whole(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'%', bytes)
        .all(|at| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// What may stand after the host of a URI, or in a URI of an unknown scheme.
pub(crate) fn is_uri_rest(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| has(byte, URI))
}

/// How many bytes at the start are neither `?` nor illegal after the host of a URI.
pub(crate) fn uri_params_run(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !has(byte, URI) || byte == b'?').unwrap_or(bytes.len())
}

/// Where the first byte of `bytes` stands that is below 0x0E: CR, LF, NUL, tab, or a control byte that no
/// header uses. Sixteen bytes at a time, which for header lines takes fewer instructions than a vector routine.
#[inline]
pub(crate) fn low_control(bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<16>();
    for (index, block) in blocks.iter().enumerate() {
        let whole = u128::from_le_bytes(*block);
        let (first, second) = (low_marks(whole as u64), low_marks((whole >> 64) as u64));
        if first | second != 0 {
            let found = if first == 0 { 8 + first_mark(second) } else { first_mark(first) };
            return Some(index * 16 + found);
        }
    }
    rest.iter().position(|&byte| byte < 0x0e).map(|found| blocks.len() * 16 + found)
}

/// Marks the bytes of a word that are below 0x0E; only the lowest mark is sure.
const fn low_marks(word: u64) -> u64 {
    const LOW: u64 = 0x0e * ONES;
    word.wrapping_sub(LOW) & !word & HIGH_BITS
}

/// Where the first colon of `bytes` stands.
#[inline]
pub(crate) fn colon(bytes: &[u8]) -> Option<usize> {
    find::<b':'>(bytes)
}

/// Where a byte first stands. For the few bytes of a name or a URI this takes fewer instructions than a vector
/// routine.
#[inline]
pub(crate) fn find<const BYTE: u8>(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let zeros = u64::from_le_bytes(*word) ^ (BYTE as u64 * ONES);
        let marks = zeros.wrapping_sub(ONES) & !zeros & HIGH_BITS;
        if marks != 0 {
            return Some(index * 8 + first_mark(marks));
        }
    }
    rest.iter().position(|&byte| byte == BYTE).map(|found| words.len() * 8 + found)
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = 0x80 * ONES;

/// Which byte of a word is the first to be marked by its high bit. Of the marks only the lowest is sure, since
/// a borrow may run upwards from it.
const fn first_mark(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// White space of a header value, folding included (RFC 3261 §7.3.1).
pub fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Takes white space, folding included, off the front.
pub fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_lws(*first)
    {
        bytes = rest;
    }
    bytes
}

/// Takes white space, folding included, off the end.
pub fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes
        && is_lws(*last)
    {
        bytes = rest;
    }
    bytes
}

/// Takes white space, folding included, off both ends.
pub fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

/// The length of the quoted string at the start of `bytes`, both quotes included. `None` when it does not
/// start with a quote or is never closed.
pub fn quoted_run(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// A decimal number without sign, of digits alone. `None` for anything else, too large a one included.
pub fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |sum, &byte| {
        byte.is_ascii_digit().then_some(())?;
        sum.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
    })
}

/// What an unquoted display name may have: tokens, white space, and UTF-8, which phones send unquoted.
pub(crate) fn is_display_byte(byte: u8) -> bool {
    has(byte, TOKEN) || is_lws(byte) || byte >= 0x80
}
