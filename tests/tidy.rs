//! The house keeps its own style: what can be checked by reading the files is checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The rules that this version serves. A test that bears each one's name exists; the list only grows.
const SERVED: &[&str] =
    &["r01", "r02", "r03", "r04", "r05", "r06", "r07", "r08", "r09", "r10", "r11", "r12", "r13", "r14"];

/// Every room and the floor that it stands on. A room imports itself and what stands lower.
const FLOORS: &[(&str, u8)] = &[
    ("number", 0),
    ("time", 0),
    ("volume", 0),
    ("sip", 1),
    ("config", 2),
    ("transport", 2),
    ("media", 2),
    ("routing", 3),
    ("call", 4),
    ("store", 5),
    ("engine", 6),
    ("admin", 7),
    ("sim", 7),
    ("serve", 8),
    ("trial", 9),
    ("cli", 10),
    ("main", 11),
];

/// The pure rooms: a moment and an event come in, actions go out.
const PURE: &[&str] = &[
    "src/sip/",
    "src/call/",
    "src/routing/",
    "src/engine/exchange/",
    "src/media/tape.rs",
    "src/media/quality.rs",
];

/// What a pure room never names.
const IMPURE: &[&str] =
    &["tokio", "SystemTime", "Instant::now", "std::time::Instant", "std::thread", "std::fs", "getrandom"];

const LONGEST_FILE: usize = 700;
const LONGEST_FUNCTION: usize = 100;

/// Stands directly above a function that may be longer, because it is one `match` read as a table.
const STATE_TABLE: &str = "// A state table.";

/// A file that was not meant to be there was once committed with others.
#[test]
fn the_top_level_holds_what_the_house_names() {
    const HOUSE: &str = ".ci .git .gitignore Cargo.lock Cargo.toml LICENSE README.md benches clippy.toml config data fuzz \
        rustfmt.toml scripts src target tests";
    let names = fs::read_dir(root()).expect("the root").map(|entry| entry.expect("an entry").file_name());
    let stray = names.map(|name| name.to_string_lossy().into_owned());
    complain(stray.filter(|name| !HOUSE.split_whitespace().any(|known| known == name)));
}

#[test]
fn no_file_is_two_rooms() {
    complain(rust_files().iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > LONGEST_FILE).then(|| format!("{}: {lines} lines, {LONGEST_FILE} at most", file.path))
    }));
}

#[test]
fn no_function_is_longer_than_a_screen_and_a_half() {
    complain(rust_files().iter().flat_map(|file| {
        functions(&file.text).into_iter().filter(|f| f.lines > LONGEST_FUNCTION && !f.state_table).map(|f| {
            format!("{}:{}: fn {} has {} lines, {LONGEST_FUNCTION} at most", file.path, f.at, f.name, f.lines)
        })
    }));
}

#[test]
fn pure_rooms_know_no_clock_no_task_and_no_map_order() {
    let files = rust_files();
    let pure = files.iter().filter(|file| PURE.iter().any(|room| file.path.starts_with(room)));
    complain(pure.filter(|file| !file.is_test()).flat_map(|file| {
        let code = production(&file.text);
        let maps = maps(&code);
        let lines = code.lines().enumerate();
        lines
            .filter_map(|(at, line)| {
                let sin = IMPURE.iter().find(|word| line.contains(**word)).map(|word| (*word).to_owned());
                let sin = sin.or_else(|| std_clock(line)).or_else(|| map_order(line, &maps))?;
                Some(format!("{}:{}: {sin}", file.path, at + 1))
            })
            .collect::<Vec<_>>()
    }));
}

#[test]
fn imports_point_downwards() {
    complain(source().iter().filter(|file| !file.is_test()).flat_map(|file| {
        let room = file.room();
        let Some(floor) = floor(room) else {
            return vec![format!("{}: give the room `{room}` its floor in tests/tidy.rs", file.path)];
        };
        let imported: BTreeSet<String> =
            imports(file).into_iter().filter_map(|path| path.first().cloned()).collect();
        imported
            .iter()
            .filter(|other| *other != room && self::floor(other).is_some_and(|below| below >= floor))
            .map(|other| format!("{}: `{room}` may not import `{other}`", file.path))
            .collect()
    }));
}

/// A room's door (`mod.rs`) and the files behind it are one room cut into files: what a file takes from its own
/// door is no import here. Among the files behind a door, and between rooms, nothing goes round.
#[test]
fn no_files_go_round_in_a_circle() {
    let files = source();
    let modules: BTreeMap<Vec<String>, &str> =
        files.iter().map(|file| (file.module(), file.path.as_str())).collect();
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.is_test()) {
        for mut path in imports(file) {
            while !path.is_empty() && !modules.contains_key(&path) {
                path.pop();
            }
            match modules.get(&path) {
                Some(target) if !path.is_empty() && !file.module().starts_with(&path) => {
                    edges.entry(&file.path).or_default().insert(target);
                }
                Some(_) | None => {}
            }
        }
    }
    let mut rounds = Vec::new();
    while let Some(round) = circle(&edges) {
        if let [.., last, first] = round[..]
            && let Some(targets) = edges.get_mut(last)
        {
            targets.remove(first);
        }
        rounds.push(round.join(" -> "));
    }
    complain(rounds.into_iter());
}

#[test]
fn every_served_rule_is_met_by_a_test_that_names_it() {
    let files = rust_files();
    complain(SERVED.iter().filter_map(|rule| {
        let named = format!("fn {rule}_");
        let met = files.iter().any(|file| file.text.contains(&named));
        (!met).then(|| format!("no test is named {rule}_…"))
    }));
}

#[test]
fn nothing_is_left_unfinished_and_no_machine_is_named() {
    let words: &[String] = &[
        ["FIX", "ME"].concat(),
        ["TO", "DO"].concat(),
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
        ["#[all", "ow("].concat(),
        ["#![all", "ow("].concat(),
        ["/wo", "rk/"].concat(),
        ["/ro", "ot/"].concat(),
        ["/ho", "me/"].concat(),
    ];
    let everywhere =
        ["src", "tests", "benches", "scripts", "config", "fuzz", ".ci", "README.md", "Cargo.toml"];
    complain(everywhere.iter().flat_map(|top| read(top, "")).flat_map(|file| {
        let lines = file.text.lines().enumerate();
        lines
            .filter_map(|(at, line)| {
                let word = words.iter().find(|word| line.contains(word.as_str()))?;
                Some(format!("{}:{}: {word}", file.path, at + 1))
            })
            .collect::<Vec<_>>()
    }));
}

/// Above DEBUG an address is shown by `engine::brief`, never as it is.
#[test]
fn no_line_of_the_log_above_debug_shows_a_whole_address() {
    const ADDRESSES: &[&str] = &["addr", "from", "ip", "local", "peer", "remote", "source", "to"];
    complain(source().iter().flat_map(|file| {
        let code = production(&file.text);
        let levels = ["tracing::info!(", "tracing::warn!(", "tracing::error!("];
        let lines = levels.iter().flat_map(|level| code.match_indices(level)).filter_map(|(at, _)| {
            let text = code[at..].split(");\n").next()?;
            let mut fields =
                text.split(['(', ',', ' ', '\n', '.']).filter_map(|word| word.strip_prefix(['%', '?']));
            let bare = fields.find(|name| ADDRESSES.contains(name))?.to_owned();
            Some(format!("{}:{}: {bare}", file.path, code[..at].lines().count()))
        });
        lines.collect::<Vec<_>>()
    }));
}

#[test]
fn every_script_says_how_it_is_used() {
    complain(read("scripts", "").iter().filter_map(|script| {
        let said = Command::new(root().join(&script.path)).arg("-h").output();
        let fine = said.is_ok_and(|said| said.status.success() && !said.stdout.is_empty());
        (!fine).then(|| format!("{} -h does not print its usage", script.path))
    }));
}

fn complain(sins: impl Iterator<Item = String>) {
    let sins: Vec<String> = sins.collect();
    assert!(sins.is_empty(), "\n{}\n", sins.join("\n"));
}

struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    fn room(&self) -> &str {
        let inside = self.path.trim_start_matches("src/");
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }

    /// `src/call/leg.rs` is `[call, leg]`, `src/call/mod.rs` is `[call]`.
    fn module(&self) -> Vec<String> {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let parts = inside.split('/').filter(|part| *part != "mod" && *part != "lib");
        parts.map(str::to_owned).collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files() -> Vec<File> {
    ["src", "tests", "benches", "fuzz"].iter().flat_map(|top| read(top, ".rs")).collect()
}

/// The library and the binary, but for `lib.rs`, which only lists the rooms.
fn source() -> Vec<File> {
    read("src", ".rs").into_iter().filter(|file| file.path != "src/lib.rs").collect()
}

/// Every text file at or under `top` whose name ends in `end`, in order. What is not there has none.
fn read(top: &str, end: &str) -> Vec<File> {
    let mut files = Vec::new();
    let mut left = vec![root().join(top)];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let built = path.ends_with("fuzz/target") || path.ends_with("fuzz/corpus");
            let inside = fs::read_dir(&path).into_iter().flatten().filter(|_| !built).flatten();
            left.extend(inside.map(|entry| entry.path()));
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned();
            if path.ends_with(end) {
                files.push(File { path, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

struct Function {
    name: String,
    at: usize,
    lines: usize,
    state_table: bool,
}

/// Functions as rustfmt lays them out: the closing brace stands under the first word.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else { continue };
        let Some(opens) = lines[at..].iter().position(|line| line.ends_with('{') || line.ends_with(';'))
        else {
            continue;
        };
        if lines[at + opens].ends_with(';') {
            continue;
        }
        let closing = format!("{}}}", &line[..indent]);
        let Some(length) = lines[at..].iter().position(|line| *line == closing) else { continue };
        let mut above = lines[..at].iter().rev().map(|line| line.trim_start());
        let state_table = above
            .by_ref()
            .take_while(|line| line.starts_with("//") || line.starts_with("#["))
            .any(|line| line == STATE_TABLE);
        found.push(Function { name, at: at + 1, lines: length + 1, state_table });
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let (before, after) = line.split_once("fn ")?;
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    let declares = before.split_whitespace().all(|word| words.contains(&word));
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (declares && !name.is_empty()).then_some(name)
}

/// The text before the file's own tests, comments blanked, lines kept where they stand.
fn production(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let lines = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// `use std::time::{Duration, Instant}`.
fn std_clock(line: &str) -> Option<String> {
    let names_it = line.split(|c: char| !c.is_alphanumeric()).any(|word| word == "Instant");
    (line.contains("use std::time::") && names_it).then(|| "std::time::Instant".to_owned())
}

/// The names that a file gives to hash maps and hash sets.
fn maps(code: &str) -> Vec<String> {
    let declares = |line: &&str| line.contains("HashMap") || line.contains("HashSet");
    let name = |line: &str| {
        let before = line.split(['=', ':']).next()?.trim();
        let name = before.rsplit([' ', '(']).next()?.to_owned();
        (!name.is_empty() && !line.trim_start().starts_with("use ")).then_some(name)
    };
    code.lines().filter(declares).filter_map(name).collect()
}

fn map_order(line: &str, maps: &[String]) -> Option<String> {
    let ways =
        ["iter()", "iter_mut()", "into_iter()", "keys()", "values()", "values_mut()", "drain(", "retain("];
    let walked = |name: &&String| {
        let called = ways.iter().any(|way| line.contains(&format!("{name}.{way}")));
        let looped = [" in ", " in &", " in &mut ", " in self.", " in &self.", " in &mut self."];
        called || looped.iter().any(|with| line.contains(&format!("{with}{name} {{")))
    };
    maps.iter().find(walked).map(|name| format!("the order of the hash map `{name}` is nobody's to rely on"))
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// Every path of this crate that a file names, from the root. A module's re-exports are no imports.
fn imports(file: &File) -> Vec<Vec<String>> {
    let code = production(&file.text);
    let mut found = Vec::new();
    let own: Vec<&str> = code
        .lines()
        .filter_map(|line| line.trim().strip_suffix(';')?.split_once("mod ").map(|(_, name)| name))
        .collect();
    for (at, _) in code.match_indices("::") {
        let before = &code[..at];
        let word = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
        let start = at - word.len();
        if code[..start].ends_with("::") || code[..start].rsplit('\n').next().unwrap_or("").contains("pub") {
            continue;
        }
        let base = match word {
            "crate" | "strowger" => Vec::new(),
            "super" | "self" => file.module(),
            child if own.contains(&child) => file.module(),
            _ => continue,
        };
        tree(&code[start..], base, &mut found);
    }
    found
}

/// Unfolds `crate::a::{b, c::d}`; returns how much it read.
fn tree(text: &str, mut path: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if rest.starts_with('{') {
            at += 1;
            while !text[at..].starts_with('}') {
                let skipped = text[at..].len() - text[at..].trim_start_matches([',', ' ', '\n']).len();
                at += skipped;
                if text[at..].is_empty() || text[at..].starts_with('}') {
                    break;
                }
                let read = tree(&text[at..], path.clone(), found);
                at += read.max(1);
            }
            return at + 1;
        }
        let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        match word.as_str() {
            "crate" | "strowger" | "self" | "" => {}
            "super" => {
                path.pop();
            }
            name => path.push(name.to_owned()),
        }
        at += word.len();
        if !text[at..].starts_with("::") {
            found.push(path);
            return at;
        }
        at += 2;
    }
}

/// A way through `edges` that comes back to where it began.
fn circle<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    fn walk<'a>(
        at: &'a str,
        edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(seen) = way.iter().position(|file| *file == at) {
            return Some([&way[seen..], &[at]].concat());
        }
        if !done.insert(at) {
            return None;
        }
        way.push(at);
        let round = edges.get(at).into_iter().flatten().find_map(|next| walk(next, edges, way, done));
        way.pop();
        round
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|file| walk(file, edges, &mut Vec::new(), &mut done))
}
