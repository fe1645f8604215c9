use crate::sip::header::{Param, chars};

/// The parameters after `Digest`: `name=value` with commas between them (RFC 7616 §3.3, §3.4). `None` for another
/// scheme, and where one is not well formed.
///
/// A quoted value comes without its quotes and with its escapes, which count in the hashes as they stand.
pub(super) fn each<'a>(value: &'a [u8], mut take: impl FnMut(Param<'a>) -> Option<()>) -> Option<()> {
    let value = chars::trim(value);
    let (scheme, mut rest) = value.split_at(chars::token_run(value));
    if !chars::is(scheme, b"Digest") || !rest.first().copied().is_some_and(chars::is_lws) {
        return None;
    }
    loop {
        rest = chars::trim_start(rest);
        // An empty element of a list is none (RFC 9110 §5.6.1).
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return Some(());
        }
        let (name, after) = rest.split_at(chars::token_run(rest));
        let after = chars::trim_start(chars::trim_start(after).strip_prefix(b"=")?);
        if name.is_empty() {
            return None;
        }
        let length = match after.first()? {
            b'"' => chars::quoted_run(after)?,
            // Phones leave the quotes away where the grammar wants them, around a URI too.
            _ => after.iter().position(|&byte| byte == b',' || chars::is_lws(byte)).unwrap_or(after.len()),
        };
        let (text, after) = after.split_at(length);
        let inner = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
        take(Param { name, value: Some(inner.unwrap_or(text)) })?;
        rest = chars::trim_start(after);
        if !matches!(rest, [] | [b',', ..]) {
            return None;
        }
    }
}
