//! R2: the dialled number.

use super::*;

const OURS: &str = r#"
[[number]]
did = "+12015550101"
forward_to = "+12015550199"
[[number]]
did = "+442071234567"
ring = ["alice"]
[[number]]
did = "+12015550109"
ring = ["alice"]
enabled = false
"#;

fn did(table: &Table, dialled: &str) -> Option<String> {
    plan(table, dialled).ok().map(|plan| plan.did.unwrap().to_string())
}

#[test]
fn r02_national_e164_and_00_or_011_prefixes_by_the_nodes_country() {
    let us = table(OURS);
    for dialled in ["+12015550101", "12015550101", "2015550101", "01112015550101"] {
        assert_eq!(did(&us, dialled).as_deref(), Some("+12015550101"), "{dialled}");
    }
    assert_eq!(did(&us, "011442071234567").as_deref(), Some("+442071234567"));
    assert_eq!(did(&us, "02071234567"), None);
    let gb = read(&format!("[node]\ncountry = \"GB\"\n[dial]\nallow = [\"+\"]\n{CARRIER}{OURS}"));
    assert_eq!(did(&gb, "02071234567").as_deref(), Some("+442071234567"));
    assert_eq!(did(&gb, "0012015550101").as_deref(), Some("+12015550101"));
}

#[test]
fn r02_user_parameters_and_visual_separators_go_first_then_strip_and_prefix() {
    let us = table(OURS);
    for dialled in [
        "+12015550101;npdi",
        "+1-201-555-0101;npdi;rn=+12015550000",
        "(201) 555.0101;ext=5",
        "2015550101;phone-context=+1",
    ] {
        assert_eq!(did(&us, dialled).as_deref(), Some("+12015550101"), "{dialled}");
    }
    let changed = |settings: &str| {
        let carrier = CARRIER.replace("outbound = true", &format!("outbound = true\n{settings}"));
        read(&format!("{carrier}{OURS}"))
    };
    let tech = changed("strip = 3\nprefix = \"+\"");
    assert_eq!(did(&tech, "99912015550101").as_deref(), Some("+12015550101"));
    assert_eq!(did(&tech, "999-1-201-555-0101;npdi").as_deref(), Some("+12015550101"));
    assert_eq!(did(&tech, "+99912015550101").as_deref(), Some("+12015550101"));
    assert_eq!(did(&tech, "12015550101"), None);
    let local = changed("prefix = \"+1201\"");
    assert_eq!(did(&local, "5550101").as_deref(), Some("+12015550101"));
    let plus = changed("prefix = \"+\"");
    assert_eq!(did(&plus, "+12015550101").as_deref(), Some("+12015550101"));
    assert_eq!(did(&plus, "442071234567").as_deref(), Some("+442071234567"));
    assert_eq!(did(&changed("strip = 15"), "2015550101"), None);
}

#[test]
fn r02_digits_of_a_trunk_are_the_whole_number_and_are_written_so() {
    let carrier = |numbers: &str| {
        let settings = format!("outbound = true\nnumbers = \"{numbers}\"");
        read(&format!("{}{OURS}", CARRIER.replace("outbound = true", &settings)))
    };
    let digits = carrier("digits");
    assert_eq!(did(&digits, "12015550101").as_deref(), Some("+12015550101"));
    assert_eq!(did(&digits, "+12015550101").as_deref(), Some("+12015550101"));
    assert_eq!(did(&digits, "442071234567").as_deref(), Some("+442071234567"));
    assert_eq!(did(&digits, "2015550101"), None);
    let written =
        |table: &Table, number: &str| table.trunk("carrier").unwrap().write_number(number.parse().unwrap());
    assert_eq!(written(&digits, "+12015550101"), "12015550101");
    assert_eq!(written(&carrier("e164"), "+12015550101"), "+12015550101");
    assert_eq!(written(&carrier("national"), "+12015550101"), "2015550101");
    assert_eq!(written(&carrier("national"), "+442071234567"), "011442071234567");
}

#[test]
fn r02_an_unknown_or_disabled_number_has_no_plan() {
    let us = table(OURS);
    assert!(matches!(plan(&us, "+12015550102"), Err(NoPlan::UnknownNumber(_))));
    assert!(matches!(plan(&us, "+12015550109"), Err(NoPlan::Disabled(_))));
    for dialled in
        ["", "alice", "+", "anonymous", "+1201555010", "+120155501011", "1201555", "+1+201555 0101"]
    {
        assert!(matches!(plan(&us, dialled), Err(NoPlan::NotANumber)), "{dialled}");
    }
    assert!(us.is_ours("+12015550109".parse().unwrap()), "a disabled number is ours all the same");
}

#[test]
fn r02_the_callers_number_is_read_in_the_same_way_but_for_strip_and_prefix() {
    let settings = "outbound = true\nstrip = 3\nprefix = \"+\"";
    let table = read(&format!("{}{OURS}", CARRIER.replace("outbound = true", settings)));
    let trunk = table.trunk("carrier").unwrap();
    assert_eq!(trunk.read_number("(202) 555-0123;cpc=ordinary"), "+12025550123".parse().ok());
    assert_eq!(trunk.read_number("anonymous"), None);
    assert_eq!(trunk.read_number("100"), None);
}

#[test]
fn r02_a_block_serves_its_numbers_and_the_longest_match_wins() {
    let table = table(
        r#"
[[number]]
did = "+1201*"
ring = ["alice"]
[[number]]
did = "+1201555*"
ring = ["bob"]
[[number]]
did = "+12015550101"
ring = ["carol"]
[[number]]
did = "+120155502*"
ring = ["dave"]
enabled = false
"#,
    );
    let rung = |dialled| rings(&table, dialled)[0].clone();
    assert_eq!(rung("+12015550101"), "20s: carol");
    assert_eq!(rung("+12015550102"), "20s: bob");
    assert_eq!(rung("+12012220102"), "20s: alice");
    assert!(matches!(plan(&table, "+12015550200"), Err(NoPlan::Disabled(_))));
    assert!(matches!(plan(&table, "+12025550102"), Err(NoPlan::UnknownNumber(_))));
    assert_eq!(
        plan(&table, "2015550102").unwrap().did.unwrap().to_string(),
        "+12015550102",
        "the DID is what was dialled"
    );
}
