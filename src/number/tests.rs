use proptest::prelude::*;

use super::*;

fn us() -> Country {
    Country::parse("US").unwrap()
}

fn number(text: &str) -> E164 {
    E164::parse_e164(text).unwrap()
}

#[test]
fn r02_a_number_is_a_plus_and_seven_to_fifteen_digits_exactly_eleven_with_country_code_one() {
    for good in ["+4930123", "+12015550101", "+123456789012345".replace("+1", "+4").as_str()] {
        assert_eq!(number(good).to_string(), good);
    }
    for bad in
        ["", "+", "12015550101", "+120155501", "+120155501011", "+493012", "+4930123456789012", "+49x0123"]
    {
        assert!(E164::parse_e164(bad).is_err(), "{bad}");
    }
}

#[test]
fn r02_national_e164_and_international_prefixes_are_read_by_the_nodes_country() {
    let read_in = |country: &str, dialled: &str| {
        read(dialled, &Country::parse(country).unwrap()).map(|number| number.to_string())
    };
    for dialled in
        ["+12015550101", "12015550101", "2015550101", "(201) 555-0101", "+1.201.555.0101", "01112015550101"]
    {
        assert_eq!(read_in("US", dialled).as_deref(), Some("+12015550101"), "{dialled}");
    }
    assert_eq!(read_in("US", "011442071234567").as_deref(), Some("+442071234567"));
    assert_eq!(read_in("US", "5550101"), None);
    assert_eq!(read_in("GB", "02071234567").as_deref(), Some("+442071234567"));
    assert_eq!(read_in("GB", "00442071234567").as_deref(), Some("+442071234567"));
    assert_eq!(read_in("GB", "442071234567").as_deref(), Some("+442071234567"));
    assert_eq!(read_in("GB", "0012015550101").as_deref(), Some("+12015550101"));
    assert_eq!(read_in("IT", "0612345678").as_deref(), Some("+390612345678"));
    assert_eq!(read_in("HU", "0612345678").as_deref(), Some("+3612345678"));
    assert_eq!(read_in("DE", "alice"), None);
    assert_eq!(read_in("DE", ""), None);
}

#[test]
fn writing_national_is_read_back() {
    for country in Country::codes() {
        let country = Country::parse(country).unwrap();
        let code = country.calling_code();
        let own = match code {
            "1" => number("+12015550101"),
            _ => number(&format!("+{code}2123456")),
        };
        for number in [own, number("+12015550101"), number("+442071234567")] {
            assert_eq!(read(&national(number, &country), &country), Some(number), "{country:?} {number}");
        }
    }
    assert_eq!(national(number("+12015550101"), &us()), "2015550101");
    assert_eq!(national(number("+442071234567"), &us()), "011442071234567");
}

#[test]
fn debug_is_shortened() {
    assert_eq!(format!("{:?}", number("+12015550101")), "+1201…01");
    assert_eq!(format!("{:?}", number("+4930123")), "+4930…23");
}

#[test]
fn a_bad_number_says_what_would_be_right() {
    let say = |text: &str| {
        let bad = E164::parse_e164(text).unwrap_err();
        format!("{bad}; {}", bad.remedy())
    };
    assert_eq!(
        say("201-555-0101"),
        "\"201-555-0101\" is no E.164 number (it does not begin with +); write \"+12015550101\""
    );
    assert_eq!(
        say("+1201555010"),
        "\"+1201555010\" is no E.164 number (with country code 1 it must have exactly 11 digits); \
         a number of country code 1 is +1 and ten digits, like \"+12015550101\""
    );
}

#[test]
fn the_longest_prefixes_cover_and_the_empty_one_covers_all() {
    let n = number("+12015550101");
    for (prefix, covers) in [
        ("+", true),
        ("+1", true),
        ("+1201555", true),
        ("+12015550101", true),
        ("+120155501011", false),
        ("+2", false),
    ] {
        assert_eq!(Prefix::parse(prefix).unwrap().covers(n), covers, "{prefix}");
        assert_eq!(Prefix::parse(prefix).unwrap().to_string(), prefix);
    }
    assert_eq!(Prefix::of(n, 4).to_string(), "+1201");
    assert_eq!(Prefix::EVERY, Prefix::parse("+").unwrap());
    assert!(n.starts_with_digits("1201") && !n.starts_with_digits("202") && !n.starts_with_digits("x"));
}

#[test]
fn the_countries_are_in_order() {
    assert!(Country::codes().is_sorted());
    assert_eq!(Country::parse("us"), Some(us()));
    assert_eq!(Country::parse("XX"), None);
}

proptest! {
    #[test]
    fn e164_round_trips(text in r"\+([02-9][0-9]{6,14}|1[0-9]{10})") {
        let n = E164::parse_e164(&text).unwrap();
        prop_assert_eq!(n.to_string(), text.clone());
        prop_assert_eq!(&*n.digits(), &text[1..]);
        for country in ["US", "DE", "RU", "IT"] {
            prop_assert_eq!(read(&text, &Country::parse(country).unwrap()), Some(n));
        }
    }

    #[test]
    fn numbers_order_as_their_text_does(a in r"\+[2-9][0-9]{6,14}", b in r"\+[2-9][0-9]{6,14}") {
        prop_assert_eq!(number(&a).cmp(&number(&b)), a.cmp(&b));
    }

    #[test]
    fn nothing_that_is_dialled_panics(text in "\\PC{0,40}", country in prop::sample::select(Country::codes().collect::<Vec<_>>())) {
        let country = Country::parse(country).unwrap();
        if let Some(number) = read(&text, &country) {
            prop_assert!((MIN_DIGITS..=MAX_DIGITS).contains(&number.len()));
        }
    }
}
