//! The table itself: senders, names, size, speed, and what survives a reload.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::*;
use crate::config;

#[test]
fn r01_d_the_trunk_with_the_longest_matching_from() {
    let table = read(
        r#"
[[trunk]]
name = "wide"
from = ["192.0.2.0/24"]
[[trunk]]
name = "narrow"
from = ["192.0.2.128/25", "2001:db8::/32"]
[[trunk]]
name = "one"
from = ["192.0.2.200", "198.51.100.0/24:5070"]
[[trunk]]
name = "port"
from = ["192.0.2.200:5070"]
"#,
    );
    let of = |source: &str| {
        let source: SocketAddr = source.parse().unwrap();
        table.trunk_of(source).map(|trunk| &*trunk.name)
    };
    assert_eq!(of("192.0.2.1:5060"), Some("wide"));
    assert_eq!(of("192.0.2.129:5060"), Some("narrow"));
    assert_eq!(of("192.0.2.200:5060"), Some("one"));
    assert_eq!(of("192.0.2.200:5070"), Some("port"));
    assert_eq!(of("198.51.100.9:5070"), Some("one"));
    assert_eq!(of("198.51.100.9:5060"), None);
    assert_eq!(of("[2001:db8::7]:5060"), Some("narrow"));
    assert_eq!(of("[::ffff:192.0.2.1]:5060"), Some("wide"));
    assert_eq!(of("203.0.113.1:5060"), None);
}

#[test]
fn agents_and_trunks_are_found_by_name() {
    let table = table("");
    assert_eq!(table.agent("bob").unwrap().contact.as_ref().unwrap().addr, "127.0.0.1:5091".parse().ok());
    assert!(table.agent("bobb").is_none() && table.trunk("nobody").is_none());
    let gateway = &table.trunk("carrier").unwrap().gateways[0];
    assert_eq!(gateway.addr, "127.0.0.1:5080".parse().ok());
}

#[test]
fn gateways_stand_by_priority_then_as_listed() {
    let table = read(
        "[[trunk]]\nname = \"carrier\"\ngateways = [{ uri = \"sip:127.0.0.1:1\", priority = 20 }, \
         { uri = \"sip:127.0.0.1:2\" }, { uri = \"sip:127.0.0.1:3;transport=tcp\" }, { uri = \"sip:127.0.0.1:4\", priority = 1 }]",
    );
    let ports: Vec<_> =
        table.trunk("carrier").unwrap().gateways.iter().map(|gateway| gateway.addr.unwrap().port()).collect();
    assert_eq!(ports, [4, 2, 3, 1]);
}

#[test]
fn trunks_and_agents_that_a_reload_leaves_alike_stay_the_same_object() {
    let load = |more: &str, generation, before: Option<&Table>| {
        let loaded = config::parse(&format!("{CARRIER}{more}"), &|_| None).unwrap();
        Table::new(&loaded.config, generation, before)
    };
    let old = load("", 1, None);
    let new = load("[[agent]]\nname = \"aaron\"\n", 2, Some(&old));
    assert_eq!(new.generation, 2);
    assert!(Arc::ptr_eq(old.trunk("carrier").unwrap(), new.trunk("carrier").unwrap()));
    assert!(Arc::ptr_eq(old.agent("bob").unwrap(), new.agent("bob").unwrap()));
}

#[test]
fn a_gateway_of_tls_has_its_port_and_its_name_for_as_long_as_the_node_lives() {
    let load = |gateways: &str, generation, before: Option<&Table>| {
        let text = format!("[[trunk]]\nname = \"sbc\"\ntransport = \"tls\"\ngateways = [{gateways}]\n");
        Table::new(&config::parse(&text, &|_| None).unwrap().config, generation, before)
    };
    let named = |table: &Table| -> Vec<String> {
        let gateways = &table.trunk("sbc").unwrap().gateways;
        let told = gateways.iter().map(|gateway| match (gateway.addr, gateway.name) {
            (Some(addr), None) => format!("{} {addr}", gateway.transport.uri_token()),
            (None, Some(name)) => format!("{}", table.host_name(name).unwrap()),
            (addr, name) => format!("{addr:?} {name:?}"),
        });
        told.collect()
    };
    let uris = [
        "sip:192.0.2.1",
        "sip:192.0.2.1:5071",
        "sips:192.0.2.1",
        "sip:192.0.2.1;transport=udp",
        "sips:SBC.example.com",
    ];
    let all: Vec<String> = uris.iter().map(|uri| format!("{{ uri = \"{uri}\" }}")).collect();
    let old = load(&all.join(", "), 1, None);
    let expected = [
        "tls 192.0.2.1:5061",
        "tls 192.0.2.1:5071",
        "tls 192.0.2.1:5061",
        "udp 192.0.2.1:5060",
        "sbc.example.com",
    ];
    assert_eq!(named(&old), expected);
    let id = |table: &Table| table.trunk("sbc").unwrap().gateways.last().and_then(|gateway| gateway.name);
    let new = load("{ uri = \"sips:new.example.com\" }, { uri = \"sips:sbc.example.com\" }", 2, Some(&old));
    assert_eq!(id(&new), id(&old));
}

#[test]
fn a_plan_is_under_one_kilobyte_and_holds_no_table() {
    assert!(size_of::<Plan>() < 1024, "{}", size_of::<Plan>());
    let table = Arc::new(table("[[number]]\ndid = \"+12015550101\"\nforward_to = \"+12015550199\"\n"));
    let plan = plan(&table, "+12015550101").unwrap();
    assert_eq!(Arc::strong_count(&table), 1);
    drop(table);
    assert_eq!(step(&plan.steps[0]), "20s: +12015550199@carrier");
}

#[test]
fn a_hundred_thousand_numbers_are_all_found() {
    let mut text = CARRIER.to_owned();
    for n in 0..100_000 {
        let _ = write!(text, "[[number]]\ndid = \"+1201{n:07}\"\nforward_to = \"+1202{n:07}\"\n");
    }
    let table = read(&text);
    assert_eq!(table.numbers(), 100_000);
    for n in (0..100_000).step_by(997) {
        let plan = plan(&table, &format!("1201{n:07}")).unwrap();
        assert_eq!(step(&plan.steps[0]), format!("20s: +1202{n:07}@carrier"));
    }
    assert!(matches!(plan(&table, "+12030000000"), Err(NoPlan::UnknownNumber(_))));
}
