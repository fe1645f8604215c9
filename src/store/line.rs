//! A record, or the beginning of a call, as one line of JSON: byte for byte what serde_json makes of it, for a
//! third of the work, because keys are constants and text is seldom anything to escape.
//!
//! The fields stand here in the contract's order, and a field that is forgotten does not compile. Reading is
//! serde's.

use std::borrow::Cow;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::call::cdr::{Cdr, CdrLeg, Direction, EndedBy, JournalEntry, LegEnd, Outcome, Role, Rtp, rfc3339};
use crate::time::Wall;

/// What stands in a line.
pub(super) trait Json {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()>;

    /// Left out, key and all.
    fn is_absent(&self) -> bool {
        false
    }
}

macro_rules! objects {
    ($($of:ident { $($field:ident)* })*) => {$(
        impl Json for $of {
            fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
                let $of { $($field),* } = self;
                out.push(b'{');
                $(if !$field.is_absent() {
                    out.extend_from_slice(concat!("\"", stringify!($field), "\":").as_bytes());
                    $field.write(out)?;
                    out.push(b',');
                })*
                end(out, b'}');
                Ok(())
            }
        }
    )*};
}

objects! {
    Cdr {
        v id node generation account direction trunk did dialled caller caller_name withheld presented diversions
        started ringing answered ended ring_ms talk_ms outcome sip_code q850 ended_by cause winner legs recording
        voicemail attribution verstat
    }
    CdrLeg {
        id role target trunk sip_call_id peer presented started ringing answered confirmed ended sip_code q850 end
        attest attest_reason codec rtp
    }
    JournalEntry {
        id node generation account direction trunk did dialled caller withheld presented sip_call_id peer started
        ringing answered
    }
}

/// Ends an object or a list: its last comma becomes the bracket.
fn end(out: &mut Vec<u8>, bracket: u8) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = bracket,
        Some(_) | None => out.push(bracket),
    }
}

impl<T: Json> Json for Option<T> {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        self.as_ref().map_or(Ok(()), |value| value.write(out))
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Json> Json for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        out.push(b'[');
        for value in self {
            value.write(out)?;
            out.push(b',');
        }
        end(out, b']');
        Ok(())
    }
}

impl Json for str {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        // Without a way out in its middle the loop looks at sixteen bytes at a time.
        let escaped = self
            .bytes()
            .fold(false, |before, byte| before | (byte < b' ') | (byte == b'"') | (byte == b'\\'));
        if escaped {
            return serde_json::to_writer(out, self);
        }
        quote(self.as_bytes(), out);
        Ok(())
    }
}

/// Writes text that has nothing to escape.
fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

macro_rules! texts {
    ($($of:ty)*) => {$(
        impl Json for $of {
            fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
                str::write(self, out)
            }
        }
    )*};
}

texts! { Box<str> Arc<str> Cow<'static, str> }

macro_rules! words {
    ($($of:ty)*) => {$(
        impl Json for $of {
            fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
                quote(self.label().as_bytes(), out);
                Ok(())
            }
        }
    )*};
}

words! { Direction Outcome EndedBy Role LegEnd }

macro_rules! numbers {
    ($($of:ty)*) => {$(
        impl Json for $of {
            fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
                out.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
                Ok(())
            }
        }
    )*};
}

numbers! { u8 u16 u64 }

impl Json for bool {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
        Ok(())
    }
}

impl Json for Wall {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        quote(&rfc3339::write(*self), out);
        Ok(())
    }
}

impl Json for SocketAddr {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            SocketAddr::V4(address) => {
                let mut before = b'"';
                for octet in address.ip().octets() {
                    out.push(before);
                    octet.write(out)?;
                    before = b'.';
                }
                out.push(b':');
                address.port().write(out)?;
                out.push(b'"');
                Ok(())
            }
            SocketAddr::V6(address) => write!(out, "\"{address}\"").map_err(serde_json::Error::io),
        }
    }
}

macro_rules! seldom {
    ($($of:ty)*) => {$(
        impl Json for Box<$of> {
            fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
                serde_json::to_writer(out, self)
            }
        }
    )*};
}

seldom! { Rtp serde_json::Value }

#[cfg(test)]
mod tests {
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;

    fn text() -> BoxedStrategy<Box<str>> {
        let any = prop_oneof!["[ -~]{0,40}", any::<String>(), r#"[\x00-\x1f"\\\x7f\u{80}-\u{ff}a]{0,40}"#];
        any.prop_map(Into::into).boxed()
    }

    fn shared() -> BoxedStrategy<Arc<str>> {
        text().prop_map(Into::into).boxed()
    }

    fn said() -> BoxedStrategy<Option<Cow<'static, str>>> {
        of(text().prop_map(|text| Cow::Owned(text.into()))).boxed()
    }

    fn wall() -> BoxedStrategy<Wall> {
        prop_oneof![any::<u64>(), 0..253_402_300_800_000_u64].prop_map(Wall).boxed()
    }

    /// `labels`: as the contract has them.
    fn word<T: serde::de::DeserializeOwned + std::fmt::Debug + 'static>(labels: &str) -> BoxedStrategy<T> {
        let labels: Vec<String> = labels.split('|').map(str::to_owned).collect();
        let read = |label: String| serde_json::from_value(label.into()).expect("a word of the contract");
        prop::sample::select(labels).prop_map(read).boxed()
    }

    fn direction() -> BoxedStrategy<Direction> {
        word("inbound|outbound|internal")
    }

    fn rtp() -> BoxedStrategy<Option<Box<Rtp>>> {
        let counted = (any::<u64>(), any::<u64>(), any::<u64>(), any::<f32>(), of(1.0..4.5_f32));
        of(counted.prop_map(|(tx, rx, lost, jitter_ms, mos)| Rtp { tx, rx, lost, jitter_ms, mos }.into()))
            .boxed()
    }

    fn leg() -> impl Strategy<Value = CdrLeg> {
        let roles = word("caller|agent|forward|transfer");
        let ends =
            word("won|elsewhere|timeout|busy|declined|not_confirmed|unreachable|cancelled|failed|normal");
        let who = (
            any::<u16>(),
            roles,
            of(shared()),
            of(shared()),
            of(text()),
            of(any::<SocketAddr>()),
            of(text()),
        );
        let when = (wall(), of(wall()), of(wall()), of(wall()), wall());
        let how = (of(any::<u16>()), of(any::<u8>()), ends, of(text()), of(text()), said(), rtp());
        (who, when, how).prop_map(|(who, when, how)| {
            let (id, role, target, trunk, sip_call_id, peer, presented) = who;
            let (started, ringing, answered, confirmed, ended) = when;
            let (sip_code, q850, end, attest, attest_reason, codec, rtp) = how;
            CdrLeg {
                target,
                trunk,
                sip_call_id,
                peer,
                presented,
                ringing,
                answered,
                confirmed,
                sip_code,
                q850,
                attest,
                attest_reason,
                codec,
                rtp,
                ..CdrLeg::new(id, role, started, ended, end)
            }
        })
    }

    fn record() -> impl Strategy<Value = Cdr> {
        let outcomes = word(
            "answered|voicemail|no_answer|busy|declined|cancelled|unreachable|not_confirmed|blocked|failed|lost",
        );
        let ended_by = of(word("caller|callee|us"));
        let what = (of(text()), prop::collection::vec(text(), 0..3), any::<u64>(), any::<u64>(), outcomes);
        let how = (any::<u16>(), of(any::<u8>()), ended_by, said(), of(any::<u16>()), wall());
        let more = (of(text()), of(text()), of(text()), of(text()));
        let legs = prop::collection::vec(leg(), 0..4);
        (entry(), what, how, more, legs).prop_map(|(entry, what, how, more, legs)| {
            let (caller_name, diversions, ring_ms, talk_ms, outcome) = what;
            let (sip_code, q850, ended_by, cause, winner, ended) = how;
            let (recording, voicemail, visit, verstat) = more;
            Cdr {
                caller_name,
                diversions,
                ring_ms,
                talk_ms,
                outcome,
                sip_code,
                q850,
                ended_by,
                cause,
                winner,
                legs,
                recording,
                voicemail,
                attribution: visit.map(|visit| serde_json::json!({ "visit": visit, "sure": 0.5 }).into()),
                verstat,
                ..entry.lost(ended)
            }
        })
    }

    fn entry() -> impl Strategy<Value = JournalEntry> {
        let who = (text(), shared(), any::<u64>(), shared(), direction(), of(shared()), of(text()));
        let whom = (text(), of(text()), any::<bool>(), of(text()), of(text()), of(any::<SocketAddr>()));
        let when = (wall(), of(wall()), wall());
        (who, whom, when).prop_map(|(who, whom, when)| {
            let (id, node, generation, account, direction, trunk, did) = who;
            let (dialled, caller, withheld, presented, sip_call_id, peer) = whom;
            let (started, ringing, answered) = when;
            JournalEntry {
                id,
                node,
                generation,
                account,
                direction,
                trunk,
                did,
                dialled,
                caller,
                withheld,
                presented,
                sip_call_id,
                peer,
                started,
                ringing,
                answered,
            }
        })
    }

    fn written(what: &impl Json) -> String {
        let mut out = Vec::new();
        what.write(&mut out).expect("JSON");
        String::from_utf8(out).expect("UTF-8")
    }

    proptest! {
        #[test]
        fn a_record_is_written_as_serde_json_writes_it(record in record()) {
            prop_assert_eq!(written(&record), serde_json::to_string(&record).expect("JSON"));
        }

        #[test]
        fn the_beginning_of_a_call_is_written_as_serde_json_writes_it(entry in entry()) {
            prop_assert_eq!(written(&entry), serde_json::to_string(&entry).expect("JSON"));
        }
    }
}
