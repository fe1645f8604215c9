//! A file that is no TOML is read piece by piece: a slip is told where it stands, and what is healthy beside it is judged as
//! ever.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use strowger::config::{self, Checked, Finding};

const AGENTS: &str = "[[agent]]\nname = \"alice\"\ncontact = \"sip:alice@127.0.0.1:5090\"\n\
    [[agent]]\nname = \"bob\"\ncontact = \"sip:bob@127.0.0.1:5091\"\n";

/// All that is said of these files.
fn checked(files: &[(&str, &str)]) -> Checked {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("routing")).unwrap();
    std::fs::write(folder.path().join("strowger.toml"), "").unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    config::checked(folder.path(), &|_| None)
}

/// Where, and what.
type Told = Vec<(u32, u32, String)>;

/// The mistakes and the warnings of a file of entries, beside one that has alice and bob.
fn told(text: &str) -> [Told; 2] {
    let checked = checked(&[("routing/agents.toml", AGENTS), ("routing/n.toml", text)]);
    assert!(checked.errors.iter().all(|error| error.file.ends_with("n.toml")), "{:?}", checked.errors);
    let told = |found: &Finding| (found.line, found.column, found.message.clone());
    [checked.errors, checked.warnings].map(|all| all.iter().map(told).collect())
}

/// Its mistakes alone.
fn mistakes(text: &str) -> Told {
    let [mistakes, _] = told(text);
    mistakes
}

/// The same as lines of text, with what would be right.
fn said(text: &str) -> Vec<String> {
    let errors = checked(&[("routing/agents.toml", AGENTS), ("routing/n.toml", text)]).errors;
    errors
        .iter()
        .map(|error| format!("{}:{}: {}; {}", error.line, error.column, error.message, error.remedy))
        .collect()
}

#[test]
fn a_value_with_a_unit_is_told_the_number_that_is_wanted() {
    let of = |line: &str| said(&format!("[[number]]\ndid = \"+12015550101\"\n{line}\n"));
    for (line, remedy) in [
        ("timeout = 20s", "it is a number of seconds, without a unit: timeout = 20"),
        ("timeout = 20 sec", "it is a number of seconds, without a unit: timeout = 20"),
        ("timeout = 2m", "it is a number of seconds, without a unit: timeout = 120"),
        ("timeout = 500ms", "it is a number of seconds, without a unit"),
        (
            "overflow = [{ ring = [\"bob\"], timeout = 15s }]",
            "it is a number of seconds, without a unit: timeout = 15",
        ),
        ("record = yes", "write record = true or record = false"),
        ("label = 20s", "put the text in quotes: label = \"20s\""),
        ("label = Main St # no", "put the text in quotes: label = \"Main St\""),
        ("forward_to = 192.0.2.1", "put the text in quotes: forward_to = \"192.0.2.1\""),
        ("trunk = tcp", "put the text in quotes: trunk = \"tcp\""),
        ("label = Suite #5, a b", "put the text in quotes: label = \"Suite #5, a b\""),
        ("label = Suite #5, timeout = 20", "put the text in \"…\""),
        ("label = Main \"big\" \\ St", "put the text in quotes: label = 'Main \"big\" \\ St'"),
        (
            "whisper = Call for Main St, press 1",
            "put the text in quotes: whisper = \"Call for Main St, press 1\"",
        ),
        ("label = Main [east]", "put the text in quotes: label = \"Main [east]\""),
        ("label = C:\\new", "put the text in quotes: label = 'C:\\new'"),
        ("label = Bob \"x", "put the text in quotes: label = 'Bob \"x'"),
        ("timeout = abc", "write a whole number of seconds, as timeout = 20"),
        ("overflow = none", "write it like overflow = [{ ring = [\"alice\"], timeout = 20 }]"),
        ("ring = bob", "write a list of texts in quotes: ring = [\"bob\"]"),
        ("ring = alice, bob", "write a list of texts in quotes: ring = [\"alice\", \"bob\"]"),
        ("ring = alice, bob,", "write a list of texts in quotes: ring = [\"alice\", \"bob\"]"),
        ("ring = alice, bob]", "write a list of texts in quotes, as ring = [\"…\", \"…\"]"),
        ("password = hunter2 of mine", "put the text in \"…\""),
        ("label = Smith (VIP}", "leave it out, or open the list or table that it closes"),
        ("label = Main\"", "put the text in quotes: label = \"Main\""),
        ("max_calls = 5 calls", "it is a number of calls, without a unit: max_calls = 5"),
        ("limit_code = 503 busy", "write a whole number of a status, as limit_code = 503"),
        (
            "gateways = sips:gw.example.com;transport=tls",
            "write it as gateways = [{ uri = \"sips:gw.example.com;transport=tls\" }]",
        ),
        ("label = \"a, b = c\" d", "begin a new line for it, or put # before a remark"),
        ("gateways = 192.0.2.7", "write it like gateways = [{ uri = \"sip:192.0.2.1\" }]"),
        ("timeout = 60, label = Hello", "begin a new line for it, or put # before a remark"),
        ("numbers = 911 933", "write a list of texts in quotes, as numbers = [\"…\", \"…\"]"),
        ("gateways = sip:192.0.2.7", "write it as gateways = [{ uri = \"sip:192.0.2.7\" }]"),
        ("greeting = Hello, max_seconds = 60 }", "put the text in quotes: greeting = \"Hello\""),
        ("ring = alice|\"bob\" #both", "write a list of texts in quotes: ring = [\"alice\", \"bob\"]"),
        ("ring = ,alice", "write a list of texts in quotes: ring = [\"alice\"]"),
        ("ring = alice and bob", "write a list of texts in quotes, as ring = [\"…\", \"…\"]"),
        (
            "overflow = [{ ring = bob, timeout = 15 }]",
            "write a list of texts in quotes, as ring = [\"…\", \"…\"]",
        ),
        ("label = Main\t# tab", "put the text in quotes: label = \"Main\""),
        ("whisper = Hello, this is \"Main\",", "put the text in quotes: whisper = 'Hello, this is \"Main\"'"),
        ("timeout = 1h30m", "write a whole number of seconds, as timeout = 20"),
        ("timeout = 2 min 30", "write a whole number of seconds, as timeout = 20"),
        ("timeout = 20.5 s", "write a whole number of seconds, as timeout = 20"),
        ("timeout = 1_000 s", "write a whole number of seconds, as timeout = 20"),
        ("voicemail = { greeting = Hello, you }", "put the text in \"…\""),
        ("voicemail = { greeting = Hello, box = \"a\" }", "put the text in quotes: greeting = \"Hello\""),
        ("ring = [\"bob\"]]", "leave it out, or open the list or table that it closes"),
        (
            "ring = [\"bob, \"alice\"]",
            "end the text before it with its quote, or put a comma between the two",
        ),
    ] {
        let said = of(line);
        let [said] = &said[..] else { panic!("{line}: {said:?}") };
        assert!(said.starts_with("3:") && said.ends_with(&format!("; {remedy}")), "{line}: {said}");
    }
    let said = of("voicemail = {\n max_seconds = 60, greeting = Hello,\n min_seconds = 2 }");
    assert!(said[0].starts_with("4:") && said[0].ends_with("; put the text in \"…\""), "{said:?}");
}

#[test]
fn what_is_not_closed_is_told_where_it_opens() {
    for (line, column) in [
        ("ring = [\"alice\"", 8),
        ("ring = [\"alice\",", 8),
        ("ring = [\n  \"alice\"\ntimeout = 20", 8),
        ("label = \"Main", 9),
        ("label = 'Main", 9),
        ("label = \"\"\"Main", 9),
        ("label = '''Main", 9),
        ("voicemail = { greeting = \"Hello\"", 13),
        ("overflow = [{ ring = [\"bob\", timeout = 15 }]", 22),
        ("overflow = [{ ring = [\"bob\"], timeout = 15 ]", 13),
        ("overflow = [{ ring = [\"bob\"], timeout = 15 }", 12),
    ] {
        let next = "[[number]]\ndid = \"+12015550102\"\nring = [\"alice\", \"bob\"]\nlabel = \"b\"\n";
        let text =
            format!("{next}\n[[number]]\ndid = \"+12015550101\"\n{line}\n\n{}", next.replace("0102", "0103"));
        let found = mistakes(&text);
        let [(8, at, message)] = &found[..] else { panic!("{line}: {found:?}") };
        assert!(*at == column && message.starts_with("TOML: "), "{line}: {found:?}");
    }
}

#[test]
fn texts_and_lists_over_several_lines_may_hold_what_looks_like_an_entry() {
    let entry = "[[number]]\ndid = \"+12015550101\"\nlabel = \"\"\"one \\\n[[number]] \\\ndid = 2 \\\n[[agent]]\"\"\"\n\
                 overflow = [\n[[number]],\n]\n";
    let healthy = entry.split("overflow").next().unwrap();
    let torn = "[[number]]\ndid = \"+12015550109\nring = [\"bob\"]\n";
    assert_eq!(mistakes(healthy), []);
    let slip = |line| (line, 7, "TOML: invalid basic string, expected `\"`".to_owned());
    assert_eq!(mistakes(&format!("{healthy}{torn}")), [slip(8)]);
    assert_eq!(mistakes(&format!("{torn}{healthy}")), [slip(2)]);
    // One slip in it is one, and it ends where it ends.
    let bad = healthy.replace("one \\\n", "\\q one \\\n");
    let unknown = "[[number]]\ndid = \"+12015550102\"\nring = [\"bbo\"]\n";
    let found = mistakes(&format!("{bad}{unknown}"));
    assert_eq!(found.iter().map(|(line, ..)| *line).collect::<Vec<_>>(), [3, 9], "{found:?}");
}

#[test]
fn names_that_a_torn_entry_may_have_are_not_said_to_be_unknown_and_others_are() {
    let number = "[[number]]\ndid = \"+12015550101\"\nring = [\"carol\"]\ntrunk = \"mobile\"\nprofile = \"day\"\npool = \"web\"\n";
    let of = |torn: &str| {
        let found = mistakes(&format!("{number}{torn}"));
        found.into_iter().filter(|(line, ..)| *line <= 6).map(|(line, ..)| line).collect::<Vec<_>>()
    };
    for (torn, lines) in [
        ("[[agent]]\nname = \"carol\n", &[4, 5, 6][..]),
        ("[[agent]\nname = \"carol\"\n", &[4, 5, 6]),
        ("[agent]]\nname = \"carol\"\n", &[4, 5, 6]),
        ("x[[agent]]\nname = \"carol\"\n", &[4, 5, 6]),
        ("agent]]\nname = \"carol\"\n", &[4, 5, 6]),
        ("[[agnt]\nname = \"carol\"\n", &[4, 5, 6]),
        ("[[trunk]]\nname = \"mobile\n", &[3, 5, 6]),
        // What stands in it by a head of its own is its own.
        ("[[trunkk\nname = \"mobile\"\n[trunk.auth]\nusername = \"u\"\n", &[3, 5, 6]),
        ("[[trunk]]\nname = \"mobile\"\n[trunk.auth]\nusername = u\n", &[3, 5, 6]),
        ("[[profile]]\nname = day\n", &[3, 4, 6]),
        ("[[pool]]\nname =\n", &[3, 4, 5]),
        ("[[caller_id]]\nnumber =\n", &[3, 4, 5, 6]),
        // Nobody knows of what that is.
        ("[[zzzzzzzzzz]\nname = \"carol\"\n", &[]),
    ] {
        assert_eq!(of(torn), lines, "{torn}");
    }
}

#[test]
fn a_torn_section_of_the_node_leaves_the_others_judged_and_makes_no_other_mistake() {
    let number = "[[number]]\ndid = \"+12015550101\"\nforward_to = \"+442071838750\"\nring = [\"alice\"]\nrecord = true\n";
    let of = |node: &str| {
        let found =
            checked(&[("strowger.toml", node), ("routing/agents.toml", AGENTS), ("routing/n.toml", number)]);
        let told = |found: &[Finding]| found.iter().map(|one| one.line).collect::<Vec<_>>();
        (told(&found.errors), told(&found.warnings))
    };
    // [dial] says what the node's country is: +44 is forbidden, and recording wants [media].
    assert_eq!(of("[node]\nname = \"a\"\n"), (vec![3], vec![5]));
    assert_eq!(of("[node]\ncountry = GB\n[media]\n[limits]\nmax_leg = 4\n"), (vec![2, 5], vec![]));
    assert_eq!(of("[media]\nports = \"1\n[limits]\nmax_leg = 4\n"), (vec![2, 4, 3], vec![]));
    let ours = "[[listen]]\ntransport = \"udp\n[limits]\nmax_leg = 4\n[media]\n";
    assert_eq!(of(ours), (vec![2, 4, 3], vec![]));
}

#[test]
fn a_file_without_a_head_before_its_slip_names_nothing_that_is_unknown() {
    let found = mistakes("number = [{ did = \"+12015550101\", ring = [\"nobody\"] }\n");
    assert!(
        !found.is_empty() && found.iter().all(|(.., message)| message.starts_with("TOML: ")),
        "{found:?}"
    );
    // Of what stands before the first head nobody knows the section: of others their own mistakes are told.
    let found = mistakes("not a key\n[[number]]\ndid = \"2015550101\"\nring = [\"nobody\"]\n");
    assert_eq!(found.iter().map(|(line, ..)| *line).collect::<Vec<_>>(), [1, 3], "{found:?}");
}

#[test]
fn a_hundred_slips_are_told_and_a_hostile_file_costs_no_more_than_its_length() {
    /// A debug build reads each of these in at most two seconds; what grows with the square takes minutes.
    const LONG: Duration = Duration::from_secs(60);
    let many = |piece: &str| piece.repeat((256 << 10) / piece.len());
    for (what, text) in [
        ("heads", many("[[number]]\n") + "x"),
        ("unclosed heads", many("[[number\n")),
        ("heads of nothing known", many("[a\n")),
        ("unclosed lists", many("[[number]]\na = [\n")),
        ("unclosed lists of lists", many("[[number]]\na = [[\n[b\n")),
        ("unclosed texts", many("[[number]]\na = \"\n")),
        ("unclosed long texts", many("[[number]]\na = '''\n")),
        ("a long text full of heads", format!("[[number]]\na = \"\"\"\n{}", many("[[number]]\n"))),
        ("closed long texts full of heads", many("[[number]]\na = \"\"\"\n[[number]]\n\"\"\"\n") + "x"),
        ("a list that ends late", format!("[[number]]\na = [\n{}]\nx", many("[a],\n"))),
        ("keys of one entry", format!("[[number]]\n{}", many("a = [\n"))),
        ("keys that are doubled", format!("[[number]]\n{}x", many("a = 1\n"))),
        ("one line", format!("[[number]]\na = {}", many("["))),
        ("one line of slips", format!("[[number]]\na = {}", many("= "))),
        ("lists before one line", many("[[number]]\na = [\n") + &many("[")),
    ] {
        let began = Instant::now();
        let found = checked(&[("routing/n.toml", &text)]).errors;
        assert!(!found.is_empty() && found.len() <= config::MAX_FINDINGS, "{what}: {}", found.len());
        assert!(began.elapsed() < LONG, "{what}: {:?}", began.elapsed());
    }
}

/// What is wrong in an entry, and is no slip of syntax.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Planted {
    Nothing,
    Key,
    Did,
    Name,
    Range,
}

fn planted() -> impl Strategy<Value = Planted> {
    prop::sample::select(vec![Planted::Nothing, Planted::Key, Planted::Did, Planted::Name, Planted::Range])
}

/// How many forms of an entry there are; the last are no numbers.
const FORMS: usize = 6;
const AGENT: usize = 4;

/// The entry of this number, of one of several forms.
fn entry(number: usize, form: usize, planted: Planted) -> String {
    let plus = if planted == Planted::Did { "" } else { "+" };
    let name = if planted == Planted::Name { "nobody" } else { "bob" };
    let timeout = if planted == Planted::Range { 100_000 } else { 20 };
    let key = if planted == Planted::Key { "zzzz = 1\n" } else { "" };
    let calls = if planted == Planted::Range { 10_000_000 } else { 2 };
    let body = match form {
        0 => format!("ring = [\"alice\", \"{name}\"]\ntimeout = {timeout}\nlabel = ''\n"),
        1 => format!(
            "overflow = [\n  {{ ring = [\"{name}\"],\n    timeout = {timeout} }},\n]\n\
             voicemail = {{ greeting = \"Hello\" }}\n"
        ),
        2 => format!(
            "label = \"\"\"one \\\n[[number]] \\\ntwo\"\"\"\nring = [\n\"alice\",\n\"{name}\"\n]\ntimeout = {timeout}\n"
        ),
        3 => format!(
            "ring = [\"{name}\"] # [[number]]\n\n# remark\ntimeout = {timeout}\n\
             [number.voicemail]\ngreeting = \"\"\n"
        ),
        AGENT => {
            return format!(
                "[[agent]]\nname = \"a{number}\"\n{key}max_calls = {calls}\n\
                 contact = \"sip:a{number}@127.0.0.1:5092\"\n\n"
            );
        }
        _ => {
            return format!(
                "[[trunk]]\nname = \"t{number}\"\n{key}from = [\n  \"192.0.2.{number}/32\",\n]\nmax_calls = {calls}\n\
                 gateways = [{{ uri = \"sip:192.0.2.{number}:5080\", priority = 10 }}]\n\n"
            );
        }
    };
    format!("[[number]]\ndid = \"{plus}1201555{number:04}\"\n{key}{body}\n")
}

/// A text with one sign left out, or put in.
#[derive(Clone, Debug)]
enum Tear {
    Without(prop::sample::Index),
    With(prop::sample::Index, char),
}

impl Tear {
    fn of(&self, entry: &str) -> String {
        let mut text = entry.to_owned();
        match self {
            Tear::Without(index) => {
                let signs: Vec<usize> = entry
                    .match_indices(['"', '\'', '[', ']', '{', '}', '=', ',', '+'])
                    .map(|(at, _)| at)
                    .collect();
                text.remove(signs[index.index(signs.len())]);
            }
            Tear::With(index, sign) => text.insert(index.index(entry.len()), *sign),
        }
        text
    }
}

fn tear() -> impl Strategy<Value = Tear> {
    let sign = prop::sample::select("\"'[]{}=,.x\\\u{1}é".chars().collect::<Vec<_>>());
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Tear::Without),
        (any::<prop::sample::Index>(), sign).prop_map(|(index, sign)| Tear::With(index, sign)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn one_torn_entry_hides_no_mistake_of_others_and_makes_none(
        entries in prop::collection::vec((0..FORMS, planted()), 1..10),
        torn in any::<prop::sample::Index>(),
        tear in tear(),
    ) {
        let torn = torn.index(entries.len());
        let texts: Vec<String> = entries
            .iter()
            .enumerate()
            .map(|(at, (form, planted))| entry(at, *form, if at == torn { Planted::Nothing } else { *planted }))
            .collect();
        let [before, after] = [&texts[..torn], &texts[torn + 1..]].map(|texts| texts.concat());
        let [whole, whole_warned] = told(&texts.concat());
        let is_told = |(form, planted): &(usize, Planted)| match planted {
            Planted::Nothing => false,
            Planted::Key | Planted::Range => true,
            Planted::Name | Planted::Did => *form < AGENT,
        };
        let planted = entries.iter().enumerate().filter(|(at, entry)| *at != torn && is_told(entry));
        prop_assert_eq!(whole.len(), planted.count(), "{:?}\n{}", whole, texts.concat());
        let text = tear.of(&texts[torn]);
        // `[[n.umber]]` is not torn: it is a table of another name.
        let heads = ["[[number]]", "[[agent]]", "[[trunk]]"];
        let head = text.lines().next().unwrap_or_default();
        prop_assume!(heads.iter().any(|right| head.starts_with(right)) || toml::from_str::<toml::Table>(head).is_err());
        let text = format!("{before}{text}{after}");
        let [found, warned] = told(&text);
        // A torn agent may be the one that is named.
        let is_unread = |message: &str| entries[torn].0 == AGENT && message.contains("does not exist");
        let first = before.lines().count() + 1;
        let lines = first..first + texts[torn].lines().count();
        for planted in &whole {
            let is_told = found.contains(planted) || is_unread(&planted.2);
            prop_assert!(is_told, "{planted:?} is not told of\n{text}\nbut {found:?}");
        }
        for (whole, found) in [(whole, found), (whole_warned, warned)] {
            for other in found.iter().filter(|found| !whole.contains(found)) {
                prop_assert!(lines.contains(&(other.0 as usize)), "{other:?} is told of\n{text}");
            }
        }
    }

    /// Whoever takes over what is said to be right has all that stood there, and no mistake.
    #[test]
    fn a_text_without_quotes_is_written_right_whole(text in "[A-Za-z0-9][A-Za-z0-9 ,.:'\"|(){}\\[\\]\\\\-]{0,40}") {
        let said = said(&format!("[[number]]\ndid = \"+12015550101\"\nring = [\"bob\"]\nlabel = {text}\n"));
        let right = said.iter().find_map(|said| said.split_once("put the text in quotes: label = "));
        if let Some((_, right)) = right {
            let table: toml::Table = format!("label = {right}").parse().unwrap();
            let label = table["label"].as_str().unwrap();
            let left_out = text.trim().strip_prefix(label);
            let is_end = |c: char| c.is_whitespace() || [',', ']', '}', '"', '\''].contains(&c);
            prop_assert!(left_out.is_some_and(|left| left.chars().all(is_end)), "{text}: {right}");
        }
    }
}
