//! What we say that we can, to whom.

use crate::sip::header::Name;
use crate::sip::wire::Message;

/// What we allow and support (RFC 3261 §20.5, §20.37), as the lines that say so.
#[derive(Clone, Copy)]
pub struct Abilities {
    pub allow: &'static [u8],
    pub supported: &'static [u8],
    /// The option tags that a request may require of us.
    extensions: &'static [&'static str],
}

impl Abilities {
    const TO_TRUNKS: Abilities = Abilities {
        allow: b"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\n",
        supported: b"Supported: timer, 100rel\r\n",
        extensions: &["timer", "100rel"],
    };
    /// Phones offer their users a transfer where they find these (R11).
    const TO_AGENTS: Abilities = Abilities {
        allow: b"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER\r\n",
        supported: b"Supported: timer, 100rel, replaces, norefersub\r\n",
        extensions: &["timer", "100rel", "replaces", "norefersub"],
    };

    pub const fn towards(agent: bool) -> Abilities {
        if agent { Abilities::TO_AGENTS } else { Abilities::TO_TRUNKS }
    }
}

/// The option tags that a request requires and that we do not have.
pub fn unsupported<'m>(request: &'m Message<'_>, abilities: Abilities) -> impl Iterator<Item = &'m [u8]> {
    let known = |tag: &[u8]| abilities.extensions.iter().any(|one| tag.eq_ignore_ascii_case(one.as_bytes()));
    request.list(Name::Require).filter(move |tag| !known(tag))
}
