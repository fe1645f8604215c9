use std::net::IpAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::same;
use crate::time::Instant;

/// How long a nonce may be used. Short enough that what was overheard is soon worth nothing, long enough that a
/// phone seldom has to be asked twice.
pub const LIFETIME: Duration = Duration::from_secs(300);

/// Microseconds, a number drawn for each, and a MAC over both, the realm and the source: in hexadecimal.
const LENGTH: usize = 2 * (TIME + DRAWN + MAC);
const TIME: usize = 8;
const DRAWN: usize = 4;
const MAC: usize = 16;

/// The nonces of one node: nothing of them is kept (R1).
///
/// A nonce holds when it was made, signed together with the realm and the address that it was made for. Another
/// node's, another life's of this node or another address's is not known.
#[derive(Clone)]
pub struct Nonces {
    mac: Hmac<Sha256>,
}

impl Nonces {
    /// With a secret that is drawn anew at each start.
    pub fn new(secret: [u8; 64]) -> Nonces {
        Nonces { mac: Hmac::new(&secret.into()) }
    }

    /// Makes one. `drawn` tells apart those of one moment and address.
    pub fn draw(&self, now: Instant, drawn: u32, realm: &[u8], source: IpAddr) -> [u8; LENGTH] {
        let mut bytes = [0; TIME + DRAWN + MAC];
        bytes[..TIME].copy_from_slice(&now.as_micros().to_be_bytes());
        bytes[TIME..TIME + DRAWN].copy_from_slice(&drawn.to_be_bytes());
        let mac = self.mac(&bytes[..TIME + DRAWN], realm, source);
        bytes[TIME + DRAWN..].copy_from_slice(&mac);
        let mut text = [0; LENGTH];
        for (at, byte) in bytes.into_iter().enumerate() {
            text[2 * at] = b"0123456789abcdef"[usize::from(byte >> 4)];
            text[2 * at + 1] = b"0123456789abcdef"[usize::from(byte & 0x0f)];
        }
        text
    }

    /// When a nonce was made that came back. `None` where it is too old, or never was ours: whoever knows the password
    /// is asked again, with `stale`.
    pub fn check(&self, nonce: &[u8], now: Instant, realm: &[u8], source: IpAddr) -> Option<Instant> {
        let bytes = read(nonce)?;
        let (head, mac) = bytes.split_at(TIME + DRAWN);
        let made = Instant::from_micros(u64::from_be_bytes(*head.first_chunk()?));
        let ours = same(&self.mac(head, realm, source), mac);
        (ours && made <= now && now.since(made) <= LIFETIME).then_some(made)
    }

    fn mac(&self, head: &[u8], realm: &[u8], source: IpAddr) -> [u8; MAC] {
        let mut mac = self.mac.clone();
        mac.update(head);
        match source.to_canonical() {
            IpAddr::V4(v4) => mac.update(&v4.octets()),
            IpAddr::V6(v6) => mac.update(&v6.octets()),
        }
        // Last, since it has no length of its own.
        mac.update(realm);
        let mut short = [0; MAC];
        short.copy_from_slice(&mac.finalize().into_bytes()[..MAC]);
        short
    }
}

fn read(text: &[u8]) -> Option<[u8; LENGTH / 2]> {
    let mut bytes = [0; LENGTH / 2];
    let (pairs, odd) = text.as_chunks::<2>();
    if pairs.len() != bytes.len() || !odd.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |letter: u8| char::from(letter).to_digit(16);
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(bytes)
}
