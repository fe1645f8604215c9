//! Which calls in progress a publication would treat otherwise, were they made again.

use crate::call::story::LiveCall;
use crate::number::E164;
use crate::routing::{NoPlan, Plan, Table};

/// The calls in progress whose trunk, agent or number would now be treated otherwise.
pub(super) fn affected(calls: &[LiveCall], old: &Table, new: &Table) -> Vec<String> {
    let changed = |call: &&LiveCall| match call.agent.as_deref() {
        Some(agent) => is_agents_call_affected(call, agent, old, new),
        None => is_trunks_call_affected(call, old, new),
    };
    calls.iter().filter(changed).map(|call| call.id.to_string()).collect()
}

// The draw only chooses among trunks of equal rank; the same one for both tables.

fn is_trunks_call_affected(call: &LiveCall, old: &Table, new: &Table) -> bool {
    let Some(name) = call.trunk.as_deref() else { return false };
    let (Some(was), Some(is)) = (old.trunk(name), new.trunk(name)) else { return true };
    let Some(did) = call.did.as_deref().and_then(|did| E164::parse_e164(did).ok()) else {
        return was != is;
    };
    was != is || !goes_alike(&old.plan_for(was, did, 0), &new.plan_for(is, did, 0))
}

fn is_agents_call_affected(call: &LiveCall, agent: &str, old: &Table, new: &Table) -> bool {
    let (Some(was), Some(is)) = (old.agent(agent), new.agent(agent)) else { return true };
    let goes_otherwise = call.trunk.as_deref().is_some_and(|name| old.trunk(name) != new.trunk(name));
    was != is
        || goes_otherwise
        || !goes_alike(&old.plan_of(was, &call.dialled, 0), &new.plan_of(is, &call.dialled, 0))
}

/// Whether a call that was dialled again would go as before.
fn goes_alike(before: &Result<Plan, NoPlan>, after: &Result<Plan, NoPlan>) -> bool {
    match (before, after) {
        (Ok(before), Ok(after)) => is_alike(before, after),
        (Err(_), Err(_)) => true,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}

/// Whether two plans do the same, and call it the same.
fn is_alike(a: &Plan, b: &Plan) -> bool {
    a.steps == b.steps
        && a.label == b.label
        && a.account == b.account
        && a.pass_called_number == b.pass_called_number
        && a.call_connect == b.call_connect
        && (&a.whisper, a.whisper_agents) == (&b.whisper, b.whisper_agents)
        && (a.record, &a.record_notice) == (b.record, &b.record_notice)
        && (&a.voicemail, a.caller_id) == (&b.voicemail, b.caller_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::cdr::Direction;
    use crate::config;
    use crate::time::Wall;

    const TRUNKS: &str = "[[trunk]]\nname = \"carrier\"\nfrom = [\"192.0.2.1/32\"]\n\
        gateways = [{ uri = \"sip:192.0.2.1\" }]\noutbound = true\n\
        [[trunk]]\nname = \"other\"\ngateways = [{ uri = \"sip:192.0.2.9\" }]\n";
    const AGENTS: &str = "[[agent]]\nname = \"alice\"\nnumber = \"+12015550101\"\n[[agent]]\nname = \"bob\"\n\
        contact = \"sip:bob@192.0.2.20\"\n";
    const NUMBERS: &str = "[[number]]\ndid = \"+12015550101\"\nring = [\"bob\"]\n\
        [[number]]\ndid = \"+12015550102\"\nring = [\"bob\"]\n";

    fn live(id: &str, agent: Option<&str>, trunk: Option<&str>, did: &str, dialled: &str) -> LiveCall {
        LiveCall {
            id: id.into(),
            direction: Direction::Outbound,
            state: "bridged".into(),
            generation: 1,
            account: "".into(),
            agent: agent.map(Into::into),
            trunk: trunk.map(Into::into),
            did: Some(did.into()),
            dialled: dialled.into(),
            caller: None,
            started: Wall(0),
            answered: None,
        }
    }

    /// Who is affected by a change of a text: a call in, one of alice's out, one of hers to a DID, one to an agent.
    fn affected_by(from: &str, to: &str) -> Vec<String> {
        let text = format!("{TRUNKS}{AGENTS}{NUMBERS}");
        assert!(text.contains(from), "{from}");
        let table = |text: &str| Table::new(&config::parse(text, &|_| None).unwrap().config, 1, None);
        let (alice, own) = (Some("alice"), "+12015550101");
        let calls = [
            live("in", None, Some("carrier"), "+12015550102", "+12015550102"),
            live("out", alice, Some("carrier"), own, "+12125550188"),
            live("did", alice, None, "+12015550102", "+12015550102"),
            live("agent", alice, None, own, "bob"),
            live("help", alice, Some("carrier"), own, "911"),
        ];
        affected(&calls, &table(&text), &table(&text.replace(from, to)))
    }

    #[test]
    fn a_reload_names_the_calls_whose_number_agent_or_trunk_changed() {
        assert_eq!(affected_by("192.0.2.9", "192.0.2.9"), [""; 0]);
        assert_eq!(
            affected_by(
                "gateways = [{ uri = \"sip:192.0.2.1\" }]",
                "gateways = [{ uri = \"sip:192.0.2.7\" }]"
            ),
            ["in", "out", "help"]
        );
        let alice = "[[agent]]\nname = \"alice\"\nnumber = \"+12015550101\"\n";
        assert_eq!(affected_by(alice, ""), ["out", "did", "agent", "help"]);
        assert_eq!(
            affected_by("name = \"alice\"\n", "name = \"alice\"\ndnd = true\n"),
            ["out", "did", "agent", "help"]
        );
        assert_eq!(affected_by("sip:bob@192.0.2.20", "sip:bob@192.0.2.21"), ["in", "did", "agent"]);
        assert_eq!(
            affected_by("did = \"+12015550102\"\n", "did = \"+12015550102\"\ntimeout = 9\n"),
            ["in", "did"]
        );
        // What records and events call it is its number's too.
        assert_eq!(
            affected_by("did = \"+12015550102\"\n", "did = \"+12015550102\"\nlabel = \"Second\"\n"),
            ["in", "did"]
        );
    }
}
