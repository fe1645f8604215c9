//! Which bytes may stand where (RFC 3261 §25.1), and the walks over them that every reader here needs.

const TOKEN: u8 = 1;
const HOST: u8 = 2;
const USER: u8 = 4;
const URI: u8 = 8;

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
        let delimiter = matches!(byte, b'<' | b'>' | b'"' | b'@');
        if byte.is_ascii_graphic() && !delimiter {
            table[at] |= URI;
        }
        // Wider than the RFC's user: phones send '#' and UTF-8 unescaped, and nothing is lost by reading them.
        if (byte.is_ascii_graphic() && !delimiter) || byte >= 0x80 {
            table[at] |= USER;
        }
        at += 1;
    }
    table
}

fn has(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}

/// A character of a token: method, header name, parameter name, option tag.
pub fn is_token_byte(byte: u8) -> bool {
    has(byte, TOKEN)
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

/// A user or password: every `%` is followed by two hex digits (RFC 3261 §25.1 `escaped`).
pub(crate) fn is_user(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| has(byte, USER)) && escapes_are_whole(bytes)
}

/// What may stand after the host of a URI, or in a URI of an unknown scheme.
pub(crate) fn is_uri_rest(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| has(byte, URI))
}

fn escapes_are_whole(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'%', bytes)
        .all(|at| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
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

/// Takes white space, folding included, off both ends.
pub fn trim(bytes: &[u8]) -> &[u8] {
    let mut bytes = trim_start(bytes);
    while let [rest @ .., last] = bytes
        && is_lws(*last)
    {
        bytes = rest;
    }
    bytes
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
