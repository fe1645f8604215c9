//! The little SIP that a load program needs: what it writes, and the few lines of an answer that it reads.

use std::io::Write as _;

/// How many numbers the servers have loaded. Row `n` is dialled as `+1555` and answered for as `+1202`, both
/// followed by `n` in seven digits.
pub const NUMBERS: u32 = 100_000;

/// Who is talking, for the messages of one call.
pub struct Names {
    /// Of the load program's runs in this process, so that strays of the last one are told apart.
    pub run: u32,
    pub call: u32,
    pub row: u32,
    pub server: u16,
    pub caller: u16,
    pub far: u16,
    /// Where the caller, or the far end, hears.
    pub audio: u16,
}

/// A port that nobody speaks to: of calls whose audio nobody sends.
pub const NO_AUDIO: u16 = 30_000;

/// What the caller learned from the 200: whom to send the rest to.
#[derive(Default)]
pub struct Dialog {
    to: Vec<u8>,
    target: Vec<u8>,
    routes: Vec<u8>,
}

/// The lines of a message that matter here, as they came.
#[derive(Default)]
pub struct Seen<'a> {
    pub first: &'a [u8],
    pub call_id: &'a [u8],
    /// The first leg's Call-ID, where the server names it.
    pub first_leg: &'a [u8],
    pub has_retry_after: bool,
    pub cseq: &'a [u8],
    pub from: &'a [u8],
    pub to: &'a [u8],
    pub contact: &'a [u8],
    /// What it asks a password with; of several the last.
    pub challenge: &'a [u8],
    pub vias: Vec<&'a [u8]>,
    pub routes: Vec<&'a [u8]>,
}

impl<'a> Seen<'a> {
    pub fn read(message: &'a [u8]) -> Seen<'a> {
        let mut seen = Seen::default();
        let mut lines = message.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
        seen.first = lines.next().unwrap_or_default();
        for line in lines.take_while(|line| !line.is_empty()) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
            match name.to_ascii_lowercase().as_slice() {
                b"call-id" | b"i" => seen.call_id = value,
                b"x-cid" => seen.first_leg = value,
                b"retry-after" => seen.has_retry_after = true,
                b"cseq" => seen.cseq = value,
                b"from" | b"f" => seen.from = value,
                b"to" | b"t" => seen.to = value,
                b"contact" | b"m" => seen.contact = value,
                b"www-authenticate" | b"proxy-authenticate" => seen.challenge = value,
                b"via" | b"v" => seen.vias.push(value),
                b"record-route" => seen.routes.push(value),
                _ => {}
            }
        }
        seen
    }

    /// Of a response.
    pub fn status(&self) -> Option<u16> {
        let code = self.first.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
        std::str::from_utf8(code).ok()?.parse().ok()
    }

    /// Of the CSeq.
    pub fn method(&self) -> &'a [u8] {
        self.cseq.rsplit(|byte| *byte == b' ').next().unwrap_or_default()
    }

    /// Of a request: the user part of its Request-URI.
    pub fn user(&self) -> &'a str {
        let uri = self.first.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let user = uri.strip_prefix(b"sip:").and_then(|rest| rest.split(|byte| *byte == b'@').next());
        user.and_then(|user| std::str::from_utf8(user).ok()).unwrap_or_default()
    }

    /// Of an INVITE at the far end: the caller's Call-ID, which a proxy leaves as it is and a B2BUA repeats.
    pub fn origin(&self) -> &'a str {
        let id = if self.first_leg.is_empty() { self.call_id } else { self.first_leg };
        std::str::from_utf8(id).unwrap_or_default()
    }

    /// `<run>-<call>@…`, as the load program writes its Call-IDs and Contacts.
    pub fn names_of(id: &str) -> Option<(u32, u32)> {
        let (run, call) = id.split('@').next()?.split_once('-')?;
        Some((run.parse().ok()?, call.parse().ok()?))
    }

    pub fn dialog(&self) -> Dialog {
        let target = self.contact.split(|byte| *byte == b'<').nth(1).unwrap_or(self.contact);
        let target = target.split(|byte| *byte == b'>').next().unwrap_or_default();
        let mut routes = Vec::new();
        for route in self.routes.iter().rev() {
            routes.extend_from_slice(b"Route: ");
            routes.extend_from_slice(route);
            routes.extend_from_slice(b"\r\n");
        }
        Dialog { to: self.to.to_vec(), target: target.to_vec(), routes }
    }
}

/// A description of audio at `port`, in front of a head that says how long it is.
fn describe(out: &mut Vec<u8>, port: u16) {
    const TOP: &str =
        "v=0\r\no=sbc 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio ";
    const REST: &str = " RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";
    let length = TOP.len() + REST.len() + if port < 10_000 { 4 } else { 5 };
    write(
        out,
        format_args!("Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{TOP}{port}{REST}"),
    );
}

/// Where a description wants its audio.
pub fn audio_port(message: &[u8]) -> Option<u16> {
    let mut lines = message.split(|byte| *byte == b'\n');
    let media = lines.find_map(|line| line.strip_prefix(b"m=audio "))?;
    std::str::from_utf8(media.split(|byte| *byte == b' ').next()?).ok()?.parse().ok()
}

impl Names {
    /// An INVITE with what a carrier's session border controller puts into it.
    pub fn invite(&self, out: &mut Vec<u8>) {
        let Names { run, call, row, server, caller, audio, .. } = self;
        write(
            out,
            format_args!(
                "INVITE sip:+1555{row:07}@127.0.0.1:{server} SIP/2.0\r\n\
                 Via: SIP/2.0/UDP 127.0.0.1:{caller};branch=z9hG4bK{run}-{call}-i;rport\r\n\
                 Max-Forwards: 69\r\n\
                 From: \"ANN CALLER\" <sip:+12025550123@127.0.0.1:{caller}>;tag={run}-{call}\r\n\
                 To: <sip:+1555{row:07}@127.0.0.1:{server}>\r\n\
                 Call-ID: {run}-{call}@127.0.0.1\r\n\
                 CSeq: 1 INVITE\r\n\
                 Contact: <sip:+12025550123@127.0.0.1:{caller}>\r\n\
                 Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\n\
                 Supported: timer, replaces\r\n\
                 P-Asserted-Identity: \"ANN CALLER\" <sip:+12025550123@127.0.0.1>\r\n\
                 Privacy: none\r\n\
                 P-Charging-Vector: icid-value=4e1f-{call};icid-generated-at=192.0.2.4;orig-ioi=carrier.example\r\n\
                 User-Agent: carrier-sbc/4.2\r\n"
            ),
        );
        describe(out, *audio);
    }

    /// The caller's CANCEL: as its INVITE, whose branch it has (RFC 3261 §9.1).
    pub fn cancel(&self, out: &mut Vec<u8>) {
        let Names { run, call, row, server, caller, .. } = self;
        write(
            out,
            format_args!(
                "CANCEL sip:+1555{row:07}@127.0.0.1:{server} SIP/2.0\r\n\
                 Via: SIP/2.0/UDP 127.0.0.1:{caller};branch=z9hG4bK{run}-{call}-i;rport\r\n\
                 Max-Forwards: 70\r\n\
                 From: \"ANN CALLER\" <sip:+12025550123@127.0.0.1:{caller}>;tag={run}-{call}\r\n\
                 To: <sip:+1555{row:07}@127.0.0.1:{server}>\r\n\
                 Call-ID: {run}-{call}@127.0.0.1\r\nCSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n"
            ),
        );
    }

    /// The caller's ACK or BYE.
    pub fn within(&self, method: &str, cseq: u8, dialog: &Dialog, out: &mut Vec<u8>) {
        let Names { run, call, caller, .. } = self;
        write(out, format_args!("{method} "));
        out.extend_from_slice(&dialog.target);
        write(
            out,
            format_args!(
                " SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{caller};branch=z9hG4bK{run}-{call}-{method};rport\r\n"
            ),
        );
        out.extend_from_slice(&dialog.routes);
        write(
            out,
            format_args!(
                "Max-Forwards: 70\r\nFrom: \"ANN CALLER\" <sip:+12025550123@127.0.0.1:{caller}>;tag={run}-{call}\r\nTo: "
            ),
        );
        out.extend_from_slice(&dialog.to);
        write(
            out,
            format_args!(
                "\r\nCall-ID: {run}-{call}@127.0.0.1\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
            ),
        );
    }

    /// The caller's ACK of a refusal: it belongs to the INVITE's transaction (RFC 3261 §17.1.1.3).
    pub fn ack_refusal(&self, seen: &Seen<'_>, out: &mut Vec<u8>) {
        let Names { run, call, row, server, caller, .. } = self;
        write(
            out,
            format_args!(
                "ACK sip:+1555{row:07}@127.0.0.1:{server} SIP/2.0\r\n\
                 Via: SIP/2.0/UDP 127.0.0.1:{caller};branch=z9hG4bK{run}-{call}-i;rport\r\n\
                 Max-Forwards: 69\r\n\
                 From: \"ANN CALLER\" <sip:+12025550123@127.0.0.1:{caller}>;tag={run}-{call}\r\nTo: "
            ),
        );
        out.extend_from_slice(seen.to);
        write(
            out,
            format_args!("\r\nCall-ID: {run}-{call}@127.0.0.1\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"),
        );
    }

    /// The far end's answer to an INVITE: 100, 180 or 200.
    pub fn answer(&self, status: &str, seen: &Seen<'_>, out: &mut Vec<u8>) {
        let Names { run, call, far, audio, .. } = self;
        let trying = status.starts_with("100");
        begin(status, seen, (!trying).then_some(*run), out);
        if !trying {
            for route in &seen.routes {
                out.extend_from_slice(b"Record-Route: ");
                out.extend_from_slice(route);
                out.extend_from_slice(b"\r\n");
            }
            write(
                out,
                format_args!("Contact: <sip:{run}-{call}@127.0.0.1:{far}>\r\nServer: far-sbc/7.0\r\n"),
            );
        }
        if status.starts_with("200") {
            write(out, format_args!("Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE\r\n"));
            describe(out, *audio);
        } else {
            out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        }
    }
}

/// A refusal by the one who rings, made of the answer that it would have given.
pub fn refusal(status: &str, answer: &Seen<'_>, out: &mut Vec<u8>) {
    begin(status, answer, None, out);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// 200 to a request within a dialog, or to a stray.
pub fn fine(seen: &Seen<'_>, out: &mut Vec<u8>) {
    begin("200 OK", seen, None, out);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

fn begin(status: &str, seen: &Seen<'_>, tag: Option<u32>, out: &mut Vec<u8>) {
    write(out, format_args!("SIP/2.0 {status}\r\n"));
    let mut line = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    for via in &seen.vias {
        line("Via: ", via);
    }
    line("From: ", seen.from);
    match tag {
        Some(tag) => line("To: ", &[seen.to, format!(";tag=far{tag}").as_bytes()].concat()),
        None => line("To: ", seen.to),
    }
    line("Call-ID: ", seen.call_id);
    line("CSeq: ", seen.cseq);
}

pub fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    out.write_fmt(text).ok();
}
