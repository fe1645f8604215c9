//! R13, as far as a plan decides it: the trunk of a call to an external number, and whether it may be called.

use super::*;
use crate::number::E164;

const TRUNKS: &str = r#"
[dial]
allow = ["+1", "+44", "+1900555"]
deny = ["+1900", "+4490", "+1976", "+44"]
[[trunk]]
name = "carrier"
from = ["127.0.0.1/32"]
gateways = [{ uri = "sip:127.0.0.1:5080" }]
outbound = true
[[trunk]]
name = "cheap"
gateways = [{ uri = "sip:127.0.0.2:5080" }]
outbound = true
prefixes = ["+1202", "+44"]
[[trunk]]
name = "cheaper"
gateways = [{ uri = "sip:127.0.0.3:5080" }]
outbound = true
prefixes = ["+1202"]
priority = 5
[[trunk]]
name = "half"
gateways = [{ uri = "sip:127.0.0.4:5080", weight = 3 }]
outbound = true
prefixes = ["+1203"]
[[trunk]]
name = "quarter"
gateways = [{ uri = "sip:127.0.0.5:5080" }]
outbound = true
prefixes = ["+1203"]
[[trunk]]
name = "private"
gateways = [{ uri = "sip:127.0.0.6:5080" }]
[[number]]
did = "+12015550101"
[[number]]
did = "+12015550102"
trunk = "private"
"#;

fn way(plan: &Plan, number: &str, draw: u32) -> Result<String, NoWay> {
    let number: E164 = number.parse().unwrap();
    plan.outbound(number, draw).map(|trunk| trunk.name.to_string())
}

#[test]
fn r13_the_numbers_trunk_else_the_longest_prefix_then_the_lowest_priority_then_weight() {
    let table = read(TRUNKS);
    let free = plan(&table, "+12015550101").unwrap();
    assert_eq!(way(&free, "+12015550199", 7).as_deref(), Ok("carrier"));
    assert_eq!(way(&free, "+12025550199", 7).as_deref(), Ok("cheaper"));
    let drawn: Vec<_> = (0..8).map(|draw| way(&free, "+12035550199", draw).unwrap()).collect();
    assert_eq!(drawn.iter().filter(|name| *name == "half").count(), 6);
    assert_eq!(drawn.iter().filter(|name| *name == "quarter").count(), 2);
    let forced = plan(&table, "+12015550102").unwrap();
    assert_eq!(way(&forced, "+12025550199", 7).as_deref(), Ok("private"));
}

#[test]
fn r13_dial_decides_by_the_longest_match_and_deny_among_equals() {
    let table = read(TRUNKS);
    for plan in ["+12015550101", "+12015550102"].map(|did| plan(&table, did).unwrap()) {
        assert_eq!(
            way(&plan, "+19005550199", 0).as_deref().ok(),
            way(&plan, "+19005550100", 0).as_deref().ok()
        );
        assert!(way(&plan, "+19005550199", 0).is_ok(), "+1900555 is longer than +1900");
        assert_eq!(way(&plan, "+19006660199", 0), Err(NoWay::Forbidden));
        assert_eq!(way(&plan, "+19765550199", 0), Err(NoWay::Forbidden));
        assert_eq!(way(&plan, "+442071234567", 0), Err(NoWay::Forbidden), "equally long: deny");
        assert_eq!(way(&plan, "+4930123456", 0), Err(NoWay::Forbidden), "in no list");
    }
}

#[test]
fn r13_dial_left_out_allows_the_nodes_country_but_for_the_list() {
    let plan = plan(&table("[[number]]\ndid = \"+12015550101\"\n"), "+12015550101").unwrap();
    assert!(way(&plan, "+12025550199", 0).is_ok());
    for denied in ["+19005550199", "+19765550199", "+18095550199", "+18765550199", "+442071234567"] {
        assert_eq!(way(&plan, denied, 0), Err(NoWay::Forbidden), "{denied}");
    }
}

#[test]
fn a_number_that_no_trunk_serves_is_unreachable() {
    let text = CARRIER.replace("outbound = true", "outbound = true\nprefixes = [\"+1202\"]");
    let table = read(&format!("{text}[[number]]\ndid = \"+12015550101\"\nforward_to = \"+12015550199\"\n"));
    assert_eq!(rings(&table, "+12015550101"), ["20s: +12015550199 unreachable"]);
    let plan = plan(&table, "+12015550101").unwrap();
    assert_eq!(way(&plan, "+12015550199", 0), Err(NoWay::NoTrunk));
}
