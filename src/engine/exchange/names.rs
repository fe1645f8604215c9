//! The names that we give out: branches aside, every tag, Call-ID and record id says where it belongs, and
//! nobody can guess one.

use std::hash::Hasher;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use siphasher::sip::SipHasher13;

use super::Effects;
use crate::call::event::LegId;
use crate::sip::build;
use crate::sip::header::{Method, Name};
use crate::sip::peer::Peer;
use crate::sip::transaction::reply_to;
use crate::sip::wire::Message;
use crate::time::Wall;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// A To or From tag of ours: slot (7), its nonce (7), leg (2), number of the tag (1).
pub const TAG_LEN: usize = 17;
/// A Call-ID of ours: random (20), shard (2), short MAC (6).
pub const CALL_ID_LEN: usize = 28;

pub type Tag = [u8; TAG_LEN];
pub type CallIdText = [u8; CALL_ID_LEN];

/// A slot of the slab, and which of its tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey {
    pub index: u32,
    pub nonce: u32,
}

/// Who owns a message: the same shard for every message of a call, whatever way it came.
#[derive(Clone, Copy, Debug)]
pub struct Router {
    shards: u8,
    key: (u64, u64),
}

impl Router {
    /// `seed` is the node's, shared by its shards.
    pub fn new(shards: u8, seed: [u8; 16]) -> Self {
        Router { shards: shards.max(1), key: halves(seed) }
    }

    pub fn shards(&self) -> u8 {
        self.shards
    }

    /// The shard of a Call-ID: our own name it, others are spread by a keyed hash.
    pub fn owner(&self, call_id: &[u8]) -> u8 {
        if self.shards == 1 {
            return 0;
        }
        match self.named(call_id) {
            Some(shard) if shard < self.shards => shard,
            Some(_) | None => (self.hash(call_id, 1) % u64::from(self.shards)) as u8,
        }
    }

    /// The shard of a whole message, by its Call-ID; `None` when it has none.
    pub fn owner_of_message(&self, message: &[u8]) -> Option<u8> {
        if self.shards == 1 {
            return Some(0);
        }
        find_call_id(message).map(|call_id| self.owner(call_id))
    }

    /// The one shard that looks after something of the node's, by its name in two parts.
    pub fn shard_for(&self, whose: &[u8], what: &[u8]) -> u8 {
        (self.hash(&[whose, b"\n", what].concat(), 5) % u64::from(self.shards)) as u8
    }

    /// 503 to a new INVITE whose owner's queue is full; anything else is dropped. Keeps no state.
    pub fn refuse_overloaded(&self, request: &Message<'_>, from: Peer, out: &mut Effects) {
        if !request.is_request() || request.method() != Method::Invite || request.to().tag().is_some() {
            return;
        }
        let branch = request.via().branch.unwrap_or(request.call_id());
        let tag = self.stateless_tag(branch);
        let mut w = build::answer(&mut out.out.wire, request, from.addr, 503, build::phrase(503), Some(&tag));
        w.number(Name::RetryAfter, self.hash(branch, 4) % 5 + 1);
        let range = w.end();
        out.out.send_range(reply_to(request, from), range);
    }

    /// The To tag of an answer that keeps no state: the same for a repeated request.
    pub fn stateless_tag(&self, branch: &[u8]) -> [u8; 12] {
        let mut text = [0u8; 12];
        write_base32(self.hash(branch, 3), &mut text);
        text
    }

    fn named(&self, call_id: &[u8]) -> Option<u8> {
        let (body, mac) = call_id.split_at_checked(CALL_ID_LEN - 6)?;
        let mut expected = [0u8; 6];
        write_base32(self.hash(body, 2), &mut expected);
        (mac == expected)
            .then(|| read_base32(&body[20..]).and_then(|shard| u8::try_from(shard).ok()))
            .flatten()
    }

    fn hash(&self, bytes: &[u8], purpose: u8) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write_u8(purpose);
        hasher.write(bytes);
        hasher.finish()
    }
}

/// The tokens by which carriers name the trunk that we are registered as (R1c). Nobody can guess one, and with the
/// same secret they are the same after a restart, when the carrier still has the old Contact.
#[derive(Clone)]
pub struct LineTokens(Hmac<Sha256>);

impl LineTokens {
    pub fn new(secret: [u8; 64]) -> LineTokens {
        LineTokens(Hmac::new(&secret.into()))
    }

    /// Of the trunk of that name: 128 bits in hexadecimal.
    pub fn token(&self, trunk: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(trunk);
        let mac = mac.finalize().into_bytes();
        let mut text = [0; 32];
        for (at, byte) in mac.iter().take(16).enumerate() {
            text[2 * at] = b"0123456789abcdef"[usize::from(byte >> 4)];
            text[2 * at + 1] = b"0123456789abcdef"[usize::from(byte & 0x0f)];
        }
        text
    }
}

/// Gives names, all different and none to be guessed.
#[derive(Debug)]
pub struct Namer {
    router: Router,
    shard: u8,
    count: u64,
}

impl Namer {
    pub fn new(router: Router, shard: u8) -> Self {
        Namer { router, shard, count: 0 }
    }

    /// A number that nobody can foresee, never the same twice in a row.
    pub fn draw(&mut self) -> u64 {
        self.count += 1;
        let mut hasher = SipHasher13::new_with_keys(self.router.key.0, self.router.key.1);
        hasher.write_u8(self.shard);
        hasher.write_u64(self.count);
        hasher.finish()
    }

    pub fn call_id(&mut self) -> CallIdText {
        let mut text = [0u8; CALL_ID_LEN];
        write_base32(self.draw(), &mut text[..10]);
        write_base32(self.draw(), &mut text[10..20]);
        write_base32(u64::from(self.shard), &mut text[20..22]);
        let mac = self.router.hash(&text[..22], 2);
        write_base32(mac, &mut text[22..]);
        text
    }

    /// The id of a call's record: sorts by time, unique among nodes.
    pub fn record_id(&mut self, wall: Wall) -> Box<str> {
        let mut text = [0u8; 24];
        write_base32_sorted(wall.0, &mut text[..10]);
        write_base32(u64::from(self.shard), &mut text[10..12]);
        write_base32(self.draw(), &mut text[12..]);
        std::str::from_utf8(&text).unwrap_or_default().into()
    }

    pub fn stateless_tag(&self, branch: &[u8]) -> [u8; 12] {
        self.router.stateless_tag(branch)
    }
}

/// Our tag in a dialog: it leads straight to the slot and the leg.
pub fn tag(key: SlotKey, leg: LegId, number: u8) -> Tag {
    let mut text = [0u8; TAG_LEN];
    write_base32(u64::from(key.index), &mut text[..7]);
    write_base32(u64::from(key.nonce), &mut text[7..14]);
    write_base32(u64::from(leg.0), &mut text[14..16]);
    write_base32(u64::from(number), &mut text[16..]);
    text
}

/// Reads a tag of ours; `None` when it is none.
pub fn read_tag(text: &[u8]) -> Option<(SlotKey, LegId, u8)> {
    if text.len() != TAG_LEN {
        return None;
    }
    let index = u32::try_from(read_base32(&text[..7])?).ok()?;
    let nonce = u32::try_from(read_base32(&text[7..14])?).ok()?;
    let leg = u8::try_from(read_base32(&text[14..16])?).ok()?;
    let number = u8::try_from(read_base32(&text[16..])?).ok()?;
    Some((SlotKey { index, nonce }, LegId(leg), number))
}

/// The value of the first Call-ID header, full or compact, found without parsing the rest.
pub fn find_call_id(message: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', &message[at..]) {
        let line = message[at..at + end].trim_ascii();
        at += end + 1;
        let Some(colon) = memchr::memchr(b':', line) else {
            if line.is_empty() && at > 2 {
                return None;
            }
            continue;
        };
        let name = line[..colon].trim_ascii_end();
        if name.eq_ignore_ascii_case(b"call-id") || name.eq_ignore_ascii_case(b"i") {
            return Some(line[colon + 1..].trim_ascii());
        }
    }
    None
}

fn halves(seed: [u8; 16]) -> (u64, u64) {
    let whole = u128::from_le_bytes(seed);
    ((whole >> 64) as u64, whole as u64)
}

fn write_base32(mut value: u64, into: &mut [u8]) {
    for place in into {
        *place = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
}

/// The same with the highest digits first and digits in the order of ASCII, so that texts sort as values do.
fn write_base32_sorted(mut value: u64, into: &mut [u8]) {
    const SORTED: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    for place in into.iter_mut().rev() {
        *place = SORTED[(value & 31) as usize];
        value >>= 5;
    }
}

fn read_base32(text: &[u8]) -> Option<u64> {
    text.iter().rev().try_fold(0u64, |value, byte| {
        let digit = match byte {
            b'a'..=b'z' => byte - b'a',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return None,
        };
        Some(value << 5 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_leads_back_to_its_slot() {
        let key = SlotKey { index: 70_000, nonce: 0xdead_beef };
        assert_eq!(read_tag(&tag(key, LegId(3), 2)), Some((key, LegId(3), 2)));
        assert_eq!(read_tag(b"a0b"), None);
        assert_eq!(read_tag(b"1111111111111111!"), None);
    }

    #[test]
    fn our_own_call_ids_name_their_shard_and_forged_ones_do_not() {
        let router = Router::new(3, [7; 16]);
        for shard in 0..3 {
            let call_id = Namer::new(router, shard).call_id();
            assert_eq!(router.owner(&call_id), shard);
            let message = [b"BYE sip:x SIP/2.0\r\nVia: y\r\ni : ", &call_id[..], b"\r\n\r\n"].concat();
            assert_eq!(router.owner_of_message(&message), Some(shard));
            let mut forged = call_id;
            forged[20] = if forged[20] == b'a' { b'b' } else { b'a' };
            assert_eq!(router.named(&forged), None);
        }
    }

    #[test]
    fn record_ids_sort_by_time() {
        let mut namer = Namer::new(Router::new(1, [1; 16]), 0);
        assert!(namer.record_id(Wall(1_700_000_000_000)) < namer.record_id(Wall(1_700_000_000_001)));
    }
}
