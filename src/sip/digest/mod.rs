//! Digest authentication, both sides of it (RFC 7616, RFC 8760; RFC 3261 §22).
//!
//! A [`Challenge`] is what a server asks with, [`Credentials`] what a client answers; [`Nonces`] are a server's own,
//! which it knows again without having kept them. Hashes are MD5 and SHA-256; `qop` is `auth` or, with old peers, none.

mod challenge;
mod credentials;
mod nonce;
mod params;

use md5::Md5;
use sha2::Sha256;

pub use challenge::Challenge;
pub use credentials::{Credentials, Proof, answer};
pub use nonce::{LIFETIME, Nonces};

/// The hash of a challenge. In the order of preference (RFC 8760 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Sha256,
    Md5,
}

impl Algorithm {
    pub const ALL: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Md5];

    /// As the registry of RFC 7616 §6.1 spells it.
    pub const fn token(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Md5 => "MD5",
        }
    }

    /// Reads a token in whatever case. `None` for one that is not spoken, the `-sess` variants among them.
    pub fn parse(token: &[u8]) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|known| known.token().as_bytes().eq_ignore_ascii_case(token))
    }

    /// The hash of the parts with colons between them, in hexadecimal.
    fn hash(self, parts: &[&[u8]]) -> Hex {
        match self {
            Algorithm::Sha256 => Hex::of::<Sha256>(parts),
            Algorithm::Md5 => Hex::of::<Md5>(parts),
        }
    }

    /// H(A1): what stands for a password (RFC 7616 §3.4.2).
    pub fn ha1(self, username: &[u8], realm: &[u8], password: &[u8]) -> Hex {
        self.hash(&[username, realm, password])
    }

    /// How many hexadecimal digits a hash has.
    pub const fn digits(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Md5 => 32,
        }
    }
}

/// A hash in hexadecimal, lower case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hex {
    text: [u8; 64],
    length: u8,
}

impl Hex {
    fn of<H: sha2::Digest>(parts: &[&[u8]]) -> Hex {
        let mut hash = H::new();
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                hash.update(b":");
            }
            hash.update(part);
        }
        let mut hex = Hex { text: [0; 64], length: 0 };
        for byte in hash.finalize() {
            for nibble in [byte >> 4, byte & 0x0f] {
                hex.text[usize::from(hex.length)] = b"0123456789abcdef"[usize::from(nibble)];
                hex.length += 1;
            }
        }
        hex
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }
}

/// It stands for a password.
impl std::fmt::Debug for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hex(…)")
    }
}

/// What a response is the proof of, beside the password.
#[derive(Clone, Copy, Debug)]
struct Exchange<'a> {
    method: &'a str,
    uri: &'a [u8],
    nonce: &'a [u8],
    /// Nonce count as it is written, and the client's nonce; `None` without `qop` (RFC 2069).
    auth: Option<(&'a [u8], &'a [u8])>,
}

impl Exchange<'_> {
    /// RFC 7616 §3.4.1. `ha1` in hexadecimal.
    fn response(&self, algorithm: Algorithm, ha1: &[u8]) -> Hex {
        let ha2 = algorithm.hash(&[self.method.as_bytes(), self.uri]);
        let ha2 = ha2.as_bytes();
        match self.auth {
            Some((count, cnonce)) => algorithm.hash(&[ha1, self.nonce, count, cnonce, b"auth", ha2]),
            None => algorithm.hash(&[ha1, self.nonce, ha2]),
        }
    }
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && std::hint::black_box(one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b))) == 0
}

#[cfg(test)]
mod tests;
