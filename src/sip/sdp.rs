//! The little of SDP (RFC 4566) that a call which does not anchor media must know.

/// Writes the answer that refuses every stream of an offer: each `m=` line with port 0 (RFC 3264 §6).
pub fn refuse_all(offer: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n");
    for line in offer.split(|byte| *byte == b'\n') {
        let Some(media) = line.strip_prefix(b"m=") else { continue };
        let mut words = media.trim_ascii().splitn(3, |byte| *byte == b' ');
        let (Some(kind), Some(_), Some(rest)) = (words.next(), words.next(), words.next()) else { continue };
        out.extend_from_slice(b"m=");
        out.extend_from_slice(kind);
        out.extend_from_slice(b" 0 ");
        out.extend_from_slice(rest);
        out.extend_from_slice(b"\r\n");
    }
}
