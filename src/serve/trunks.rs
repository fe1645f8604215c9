//! The trunks as operators see them: their gateways, their calls and limits, and the gauge of which gateway is up.

use std::fmt::Write as _;

use crate::admin::operations::{FailureLine, GatewayLine, RegistrationLine, RegistrationState, TrunkLine};
use crate::engine::desk::SharedDesk;
use crate::engine::trunks::{Enrolled, Failure, Registration, TrunkState};
use crate::routing::{Gateway, Table, Trunk};
use crate::time::{Now, Wall};

/// The first `most` trunks whose names come behind `after`, by name.
pub(super) fn lines(
    table: &Table,
    desk: &SharedDesk,
    now: Now,
    after: Option<&str>,
    most: usize,
) -> Vec<TrunkLine> {
    let mut trunks: Vec<&Trunk> = table.trunks().iter().map(|trunk| &**trunk).collect();
    trunks.sort_by(|a, b| a.name.cmp(&b.name));
    let behind = trunks.into_iter().skip_while(|trunk| after.is_some_and(|after| *trunk.name <= *after));
    behind.take(most).map(|trunk| line(trunk, desk, now)).collect()
}

fn line(trunk: &Trunk, desk: &SharedDesk, now: Now) -> TrunkLine {
    let state = desk.states.of(&trunk.name);
    let gateway = |(at, gateway): (usize, &Gateway)| {
        let seen = state.as_ref().and_then(|state| state.seen(trunk, at));
        // Where nobody asks, it still shows that no call can go there.
        let is_lost = gateway.host.as_ref().is_some_and(|host| !desk.hosts.knows(host));
        let lost = (is_lost && trunk.options_interval.is_none()).then_some((Failure::NotFound, now.wall));
        let failure = seen.and_then(|seen| seen.failure).or(lost);
        let round_trip = seen.and_then(|seen| seen.round_trip);
        GatewayLine {
            gateway: gateway.place,
            uri: gateway.uri.to_string(),
            transport: gateway.transport.uri_token().to_owned(),
            priority: gateway.priority,
            weight: gateway.weight,
            up: seen.is_none_or(|seen| seen.up),
            since: seen.and_then(|seen| seen.since),
            last_failure: failure.map(|(what, at)| FailureLine { what: what.to_string(), at }),
            round_trip_ms: round_trip.map(|trip| u64::try_from(trip.as_millis()).unwrap_or(u64::MAX)),
        }
    };
    let mut gateways: Vec<GatewayLine> = trunk.gateways.iter().enumerate().map(gateway).collect();
    gateways.sort_by_key(|line| line.gateway);
    TrunkLine {
        name: trunk.name.to_string(),
        outbound: trunk.outbound,
        calls: desk.trunk_calls(&trunk.name),
        max_calls: trunk.max_calls,
        calls_in_last_second: (trunk.max_cps > 0).then(|| desk.trunk_pace(&trunk.name, now.mono)),
        max_cps: trunk.max_cps,
        refused: state.as_ref().map_or(0, |state| state.refusals()),
        options_interval_ms: trunk
            .options_interval
            .map_or(0, |interval| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)),
        registration: registration(trunk, state.as_deref(), now.wall),
        gateways,
    }
}

fn registration(trunk: &Trunk, state: Option<&TrunkState>, now: Wall) -> RegistrationLine {
    let off =
        RegistrationLine { state: RegistrationState::Off, since: None, expires_ms: None, last_failure: None };
    let Some(Enrolled { state, since, failure }) = state.map(|state| state.enrolled()) else { return off };
    if !trunk.register {
        return off;
    }
    let (state, expires_ms) = match state {
        Registration::Trying => (RegistrationState::Trying, None),
        Registration::Registered(until) => {
            (RegistrationState::Registered, Some(until.0.saturating_sub(now.0)))
        }
    };
    let words = |why| match why {
        Failure::NoAnswer => "no answer to REGISTER".to_owned(),
        Failure::Unreachable
        | Failure::Insecure(_)
        | Failure::Unlisted
        | Failure::NotFound
        | Failure::NoListener
        | Failure::Refused(_)
        | Failure::CallUnanswered
        | Failure::CallRefused(_) => why.to_string(),
    };
    let last_failure = failure.map(|(what, at)| FailureLine { what: words(what), at });
    RegistrationLine { state, since, expires_ms, last_failure }
}

/// `strowger_trunk_up` in Prometheus' text format. Written here and not kept by the recorder, which would tell a
/// gateway for ever that is not configured any more.
pub(super) fn gauges(table: &Table, desk: &SharedDesk) -> String {
    let mut text = String::new();
    for trunk in table.trunks().iter().filter(|trunk| !trunk.gateways.is_empty()) {
        let state = desk.states.of(&trunk.name);
        // What the format wants escaped in a label.
        let name = trunk.name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        for (at, gateway) in trunk.gateways.iter().enumerate() {
            let up = !state.as_ref().is_some_and(|state| state.is_down(trunk, at));
            // Writing to memory cannot fail.
            let _ = writeln!(
                text,
                "strowger_trunk_up{{trunk=\"{name}\",gateway=\"{}\"}} {}",
                gateway.place,
                u8::from(up)
            );
        }
    }
    if text.is_empty() {
        return text;
    }
    let what = "Whether a trunk's gateway answers: 1 or 0.";
    format!("# HELP strowger_trunk_up {what}\n# TYPE strowger_trunk_up gauge\n{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::trunks::Sign;
    use crate::time::Instant;

    #[test]
    fn a_gateway_is_told_by_its_place_as_written_and_gone_when_it_is() {
        let table = |generation, text: &str| {
            Table::new(&crate::config::parse(text, &|_| None).unwrap().config, generation, None)
        };
        let text = "[[trunk]]\nname = \"carrier\"\nmax_cps = 4\n\
                    gateways = [{ uri = \"sip:192.0.2.1\", priority = 20 }, { uri = \"sip:192.0.2.2\" }]\n";
        let first = table(1, text);
        let desk = SharedDesk::new(1, Vec::new());
        desk.states.settle(&first);
        let trunk = &first.trunks()[0];
        assert!(desk.states.mark(trunk, 1, Sign::Failed(Failure::NoAnswer), Wall(7)));
        let told = gauges(&first, &desk);
        assert!(told.contains("\nstrowger_trunk_up{trunk=\"carrier\",gateway=\"0\"} 0\n"), "{told}");
        assert!(told.contains("\nstrowger_trunk_up{trunk=\"carrier\",gateway=\"1\"} 1\n"), "{told}");
        let now = Instant::from_micros(5_000_000);
        let both = |mono| Now { mono, wall: Wall(9) };
        assert!(
            desk.take_trunk("carrier", now, 0, 4).is_ok() && desk.take_trunk("carrier", now, 0, 4).is_ok()
        );
        let line = &lines(&first, &desk, both(now), None, 9)[0];
        assert_eq!((line.calls, line.calls_in_last_second), (2, Some(2)));
        assert_eq!(
            lines(&first, &desk, both(now + std::time::Duration::from_secs(1)), None, 9)[0]
                .calls_in_last_second,
            Some(0)
        );
        let gateways: Vec<_> = line.gateways.iter().map(|one| (&*one.uri, one.up)).collect();
        assert_eq!(gateways, [("sip:192.0.2.1", false), ("sip:192.0.2.2", true)]);
        let without = table(2, "[[trunk]]\nname = \"other\"\nfrom = [\"192.0.2.1/32\"]\n");
        desk.states.settle(&without);
        assert_eq!(gauges(&without, &desk), "");
    }
}
