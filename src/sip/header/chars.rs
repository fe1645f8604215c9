//! Which bytes may stand where (RFC 3261 §25.1), and the walks over them that every reader here needs.

const TOKEN: u8 = 1;
const HOST: u8 = 2;
/// In a user or password, colon and `%` excepted.
const PLAIN_USER: u8 = 4;
const URI: u8 = 8;
const WORD: u8 = 16;
/// What `URI` has, the question mark excepted.
const URI_PARAMS: u8 = 32;

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
            table[at] |= if byte == b'?' { URI } else { URI | URI_PARAMS };
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

/// How many bytes at the start are of a class. Eight at a time: of a loop by single bytes half the instructions
/// are the loop's own.
#[inline(always)]
fn run(bytes: &[u8], class: u8) -> usize {
    let (eights, rest) = bytes.as_chunks::<8>();
    for (index, eight) in eights.iter().enumerate() {
        if let Some(at) = eight.iter().position(|&byte| !has(byte, class)) {
            return index * 8 + at;
        }
    }
    let at = rest.iter().position(|&byte| !has(byte, class)).unwrap_or(rest.len());
    eights.len() * 8 + at
}

/// A token: one character or more, none but those of `token`.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && run(bytes, TOKEN) == bytes.len()
}

/// Whether all bytes are printable ASCII, the space excepted.
pub(crate) fn is_graphic(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let rest = match bytes.last_chunk::<8>() {
        Some(last) => not_graphic(*last),
        None => rest.iter().fold(0, |marks, byte| marks | u64::from(!byte.is_ascii_graphic())),
    };
    words.iter().fold(rest, |marks, word| marks | not_graphic(*word)) == 0
}

/// Marks a word that has a byte below `!` or above `~`.
#[inline(always)]
const fn not_graphic(word: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(word);
    let from_exclamation = (word | HIGH_BITS) - b'!' as u64 * ONES;
    (word | word.wrapping_add(ONES) | !from_exclamation) & HIGH_BITS
}

/// Whether a text is the one wanted, in whatever case. Nearly all peers write the case of the RFCs, for which
/// one comparison will do.
#[inline]
pub(crate) fn is(text: &[u8], wanted: &[u8]) -> bool {
    text == wanted || text.eq_ignore_ascii_case(wanted)
}

/// How many bytes at the start could be a host name or an IPv4 address.
#[inline(always)]
pub(crate) fn host_run(bytes: &[u8]) -> usize {
    run(bytes, HOST)
}

/// How many bytes at the start are token characters.
pub(crate) fn token_run(bytes: &[u8]) -> usize {
    run(bytes, TOKEN)
}

/// How many bytes at the start can stand in a parameter's unquoted value.
#[inline(always)]
pub(crate) fn word_run(bytes: &[u8]) -> usize {
    run(bytes, WORD)
}

/// How many bytes at the start can stand in a user, colon and `%` excepted.
#[inline(always)]
pub(crate) fn plain_user_run(bytes: &[u8]) -> usize {
    run(bytes, PLAIN_USER)
}

/// How many bytes at the start can stand in a user or password, where among them the first colon is, and
/// whether there is a `%`.
#[inline]
pub(crate) fn user_run(bytes: &[u8]) -> (usize, Option<usize>, bool) {
    let (mut at, mut colon, mut escaped) = (0, None, false);
    loop {
        at += run(&bytes[at..], PLAIN_USER);
        match bytes.get(at) {
            Some(b':') => colon = colon.or(Some(at)),
            Some(b'%') => escaped = true,
            Some(_) | None => return (at, colon, escaped),
        }
        at += 1;
    }
}

/// Whether every `%` is followed by two hex digits (RFC 3261 §25.1 `escaped`).
pub(crate) fn escapes_are_whole(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'%', bytes)
        .all(|at| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// What may stand after the host of a URI, or in a URI of an unknown scheme.
pub(crate) fn is_uri_rest(bytes: &[u8]) -> bool {
    run(bytes, URI) == bytes.len()
}

/// How many bytes at the start are neither `?` nor illegal after the host of a URI.
#[inline(always)]
pub(crate) fn uri_params_run(bytes: &[u8]) -> usize {
    run(bytes, URI_PARAMS)
}

/// Where the first byte of `bytes` stands that is below 0x0E: CR, LF, NUL, tab, or a control byte that no
/// header uses. For header lines this takes fewer instructions than a vector routine that has to be called.
#[inline(always)]
pub(crate) fn low_control(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_first_chunk::<16>() {
        if any_low(block) {
            let (words, _) = block.as_chunks::<8>();
            let [first, second] =
                [low_marks(u64::from_le_bytes(words[0])), low_marks(u64::from_le_bytes(words[1]))];
            let at = if first != 0 { first.trailing_zeros() } else { 64 + second.trailing_zeros() };
            return Some(bytes.len() - rest.len() + at as usize / 8);
        }
        rest = after;
    }
    low_in_the_rest(rest).map(|at| bytes.len() - rest.len() + at)
}

#[inline(never)]
fn low_in_the_rest(bytes: &[u8]) -> Option<usize> {
    first_marked(bytes, low_marks)
}

/// Whether `low_control` would find one: cheaper, where it is not asked for the place.
#[inline]
pub(crate) fn has_low_control(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let in_rest = || match bytes.last_chunk::<16>() {
        Some(last) => any_low(last),
        None => first_marked(rest, low_marks).is_some(),
    };
    blocks.iter().any(any_low) || (!rest.is_empty() && in_rest())
}

/// Without an early way out the compiler compares all sixteen at once.
#[inline]
fn any_low(block: &[u8; 16]) -> bool {
    block.iter().fold(false, |found, &byte| found | (byte < LOW))
}

/// Where the first colon of `bytes` stands.
#[inline(always)]
pub(crate) fn colon(bytes: &[u8]) -> Option<usize> {
    find::<b':'>(bytes)
}

/// Where a byte first stands. For the few bytes of a name or a URI this takes fewer instructions than a
/// vector routine.
#[inline(always)]
pub(crate) fn find<const BYTE: u8>(bytes: &[u8]) -> Option<usize> {
    first_marked(bytes, marks_of::<BYTE>)
}

/// Where the first byte stands that `marks` marks in its word by the high bit. Of the marks in a word only
/// the lowest has to be sure, since a borrow may run upwards from it; 0xFF must have none.
#[inline(always)]
fn first_marked(bytes: &[u8], marks: impl Fn(u64) -> u64) -> Option<usize> {
    let first = |word: u64| match marks(word) {
        0 => None,
        marked => Some(marked.trailing_zeros() as usize / 8),
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        if let Some(at) = first(u64::from_le_bytes(*word)) {
            return Some(index * 8 + at);
        }
    }
    match bytes.last_chunk::<8>() {
        _ if rest.is_empty() => None,
        // The bytes in it that were seen already have no marks.
        Some(last) => first(u64::from_le_bytes(*last)).map(|at| bytes.len() - 8 + at),
        None => first(rest.iter().rev().fold(u64::MAX, |word, &byte| word << 8 | u64::from(byte))),
    }
}

/// Marks the bytes of a word that are below `LOW`.
const fn low_marks(word: u64) -> u64 {
    word.wrapping_sub(LOW as u64 * ONES) & !word & HIGH_BITS
}

/// Marks the bytes of a word that are `BYTE`.
pub(super) const fn marks_of<const BYTE: u8>(word: u64) -> u64 {
    let zero = word ^ (BYTE as u64 * ONES);
    zero.wrapping_sub(ONES) & !zero & HIGH_BITS
}

const LOW: u8 = 0x0e;
const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = 0x80 * ONES;

/// White space of a header value, folding included (RFC 3261 §7.3.1).
pub fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Takes white space, folding included, off the front.
#[inline]
pub fn trim_start(bytes: &[u8]) -> &[u8] {
    // Mostly there is none: the loop stands aside.
    match bytes {
        [..=b' ', ..] => without_start(bytes),
        _ => bytes,
    }
}

#[inline(never)]
fn without_start(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_lws(*first)
    {
        bytes = rest;
    }
    bytes
}

/// Takes white space, folding included, off the end.
#[inline]
pub fn trim_end(bytes: &[u8]) -> &[u8] {
    match bytes {
        [.., ..=b' '] => without_end(bytes),
        _ => bytes,
    }
}

#[inline(never)]
fn without_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes
        && is_lws(*last)
    {
        bytes = rest;
    }
    bytes
}

/// Takes white space, folding included, off both ends.
#[inline]
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
        // Names are short: a vector routine would cost more.
        at += first_marked(bytes.get(at..)?, |word| marks_of::<b'"'>(word) | marks_of::<b'\\'>(word))?;
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Bytes of all kinds, those that end or part something more often than others.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let telling = proptest::sample::select(b"\r\n\0\t :@%?;>\"\\\x0d\x0e\x7f\x80\xff".to_vec());
        let plain = prop_oneof![b'a'..=b'z', b'0'..=b'9', Just(b'.')];
        vec(prop_oneof![1 => telling, 1 => any::<u8>(), 30 => plain], 0..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_looked_for_in_strides_is_found_where_it_first_stands(bytes in bytes()) {
            prop_assert_eq!(low_control(&bytes), bytes.iter().position(|&byte| byte < 0x0e));
            prop_assert_eq!(has_low_control(&bytes), bytes.iter().any(|&byte| byte < 0x0e));
            prop_assert_eq!(colon(&bytes), bytes.iter().position(|&byte| byte == b':'));
            prop_assert_eq!(find::<b'>'>(&bytes), bytes.iter().position(|&byte| byte == b'>'));
        }

        #[test]
        fn white_space_is_taken_off_the_ends_alone(bytes in bytes()) {
            let begin = bytes.iter().position(|&byte| !is_lws(byte)).unwrap_or(bytes.len());
            let end = bytes.iter().rposition(|&byte| !is_lws(byte)).map_or(0, |last| last + 1);
            prop_assert_eq!(trim_start(&bytes), &bytes[begin..]);
            prop_assert_eq!(trim_end(&bytes), &bytes[..end]);
        }

        #[test]
        fn a_quoted_string_ends_at_the_first_quote_that_is_not_escaped(bytes in bytes()) {
            let quoted = [&b"\""[..], &bytes].concat();
            let (mut at, mut end) = (1, None);
            while end.is_none() && at < quoted.len() {
                end = (quoted[at] == b'"').then_some(at + 1);
                at += if quoted[at] == b'\\' { 2 } else { 1 };
            }
            prop_assert_eq!(quoted_run(&quoted), end);
        }

        #[test]
        fn a_run_ends_before_the_first_byte_of_another_class(bytes in bytes()) {
            for class in [TOKEN, HOST, PLAIN_USER, URI, WORD, URI_PARAMS] {
                let end = bytes.iter().position(|&byte| !has(byte, class)).unwrap_or(bytes.len());
                prop_assert_eq!(run(&bytes, class), end);
            }
            prop_assert_eq!(is_graphic(&bytes), bytes.iter().all(u8::is_ascii_graphic));
            let is_user = |byte: u8| has(byte, PLAIN_USER) || matches!(byte, b':' | b'%');
            let user = &bytes[..bytes.iter().position(|&byte| !is_user(byte)).unwrap_or(bytes.len())];
            let colon = user.iter().position(|&byte| byte == b':');
            prop_assert_eq!(user_run(&bytes), (user.len(), colon, user.contains(&b'%')));
        }
    }
}
