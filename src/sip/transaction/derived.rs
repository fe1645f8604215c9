//! The requests that follow from an INVITE of ours: its CANCEL, and the ACK of a failure.

use crate::sip::build::Writer;
use crate::sip::header::Name;
use crate::sip::wire::Message;

/// Hops for what goes the way of our own INVITE (RFC 3261 §8.1.1.6).
const MAX_FORWARDS: u64 = 70;

/// The CANCEL (RFC 3261 §9.1): Request-URI, Call-ID, From, To, CSeq number, Route and the top Via are the
/// INVITE's. `reason` is the value of a Reason header (RFC 3326).
pub(super) fn cancel(invite: &[u8], reason: Option<&[u8]>) -> Box<[u8]> {
    follow(invite, "CANCEL", None, reason)
}

/// The ACK of a final response of 300 and above (RFC 3261 §17.1.1.3): as the CANCEL, with the To of the
/// response.
pub(super) fn ack(invite: &[u8], response: &Message<'_>) -> Box<[u8]> {
    follow(invite, "ACK", Some(response.to().raw), None)
}

/// Empty where `invite` cannot be read, which its sender would have to have written.
fn follow(invite: &[u8], method: &str, to: Option<&[u8]>, reason: Option<&[u8]>) -> Box<[u8]> {
    let Ok(invite) = Message::parse(invite) else {
        debug_assert!(false, "an INVITE of ours that we cannot read");
        return Box::default();
    };
    let mut bytes = Vec::with_capacity(invite.raw().len() - invite.body().len() + 64);
    let mut w = Writer::request(&mut bytes, method, invite.uri_raw());
    w.header(Name::Via, invite.via().raw);
    w.number(Name::MaxForwards, MAX_FORWARDS);
    w.copy(invite.head(), Name::Route);
    w.header(Name::From, invite.from().raw);
    w.header(Name::To, to.unwrap_or(invite.to().raw));
    w.header(Name::CallId, invite.call_id());
    w.cseq(invite.cseq(), method);
    if let Some(reason) = reason {
        w.header(Name::Reason, reason);
    }
    w.end();
    bytes.into_boxed_slice()
}
