//! Every call writes exactly one record, and it says what the caller was told (R12, "CDR, version 1").

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Check, Verdict, begins_call, breach};
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;
use crate::time::Instant;

#[derive(Default)]
pub struct OneCdr {
    calls: BTreeMap<String, Seen>,
}

#[derive(Default)]
struct Seen {
    /// From tag and CSeq of each INVITE that began a call under this Call-ID.
    invites: BTreeSet<(String, u32)>,
    /// Those that were refused for overload or as malformed: they write no record.
    without: BTreeSet<u32>,
    /// CSeq and branch of the INVITE that counts; a merged one has another branch and is answered beside it.
    invite: (u32, String),
    /// The final response to it.
    told: Option<u16>,
    records: usize,
}

impl Check for OneCdr {
    fn name(&self) -> &'static str {
        "one_cdr"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        let (cseq, method) = message.cseq();
        if crossing.way == Way::In && begins_call(crossing.peer, message) {
            let tag = message.from_tag().unwrap_or_default().to_owned();
            let seen = self.calls.entry(message.call_id().to_owned()).or_default();
            seen.invites.insert((tag, cseq));
            if cseq > seen.invite.0 {
                seen.invite = (cseq, message.branch().to_owned());
            }
        }
        if crossing.way == Way::Out && !message.is_request() && method == "INVITE" {
            let Some(seen) = self.calls.get_mut(message.call_id()) else { return Ok(()) };
            let status = message.status();
            match status {
                400 => drop(seen.without.insert(cseq)),
                503 if message.get("Retry-After").is_some() => drop(seen.without.insert(cseq)),
                200.. if message.branch() == seen.invite.1 => seen.told = Some(status),
                _ => (),
            }
        }
        Ok(())
    }

    fn recorded(&mut self, record: &Value) -> Verdict {
        let first = &record["legs"][0];
        let Some(call_id) = first["sip_call_id"].as_str() else {
            return breach("", format!("a record without the caller's Call-ID: {record}"));
        };
        let Some(seen) = self.calls.get_mut(call_id) else {
            return breach(call_id, format!("a record of a call that never was: {record}"));
        };
        seen.records += 1;
        if seen.records > seen.invites.len() {
            return breach(call_id, format!("record {} of {} calls", seen.records, seen.invites.len()));
        }
        for key in ["id", "trunk", "dialled", "started", "ended", "outcome", "sip_code", "ended_by"] {
            if record[key].is_null() {
                return breach(call_id, format!("the record has no {key}: {record}"));
            }
        }
        if first["role"] != "caller" {
            return breach(call_id, format!("legs[0] is not the caller's: {record}"));
        }
        let answered = !record["answered"].is_null();
        let told_yes = seen.told.is_some_and(|code| (200..300).contains(&code));
        if answered != told_yes {
            let sentence = format!("the caller was told {:?}, the record says {record}", seen.told);
            return breach(call_id, sentence);
        }
        if let Some(code) = seen.told.filter(|code| record["sip_code"] != *code) {
            return breach(call_id, format!("the caller was told {code}, the record says {record}"));
        }
        Ok(())
    }

    fn at_end(&mut self, _now: Instant) -> Verdict {
        for (call_id, seen) in &self.calls {
            let owed = seen.invites.iter().filter(|(_, cseq)| !seen.without.contains(cseq)).count();
            if seen.records != owed {
                return breach(call_id, format!("{} records of {owed} calls", seen.records));
            }
        }
        Ok(())
    }
}
