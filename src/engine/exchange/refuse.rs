//! What a refusal of ours says beside its status.

use smallvec::SmallVec;

use super::abilities::{Abilities, unsupported};
use crate::call::refusal::Refusal;
use crate::routing::NoPlan;
use crate::sip::build::Writer;
use crate::sip::header::Name;
use crate::sip::wire::Message;

/// The bodies that we understand in an INVITE: SDP, alone or in a multipart (RFC 5621 §3.1).
pub(super) const ACCEPT: &[u8] = b"application/sdp, multipart/mixed";
/// How much of what we do not support a 420 names, in bytes: all of a long `Require` would not fit into a datagram.
const MAX_UNSUPPORTED: usize = 512;

pub(super) fn refusal_of(why: NoPlan) -> Refusal {
    match why {
        NoPlan::NotANumber | NoPlan::UnknownNumber(_) | NoPlan::Disabled(_) => Refusal::UnknownNumber,
        NoPlan::Forbidden(_) => Refusal::Forbidden,
        NoPlan::NothingToShow => Refusal::NothingToShow,
    }
}

/// What a refusal says beside its status.
pub(super) fn write_refusal(
    w: &mut Writer<'_>,
    request: &Message<'_>,
    why: Refusal,
    abilities: Abilities,
    retry_after: u64,
) {
    match why {
        Refusal::MethodNotAllowed => {
            w.lines(abilities.allow);
        }
        Refusal::Extension => {
            let mut tags: SmallVec<[&[u8]; 8]> = SmallVec::new();
            let mut room = MAX_UNSUPPORTED;
            for tag in unsupported(request, abilities).filter(|tag| !tag.is_empty()) {
                let Some(left) = room.checked_sub(tag.len() + 2) else { continue };
                room = left;
                tags.extend_from_slice(if tags.is_empty() { &[][..] } else { &[b", "] });
                tags.push(tag);
            }
            if !tags.is_empty() {
                w.header_parts(Name::Unsupported, &tags);
            }
        }
        Refusal::Encoded => {
            w.header(Name::AcceptEncoding, b"identity");
        }
        Refusal::BodyType => {
            w.header(Name::Accept, ACCEPT);
        }
        Refusal::IntervalTooSmall => {
            w.number(Name::MinSe, u64::from(crate::sip::session::MIN_SE));
        }
        Refusal::Overload => {
            w.number(Name::RetryAfter, retry_after);
        }
        // Retry-After would stop everything that the carrier sends (RFC 3261 §21.5.4).
        Refusal::TrunkLimit => {
            w.header(Name::Reason, b"Q.850;cause=34");
        }
        Refusal::Malformed
        | Refusal::Stranger
        | Refusal::UnknownNumber
        | Refusal::Scheme
        | Refusal::NoDialog
        | Refusal::Loop
        | Refusal::Merged
        | Refusal::TooManyRinging
        | Refusal::TooManyHops
        | Refusal::NoBreadth
        | Refusal::OtherUri
        | Refusal::Unauthorized
        | Refusal::ProxyUnauthorized
        | Refusal::WrongPassword
        | Refusal::OtherAgent
        | Refusal::Forbidden
        | Refusal::NothingToShow
        | Refusal::ForeignContact
        | Refusal::InsecureContact
        | Refusal::TooManyContacts
        | Refusal::TooManyTries
        | Refusal::IntervalTooBrief
        | Refusal::NoAudio
        | Refusal::NoPort
        | Refusal::OutOfOrder
        | Refusal::Fault
        | Refusal::Version => {}
    }
}
