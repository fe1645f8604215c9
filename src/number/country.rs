//! How each country writes numbers: calling code, national and international prefix (ITU-T E.164, E.129).

use super::{E164, MAX_DIGITS};

/// A country by its ISO 3166 code, with what reading and writing its numbers needs.
#[derive(Clone, Copy)]
pub struct Country(&'static Habits);

impl Country {
    /// The United States, where a configuration names no other.
    pub const US: Country = Country(&plan("US", "1", "1", "011"));

    /// Finds it by its two-letter ISO 3166 code, in whatever case.
    pub fn parse(code: &str) -> Option<Country> {
        let code = code.to_ascii_uppercase();
        HABITS.binary_search_by(|habits| habits.iso.cmp(&code)).ok().map(|at| Country(&HABITS[at]))
    }

    /// Every code that [`Country::parse`] knows, in order.
    pub fn codes() -> impl Iterator<Item = &'static str> {
        HABITS.iter().map(|habits| habits.iso)
    }

    pub const fn iso(self) -> &'static str {
        self.0.iso
    }

    /// `1` in the US, `44` in Britain.
    pub const fn calling_code(self) -> &'static str {
        self.0.code
    }

    /// What goes before a national number when it is dialled inside: `1` in the US, `0` in most countries,
    /// empty where nothing does.
    pub const fn national_prefix(self) -> &'static str {
        self.0.national
    }

    /// What goes before a foreign number when it is dialled: `011` in the US, `00` in most countries.
    pub const fn international_prefix(self) -> &'static str {
        self.0.international
    }
}

impl PartialEq for Country {
    fn eq(&self, other: &Country) -> bool {
        self.0.iso == other.0.iso
    }
}

impl Eq for Country {}

impl std::fmt::Debug for Country {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.iso)
    }
}

/// Reads a number as somebody in that country dials it (R2): E.164, national, or behind the international
/// prefix. Visual separators (RFC 3966 §5.1.1, and spaces) go first. Costs no allocation.
///
/// Digits that carry no prefix at all are national, but for two cases: in countries of code 1 a number has ten
/// digits, or eleven with the 1; and where national numbers must begin with their prefix (`0`), digits that
/// begin with the country's own calling code are the whole number without its `+`.
pub fn read(dialled: &str, country: &Country) -> Option<E164> {
    let (plus, text) = plain(dialled)?;
    let digits: &str = &text;
    let habits = country.0;
    if plus {
        return E164::from_digits(digits).ok();
    }
    if let Some(foreign) = digits.strip_prefix(habits.international)
        && let Ok(number) = E164::from_digits(foreign)
    {
        return Some(number);
    }
    if habits.code == "1" {
        return match digits.len() {
            10 => joined("1", digits),
            11 => E164::from_digits(digits).ok().filter(|_| digits.starts_with('1')),
            _ => None,
        };
    }
    if habits.national.is_empty() {
        return joined(habits.code, digits);
    }
    match digits.strip_prefix(habits.national) {
        Some(rest) => joined(habits.code, rest),
        None if digits.starts_with(habits.code) => E164::from_digits(digits).ok(),
        None => joined(habits.code, digits),
    }
}

/// Reads a number whose digits are always the whole international number, with or without its `+` or the
/// country's international prefix (a trunk with `numbers = "digits"`).
pub(crate) fn read_digits(dialled: &str, country: &Country) -> Option<E164> {
    let (plus, text) = plain(dialled)?;
    let digits: &str = &text;
    match digits.strip_prefix(country.0.international) {
        Some(rest) if !plus && digits.starts_with('0') => E164::from_digits(rest).ok(),
        Some(_) | None => E164::from_digits(digits).ok(),
    }
}

/// How the country's own people write it: ten digits in countries of code 1, elsewhere the national prefix and
/// the national number; a foreign number stands behind the international prefix.
pub fn national(number: E164, country: &Country) -> String {
    let habits = country.0;
    let digits = number.digits();
    match digits.strip_prefix(habits.code) {
        Some(rest) if habits.code == "1" => rest.to_owned(),
        Some(rest) => format!("{}{rest}", habits.national),
        None => format!("{}{}", habits.international, &*digits),
    }
}

/// Takes visual separators and a leading `+` away. None when anything but digits is left, or more of them than
/// a prefix and a number can have.
fn plain(dialled: &str) -> Option<(bool, Short)> {
    let (plus, rest) = match dialled.trim_matches(' ').strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, dialled),
    };
    let mut short = Short::default();
    for byte in rest.bytes() {
        match byte {
            b'0'..=b'9' => short.push(byte)?,
            b'-' | b'.' | b'(' | b')' | b' ' => {}
            _ => return None,
        }
    }
    (short.len > 0).then_some((plus, short))
}

fn joined(code: &str, rest: &str) -> Option<E164> {
    let mut short = Short::default();
    for byte in code.bytes().chain(rest.bytes()) {
        short.push(byte)?;
    }
    E164::from_digits(&short).ok()
}

/// Digits on the stack: a number and the longest prefix before it.
#[derive(Default)]
struct Short {
    bytes: [u8; MAX_DIGITS + 5],
    len: usize,
}

impl Short {
    fn push(&mut self, digit: u8) -> Option<()> {
        *self.bytes.get_mut(self.len)? = digit;
        self.len += 1;
        Some(())
    }
}

impl std::ops::Deref for Short {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Habits {
    iso: &'static str,
    code: &'static str,
    national: &'static str,
    international: &'static str,
}

const fn plan(
    iso: &'static str,
    code: &'static str,
    national: &'static str,
    international: &'static str,
) -> Habits {
    Habits { iso, code, national, international }
}

/// By ISO code: calling code, national prefix, international prefix.
#[rustfmt::skip]
static HABITS: &[Habits] = &[
    plan("AD", "376", "", "00"), plan("AE", "971", "0", "00"), plan("AF", "93", "0", "00"),
    plan("AG", "1", "1", "011"), plan("AI", "1", "1", "011"), plan("AL", "355", "0", "00"),
    plan("AM", "374", "0", "00"), plan("AO", "244", "", "00"), plan("AR", "54", "0", "00"),
    plan("AS", "1", "1", "011"), plan("AT", "43", "0", "00"), plan("AU", "61", "0", "0011"),
    plan("AW", "297", "", "00"), plan("AX", "358", "0", "00"), plan("AZ", "994", "0", "00"),
    plan("BA", "387", "0", "00"), plan("BB", "1", "1", "011"), plan("BD", "880", "0", "00"),
    plan("BE", "32", "0", "00"), plan("BF", "226", "", "00"), plan("BG", "359", "0", "00"),
    plan("BH", "973", "", "00"), plan("BI", "257", "", "00"), plan("BJ", "229", "", "00"),
    plan("BL", "590", "0", "00"), plan("BM", "1", "1", "011"), plan("BN", "673", "", "00"),
    plan("BO", "591", "0", "00"), plan("BQ", "599", "", "00"), plan("BR", "55", "0", "00"),
    plan("BS", "1", "1", "011"), plan("BT", "975", "", "00"), plan("BW", "267", "", "00"),
    plan("BY", "375", "8", "810"), plan("BZ", "501", "", "00"), plan("CA", "1", "1", "011"),
    plan("CC", "61", "0", "0011"), plan("CD", "243", "0", "00"), plan("CF", "236", "", "00"),
    plan("CG", "242", "", "00"), plan("CH", "41", "0", "00"), plan("CI", "225", "", "00"),
    plan("CK", "682", "", "00"), plan("CL", "56", "", "00"), plan("CM", "237", "", "00"),
    plan("CN", "86", "0", "00"), plan("CO", "57", "0", "00"), plan("CR", "506", "", "00"),
    plan("CU", "53", "0", "119"), plan("CV", "238", "", "0"), plan("CW", "599", "", "00"),
    plan("CX", "61", "0", "0011"), plan("CY", "357", "", "00"), plan("CZ", "420", "", "00"),
    plan("DE", "49", "0", "00"), plan("DJ", "253", "", "00"), plan("DK", "45", "", "00"),
    plan("DM", "1", "1", "011"), plan("DO", "1", "1", "011"), plan("DZ", "213", "0", "00"),
    plan("EC", "593", "0", "00"), plan("EE", "372", "", "00"), plan("EG", "20", "0", "00"),
    plan("EH", "212", "0", "00"), plan("ER", "291", "0", "00"), plan("ES", "34", "", "00"),
    plan("ET", "251", "0", "00"), plan("FI", "358", "0", "00"), plan("FJ", "679", "", "00"),
    plan("FK", "500", "", "00"), plan("FM", "691", "", "00"), plan("FO", "298", "", "00"),
    plan("FR", "33", "0", "00"), plan("GA", "241", "", "00"), plan("GB", "44", "0", "00"),
    plan("GD", "1", "1", "011"), plan("GE", "995", "0", "00"), plan("GF", "594", "0", "00"),
    plan("GG", "44", "0", "00"), plan("GH", "233", "0", "00"), plan("GI", "350", "", "00"),
    plan("GL", "299", "", "00"), plan("GM", "220", "", "00"), plan("GN", "224", "", "00"),
    plan("GP", "590", "0", "00"), plan("GQ", "240", "", "00"), plan("GR", "30", "", "00"),
    plan("GT", "502", "", "00"), plan("GU", "1", "1", "011"), plan("GW", "245", "", "00"),
    plan("GY", "592", "", "001"), plan("HK", "852", "", "001"), plan("HN", "504", "", "00"),
    plan("HR", "385", "0", "00"), plan("HT", "509", "", "00"), plan("HU", "36", "06", "00"),
    plan("ID", "62", "0", "001"), plan("IE", "353", "0", "00"), plan("IL", "972", "0", "00"),
    plan("IM", "44", "0", "00"), plan("IN", "91", "0", "00"), plan("IO", "246", "", "00"),
    plan("IQ", "964", "0", "00"), plan("IR", "98", "0", "00"), plan("IS", "354", "", "00"),
    plan("IT", "39", "", "00"), plan("JE", "44", "0", "00"), plan("JM", "1", "1", "011"),
    plan("JO", "962", "0", "00"), plan("JP", "81", "0", "010"), plan("KE", "254", "0", "000"),
    plan("KG", "996", "0", "00"), plan("KH", "855", "0", "001"), plan("KI", "686", "", "00"),
    plan("KM", "269", "", "00"), plan("KN", "1", "1", "011"), plan("KP", "850", "0", "00"),
    plan("KR", "82", "0", "00"), plan("KW", "965", "", "00"), plan("KY", "1", "1", "011"),
    plan("KZ", "7", "8", "810"), plan("LA", "856", "0", "00"), plan("LB", "961", "0", "00"),
    plan("LC", "1", "1", "011"), plan("LI", "423", "", "00"), plan("LK", "94", "0", "00"),
    plan("LR", "231", "0", "00"), plan("LS", "266", "", "00"), plan("LT", "370", "0", "00"),
    plan("LU", "352", "", "00"), plan("LV", "371", "", "00"), plan("LY", "218", "0", "00"),
    plan("MA", "212", "0", "00"), plan("MC", "377", "0", "00"), plan("MD", "373", "0", "00"),
    plan("ME", "382", "0", "00"), plan("MF", "590", "0", "00"), plan("MG", "261", "0", "00"),
    plan("MH", "692", "1", "011"), plan("MK", "389", "0", "00"), plan("ML", "223", "", "00"),
    plan("MM", "95", "0", "00"), plan("MN", "976", "0", "001"), plan("MO", "853", "", "00"),
    plan("MP", "1", "1", "011"), plan("MQ", "596", "0", "00"), plan("MR", "222", "", "00"),
    plan("MS", "1", "1", "011"), plan("MT", "356", "", "00"), plan("MU", "230", "", "020"),
    plan("MV", "960", "", "00"), plan("MW", "265", "0", "00"), plan("MX", "52", "", "00"),
    plan("MY", "60", "0", "00"), plan("MZ", "258", "", "00"), plan("NA", "264", "0", "00"),
    plan("NC", "687", "", "00"), plan("NE", "227", "", "00"), plan("NF", "672", "", "00"),
    plan("NG", "234", "0", "009"), plan("NI", "505", "", "00"), plan("NL", "31", "0", "00"),
    plan("NO", "47", "", "00"), plan("NP", "977", "0", "00"), plan("NR", "674", "", "00"),
    plan("NU", "683", "", "00"), plan("NZ", "64", "0", "00"), plan("OM", "968", "", "00"),
    plan("PA", "507", "", "00"), plan("PE", "51", "0", "00"), plan("PF", "689", "", "00"),
    plan("PG", "675", "", "00"), plan("PH", "63", "0", "00"), plan("PK", "92", "0", "00"),
    plan("PL", "48", "", "00"), plan("PM", "508", "0", "00"), plan("PR", "1", "1", "011"),
    plan("PS", "970", "0", "00"), plan("PT", "351", "", "00"), plan("PW", "680", "", "011"),
    plan("PY", "595", "0", "00"), plan("QA", "974", "", "00"), plan("RE", "262", "0", "00"),
    plan("RO", "40", "0", "00"), plan("RS", "381", "0", "00"), plan("RU", "7", "8", "810"),
    plan("RW", "250", "0", "00"), plan("SA", "966", "0", "00"), plan("SB", "677", "", "00"),
    plan("SC", "248", "", "00"), plan("SD", "249", "0", "00"), plan("SE", "46", "0", "00"),
    plan("SG", "65", "", "001"), plan("SH", "290", "", "00"), plan("SI", "386", "0", "00"),
    plan("SJ", "47", "", "00"), plan("SK", "421", "0", "00"), plan("SL", "232", "0", "00"),
    plan("SM", "378", "", "00"), plan("SN", "221", "", "00"), plan("SO", "252", "0", "00"),
    plan("SR", "597", "", "00"), plan("SS", "211", "0", "00"), plan("ST", "239", "", "00"),
    plan("SV", "503", "", "00"), plan("SX", "1", "1", "011"), plan("SY", "963", "0", "00"),
    plan("SZ", "268", "", "00"), plan("TC", "1", "1", "011"), plan("TD", "235", "", "00"),
    plan("TG", "228", "", "00"), plan("TH", "66", "0", "001"), plan("TJ", "992", "", "00"),
    plan("TK", "690", "", "00"), plan("TL", "670", "", "00"), plan("TM", "993", "8", "810"),
    plan("TN", "216", "", "00"), plan("TO", "676", "", "00"), plan("TR", "90", "0", "00"),
    plan("TT", "1", "1", "011"), plan("TV", "688", "", "00"), plan("TW", "886", "0", "002"),
    plan("TZ", "255", "0", "000"), plan("UA", "380", "0", "00"), plan("UG", "256", "0", "000"),
    plan("US", "1", "1", "011"), plan("UY", "598", "0", "00"), plan("UZ", "998", "", "00"),
    plan("VA", "39", "", "00"), plan("VC", "1", "1", "011"), plan("VE", "58", "0", "00"),
    plan("VG", "1", "1", "011"), plan("VI", "1", "1", "011"), plan("VN", "84", "0", "00"),
    plan("VU", "678", "", "00"), plan("WF", "681", "", "00"), plan("WS", "685", "", "0"),
    plan("XK", "383", "0", "00"), plan("YE", "967", "0", "00"), plan("YT", "262", "0", "00"),
    plan("ZA", "27", "0", "00"), plan("ZM", "260", "0", "00"), plan("ZW", "263", "0", "00"),
];
