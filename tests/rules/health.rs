//! R14: OPTIONS say which gateways live; one that is down is tried last and never skipped.

use strowger::sim::served::served_with_names;
use strowger::time::Instant;

use super::*;

/// The DID forwards through `mobile`, whose two gateways are asked every `interval` seconds.
fn asked(interval: u32, keys: &str) -> Setup {
    Setup::new(served(), &asked_text(interval, keys))
}

fn asked_text(interval: u32, keys: &str) -> String {
    format!(
        "[[trunk]]\nname = \"carrier\"\nfrom = [\"{}/32\"]\noptions_interval = 0\n\n\
         [[trunk]]\nname = \"mobile\"\ngateways = [{{ uri = \"sip:{}\" }}, {{ uri = \"sip:{}\", priority = 20 }}]\n\
         outbound = true\noptions_interval = {interval}\n{keys}\n\n{}",
        layout::CARRIER.ip(),
        layout::gateway_addr(0),
        layout::gateway_addr(1),
        did_forward()
    )
}

/// When a gateway was asked, repetitions aside.
fn options(call: &Call, gateway: usize) -> Vec<Instant> {
    let mut seen: Vec<(String, Instant)> = Vec::new();
    for crossing in &call.world.trace.crossings {
        let message = &crossing.message;
        let new = !seen.iter().any(|(branch, _)| branch == message.branch());
        if message.method() == "OPTIONS" && crossing.peer == layout::gateway_addr(gateway) && new {
            seen.push((message.branch().to_owned(), crossing.at));
        }
    }
    seen.into_iter().map(|(_, at)| at).collect()
}

/// Until a gateway has been asked so many times more, repetitions aside.
fn is_asked(call: &mut Call, gateway: usize, times: usize) {
    let before = options(call, gateway).len();
    while options(call, gateway).len() < before + times {
        call.after(millis(100));
    }
}

/// The gateways that a call is sent to, in order; each refuses it.
fn tried(call: &mut Call) -> Vec<&'static str> {
    let before = call.world.trace.crossings.len();
    call.call_id = call.world.dials(DID, Manner::default());
    call.settle();
    let mut all = Vec::new();
    loop {
        let crossings = &call.world.trace.crossings[before..];
        let next = ["gateway1", "gateway2"].into_iter().enumerate().find(|(at, name)| {
            let addr = layout::gateway_addr(*at);
            let invited =
                |c: &strowger::sim::trace::Crossing| c.message.method() == "INVITE" && c.peer == addr;
            !all.contains(name) && crossings.iter().any(invited)
        });
        let Some((_, name)) = next else { return all };
        all.push(name);
        call.refuses(name, 500).settle();
    }
}

#[test]
fn r14_each_gateway_is_asked_by_exactly_one_shard_and_never_less_often_than_said() {
    for shards in [1, 3] {
        let mut call = asked(30, "").shards(shards).before_any_call();
        call.after(seconds(600));
        for gateway in 0..2 {
            let asked = options(&call, gateway);
            assert!(asked[0] < Instant::from_micros(31_000_000), "{asked:?}");
            let apart: Vec<Duration> = asked.windows(2).map(|pair| pair[1].since(pair[0])).collect();
            assert!(
                apart.iter().all(|pause| (seconds(24)..=millis(30_001)).contains(pause)),
                "{shards} shards: {apart:?}"
            );
            assert!(apart.iter().any(|pause| *pause != apart[0]), "no jitter: {apart:?}");
        }
        assert_eq!(call.world.said, Vec::<String>::new());
    }
}

#[test]
fn r14_a_thousand_gateways_are_not_asked_at_once() {
    let gateway = |trunk: usize, at: usize| format!("{{ uri = \"sip:127.1.{trunk}.{}\" }}", at + 1);
    let text: String = (0..32)
        .map(|trunk| {
            let all: Vec<String> = (0..32).map(|at| gateway(trunk, at)).collect();
            format!("[[trunk]]\nname = \"t{trunk}\"\ngateways = [{}]\n\n", all.join(", "))
        })
        .collect();
    let mut call = Setup::new(served(), &text).before_any_call();
    call.after(seconds(30));
    let first = call.world.trace.crossings.iter().filter(|crossing| crossing.message.cseq().0 == 1);
    let mut branches = std::collections::BTreeSet::new();
    let mut in_a_second = [0; 40];
    for crossing in first.filter(|crossing| branches.insert(crossing.message.branch().to_owned())) {
        in_a_second[(crossing.at.as_micros() / 1_000_000) as usize] += 1;
    }
    assert!(branches.len() >= 1_000, "{}", branches.len());
    // A 30th of them each second, and what chance adds.
    assert!(in_a_second.iter().skip(2).all(|count| *count < 100), "{in_a_second:?}");
}

#[test]
fn r14_a_gateway_is_down_after_two_options_without_any_answer_and_is_tried_last() {
    for shards in [1, 3] {
        let mut call = asked(30, "").shards(shards).before_any_call();
        call.after(seconds(40));
        assert_eq!(tried(&mut call), ["gateway1", "gateway2"]);
        call.is_cut_off("gateway1", seconds(600));
        let began = call.world.now;
        // The next goes out within 30 s, and each has until the one after it: one miss is none.
        call.after(seconds(47));
        assert_eq!(call.world.said, Vec::<String>::new());
        call.after(seconds(91) - call.world.now.since(began));
        assert_eq!(call.world.said, ["mobile 0 down: no answer to OPTIONS"]);
        assert_eq!(tried(&mut call), ["gateway2", "gateway1"]);
        call.after(seconds(300));
        assert_eq!(call.world.said.len(), 1, "once for each change");
    }
}

#[test]
fn r14_a_trunk_whose_gateways_are_all_down_is_tried_behind_the_others_and_not_skipped() {
    let trunks: String = ["mobile", "spare"].iter().enumerate().map(|(at, name)| {
        let gateway = layout::gateway_addr(at);
        format!(
            "[[trunk]]\nname = \"{name}\"\ngateways = [{{ uri = \"sip:{gateway}\" }}]\noutbound = true\npriority = {at}\n\n"
        )
    }).collect();
    let carrier = format!(
        "[[trunk]]\nname = \"carrier\"\nfrom = [\"{}/32\"]\noptions_interval = 0\n\n",
        layout::CARRIER.ip()
    );
    let mut call = Setup::new(served(), &format!("{carrier}{trunks}{}", did_forward())).before_any_call();
    assert_eq!(tried(&mut call), ["gateway1", "gateway2"]);
    call.is_cut_off("gateway1", seconds(300));
    call.after(seconds(120));
    assert_eq!(call.world.said, ["mobile 0 down: no answer to OPTIONS"]);
    call.call_id = call.world.dials(DID, Manner::default());
    call.settle();
    let invited = |call: &mut Call| ["us → gateway1", "us → gateway2"].map(|way| count(call, way, "INVITE"));
    assert_eq!(invited(&mut call), [0, 1], "nobody waits for the other");
    call.refuses("gateway2", 503).settle();
    assert_eq!(invited(&mut call), [1, 1]);
    call.after(seconds(40));
    assert!(call.caller_is_told().is_some_and(|code| code >= 400));
}

#[test]
fn r14_calls_return_within_two_intervals_after_it_comes_back() {
    for interval in [2, 5, 30, 120] {
        let mut call = asked(interval, "").before_any_call();
        call.is_cut_off("gateway1", seconds(u64::from(interval) * 5 + 400));
        call.after(seconds(u64::from(interval) * 5 + 400));
        assert_eq!(call.world.said, ["mobile 0 down: no answer to OPTIONS"], "{interval}");
        call.after(seconds(u64::from(interval) * 2));
        assert_eq!(call.world.said[1..], ["mobile 0 up"], "{interval}");
        assert_eq!(tried(&mut call), ["gateway1", "gateway2"]);
    }
}

#[test]
fn r14_any_final_answer_but_503_is_up() {
    for code in [200, 202, 302, 401, 404, 405, 407, 480, 500, 501, 603] {
        let mut call = asked(30, "").before_any_call();
        for host in call.world.hosts.iter_mut().filter(|host| host.name == "gateway1") {
            host.asked_says = code;
        }
        call.after(seconds(120));
        assert_eq!(call.world.said, Vec::<String>::new(), "{code}");
    }
    let mut call = asked(30, "").before_any_call();
    for host in call.world.hosts.iter_mut().filter(|host| host.name == "gateway1") {
        host.asked_says = 503;
    }
    call.after(seconds(120));
    assert_eq!(call.world.said, ["mobile 0 down: 503 Service Unavailable"]);
    assert_eq!(tried(&mut call), ["gateway2", "gateway1"]);
    // It refused that call with 500: it lives, though OPTIONS say no more than before.
    assert_eq!(call.world.said[1..], ["mobile 0 up"]);
}

/// What the gateways of the world say to OPTIONS.
fn say(call: &mut Call, codes: [u16; 2]) {
    for (name, code) in ["gateway1", "gateway2"].into_iter().zip(codes) {
        for host in call.world.hosts.iter_mut().filter(|host| host.name == name) {
            host.asked_says = code;
        }
    }
}

/// The only gateway of `mobile` has a name, and two servers.
fn by_name() -> Call {
    let (first, second) = (layout::gateway_addr(0), layout::gateway_addr(1));
    let gateways = format!("{{ uri = \"sip:{first}\" }}, {{ uri = \"sip:{second}\", priority = 20 }}");
    let text = asked_text(30, "").replace(&gateways, "{ uri = \"sip:sbc.test\" }");
    let names = &*Vec::leak(vec![("sbc.test", first), ("sbc.test", second)]);
    Setup::new(served_with_names(names), &text).before_any_call()
}

/// RFC 3263 §4.3: the next server is tried where one says 503.
#[test]
fn r14_a_server_that_says_503_leaves_its_gateway_up_while_another_answers() {
    let mut call = by_name();
    assert_eq!(tried(&mut call), ["gateway1", "gateway2"]);
    say(&mut call, [503, 200]);
    call.after(seconds(120));
    assert_eq!(call.world.said, Vec::<String>::new());
    assert_eq!(tried(&mut call), ["gateway2", "gateway1"], "it is tried last");
    say(&mut call, [503, 503]);
    call.after(seconds(31));
    assert_eq!(call.world.said, ["mobile 0 down: 503 Service Unavailable"], "none is left");
    say(&mut call, [503, 200]);
    call.after(seconds(31));
    assert_eq!(call.world.said[1..], ["mobile 0 up"]);
}

/// One that says nothing may have lost a packet: the gateway has missed twice before it is down.
#[test]
fn r14_a_server_that_says_503_beside_one_that_is_silent_is_two_misses() {
    for codes in [[503, 200], [200, 503]] {
        let mut call = by_name();
        let (silent, place) = if codes[0] == 503 { ("gateway2", 1) } else { ("gateway1", 0) };
        say(&mut call, codes);
        call.after(seconds(31));
        // It misses once, and is asked anew. Then it answers, and the miss is forgotten.
        call.is_cut_off(silent, seconds(600));
        is_asked(&mut call, place, 2);
        call.is_cut_off(silent, Duration::ZERO);
        call.after(seconds(3));
        call.is_cut_off(silent, seconds(600));
        is_asked(&mut call, place, 2);
        assert_eq!(call.world.said, Vec::<String>::new(), "{codes:?}");
        call.after(seconds(5));
        assert_eq!(call.world.said, ["mobile 0 down: 503 Service Unavailable"], "{codes:?}");
    }
}

#[test]
fn r14_a_transport_error_is_down_at_once() {
    let mut call = asked(30, "").before_any_call();
    closed(&mut call, "gateway1", true);
    call.after(seconds(31));
    assert_eq!(call.world.said, ["mobile 0 down: it cannot be reached"]);
    closed(&mut call, "gateway1", false);
    call.after(seconds(31));
    assert_eq!(call.world.said[1..], ["mobile 0 up"]);
}

#[test]
fn r14_what_calls_see_counts_too() {
    let mut call = asked(86_400, "").before_any_call();
    call.after(seconds(60));
    closed(&mut call, "gateway1", true);
    let began = call.world.trace.crossings.len();
    tried(&mut call);
    assert_eq!(call.world.said, ["mobile 0 down: it cannot be reached"]);
    assert!(began < call.world.trace.crossings.len());
    closed(&mut call, "gateway1", false);
    // The first that is tried is the second; the one that is down is tried all the same, and answers.
    assert_eq!(tried(&mut call), ["gateway2", "gateway1"]);
    assert_eq!(call.world.said[1..], ["mobile 0 up"]);
    assert_eq!(tried(&mut call), ["gateway1", "gateway2"]);
}

#[test]
fn r14_a_503_to_a_call_says_nothing_of_the_gateway() {
    let mut call = asked(86_400, "").before_any_call();
    call.after(seconds(60));
    let mut call = call.dials(DID, Manner::default());
    call.awaits("gateway1").refuses("gateway1", 503);
    call.awaits("gateway2").refuses("gateway2", 503);
    assert_eq!(call.caller_is_told(), Some(480));
    assert_eq!(call.world.said, Vec::<String>::new());
}

#[test]
fn r14_what_a_call_failed_of_is_told_and_nothing_is_down_for_it() {
    for interval in [0, 86_400] {
        for (code, words) in [
            (408, "408 Request Timeout"),
            (500, "500 Server Internal Error"),
            (502, "502 Bad Gateway"),
            (503, "503 Service Unavailable"),
            (504, "504 Server Time-out"),
        ] {
            let mut call = asked(interval, "").before_any_call();
            call.after(seconds(60));
            assert_eq!(call.world.failures(), Vec::<String>::new());
            let mut call = call.dials(DID, Manner::default());
            call.awaits("gateway1").refuses("gateway1", code);
            call.awaits("gateway2").refuses("gateway2", code);
            call.settle();
            let told = [0, 1].map(|place| format!("mobile {place}: {words} to a call"));
            assert_eq!(call.world.failures(), told);
            assert_eq!(call.world.said, Vec::<String>::new());
        }
    }
}

#[test]
fn r14_a_refusal_that_is_the_callees_is_no_failure_of_the_gateway() {
    let mut call = asked(0, "").before_any_call().dials(DID, Manner::default());
    call.awaits("gateway1").rings("gateway1").refuses("gateway1", 408);
    call.settle();
    let mut call = call.dials(DID, Manner::default());
    call.awaits("gateway1").refuses("gateway1", 486);
    call.settle();
    assert_eq!(call.world.failures(), Vec::<String>::new());
}

#[test]
fn r14_silence_and_what_cannot_be_delivered_are_told_with_options_off_too() {
    let mut call = asked(0, "").before_any_call();
    call.is_cut_off("gateway1", seconds(600));
    closed(&mut call, "gateway2", true);
    let mut call = call.dials(DID, Manner::default());
    call.after(millis(3_900));
    assert_eq!(call.world.failures(), Vec::<String>::new());
    call.after(seconds(2));
    let told = ["mobile 0: no answer to a call", "mobile 1: it cannot be reached"];
    assert_eq!(call.world.failures(), told);
    assert_eq!(call.world.said, Vec::<String>::new());
    call.world.publish(Some(&asked_text(0, "max_calls = 7")));
    assert_eq!(call.world.failures(), told, "another generation knows it still");
}

#[test]
fn r14_the_last_gateway_is_waited_for_and_its_silence_is_told_when_nobody_waits_any_more() {
    let text = asked_text(0, "")
        .replace(&format!(", {{ uri = \"sip:{}\", priority = 20 }}", layout::gateway_addr(1)), "");
    let mut call = Setup::new(served(), &text).before_any_call();
    call.is_cut_off("gateway1", seconds(600));
    let mut call = call.dials(DID, Manner::default());
    call.after(seconds(2));
    call.caller_cancels();
    call.settle();
    assert_eq!(call.world.failures(), Vec::<String>::new(), "the caller was impatient");
    let mut call = call.dials(DID, Manner::default());
    call.after(seconds(40));
    assert_eq!(call.world.failures(), ["mobile 0: no answer to a call"]);
}

#[test]
fn r14_where_options_are_off_nobody_is_asked_and_all_count_as_up() {
    let mut call = asked(0, "").before_any_call();
    call.after(seconds(300));
    assert_eq!((options(&call, 0).len(), options(&call, 1).len()), (0, 0));
    closed(&mut call, "gateway1", true);
    tried(&mut call);
    closed(&mut call, "gateway1", false);
    assert_eq!(tried(&mut call), ["gateway1", "gateway2"]);
    assert_eq!(call.world.said, Vec::<String>::new());
    call.comes_to_rest();
}

#[test]
fn r14_a_gateway_that_is_gone_from_the_configuration_is_asked_no_more() {
    let mut call = asked(30, "").shards(3).before_any_call();
    call.is_cut_off("gateway1", seconds(300)).after(seconds(100));
    assert_eq!(call.world.said.len(), 1);
    // The same trunk with another limit: what is known of its gateways goes on, and so does the asking.
    call.world.publish(Some(&asked_text(30, "max_calls = 7")));
    assert_eq!(tried(&mut call), ["gateway2", "gateway1"]);
    let before = options(&call, 1).len();
    call.after(seconds(61));
    let after = options(&call, 1).len();
    assert!((2..=3).contains(&(after - before)), "{before} {after}");
    call.world.publish(Some(&asked_text(0, "")));
    let before = (options(&call, 0).len(), options(&call, 1).len());
    call.after(seconds(300));
    assert_eq!((options(&call, 0).len(), options(&call, 1).len()), before);
    assert_eq!(tried(&mut call), ["gateway1", "gateway2"], "nobody would find out that it is back");
    call.comes_to_rest();
}

#[test]
fn r14_gateways_of_one_priority_share_the_calls_by_weight() {
    let text = asked_text(0, "").replace(", priority = 20", ", weight = 3");
    let mut call = Setup::new(served(), &text).before_any_call();
    let first = (0..400).filter(|_| tried(&mut call)[0] == "gateway1").count();
    assert!((60..140).contains(&first), "a quarter of 400, not {first}");
    call.comes_to_rest();
}

/// Alice sends her call on to a number, by this URI, while the only gateway of the first trunk is down.
fn sent_on(uri: &str) -> Call {
    let asks = "outbound = true\noptions_interval = ";
    let text = super::r11_open::two_trunks().replace(&format!("{asks}0"), &format!("{asks}30"));
    let mut call = Setup::new(served(), &text).before_any_call();
    call.is_cut_off("gateway1", seconds(600));
    call.after(seconds(120));
    assert_eq!(call.world.said, ["mobile 0 down: no answer to OPTIONS"]);
    let mut call = call.dials(DID, Manner::default());
    call.awaits("alice").redirects("alice", uri);
    call.settle();
    call
}

#[test]
fn r14_a_redirect_goes_by_a_trunk_that_lives_before_one_whose_gateways_are_all_down() {
    for host in ["192.0.2.7", "127.0.3.1", "127.0.3.2"] {
        let mut call = sent_on(&format!("sip:+13125550123@{host}"));
        let to = |call: &mut Call, name: &str| count(call, &format!("us → {name}"), "INVITE");
        assert_eq!((to(&mut call, "gateway1"), to(&mut call, "gateway2")), (0, 1), "{host}");
        call.refuses("gateway2", 503).settle();
        assert_eq!(to(&mut call, "gateway1"), 1, "but it is tried: {host}");
    }
}

#[test]
fn r14_a_redirect_to_a_gateway_that_is_down_goes_to_one_that_is_up_first() {
    let mut call = asked(30, "").before_any_call();
    call.is_cut_off("gateway2", seconds(600));
    call.after(seconds(120));
    assert_eq!(call.world.said, ["mobile 1 down: no answer to OPTIONS"]);
    let mut call = call.dials(DID, Manner::default());
    call.awaits("gateway1").redirects("gateway1", "sip:+13125550123@127.0.3.2");
    call.settle();
    let to = |call: &mut Call, name: &str| count(call, &format!("us → {name}"), "INVITE");
    assert_eq!((to(&mut call, "gateway1"), to(&mut call, "gateway2")), (2, 0));
    call.refuses("gateway1", 503).settle();
    assert_eq!(to(&mut call, "gateway2"), 1, "but it is tried");
}
