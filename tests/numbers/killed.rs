//! A node that is killed while its numbers are set and its files reloaded knows, once it is started again, all that it has
//! acknowledged, and nothing by halves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::common::PATIENCE;
use super::node::{Place, Serving};
use super::{Answer, get, try_ask};

/// Who change numbers at once, each their own.
const CLIENTS: usize = 4;

#[test]
fn a_node_killed_at_any_moment_has_lost_nothing_acknowledged_and_mixed_nothing() {
    let clock = std::time::UNIX_EPOCH.elapsed().unwrap();
    kill_again_and_again(8, clock.as_nanos() as u64, &|_| {});
}

/// `SOAK_ROUNDS` of the same from `SOAK_SEED` on: `scripts/soak-kill`.
#[test]
#[ignore = "takes as long as it is told to"]
fn soak_kill() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    kill_again_and_again(
        number("SOAK_ROUNDS").unwrap_or(100),
        number("SOAK_SEED").unwrap_or(1000),
        &|said| println!("{said}"),
    );
}

fn kill_again_and_again(rounds: u64, seed: u64, say: &dyn Fn(String)) {
    let _seed = Seed(seed);
    let mut dice = Dice(seed);
    let place = Place::new();
    let files = Files { loaded: AtomicU64::new(0), written: AtomicU64::new(0) };
    write(&place, 0);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|name| Client::new(name, dice.next())).collect();
    let mut known = Known::default();
    for round in 0..rounds {
        if dice.below(3) == 0 {
            killed_while_it_starts(&place, &mut dice);
        }
        let mut node = place.serve();
        let lines = known.check_generations(&node);
        clients.iter_mut().for_each(|client| client.check(&node, &lines, &mut known));
        files.check(&node);
        let (done, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let enough = dice.below(150);
        let moment = Duration::from_micros(dice.below(15_000));
        let admin = node.admin.clone();
        let child = &mut node.child;
        let (files, place, is_over) = (&files, &place, &is_over);
        let came = std::thread::scope(|scope| {
            let (admin, done, newest) = (&admin, &done, &known.newest);
            // Whoever gets no answer of a node that lives has found something, and does not stop quietly.
            let ends = |who: &str| assert!(is_over.load(SeqCst), "round {round}: {who} got no answer");
            scope.spawn(move || {
                files.watch(admin);
                ends("who looks");
            });
            let reloads = scope.spawn(move || {
                let came = files.reload(admin, place, newest);
                ends("who reloads");
                came
            });
            let all: Vec<_> = clients
                .iter_mut()
                .map(|client| {
                    scope.spawn(move || {
                        let came = client.run(admin, newest, done);
                        ends("who changes numbers");
                        came
                    })
                })
                .collect();
            let until = Instant::now() + PATIENCE;
            while done.load(SeqCst) < enough && Instant::now() < until {
                std::thread::park_timeout(Duration::from_micros(200));
            }
            std::thread::park_timeout(moment);
            // Whatever was found: those that wait for its answers end with it.
            is_over.store(true, SeqCst);
            child.kill().unwrap();
            child.wait().unwrap();
            let mut acknowledged = reloads.join().unwrap();
            acknowledged.extend(all.into_iter().flat_map(|client| client.join().unwrap()));
            acknowledged
        });
        assert!(
            done.load(SeqCst) >= enough,
            "round {round}: only {done:?} of {enough} changes were answered"
        );
        known.acknowledged.extend(came);
        say(format!(
            "round {round}: killed after {} changes, variant {} of the files",
            done.load(SeqCst),
            files.written.load(SeqCst)
        ));
    }
    let node = place.serve();
    let lines = known.check_generations(&node);
    clients.iter_mut().for_each(|client| client.check(&node, &lines, &mut known));
    files.check(&node);
    say(format!(
        "{rounds} rounds from seed {seed}: {} publications were acknowledged, and none is lost",
        known.acknowledged.len()
    ));
}

/// A process that begins to serve, and has no time to.
fn killed_while_it_starts(place: &Place, dice: &mut Dice) {
    let nowhere = std::process::Stdio::null;
    let mut command = place.command(&["serve"]);
    let mut child = command.stdout(nowhere()).stderr(nowhere()).spawn().unwrap();
    std::thread::park_timeout(Duration::from_micros(dice.below(400_000)));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What was published by whose request, as far as it was answered.
#[derive(Default)]
struct Known {
    acknowledged: BTreeMap<u64, String>,
    /// The last generation that anybody was told.
    newest: AtomicU64,
}

impl Known {
    /// Each generation is there once, and is of whoever was told its number.
    fn check_generations(&self, node: &Serving) -> BTreeMap<u64, String> {
        let (mut lines, mut after) = (BTreeMap::new(), String::new());
        let mut last: Option<u64> = None;
        // Before it only publications of files are listed.
        let mut whole_since = 0;
        loop {
            let page = get(node, &format!("/v1/generations?limit=1000{after}")).is(200).json();
            for item in page["items"].as_array().unwrap() {
                let generation = item["generation"].as_u64().unwrap();
                if let Some(last) = last.filter(|last| generation + 1 != *last) {
                    let is_older = generation < last && lines.len() >= 10_000;
                    assert!(is_older, "{generation} comes before {last}");
                    whole_since = whole_since.max(last);
                }
                last = Some(generation);
                lines.insert(generation, item["by"].as_str().unwrap().to_owned());
            }
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        let (newest, by) = lines.last_key_value().unwrap();
        assert_eq!(by, "strowger serve");
        assert!(*newest > self.newest.swap(*newest, SeqCst), "{newest}");
        let (oldest, _) = lines.first_key_value().unwrap();
        assert!(*oldest == 1 || lines.len() >= 10_000, "the generations before {oldest} are lost");
        for (generation, by) in self.acknowledged.range(oldest.max(&whole_since)..) {
            assert_eq!(lines.get(generation), Some(by), "generation {generation}");
        }
        let asked: Vec<&String> = lines.values().filter(|by| *by != "strowger serve").collect();
        assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), asked.len(), "one was carried out twice");
        lines
    }
}

/// What a number is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Is {
    /// As the files have it: a number of theirs, or none.
    InFiles,
    /// As the client set it that said so.
    Set(String),
    Removed,
}

struct Number {
    path: String,
    is_in_files: bool,
    /// As it was last acknowledged, in which generation, and with which version.
    is: Is,
    generation: u64,
    etag: String,
    /// What was asked for and not answered, and by what name.
    asked: Option<(Is, String)>,
}

impl Number {
    /// Calls that come from now on are planned with what was acknowledged, whatever is reloaded meanwhile.
    fn is_served(&self, admin: &str) {
        let path = format!("{}/route", self.path.replace('*', "001"));
        let Some(answer) = try_ask(admin, "GET", &path, &[], "") else { return };
        let is_none = self.is == Is::Removed || self.is == Is::InFiles && !self.is_in_files;
        let answer = answer.is(if is_none { 404 } else { 200 });
        let Ok(told) = serde_json::from_str::<Value>(&answer.body) else { return };
        let plan = &told["plan"];
        match &self.is {
            Is::Set(by) => assert_eq!((&plan["label"], &plan["account"]), (&json!(by), &json!(by)), "{told}"),
            Is::InFiles if self.is_in_files => {
                assert!(plan["label"].as_str().unwrap().starts_with("variant "), "{told}");
            }
            Is::InFiles | Is::Removed => return,
        }
        assert!(plan["generation"].as_u64().unwrap() >= self.generation, "{told}");
    }
}

struct Client {
    name: usize,
    numbers: Vec<Number>,
    changes: u64,
    dice: Dice,
}

impl Client {
    fn new(name: usize, seed: u64) -> Client {
        let number = |digits: String, is_in_files| Number {
            path: format!("/v1/numbers/%2B{digits}"),
            is_in_files,
            is: Is::InFiles,
            generation: 0,
            etag: String::new(),
            asked: None,
        };
        let numbers = vec![
            number(format!("1201555{name}001"), true),
            number(format!("1201555{name}002"), true),
            number(format!("1201555{name}003"), false),
            number(format!("1201556{name}*"), false),
        ];
        Client { name, numbers, changes: 0, dice: Dice(seed) }
    }

    /// Changes one after another until nobody answers. What was answered, by its generation.
    fn run(&mut self, admin: &str, newest: &AtomicU64, done: &AtomicU64) -> Vec<(u64, String)> {
        let mut acknowledged = Vec::new();
        while let Some(one) = self.change(admin, newest) {
            acknowledged.push(one);
            done.fetch_add(1, SeqCst);
        }
        acknowledged
    }

    fn change(&mut self, admin: &str, newest: &AtomicU64) -> Option<(u64, String)> {
        let number = &mut self.numbers[self.dice.below(4) as usize];
        self.changes += 1;
        let by = format!("client {} change {}", self.name, self.changes);
        let is_there = match number.is {
            Is::InFiles => number.is_in_files,
            Is::Set(_) => true,
            Is::Removed => false,
        };
        let set = Is::Set(by.clone());
        let gone = if number.is_in_files { Is::Removed } else { Is::InFiles };
        let back = if number.is_in_files { 200 } else { 204 };
        let (method, query, wished, status) = match (self.dice.below(8), &number.is) {
            (0 | 1, _) if is_there => ("DELETE", "", gone, 204),
            (2 | 3, Is::Set(_) | Is::Removed) => ("DELETE", "?to=files", Is::InFiles, back),
            (4 | 5, _) if is_there => ("PATCH", "", set, 200),
            (_, _) => ("PUT", "", set, if is_there { 200 } else { 201 }),
        };
        // A number of the files is another with each variant of them.
        let known = if matches!(number.is, Is::Set(_)) { number.etag.as_str() } else { "*" };
        let is_known = is_there || query == "?to=files";
        let condition = (if is_known { "If-Match" } else { "If-None-Match" }, known);
        let body = if method == "DELETE" { String::new() } else { said(&by, self.changes).to_string() };
        let before = newest.load(SeqCst);
        let path = format!("{}{query}", number.path);
        number.asked = Some((wished.clone(), by.clone()));
        let answer = try_ask(admin, method, &path, &[condition, ("Strowger-By", &by)], &body)?.is(status);
        let generation = answer.header("strowger-generation").parse().unwrap();
        assert!(generation > before, "{by} is {generation}; {before} was known before it was asked for");
        newest.fetch_max(generation, SeqCst);
        number.etag = if status == 204 { String::new() } else { answer.etag() };
        (number.is, number.generation, number.asked) = (wished, generation, None);
        number.is_served(admin);
        Some((generation, by))
    }

    /// Each number is what was last acknowledged, or what was asked for last: that, if the generations have it.
    fn check(&mut self, node: &Serving, lines: &BTreeMap<u64, String>, known: &mut Known) {
        for number in &mut self.numbers {
            let answer = get(node, &number.path);
            let asked = number.asked.take();
            let published = asked.and_then(|(is, by)| {
                let (generation, _) = lines.iter().rfind(|(_, line)| **line == by)?;
                Some((is, *generation, by))
            });
            if let Some((is, generation, by)) = published {
                known.acknowledged.insert(generation, by);
                (number.is, number.generation) = (is, generation);
            }
            let there = seen(&answer, number.is_in_files, number.generation);
            assert_eq!(there, number.is, "{}: {}{}", number.path, answer.head, answer.body);
            number.etag = if answer.status == 200 { answer.etag() } else { String::new() };
        }
    }
}

/// All that a change says is of that change.
fn said(by: &str, change: u64) -> Value {
    json!({ "ring": ["alice"], "label": by, "account": by, "timeout": 10 + change % 50 })
}

fn seen(answer: &Answer, is_in_files: bool, generation: u64) -> Is {
    if answer.status == 404 {
        return if is_in_files { Is::Removed } else { Is::InFiles };
    }
    let told = answer.json();
    if told["source"] == "files" {
        return Is::InFiles;
    }
    let by = told["label"].as_str().unwrap();
    let change = by.rsplit(' ').next().unwrap().parse().unwrap();
    for (key, value) in said(by, change).as_object().unwrap() {
        assert_eq!(&told[key], value, "{key} of {told}");
    }
    assert_eq!((&told["set_by"], &told["generation"]), (&json!(by), &json!(generation)), "{told}");
    Is::Set(by.to_owned())
}

/// Two files that are of the same variant whenever the node is told to read them; each variant rings another agent, which
/// one file defines and both name.
struct Files {
    /// The last variant that a reload has acknowledged, and the last that was written.
    loaded: AtomicU64,
    written: AtomicU64,
}

impl Files {
    /// After a start they are as they were written last.
    fn check(&self, node: &Serving) {
        let list = get(node, "/v1/numbers?limit=1000").is(200).json();
        let last = self.written.load(SeqCst);
        assert_eq!(variant(&list), last);
        for number in ["12015550111", "12015550112"] {
            let route = get(node, &format!("/v1/numbers/{number}/route")).is(200).json();
            assert_eq!(route["plan"]["steps"][0]["targets"][0]["target"], ringing(last), "{route}");
        }
        self.loaded.store(last, SeqCst);
    }

    /// Reloads one variant after another until nobody answers. What was answered, by its generation.
    fn reload(&self, admin: &str, place: &Place, newest: &AtomicU64) -> Vec<(u64, String)> {
        let mut acknowledged = Vec::new();
        loop {
            let variant = self.written.fetch_add(1, SeqCst) + 1;
            write(place, variant);
            let (by, before) = (format!("variant {variant}"), newest.load(SeqCst));
            let answer = try_ask(admin, "POST", "/v1/reload", &[("Strowger-By", &by)], "");
            // It may be killed behind the headers of its answer.
            let outcome = answer.and_then(|answer| serde_json::from_str::<Value>(&answer.is(200).body).ok());
            let Some(outcome) = outcome else { return acknowledged };
            let generation = outcome["generation"].as_u64().unwrap();
            assert!(generation > before, "{by} is {generation}; {before} was known before it was asked for");
            newest.fetch_max(generation, SeqCst);
            self.loaded.store(variant, SeqCst);
            acknowledged.push((generation, by));
        }
    }

    /// Looks at all numbers again and again: those of the files are of one variant, and of none before the last that was
    /// acknowledged.
    fn watch(&self, admin: &str) {
        loop {
            let loaded = self.loaded.load(SeqCst);
            let Some(answer) = try_ask(admin, "GET", "/v1/numbers?limit=1000", &[], "") else { return };
            let Ok(list) = serde_json::from_str(&answer.is(200).body) else { return };
            let seen = variant(&list);
            assert!(
                (loaded..=self.written.load(SeqCst)).contains(&seen),
                "{seen}; {loaded} was loaded before"
            );
        }
    }
}

fn ringing(variant: u64) -> &'static str {
    if variant.is_multiple_of(2) { "even" } else { "odd" }
}

fn write(place: &Place, variant: u64) {
    let ring = ringing(variant);
    let number = |did: String| {
        format!("[[number]]\ndid = \"{did}\"\nlabel = \"variant {variant}\"\nring = [\"{ring}\"]\n")
    };
    let row = |did: String| format!("{did},variant {variant},{ring}\n");
    let of_all = |line: &str| (0..CLIENTS).map(|name| format!("+1201555{name}{line}")).collect::<Vec<_>>();
    let agent = format!("[[agent]]\nname = \"{ring}\"\ncontact = \"sip:{ring}@127.0.0.1:9\"\n");
    let numbers = of_all("001").into_iter().chain(["+12015550111".to_owned()]).map(number);
    let rows = of_all("002").into_iter().chain(["+12015550112".to_owned()]).map(row);
    let folder = place.folder.path().join("config/routing");
    std::fs::write(folder.join("a.toml"), agent + &numbers.collect::<String>()).unwrap();
    std::fs::write(folder.join("b.csv"), "did,label,ring\n".to_owned() + &rows.collect::<String>()).unwrap();
}

/// Which one all numbers of the files are of.
fn variant(list: &Value) -> u64 {
    let mut seen = BTreeSet::new();
    for item in list["items"].as_array().unwrap() {
        let Some(label) = item["label"].as_str().filter(|_| item["source"] == "files") else { continue };
        let variant: u64 = label.strip_prefix("variant ").unwrap().parse().unwrap();
        assert_eq!(item["ring"], json!([ringing(variant)]), "{item}");
        seen.insert(variant);
    }
    assert_eq!(seen.len(), 1, "{list}");
    seen.into_iter().next().unwrap()
}

/// SplitMix64: the same rounds from the same seed, as far as threads allow.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Printed by whatever goes wrong.
struct Seed(u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "to draw the same again")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}
