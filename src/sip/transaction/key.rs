//! What tells transactions apart: keyed hashes of requests, and the branch of ours.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13x128};

use super::Id;
use crate::sip::header::Method;
use crate::sip::wire::Message;

/// A request's own place among server transactions, as `meet` worked it out (RFC 3261 §17.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Branch, Call-ID and method class, hashed under the shard's seed.
    pub(super) request: u128,
    /// From tag, Call-ID, CSeq, hashed likewise, for a request without To tag: the same of another branch is
    /// a merged request (RFC 3261 §8.2.2.2).
    pub(super) merge: Option<u64>,
}

/// Which transactions a request can belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class<'a> {
    /// INVITE, and what looks for one: its ACK, its CANCEL.
    Invite,
    /// A CANCEL is a transaction of its own (RFC 3261 §9.2).
    Cancel,
    Other(&'a str),
}

impl<'a> Class<'a> {
    pub fn of(request: &Message<'a>) -> Class<'a> {
        let method = request.method();
        if matches!(method, Method::Invite | Method::Ack) {
            Class::Invite
        } else if method == Method::Cancel {
            Class::Cancel
        } else {
            Class::Other(request.method_token())
        }
    }
}

/// Hashes under the shard's seed, so that nobody outside can make two requests meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    seed: [u8; 16],
}

/// Keeps the three uses of the seed apart.
#[derive(Clone, Copy)]
enum Use {
    /// A branch that begins with the magic cookie.
    Branch = 1,
    /// RFC 2543's matching.
    WholeRequest = 2,
    Merge = 3,
    OurBranch = 4,
}

impl Keys {
    pub fn new(seed: [u8; 16]) -> Self {
        Keys { seed }
    }

    /// The key of a request seen as one of `class`. Neither Via's sent-by (a NAT may change it between INVITE
    /// and CANCEL) nor the source address takes part (R1a).
    pub fn request(&self, request: &Message<'_>, class: Class<'_>) -> u128 {
        let mut hash = Sponge(SipHasher13x128::new_with_key(&self.seed));
        let via = request.via();
        if let Some(branch) = via.branch_3261() {
            hash.0.write_u8(Use::Branch as u8);
            hash.field(branch);
            hash.field(request.call_id());
        } else {
            // RFC 2543 (RFC 3261 §17.2.3). The To tag is left out: INVITE and CANCEL lack the one that our
            // response put into the ACK.
            hash.0.write_u8(Use::WholeRequest as u8);
            hash.field(request.uri_raw());
            hash.field(request.from().tag().unwrap_or_default());
            hash.field(request.call_id());
            hash.0.write_u32(request.cseq());
            hash.field(via.raw);
        }
        match class {
            Class::Invite => hash.field(b"INVITE"),
            Class::Cancel => hash.field(b"CANCEL"),
            Class::Other(method) => hash.field(method.as_bytes()),
        }
        hash.0.finish128().as_u128()
    }

    /// What two branches of one forked request share. `None` within a dialog, and for ACK and CANCEL, which
    /// follow their INVITE's branch.
    pub fn merge(&self, request: &Message<'_>) -> Option<u64> {
        if matches!(request.method(), Method::Ack | Method::Cancel) || request.to().tag().is_some() {
            return None;
        }
        let mut hash = Sponge(SipHasher13::new_with_key(&self.seed));
        hash.0.write_u8(Use::Merge as u8);
        hash.field(request.from().tag().unwrap_or_default());
        hash.field(request.call_id());
        hash.0.write_u32(request.cseq());
        hash.field(request.method_token().as_bytes());
        Some(hash.0.finish())
    }

    /// The branch of a client transaction.
    pub fn branch(&self, id: Id) -> Branch {
        let mut hash = SipHasher13::new_with_key(&self.seed);
        hash.write_u8(Use::OurBranch as u8);
        hash.write_u32(id.index);
        hash.write_u32(id.generation);
        let mut text = *b"z9hG4bK00000000000000000000";
        write_base32(&mut text[COOKIE..COOKIE + PLACE], u64::from(id.place()));
        write_base32(&mut text[COOKIE + PLACE..], hash.finish());
        Branch(text)
    }
}

/// Fields with their lengths, so that no two sequences of fields read alike.
struct Sponge<H>(H);

impl<H: Hasher> Sponge<H> {
    fn field(&mut self, bytes: &[u8]) {
        self.0.write_usize(bytes.len());
        self.0.write(bytes);
    }
}

const COOKIE: usize = 7;
/// 31 bits, five to a letter.
const PLACE: usize = 7;
/// 64 bits.
const NONCE: usize = 13;
/// One case only: some peers do not keep it.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The branch of a request of ours (RFC 3261 §8.1.1.7): the magic cookie, the transaction's place, and a nonce
/// that only this shard can make. A response is found by it without a search.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Branch([u8; COOKIE + PLACE + NONCE]);

impl Branch {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The place that a branch claims; whether it is ours is shown by making it anew.
    pub(super) fn place(branch: &[u8]) -> Option<u32> {
        if branch.len() != COOKIE + PLACE + NONCE {
            return None;
        }
        let digits = branch.get(COOKIE..COOKIE + PLACE)?;
        let place = digits.iter().try_fold(0_u64, |place, letter| {
            let digit = match letter {
                b'a'..=b'z' => letter - b'a',
                b'2'..=b'7' => letter - b'2' + 26,
                _ => return None,
            };
            Some(place << 5 | u64::from(digit))
        })?;
        u32::try_from(place).ok()
    }
}

impl AsRef<[u8]> for Branch {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn write_base32(out: &mut [u8], mut value: u64) {
    for letter in out.iter_mut().rev() {
        *letter = LETTERS[(value & 31) as usize];
        value >>= 5;
    }
}
