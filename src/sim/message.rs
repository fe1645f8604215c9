//! A SIP message as the ends of the world read and write it: owned text, slow and plain. It shares nothing
//! with `sip::wire`, so that a bug there is seen here.

use std::fmt::Write as _;

/// A request or a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The start line, without its line end.
    pub start: String,
    /// Header fields in their order, names as they came, without Content-Length.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Compact forms that are in use (RFC 3261 §7.3.3, RFC 4028, RFC 3515).
const COMPACT: [(&str, &str); 10] = [
    ("v", "Via"),
    ("f", "From"),
    ("t", "To"),
    ("i", "Call-ID"),
    ("m", "Contact"),
    ("c", "Content-Type"),
    ("l", "Content-Length"),
    ("k", "Supported"),
    ("x", "Session-Expires"),
    ("s", "Subject"),
];

fn is_named(given: &str, name: &str) -> bool {
    given.eq_ignore_ascii_case(name)
        || COMPACT.iter().any(|(short, long)| given.eq_ignore_ascii_case(short) && *long == name)
}

impl Message {
    pub fn request(method: &str, uri: &str) -> Message {
        Message { start: format!("{method} {uri} SIP/2.0"), fields: Vec::new(), body: Vec::new() }
    }

    /// A response with what RFC 3261 §8.2.6.2 copies from its request.
    pub fn response(request: &Message, code: u16, phrase: &str) -> Message {
        let mut response =
            Message { start: format!("SIP/2.0 {code} {phrase}"), fields: Vec::new(), body: Vec::new() };
        for (name, value) in &request.fields {
            if ["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|copied| is_named(name, copied)) {
                response.fields.push((name.clone(), value.clone()));
            }
        }
        response
    }

    /// Reads one datagram; says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Message, String> {
        let split = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no empty line")?;
        // What is no UTF-8 came from a fuzzer and goes back to it: a replacement shows it.
        let head = String::from_utf8_lossy(&bytes[..split]);
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        if !start.starts_with("SIP/2.0 ") && !start.ends_with(" SIP/2.0") {
            return Err(format!("start line {start:?}"));
        }
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.contains(['\r', '\n']) {
                return Err(format!("a bare CR or LF in {line:?}"));
            }
            if let (true, Some((_, value))) = (line.starts_with([' ', '\t']), fields.last_mut()) {
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in {line:?}"))?;
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let body = bytes[split + 4..].to_vec();
        if let Some((_, length)) = fields.iter().find(|(name, _)| is_named(name, "Content-Length"))
            && length.parse::<usize>() != Ok(body.len())
        {
            return Err(format!("Content-Length {length} but {} bytes of body", body.len()));
        }
        fields.retain(|(name, _)| !is_named(name, "Content-Length"));
        Ok(Message { start, fields, body })
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut head = String::with_capacity(600);
        head.push_str(&self.start);
        head.push_str("\r\n");
        for (name, value) in &self.fields {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", self.body.len());
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Adds a field at the end.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Message {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// Puts a field above all others, as a Via is put.
    pub fn on_top(mut self, name: &str, value: impl Into<String>) -> Message {
        self.fields.insert(0, (name.to_owned(), value.into()));
        self
    }

    pub fn with_body(mut self, kind: &str, body: &[u8]) -> Message {
        if !body.is_empty() {
            self.fields.push(("Content-Type".to_owned(), kind.to_owned()));
            self.body = body.to_vec();
        }
        self
    }

    pub fn with_sdp(self, sdp: Option<&[u8]>) -> Message {
        self.with_body("application/sdp", sdp.unwrap_or_default())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(given, _)| is_named(given, name)).map(|(_, value)| value.as_str())
    }

    pub fn all<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m str> {
        self.fields.iter().filter(move |(given, _)| is_named(given, name)).map(|(_, value)| value.as_str())
    }

    /// Replaces the first field of that name.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.fields.iter_mut().find(|(given, _)| is_named(given, name)) {
            Some((_, held)) => *held = value.into(),
            None => self.fields.push((name.to_owned(), value.into())),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|(given, _)| !is_named(given, name));
    }

    /// Whether a list of option tags or methods holds `token`.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
    }

    pub fn is_request(&self) -> bool {
        !self.start.starts_with("SIP/2.0 ")
    }

    /// 0 for a request.
    pub fn status(&self) -> u16 {
        let code = self.start.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
        code.and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The method of a request, or the one that a response's CSeq names.
    pub fn method(&self) -> &str {
        match self.is_request() {
            true => self.start.split(' ').next().unwrap_or_default(),
            false => self.cseq().1,
        }
    }

    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub fn cseq(&self) -> (u32, &str) {
        let mut words = self.get("CSeq").unwrap_or_default().split_whitespace();
        let number = words.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        (number, words.next().unwrap_or_default())
    }

    pub fn call_id(&self) -> &str {
        self.get("Call-ID").unwrap_or_default()
    }

    pub fn branch(&self) -> &str {
        self.get("Via").and_then(|via| param(via, "branch")).unwrap_or_default()
    }

    pub fn from_tag(&self) -> Option<&str> {
        self.get("From").and_then(|value| param(after_uri(value), "tag"))
    }

    pub fn to_tag(&self) -> Option<&str> {
        self.get("To").and_then(|value| param(after_uri(value), "tag"))
    }

    /// The URI of the first Contact.
    pub fn contact(&self) -> Option<&str> {
        self.get("Contact").map(uri_in)
    }

    pub fn sdp(&self) -> Option<&[u8]> {
        let kind = self.get("Content-Type").unwrap_or_default();
        (!self.body.is_empty() && kind.eq_ignore_ascii_case("application/sdp")).then_some(&self.body)
    }
}

/// The parameter `name` of `;name=value;…`, up to the next delimiter.
pub fn param<'v>(value: &'v str, name: &str) -> Option<&'v str> {
    value.split(';').skip(1).find_map(|one| {
        let (given, held) = one.split_once('=').unwrap_or((one, ""));
        given.trim().eq_ignore_ascii_case(name).then(|| held.trim())
    })
}

/// What stands behind the `<…>` of an address, or all of it where there is none.
fn after_uri(address: &str) -> &str {
    address.rfind('>').map_or(address, |end| &address[end..])
}

/// The URI of an address header's value.
pub fn uri_in(address: &str) -> &str {
    match (address.find('<'), address.rfind('>')) {
        (Some(start), Some(end)) if start < end => &address[start + 1..end],
        _ => address.split(';').next().unwrap_or(address).trim(),
    }
}

/// The user part of a URI, or its number.
pub fn user_in(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let end = rest.find(['@', ';', '?']).unwrap_or(rest.len());
    &rest[..end]
}

/// The address that an `sip:…@ip:port` URI names; port 5060 where it names none.
pub fn addr_in(uri: &str) -> Option<std::net::SocketAddr> {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = &host[..host.find([';', '?', '>']).unwrap_or(host.len())];
    host.parse().ok().or_else(|| {
        let ip = host.trim_matches(['[', ']']).parse().ok()?;
        Some(std::net::SocketAddr::new(ip, 5060))
    })
}

/// An SDP body with one audio stream, whose owner, version and direction say whose it is.
pub fn sdp(owner: &str, version: u32, port: u16, direction: &str) -> Vec<u8> {
    format!(
        "v=0\r\no={owner} 7 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_as_it_was_written() {
        let sent = Message::request("INVITE", "sip:+1201@127.0.0.1:5060")
            .with("Via", "SIP/2.0/UDP 127.0.0.9:5060;branch=z9hG4bK1;rport")
            .with("From", "<sip:a@b>;tag=1")
            .with("To", "<sip:c;tag=9@d>")
            .with("CSeq", "4 INVITE")
            .with_sdp(Some(&sdp("a", 1, 4000, "sendrecv")));
        let read = Message::parse(&sent.bytes()).unwrap();
        assert_eq!(read, sent);
        assert_eq!((read.method(), read.branch(), read.cseq().0), ("INVITE", "z9hG4bK1", 4));
        assert_eq!((read.from_tag(), read.to_tag()), (Some("1"), None));
        assert_eq!(addr_in(read.uri()), "127.0.0.1:5060".parse().ok());
        assert_eq!(user_in(read.uri()), "+1201");
    }

    #[test]
    fn a_wrong_length_or_a_bare_line_feed_is_said() {
        assert!(Message::parse(b"SIP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nab").is_err());
        assert!(Message::parse(b"SIP/2.0 200 OK\r\nTo: a\nb\r\n\r\n").is_err());
    }
}
