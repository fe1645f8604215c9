//! Tables of numbers (.csv): read block by block, what rows say alike kept once, every mistake at its place.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::Path;

use proptest::prelude::*;
use strowger::config::{self, Checked, Finding, Place, Reading};

const NODE: &str = "[[listen]]\ntransport = \"udp\"\naddr = \"127.0.0.1:5060\"\n[media]\n";
const REST: &str = "[[trunk]]\nname = \"carrier\"\nfrom = [\"192.0.2.1/32\"]\n\
    gateways = [{ uri = \"sip:192.0.2.1\" }]\noutbound = true\nprefixes = [\"+13\"]\n\
    [[agent]]\nname = \"alice\"\n[[agent]]\nname = \"bob\"\n\
    [[profile]]\nname = \"day\"\nlabel = \"of the profile\"\nforward_to = \"+13125550100\"\n";
const HEADER: &str = "label,did,ring,forward_to,timeout,voicemail,profile\n";

/// What is said of a table of that content.
fn checked(table: &[u8]) -> Checked {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("strowger.toml", NODE.as_bytes());
    std::fs::create_dir(folder.path().join("routing")).unwrap();
    write("routing/rest.toml", REST.as_bytes());
    write("routing/z.csv", table);
    config::checked(folder.path(), &|_| None)
}

/// Where, and what is said there, for who does not know the folder.
fn told(finding: &Finding) -> (u32, u32, String) {
    let folder = Path::new(&finding.file).parent().unwrap().to_owned();
    (finding.line, finding.column, finding.message.replace(&folder.display().to_string(), ""))
}

fn errors(table: &[u8]) -> Vec<(u32, u32, String)> {
    checked(table).errors.iter().map(told).collect()
}

/// `number`s of a table that are no mistake, one a row.
fn rows(count: usize) -> String {
    let row = |n: usize| format!("Label {n},+1201{n:07},alice|bob,+1312{n:07},20,true,\n");
    std::iter::once(HEADER.to_owned()).chain((0..count).map(row)).collect()
}

#[test]
fn a_table_of_many_blocks_is_read_whole_and_a_mistake_in_the_last_row_has_its_place() {
    const ROWS: usize = 120_000;
    let good = rows(ROWS);
    assert!(good.len() > 5 << 20, "more than a block");
    let found = checked(good.as_bytes());
    assert_eq!(found.errors, []);
    let config = found.config.unwrap();
    assert_eq!((config.numbers.len(), config.numbers.sets().len()), (ROWS, 1));
    let last = config.numbers.get(ROWS - 1).unwrap();
    assert_eq!((last.did().place.line, last.label()), (ROWS as u32 + 1, Some("Label 119999")));
    assert_eq!(last.forward().unwrap().value.to_string(), "+13120119999");

    let line = ROWS as u32 + 2;
    let bad = format!("{good}Mäin,+12015550101,carol,+13125550199,20,true,\n");
    let said = "agent \"carol\" does not exist".to_owned();
    assert_eq!(errors(bad.as_bytes()), [(line, 19, said)]);
    let no_text = [good.as_bytes(), b"M\xC3\xA4in,\xFF"].concat();
    assert_eq!(errors(&no_text), [(line, 6, "the text is not UTF-8".to_owned())]);
    let twice = format!("{good}Again,+12010000007,alice,,,,\n");
    let said = "number \"+12010000007\" is written twice, first at /z.csv:9:9".to_owned();
    assert_eq!(errors(twice.as_bytes()), [(line, 7, said)]);
}

#[test]
fn how_far_it_has_come_is_told_after_each_block() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("strowger.toml"), NODE).unwrap();
    std::fs::create_dir(folder.path().join("routing")).unwrap();
    std::fs::write(folder.path().join("routing/rest.toml"), REST).unwrap();
    std::fs::write(folder.path().join("routing/z.csv"), rows(120_000)).unwrap();
    let mut told = Vec::new();
    let loaded = Reading::of(folder.path(), &|_| None).load(&mut |progress| told.push(progress));
    assert_eq!(loaded.unwrap().config.numbers.len(), 120_000);
    assert!(told.len() > 1 && told.is_sorted_by_key(|progress| (progress.numbers, progress.read)));
    let last = told.last().unwrap();
    assert_eq!((last.numbers, last.all), (120_000, last.read + REST.len() as u64));
}

#[test]
fn a_row_without_an_end_is_a_mistake_however_long_it_is() {
    let endless = format!("{HEADER}{}", "x".repeat(9 << 20));
    let [(line, 1, what)] = &errors(endless.as_bytes())[..] else { panic!("one mistake") };
    assert_eq!((*line, what.as_str()), (2, "a row is longer than 4 MiB"));
    assert_eq!(errors("x".repeat(5 << 20).as_bytes()).len(), 1, "not even a header");
    let quoted = format!("{HEADER}\"{}", "x,\n".repeat(3 << 20));
    assert!(!errors(quoted.as_bytes()).is_empty(), "a quote that nobody closes");
}

/// What a disk that was full, or a copy that was cut off, leaves of a table.
#[test]
fn a_table_that_was_hardly_written_whole_is_a_mistake() {
    let whole = "did,label,timeout\n+12015550101,one,20\n+12015550102,two,20\n";
    assert_eq!(errors(whole.as_bytes()), []);
    for (cut, line, said) in [
        ("", 1, "the table is empty"),
        ("\n", 1, "the table is empty"),
        ("\r\n\n\r\n", 1, "the table is empty"),
        ("\u{feff}", 1, "the table is empty"),
        ("\u{feff}\n\n", 1, "the table is empty"),
        ("did,label,timeout\n+12015550101,one,20\n+12015550102", 3, "ends after 1 of 3 cells"),
        ("did,label,timeout\n+12015550101,one,20\n+12015550102,two", 3, "ends after 2 of 3 cells"),
        ("did,label,timeout\n+12015550101,one,20\n+12015550102,\"two", 3, "does not end"),
        ("did,label,timeout\n+12015550101,one,20\n\"+12015550102", 3, "does not end"),
    ] {
        let found = errors(cut.as_bytes());
        let is_told = found.iter().any(|(at, _, what)| *at == line && what.contains(said));
        assert!(is_told, "{cut:?}: {found:?}");
    }
    assert_eq!(errors(b"did,label,timeout\n+12015550101,5\" pipe,20\n+12015550102,two,20\n"), []);
}

/// RFC 4180 §2.4: each line has the same number of fields. Which one is missing nobody knows.
#[test]
fn a_row_of_fewer_cells_than_the_header_is_a_mistake_wherever_it_stands() {
    const HEADER: &str = "did,label,account,ring\n";
    const WHOLE: &str = "+12015550101,one,x,alice\n";
    let said = |line: u32, cells: usize| vec![(line, 1, format!("the row has {cells} of 4 cells"))];
    let short = "+12015550401,Main St,alice\n";
    for (table, expected) in [
        (format!("{HEADER}{short}{WHOLE}"), said(2, 3)),
        (format!("{HEADER}{WHOLE}{short}"), said(3, 3)),
        (format!("{HEADER}{WHOLE}{short}\n\n"), said(3, 3)),
        (format!("{HEADER}{WHOLE}{short}").replace('\n', "\r\n"), said(3, 3)),
        (format!("{HEADER}+12015550401\n{WHOLE}"), said(2, 1)),
        (format!("{HEADER}\"+12015550401\",\"Main, St\"\n{WHOLE}"), said(2, 2)),
        (format!("{HEADER}+12015550401,Mäin\n{WHOLE}"), said(2, 2)),
        (format!("{HEADER}+12015550401,,,\n{WHOLE}"), vec![]),
        (format!("{HEADER}\n{WHOLE}\n"), vec![]),
    ] {
        assert_eq!(errors(table.as_bytes()), expected, "{table:?}");
    }
    let found = checked(format!("{HEADER}{short}").as_bytes()).errors;
    assert_eq!(
        found[0].remedy,
        "write an empty cell, as the second one of a,,c, for each key that it leaves out"
    );
    // Far behind the first block, by several threads as by one.
    let lines = format!("{}Short,+12025550199,alice\n{}", rows(60_000), &rows(60_000)[HEADER.len()..]);
    let folder = folder(&[("z.csv", lines.as_bytes())]);
    let [one, several] = [1, 3].map(|threads| outcome(folder.path(), threads));
    assert_eq!((&one.0, one.0[0].line, one.0[0].column), (&several.0, 60_002, 1));
    assert_eq!(one.0[0].message, "the row has 3 of 7 cells");
}

/// What its own number is, is not known: others that show or name it are not said to be wrong.
#[test]
fn a_row_of_too_few_or_too_many_cells_makes_no_other_mistake() {
    let shows = b"did,ring,caller_id\n+12015550102,alice,+12015550101\n".as_slice();
    for (row, said) in [("+12015550101,alice", "of 3 cells"), ("+12015550101,alice,,", "has 4 cells")] {
        let table = format!("did,ring,caller_id\n{row}\n");
        let folder = folder(&[("a.csv", shows), ("b.csv", table.as_bytes())]);
        let found = config::checked(folder.path(), &|_| None).errors;
        assert!(found.len() == 1 && found[0].message.contains(said), "{found:?}");
    }
}

#[test]
fn cells_that_something_else_than_commas_parts_are_one_mistake() {
    let said = errors(b"sep=;\ndid;ring\n+12015550101;alice\n");
    assert_eq!(said, [(1, 1, "the first line is no header".to_owned())]);
    for part in [';', '\t', '|'] {
        let table = "did,label,ring\n+12015550101,Main,alice\n+12015550102,Main,bob\n"
            .replace(',', &part.to_string());
        let found = checked(table.as_bytes()).errors;
        let [Finding { line: 1, column: 1, message, remedy, .. }] = &found[..] else { panic!("{found:?}") };
        assert!(
            message.ends_with("are not parted by commas") && remedy.ends_with(": did,label,ring"),
            "{found:?}"
        );
    }
}

/// It would be spoken to the caller.
#[test]
fn a_table_in_a_cell_is_no_text() {
    let said = errors(b"did,whisper,ring\n+12015550101,{ file = \"x.wav\" },alice\n");
    assert_eq!(said, [(2, 14, "whisper is a table that is written as a text".to_owned())]);
    assert_eq!(errors(b"did,whisper,ring\n+12015550101,{file} of {profile},alice\n"), []);
}

#[test]
fn a_last_row_without_a_line_break_is_warned_of() {
    let warned = |table: &str| {
        let found = checked(table.as_bytes());
        assert_eq!(found.errors, [], "{table:?}");
        found.warnings.iter().filter(|warning| warning.file.ends_with(".csv")).map(told).collect::<Vec<_>>()
    };
    let said = |line| {
        let what = "the last row has no line break: the file may have been cut in its last cell";
        vec![(line, 1, what.to_owned())]
    };
    let whole = "did,ring,label\n+12015550401,alice,Main St\n+12015550402,bob,Oak Avenue\n";
    assert_eq!(warned(whole), []);
    assert_eq!(warned(&whole.replace('\n', "\r\n")), []);
    assert_eq!(warned(whole.trim_end()), said(3));
    assert_eq!(warned(&whole[..whole.len() - 4]), said(3), "cut in its last cell");
    assert_eq!(warned(whole.trim_end().replace("Oak Avenue", "\"Oak\"").as_str()), said(3));
    assert_eq!(warned("did,label"), said(1));
}

#[test]
fn a_folder_in_place_of_a_table_is_a_mistake_and_a_missing_one_where_something_is_served() {
    let folder = folder(&[("rest.toml", b"")]);
    std::fs::create_dir(folder.path().join("routing/numbers.csv")).unwrap();
    let said = |folder: &Path| {
        let found = config::checked(folder, &|_| None).errors;
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let told = said(folder.path());
    assert!(told.contains("numbers.csv:1:1: cannot be read: it is a folder"), "{told}");
    // A node may begin without any; one that serves some does not lose them so.
    std::fs::remove_dir_all(folder.path().join("routing")).unwrap();
    assert_eq!(said(folder.path()), "");
    let served = config::load(folder.path(), &|_| None).unwrap().config;
    let again = config::Reading::of(folder.path(), &|_| None).after(&served).check(&mut |_| {});
    let told: Vec<String> = again.errors.iter().map(ToString::to_string).collect();
    assert!(told[0].contains("routing:1:1: cannot be read") && told[0].contains("see that"), "{told:?}");
}

#[test]
fn a_mark_of_utf_8_and_line_ends_of_any_kind_are_fine() {
    let plain = rows(3);
    for table in [plain.replace('\n', "\r\n"), format!("\u{feff}{plain}"), plain.trim_end().to_owned()] {
        let config = checked(table.as_bytes()).config.unwrap();
        let numbers: Vec<_> =
            config.numbers.iter().map(|number| (number.did().place, number.written())).collect();
        assert_eq!(numbers.len(), 3);
        assert_eq!((numbers[2].0.line, numbers[2].0.column), (4, 9));
        assert_eq!(numbers[2].1.keys.label.as_ref().unwrap().place.column, 1);
    }
}

#[test]
fn every_row_that_says_the_same_is_warned_of_at_its_own_place() {
    let rows: String = (0..150).map(|n| format!("Row {n},+1201{n:07},alice,,9,,\n")).collect();
    let found = checked(format!("{HEADER}{rows}").as_bytes());
    assert_eq!((found.errors.len(), found.warnings.len()), (0, config::MAX_FINDINGS));
    let of_rows = found.warnings.iter().filter(|warning| warning.message.starts_with("timeout"));
    let places = of_rows.map(|warning| (warning.line, warning.column)).take(12);
    let at = |n: u32| (n + 2, if n < 10 { 27 } else { 28 });
    assert_eq!(places.collect::<Vec<_>>(), (0..12).map(at).collect::<Vec<_>>());
    assert_eq!(found.config.unwrap().numbers.sets().len(), 1, "and kept once all the same");
}

#[test]
fn r03_5_rows_that_ring_nobody_and_take_no_message_are_warned_of_as_far_as_anybody_mends_them() {
    let rows = |voicemail: &str| {
        (0..1_000).fold(HEADER.to_owned(), |all, n| all + &format!("Row {n},+1201{n:07},,,,{voicemail},\n"))
    };
    let found = checked(rows("false").as_bytes());
    assert_eq!((found.errors.len(), found.warnings.len()), (0, config::MAX_FINDINGS));
    let said = found.warnings.iter().filter(|warning| warning.message.contains("rings nobody"));
    let places: Vec<_> = said.map(told).take(12).collect();
    let at = |n: u32| {
        let column = if n < 10 { 7 } else { 8 };
        (n + 2, column, format!("+1201{n:07} rings nobody: the caller gets 480"))
    };
    assert_eq!(places, (0..12).map(at).collect::<Vec<_>>());
    // There is [media], so that callers leave a message unless that is switched off.
    let found = checked(rows("").as_bytes());
    assert!(!found.warnings.iter().any(|warning| warning.message.contains("rings nobody")));
}

/// What parts cells inside of us parts none that somebody wrote.
#[test]
fn a_control_character_is_a_mistake_though_the_row_then_reads_like_one_before() {
    let table = format!("{HEADER}A,+12015550101,alice,,20,true,\nB,+12015550102,alice,,20\u{1f}true,\n");
    let wrong: Vec<u32> = errors(table.as_bytes()).into_iter().map(|(line, ..)| line).collect();
    assert_eq!(wrong, [3]);
}

#[test]
fn a_label_and_a_forward_of_the_profile_hold_where_a_row_has_none() {
    let table = format!("{HEADER},+12015550101,,,,,day\nOwn,+12015550102,,+13125550177,,,day\n");
    let config = checked(table.as_bytes()).config.unwrap();
    let table = strowger::routing::Table::new(&config, 1, None);
    let trunk = table.trunk("carrier").unwrap();
    let plan = |did: &str| {
        let plan = table.plan(trunk, did, 0).unwrap();
        (plan.label.to_string(), format!("{:?}", plan.steps[0].targets[0].who))
    };
    let (label, who) = plan("+12015550101");
    assert!(label == "of the profile" && who.contains("+1312…00"), "{label} {who}");
    let (label, who) = plan("+12015550102");
    assert!(label == "Own" && who.contains("+1312…77"), "{label} {who}");
}

/// A row's cells, in the header's order; some of them mistakes.
fn row() -> impl Strategy<Value = Vec<&'static str>> {
    let one = |of: &'static [&'static str]| prop::sample::select(of);
    (
        one(&["", "Main St", "Mäin", "a b", "x", " padded "]),
        one(&[
            "+12015550101",
            "+12015550102",
            "+12015550103",
            "+1201666*",
            "+1201666*5",
            "+49301234",
            "12",
            "",
        ]),
        one(&["", "alice", "alice|bob", "bobb", "carol"]),
        one(&[
            "",
            "+13125550199",
            "+12015550101",
            "+19005550100",
            "3125550199",
            "+12016665555",
            "+14165550100",
        ]),
        one(&["", "9", "20", "25", "x"]),
        one(&["", "true", "false", "no"]),
        one(&["", "day", "night"]),
    )
        .prop_map(|cells| {
            let (label, did, ring, forward, timeout, voicemail, profile) = cells;
            vec![label, did, ring, forward, timeout, voicemail, profile]
        })
}

/// A folder with these files under `routing/`, beside the others.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("routing")).unwrap();
    std::fs::write(folder.path().join("strowger.toml"), NODE).unwrap();
    std::fs::write(folder.path().join("routing/m.toml"), REST).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join("routing").join(name), bytes).unwrap();
    }
    folder
}

/// All that comes of reading it: the findings, how often what numbers say alike is kept, the numbers.
type Outcome = (Vec<Finding>, Vec<Finding>, Option<usize>, Vec<(u32, Place, String)>);

fn outcome(folder: &Path, threads: usize) -> Outcome {
    let found = Reading::of(folder, &|_| None).threads(threads).check(&mut |_| {});
    let config = found.config.as_ref();
    // Of long tables some in full, which takes its time.
    let written = |(n, number): (usize, config::Listed<'_>)| {
        let is_long = n >= 100 && n % 97 > 0;
        let label = || number.label().unwrap_or_default().to_owned();
        let text = if is_long { label() } else { format!("{:?}", number.written()) };
        (number.set(), number.did().place, text)
    };
    let numbers = config.map(|config| config.numbers.iter().enumerate().map(written).collect());
    let sets = config.map(|config| config.numbers.sets().len());
    (found.errors, found.warnings, sets, numbers.unwrap_or_default())
}

#[test]
fn blocks_that_several_threads_read_are_put_together_as_if_one_had_read_them() {
    const ROWS: usize = 40_000;
    let with = |each: &dyn Fn(usize) -> Option<String>| {
        let mut lines: Vec<String> = rows(ROWS).lines().map(str::to_owned).collect();
        (1..=ROWS).for_each(|n| lines[n] = each(n).unwrap_or_else(|| std::mem::take(&mut lines[n])));
        lines.join("\n").into_bytes()
    };
    let row = |n: usize, rest: &str| Some(format!("Row {n},+1201{n:07},{rest}"));
    let at = |every: usize, rest: &'static str| {
        move |n: usize| n.is_multiple_of(every).then(|| row(n, rest)).flatten()
    };
    let mut no_text = with(&|_| None);
    no_text[3 << 19] = 0xFF;
    let tables = [
        with(&|n| row(n, &format!("alice,,{},,", 10 + n % 10))),
        with(&at(1500, "bobb,,20,,")),
        with(&at(300, "alice,,x,,")),
        with(&at(300, "alice,,20,,day,more")),
        with(&|n| row(n, "alice,,9,,")),
        // Behind the hundredth mistake, in its block, stands what is warned of.
        with(&|n| match n {
            _ if n % 390 == 0 => row(n, "bob,,x,,"),
            _ if n % 1000 == 1 => row(n, "bob,,9,,"),
            _ => None,
        }),
        with(&|n| (n % 5000 == 7).then(|| format!("\"Row\n{n}\",12,alice,,9,,"))),
        with(&|n| (n == 38_000).then(|| "x".repeat(5 << 20))),
        [b"\n".repeat(5 << 18), with(&|_| None)].concat(),
        no_text,
    ];
    for (n, table) in tables.iter().enumerate() {
        let small = format!("{HEADER}Small,+13015550100,bobb,,x,,\n");
        let folder = folder(&[("a.csv", small.as_bytes()), ("b.csv", table), ("z.csv", small.as_bytes())]);
        let [one, several] = [1, 3].map(|threads| outcome(folder.path(), threads));
        assert_eq!((&one.0, &one.1), (&several.0, &several.1), "table {n}");
        if ![0, 4, 8].contains(&n) {
            continue;
        }
        std::fs::remove_file(folder.path().join("routing/a.csv")).unwrap();
        std::fs::remove_file(folder.path().join("routing/z.csv")).unwrap();
        let [one, several] = [1, 3].map(|threads| outcome(folder.path(), threads));
        assert!(one == several, "table {n}");
        assert_eq!(one.3.len(), ROWS, "table {n}: {:?}", one.0.first());
    }
}

/// What the kernel says of each thread that reads tables: its nice value.
/// Of the threads that read tables, as the system counts them: 5 is for what runs when nothing else does.
fn policies() -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let stat = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    let policy = stat.filter_map(|stat| {
        let (name, rest) = stat.split_once(") ")?;
        name.ends_with("(tables").then(|| rest.split(' ').nth(38)?.parse().ok()).flatten()
    });
    policy.collect()
}

#[test]
fn threads_that_read_tables_stand_as_far_behind_as_who_started_them() {
    use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
    let folder = folder(&[("z.csv", rows(60_000).as_bytes())]);
    let folder = folder.path();
    let behind = || {
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let me = thread_priority::thread_native_id();
        thread_priority::set_thread_priority_and_policy(me, ThreadPriority::Min, idle).unwrap();
        let mut seen = 0;
        let mut look = |_| seen = seen.max(policies().iter().filter(|policy| **policy == 5).count());
        Reading::of(folder, &|_| None).threads(2).load(&mut look).unwrap();
        seen
    };
    // Other tests' threads stand in front.
    assert_eq!(std::thread::scope(|scope| scope.spawn(behind).join().unwrap()), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Many small tables, and files of TOML between them, each with mistakes of its own.
    #[test]
    fn what_is_said_does_not_depend_on_how_many_threads_read(
        files in prop::collection::vec((prop::collection::vec(row(), 0..12), 0..6u8), 1..14),
    ) {
        let text = |rows: &[Vec<&str>], n: usize, kind: u8| match kind {
            0 => format!("[[number]]\ndid = \"+1301555010{}\"\nring = [\"bobb\"]\n[dial]\nallow = [\"+1\"]", n % 10),
            1 => "Label,did\n\"".to_owned(),
            _ => rows.iter().fold(HEADER.to_owned(), |all, row| all + &row.join(",") + "\n"),
        };
        let named: Vec<(String, String)> = files
            .iter()
            .enumerate()
            .map(|(n, (rows, kind))| {
                (format!("{n:02}.{}", if *kind == 0 { "toml" } else { "csv" }), text(rows, n, *kind))
            })
            .collect();
        let files: Vec<_> = named.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
        let folder = folder(&files);
        let [one, two, five] = [1, 2, 5].map(|threads| outcome(folder.path(), threads));
        prop_assert_eq!(&one, &two);
        prop_assert_eq!(&one, &five);
    }

    /// Rows whose last cell is in "quotes" are read one by one, with all that can be said of them: the same is said of rows
    /// that are known at a glance, at the same places, and they are routed alike.
    #[test]
    fn what_is_known_at_a_glance_is_what_is_read_in_full(rows in prop::collection::vec(row(), 0..25)) {
        let table = |quoted: bool| {
            let line = |cells: &Vec<&str>| {
                let mut cells: Vec<String> = cells.iter().map(|cell| (*cell).to_owned()).collect();
                if quoted {
                    let last = cells.pop().unwrap_or_default();
                    cells.push(format!("\"{last}\""));
                }
                cells.join(",") + "\n"
            };
            format!("{HEADER}{}", rows.iter().map(line).collect::<String>())
        };
        let [glance, full] = [false, true].map(|quoted| checked(table(quoted).as_bytes()));
        let all = |findings: &[Finding]| findings.iter().map(told).collect::<Vec<_>>();
        prop_assert_eq!(all(&glance.errors), all(&full.errors));
        prop_assert_eq!(all(&glance.warnings), all(&full.warnings));
        prop_assert_eq!(glance.config.is_some(), full.config.is_some());
        if let (Some(glance), Some(full)) = (glance.config, full.config) {
            let written = |config: &config::Config| -> Vec<_> {
                config.numbers.iter().map(|number| (number.did().place, format!("{:?}", number.written()))).collect()
            };
            prop_assert_eq!(written(&glance), written(&full));
        }
    }
}
