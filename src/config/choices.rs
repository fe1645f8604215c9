//! Settings that are one word out of a few.

use std::borrow::Cow;

use crate::sip::peer::Transport;

/// A setting that is one of these words.
pub(super) trait Choice: Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// Declares the enum, its words as they are written, and its JSON forms.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $word:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// As it is written in the configuration.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        words!($name: $($variant $word),+);
    )+};
}

macro_rules! words {
    ($name:ident: $($variant:ident $word:literal),+) => {
        impl Choice for $name {
            const WORDS: &'static [(&'static str, $name)] = &[$(($word, $name::$variant)),+];
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),+] })
            }
        }
    };
}

choices! {
    /// What a stranger's INVITE gets (R1e).
    Strangers {
        /// 403
        Reject "reject",
        /// Silence.
        Drop "drop",
    }

    /// How a listener is spoken to.
    ListenTransport {
        Udp "udp",
        Tcp "tcp",
        Tls "tls",
        Ws "ws",
        Wss "wss",
    }

    /// When audio passes through us.
    Anchor {
        Always "always",
        /// SDP passes through when nothing of ours needs the audio, decided at the INVITE.
        WhenNeeded "when_needed",
    }

    /// How requests travel to a trunk's gateways.
    TrunkTransport {
        /// UDP, and TCP for requests above 1,300 bytes.
        Auto "auto",
        Udp "udp",
        Tcp "tcp",
        Tls "tls",
    }

    /// Which part of an INVITE names the dialled number (R2).
    DidFrom {
        RequestUri "request-uri",
        To "to",
        PCalledPartyId "p-called-party-id",
    }

    /// How numbers are written on a trunk.
    NumberFormat {
        /// `+12015550101`
        E164 "e164",
        /// `12015550101`; digits that the trunk sends are the whole number too.
        Digits "digits",
        /// As people of the node's country dial.
        National "national",
    }

    /// What a forwarded call shows when the caller's number is not ours (R9).
    ForeignCallerId {
        /// The caller.
        Pass "pass",
        /// The DID.
        Replace "replace",
        /// The caller, and once more with the DID after 403, 603, 606 or 608 before the first 18x.
        Retry "retry",
    }

    /// Whom P-Asserted-Identity names (R9).
    Pai {
        Caller "caller",
        Did "did",
        None "none",
    }

    /// What a pool does when all its numbers are leased.
    WhenExhausted {
        Oldest "oldest",
        DefaultNumber "default_number",
    }
}

impl ListenTransport {
    pub const fn transport(self) -> Transport {
        match self {
            ListenTransport::Udp => Transport::Udp,
            ListenTransport::Tcp => Transport::Tcp,
            ListenTransport::Tls => Transport::Tls,
            ListenTransport::Ws => Transport::Ws,
            ListenTransport::Wss => Transport::Wss,
        }
    }
}
