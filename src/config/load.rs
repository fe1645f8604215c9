//! From a folder to a [`Config`], or to the list of all its mistakes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hashbrown::HashMap;
use toml::de::{DeTable, Error};

use super::check::Unread;
use super::fields::{Fields, shown};
use super::kept::Stamp;
use super::number::{self, Keys, Profile};
use super::place::{Files, Finding, MAX_FINDINGS, Place, Report};
use super::pool::{self, CallerId, DialKeys, EmergencyKeys, Pool};
use super::source::Lines;
use super::syntax::Slip;
use super::tables::{Tables, Threads, Told};
use super::walk::{Refused, Walk};
use super::{Agent, Config, Node, Trunk, agent, check, node, syntax, torn, trunk};

/// What says what the node is; all others lie under `routing/`.
pub const NODE_FILE: &str = "strowger.toml";
/// The largest file that is read at once. Tables (.csv) are read block by block, however large they are.
const MAX_FILE: u64 = 64 << 20;
/// The most files under `routing/`.
const MAX_FILES: usize = 4096;
/// The sections that others are judged by: whose entries they name, and `[dial]`.
const NAMED: [&str; 7] = ["profile", "trunk", "agent", "number", "caller_id", "pool", "dial"];
/// How deep folders under `routing/` may lie.
const MAX_DEPTH: usize = 8;

/// A configuration without mistakes, and what wants a look in it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Finding>,
    /// Tables (.csv) that were read, and that were taken as they are served.
    pub read: usize,
    pub taken: usize,
}

/// All that is to be said of a configuration.
#[derive(Debug)]
pub struct Checked {
    /// Itself, where it has no mistake.
    pub config: Option<Config>,
    /// At most [`MAX_FINDINGS`], in the order of the files; the warnings too.
    pub errors: Vec<Finding>,
    pub warnings: Vec<Finding>,
    read: usize,
    taken: usize,
}

impl Checked {
    fn into_loaded(self) -> Result<Loaded, Vec<Finding>> {
        match self.config {
            Some(config) => {
                Ok(Loaded { config, warnings: self.warnings, read: self.read, taken: self.taken })
            }
            None => Err(self.errors),
        }
    }
}

type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// How far the reading of large tables has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub numbers: usize,
    /// Bytes of the files under `routing/`, and of those what was read of tables, or taken as it was.
    pub all: u64,
    pub read: u64,
}

/// How a folder is read: `dir/strowger.toml` and all of `dir/routing/`, which is checked whole.
pub struct Reading<'r> {
    dir: &'r Path,
    env: Env<'r>,
    served: Option<&'r Config>,
    threads: usize,
    now: SystemTime,
    /// Not what lies in the folder: files by their names in it, and where they are.
    elsewhere: Option<Vec<(PathBuf, PathBuf)>>,
    /// What strowger.toml says that is in force, whatever it says there.
    in_force: Option<&'r Node>,
}

impl<'r> Reading<'r> {
    /// `env` is the environment.
    pub fn of(dir: &'r Path, env: Env<'r>) -> Reading<'r> {
        let now = SystemTime::now();
        Reading { dir, env, served: None, threads: 0, now, elsewhere: None, in_force: None }
    }

    /// Takes the numbers of tables that are as they were from what is served.
    pub fn after(self, served: &'r Config) -> Reading<'r> {
        Reading { served: Some(served), ..self }
    }

    /// Reads tables by so many threads, which inherit the caller's priority; 0: as many as pay.
    pub fn threads(self, threads: usize) -> Reading<'r> {
        Reading { threads, ..self }
    }

    /// The wall clock. What changed shortly before is read again the next time, whether it changes or not.
    pub fn now(self, now: SystemTime) -> Reading<'r> {
        Reading { now, ..self }
    }

    /// Reads, in place of what lies in the folder, files that are elsewhere: by their names in it, and where they are.
    pub fn elsewhere(self, files: Vec<(PathBuf, PathBuf)>) -> Reading<'r> {
        let named = files.into_iter().map(|(name, path)| (self.dir.join(name), path));
        Reading { elsewhere: Some(named.collect()), ..self }
    }

    /// Reads strowger.toml alone, as if nothing lay under `routing/`.
    pub fn node_alone(self) -> Reading<'r> {
        let node = PathBuf::from(NODE_FILE);
        let path = self.dir.join(&node);
        self.elsewhere(vec![(node, path)])
    }

    /// Does not read strowger.toml: what lies under `routing/` is judged by what a strowger.toml said that was read before.
    pub fn under(self, in_force: &'r Node) -> Reading<'r> {
        Reading { in_force: Some(in_force), ..self }
    }

    /// How far it has come is told after each MiB.
    ///
    /// # Errors
    /// All its mistakes, as [`Checked`] has them.
    pub fn load(self, told: &mut dyn FnMut(Progress)) -> Result<Loaded, Vec<Finding>> {
        self.check(told).into_loaded()
    }

    /// The same for who wants to hear of the warnings beside mistakes too.
    pub fn check(self, told: &mut dyn FnMut(Progress)) -> Checked {
        std::thread::scope(|scope| {
            let mut gathered = Gathered::new(self.env, Tables::new(self.served, self.now));
            gathered.is_served = self.served.is_some();
            let node = self.dir.join(NODE_FILE);
            let mut walk = Walk::default();
            match self.elsewhere {
                None => gathered.routing_files(&self.dir.join("routing"), MAX_DEPTH, &mut walk),
                Some(elsewhere) => {
                    walk.files
                        .extend(elsewhere.iter().map(|(name, _)| name.clone()).filter(|name| *name != node));
                    gathered.elsewhere = elsewhere.into_iter().collect();
                }
            }
            let files = walk.files;
            match self.in_force {
                None => gathered.toml_file(&node, Sections::Node, &mut |_, _| {}),
                Some(in_force) => {
                    // It is the first file, as it was when it was read: its places name it so.
                    gathered.report.add_file(&node);
                    gathered.node = Some(in_force.clone());
                }
            }
            let length =
                |file: &&PathBuf| std::fs::metadata(gathered.place_of(file)).map_or(0, |about| about.len());
            let (tables, others): (Vec<&PathBuf>, Vec<_>) = files.iter().partition(|file| is_table(file));
            let of_tables = tables.iter().map(length).sum();
            let all = of_tables + others.iter().map(length).sum::<u64>();
            gathered.tables.read_by(Threads::start(scope, self.threads, of_tables), of_tables);
            let mut progress = Progress { numbers: 0, all, read: 0 };
            let mut after = |numbers: usize, bytes: usize| {
                progress = Progress { numbers, read: progress.read + bytes as u64, ..progress };
                told(progress);
            };
            for file in &files {
                if is_table(file) {
                    gathered.csv_file(file, &mut after);
                } else {
                    gathered.tables.settle(&gathered.report, &mut after);
                    gathered.toml_file(file, Sections::Routing, &mut after);
                }
            }
            gathered.tables.settle(&gathered.report, &mut after);
            gathered.finish()
        })
    }
}

fn is_table(file: &Path) -> bool {
    file.extension().is_some_and(|ext| ext == "csv")
}

/// How the end of a name is written right, where it is written in capitals.
fn lower(ext: Option<&str>) -> Option<&'static str> {
    let ext = ext.filter(|ext| !matches!(*ext, "toml" | "csv"))?;
    ["toml", "csv"].into_iter().find(|right| right.eq_ignore_ascii_case(ext))
}

/// What a folder is read from.
pub struct FilesAndFolders {
    /// `strowger.toml` first, then those under `routing/`.
    pub files: Vec<PathBuf>,
    /// The folder itself, `routing/`, and those in it.
    pub folders: Vec<PathBuf>,
}

/// What a folder is read from, as it lies there.
pub fn files(dir: &Path) -> FilesAndFolders {
    let mut gathered = Gathered::new(&|_| None, Tables::new(None, SystemTime::now()));
    let mut walk = Walk::default();
    gathered.routing_files(&dir.join("routing"), MAX_DEPTH, &mut walk);
    FilesAndFolders {
        files: [vec![dir.join(NODE_FILE)], walk.files].concat(),
        folders: [vec![dir.to_owned()], walk.folders].concat(),
    }
}

/// Reads a folder as [`Reading`] does.
///
/// # Errors
/// All its mistakes, as [`Checked`] has them.
pub fn load(dir: &Path, env: Env<'_>) -> Result<Loaded, Vec<Finding>> {
    Reading::of(dir, env).load(&mut |_| {})
}

/// The same for who wants to hear of the warnings beside mistakes too.
pub fn checked(dir: &Path, env: Env<'_>) -> Checked {
    Reading::of(dir, env).check(&mut |_| {})
}

/// Reads one text that holds the node's sections and the routing's together, as tests write it.
pub fn parse(text: &str, env: Env<'_>) -> Result<Loaded, Vec<Finding>> {
    let mut gathered = Gathered::new(env, Tables::new(None, SystemTime::now()));
    if let Some(file) = gathered.report.add_file(Path::new(NODE_FILE)) {
        gathered.toml_text(file, Path::new(""), text, Sections::Both);
    }
    gathered.finish().into_loaded()
}

/// Which sections a file may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sections {
    Node,
    Routing,
    Both,
}

/// A file of TOML.
struct About<'a> {
    file: u16,
    folder: &'a Path,
    sections: Sections,
    lines: &'a Lines<'a>,
}

impl About<'_> {
    fn top(&self) -> Place {
        Place { file: self.file, line: 1, column: 1 }
    }
}

/// What has been read so far.
struct Gathered<'e, 's> {
    env: Env<'e>,
    report: Report,
    node: Option<Node>,
    defaults: Keys,
    profiles: Vec<Profile>,
    trunks: Vec<Trunk>,
    agents: Vec<Agent>,
    tables: Tables<'s>,
    caller_ids: Vec<CallerId>,
    pools: Vec<Pool>,
    emergency: EmergencyKeys,
    dial: DialKeys,
    unread: Unread,
    /// Where a key of a section that may be spread over files was first written.
    singles: HashMap<(&'static str, String), Place, std::hash::RandomState>,
    /// Something is served already.
    is_served: bool,
    /// Where files are that do not lie where they are named.
    elsewhere: HashMap<PathBuf, PathBuf, std::hash::RandomState>,
}

impl<'e, 's> Gathered<'e, 's> {
    fn new(env: Env<'e>, tables: Tables<'s>) -> Gathered<'e, 's> {
        Gathered {
            env,
            report: Report::default(),
            node: None,
            defaults: Keys::default(),
            profiles: Vec::new(),
            trunks: Vec::new(),
            agents: Vec::new(),
            tables,
            caller_ids: Vec::new(),
            pools: Vec::new(),
            emergency: EmergencyKeys::default(),
            dial: DialKeys::default(),
            unread: Unread::default(),
            singles: HashMap::default(),
            is_served: false,
            elsewhere: HashMap::default(),
        }
    }

    fn place_of<'p>(&'p self, path: &'p Path) -> &'p Path {
        self.elsewhere.get(path).map_or(path, |path| path)
    }

    fn finish(mut self) -> Checked {
        if !self.tables.nameless.is_empty() {
            self.unread.sections.insert("number");
        }
        self.unread.keys.append(&mut self.tables.nameless);
        if self.tables.has_no_text {
            self.unread.sections.extend(NAMED);
        }
        let (numbers, kept) = self.tables.finish();
        let checked = self.node.map(|node| Config {
            defaults: self.defaults,
            profiles: self.profiles,
            trunks: self.trunks,
            agents: self.agents,
            numbers,
            caller_ids: self.caller_ids,
            pools: self.pools,
            emergency: self.emergency.into_emergency(),
            dial: self.dial.into_dial(node.node.country),
            files: Files::default(),
            kept,
            node,
        });
        self.unread.anything = self.report.mistakes() > 0;
        if let Some(config) = &checked {
            check::check(config, &self.unread, &self.report);
        }
        let (files, errors, warnings) = self.report.into_parts();
        let config = checked.filter(|_| errors.is_empty()).map(|config| Config { files, ..config });
        Checked { config, errors, warnings, read: self.tables.read, taken: self.tables.taken }
    }

    /// Files of a folder and its folders, by path. Hidden ones are editors' and are left out.
    fn routing_files(&mut self, folder: &Path, depth: usize, walk: &mut Walk) {
        match walk.enter(folder) {
            Ok(()) => self.files_of(folder, depth, walk),
            Err(refused) => return self.refused(&refused),
        }
        walk.leave();
    }

    fn files_of(&mut self, folder: &Path, depth: usize, walk: &mut Walk) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            // A node that begins without numbers answers 404; one that serves some must not lose them so.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.is_served => {
                return self.is_missing(folder);
            }
            Err(error) => return self.not_opened(folder, &error),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            let ext = path.extension().and_then(|ext| ext.to_str());
            if hidden || walk.files.len() > MAX_FILES {
                continue;
            }
            if path.is_dir() {
                if matches!(ext, Some("toml" | "csv")) {
                    let remedy = "give the folder another name, or put the file in its place";
                    self.unreadable(&path, "it is a folder, with the name of a file", remedy);
                } else if depth > 0 {
                    self.routing_files(&path, depth - 1, walk);
                } else {
                    self.unread.sections.extend(NAMED);
                    let what =
                        format!("the folder lies deeper than {MAX_DEPTH} below routing, and is not read");
                    self.refused(&Refused { name: path, what, remedy: "move it further up" });
                }
            } else if let Some(right) = lower(ext) {
                self.passed_over(&path, right);
            } else if matches!(ext, Some("toml" | "csv")) {
                if let Err(refused) = walk.add(path) {
                    self.refused(&refused);
                }
                if walk.files.len() > MAX_FILES {
                    walk.files.pop();
                    let what = format!("there are more than {MAX_FILES} files");
                    return self.unreadable(folder, &what, "write what several say into one");
                }
            }
        }
    }

    /// A name that is not followed. What it leads to is read by another.
    fn refused(&self, Refused { name, what, remedy }: &Refused) {
        if let Some(file) = self.report.add_file(name) {
            self.report.error(Place { file, line: 1, column: 1 }, what.clone(), *remedy);
        }
    }

    /// Whoever moved it away for a moment must not think that its numbers are served.
    fn is_missing(&self, folder: &Path) {
        if !self.report.hears_warnings() {
            return;
        }
        if let Some(file) = self.report.add_file(folder) {
            let what = "there is no such folder, and so no number is served";
            let remedy = "make it, and write [[number]]s into files in it";
            self.report.warning(Place { file, line: 1, column: 1 }, what, remedy);
        }
    }

    /// Whoever writes names in capitals must not think that it is read.
    fn passed_over(&self, path: &Path, right: &str) {
        if !self.report.hears_warnings() {
            return;
        }
        if let Some(file) = self.report.add_file(path) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let what = format!(
                "it is not read: the names of files end in .toml or .csv, and {} does not",
                shown(&name)
            );
            let right = path.with_extension(right);
            let remedy = format!("name it {}", right.file_name().unwrap_or_default().to_string_lossy());
            self.report.warning(Place { file, line: 1, column: 1 }, what, remedy);
        }
    }

    /// One that holds nothing but numbers is taken from what is served, as a table is.
    fn toml_file(&mut self, path: &Path, sections: Sections, told: &mut Told<'_>) {
        let Some(opened) = self.open(path) else { return };
        let (stamp, is_routing) = (Stamp::of(&opened), sections == Sections::Routing);
        let Some(file) = self.report.add_file(path) else { return };
        if is_routing && self.tables.take((file, path), stamp, &self.report, told) {
            return;
        }
        let (mut span, noted) = (self.tables.numbers.span(), self.report.noted());
        let Some(text) = self.text_of(path, file, &opened) else { return };
        let folder = path.parent().unwrap_or(Path::new(""));
        let holds_numbers_alone = self.toml_text(file, folder, &text, sections);
        self.tables.numbers.extend(&mut span);
        if is_routing && holds_numbers_alone && self.report.noted() == noted {
            self.tables.remember((file, path), stamp.filter(|was| Stamp::of(&opened) == Some(*was)), span);
        }
    }

    fn csv_file(&mut self, path: &Path, told: &mut Told<'_>) {
        let Some(opened) = self.open(path) else { return };
        let Some(file) = self.report.add_file(path) else { return };
        if let Err(error) = self.tables.read((file, path), opened, &self.report, told) {
            self.not_opened(path, &error);
        }
    }

    fn open(&mut self, path: &Path) -> Option<File> {
        let place = self.place_of(path).to_owned();
        // Whoever opens a pipe waits until somebody writes.
        if std::fs::metadata(&place).is_ok_and(|about| !about.is_file()) {
            self.unreadable(path, "it is no plain file", "put one in its place, or remove it");
            return None;
        }
        File::open(place).map_err(|error| self.not_opened(path, &error)).ok()
    }

    fn text_of(&mut self, path: &Path, file: u16, opened: &File) -> Option<String> {
        let mut bytes = Vec::new();
        // One more byte than allowed is read, whatever the file's size claims to be.
        if let Err(error) = opened.take(MAX_FILE + 1).read_to_end(&mut bytes) {
            self.not_opened(path, &error);
            return None;
        }
        if bytes.len() as u64 > MAX_FILE {
            let what = format!("it is larger than {} MiB", MAX_FILE >> 20);
            self.unreadable(path, &what, "write its numbers into a table (.csv), or write several files");
            return None;
        }
        if bytes.starts_with(b"\xEF\xBB\xBF") {
            bytes.drain(..3);
        }
        match String::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
                let place = Lines::of(file, &text).place(valid);
                self.report.error(place, "the text is not UTF-8", "save the file as UTF-8");
                self.unread.sections.extend(NAMED);
                None
            }
        }
    }

    /// What the system does not give.
    fn not_opened(&mut self, path: &Path, error: &std::io::Error) {
        let remedy = format!("see that {} is there and may be read", path.display());
        self.unreadable(path, &error.to_string(), &remedy);
    }

    fn unreadable(&mut self, path: &Path, why: &str, remedy: &str) {
        self.unread.sections.extend(NAMED);
        if let Some(file) = self.report.add_file(path) {
            let place = Place { file, line: 1, column: 1 };
            self.report.error(place, format!("cannot be read: {why}"), remedy);
        }
    }

    /// Whether it holds numbers and nothing else.
    fn toml_text(&mut self, file: u16, folder: &Path, text: &str, sections: Sections) -> bool {
        let lines = Lines::of(file, text);
        let about = About { file, folder, sections, lines: &lines };
        let (document, mut slips) = DeTable::parse_recoverable(text);
        self.unread.ways |= !slips.is_empty();
        let doubled = |slips: &[Error]| slips.iter().all(|slip| slip.message() == syntax::DUPLICATE);
        if doubled(&slips) {
            self.slips(&slips, text, &lines);
            return self.document(&about, document.get_ref(), !slips.is_empty());
        }
        // A large file is not to be held twice.
        drop(document);
        slips.truncate(MAX_FINDINGS);
        slips.shrink_to_fit();
        if let Some(torn) = torn::divided(text) {
            let (document, left) = DeTable::parse_recoverable(&torn.healthy);
            if doubled(&left) {
                torn.slips.iter().for_each(|slip| self.slip(slip, &lines));
                self.slips(&left, text, &lines);
                self.unread.sections.extend(torn.sections);
                self.document(&about, document.get_ref(), true);
                return false;
            }
        }
        // What is read of a file that is torn so is a guess: whatever else it lacks is told once it is whole.
        self.slips(&slips, text, &lines);
        self.unread.sections.extend(torn::SECTIONS);
        if sections != Sections::Routing {
            let unheard = Report::default();
            let (document, _) = DeTable::parse_recoverable(text);
            let fields = Fields::table("the file", about.top(), document.get_ref(), &lines, &unheard);
            self.node = Some(node::read(&fields, folder, self.env));
        }
        false
    }

    /// What the TOML reader says.
    fn slips(&self, slips: &[Error], text: &str, lines: &Lines<'_>) {
        for error in slips.iter().take(MAX_FINDINGS) {
            let span = error.span().unwrap_or(0..0);
            if error.message() != syntax::DUPLICATE {
                self.slip(&syntax::slip(text, span.start, error.message()), lines);
                continue;
            }
            let key = text.get(span.clone()).unwrap_or_default();
            let first =
                lines.before(span.start, key).map(|first| format!(", first at {}", self.report.at(first)));
            let what = format!("TOML: \"{}\" is written twice{}", shown(key), first.unwrap_or_default());
            self.report.error(lines.place(span.start), what, "keep one of them");
        }
    }

    fn slip(&self, slip: &Slip, lines: &Lines<'_>) {
        self.report.error(lines.place(slip.at), format!("TOML: {}", slip.said), slip.remedy.clone());
    }

    /// Reads what could be read of a file. `broken`: it has mistakes of syntax, too.
    fn document(&mut self, about: &About<'_>, document: &DeTable<'_>, broken: bool) -> bool {
        let report = std::mem::take(&mut self.report);
        let fields = Fields::table("the file", about.top(), document, about.lines, &report);
        if about.sections != Sections::Routing {
            self.node = Some(node::read(&fields, about.folder, self.env));
        }
        if about.sections == Sections::Node {
            self.unread.sections.extend(NAMED.into_iter().filter(|section| fields.has(section)));
        } else {
            self.routing(&fields, about.folder, broken);
        }
        misplaced(&fields, about.sections);
        let holds_numbers_alone = fields.written().iter().all(|(key, _)| *key == "number");
        fields.finish();
        self.report = report;
        holds_numbers_alone
    }

    /// `broken`: the file has mistakes of syntax, too.
    fn routing(&mut self, file: &Fields<'_>, folder: &Path, broken: bool) {
        let env = self.env;
        if let Some(fields) = file.inner("defaults", "[defaults]") {
            self.once("[defaults]", &fields);
            self.defaults = number::read_defaults(&fields, folder).over(&self.defaults);
        }
        let mut nameless = Vec::new();
        let profiles = self.entries(file, "profile", "[[profile]]", |fields| {
            number::read_profile(fields, folder, &mut nameless)
        });
        self.profiles.extend(profiles);
        self.unread.keys.append(&mut nameless);
        let before = file.report().mistakes();
        let trunks = self.entries(file, "trunk", "[[trunk]]", |fields| trunk::read(fields, env));
        self.unread.ways |= file.report().has_more_than(before);
        self.trunks.extend(trunks);
        let agents = self.entries(file, "agent", "[[agent]]", |fields| agent::read(fields, env));
        self.agents.extend(agents);
        let mut nameless = std::mem::take(&mut self.tables.nameless);
        let numbers = self.entries(file, "number", "[[number]]", |fields| {
            let before = nameless.len();
            let number = number::read_number(fields, folder, &mut nameless);
            (number.is_some() || nameless.len() > before).then_some(number)
        });
        self.tables.nameless = nameless;
        numbers.into_iter().flatten().for_each(|number| self.tables.numbers.add(number.did, number.keys));
        let caller_ids = self.entries(file, "caller_id", "[[caller_id]]", pool::read_caller_id);
        self.caller_ids.extend(caller_ids);
        let pools = self.entries(file, "pool", "[[pool]]", pool::read_pool);
        self.pools.extend(pools);
        if let Some(fields) = file.inner("emergency", "[emergency]") {
            self.once("[emergency]", &fields);
            self.emergency = EmergencyKeys::read(&fields).over(std::mem::take(&mut self.emergency));
        }
        let before = file.report().mistakes();
        if let Some(fields) = file.inner("dial", "[dial]") {
            self.once("[dial]", &fields);
            self.dial = DialKeys::read(&fields).over(std::mem::take(&mut self.dial));
        }
        let is_broken = broken && file.has("dial");
        if is_broken || file.report().has_more_than(before) || file.has_slip("dial") {
            self.unread.sections.insert("dial");
        }
    }

    /// The entries of a section, and a note where one of them cannot be read.
    fn entries<T>(
        &mut self,
        file: &Fields<'_>,
        section: &'static str,
        what: &'static str,
        read: impl FnMut(&Fields<'_>) -> Option<T>,
    ) -> Vec<T> {
        let is_written = file.has(section);
        let list = file.tables(section, what, what).map(|list| list.value);
        let entries: Vec<T> = list.iter().flatten().filter_map(read).collect();
        let all = list.map_or(usize::from(is_written), |list| list.len());
        if entries.len() < all || file.has_slip(section) {
            self.unread.sections.insert(section);
        }
        entries
    }

    /// Tables of one name merge; a key that two files write is a duplicate.
    fn once(&mut self, section: &'static str, fields: &Fields<'_>) {
        for (key, place) in fields.written() {
            match self.singles.entry((section, key.to_owned())) {
                hashbrown::hash_map::Entry::Occupied(first) => {
                    let at = fields.report().at(*first.get());
                    let what = format!("{section} {key} is written twice, first at {at}");
                    fields.report().error(place, what, "keep one of them");
                }
                hashbrown::hash_map::Entry::Vacant(free) => {
                    free.insert(place);
                }
            }
        }
    }
}

/// A section in the wrong file is told where it belongs, rather than that it is unknown.
fn misplaced(file: &Fields<'_>, sections: Sections) {
    const NODE: &[&str] =
        &["node", "listen", "media", "admin", "public", "speech", "limits", "capture", "retention"];
    const ROUTING: &[&str] =
        &["defaults", "profile", "trunk", "agent", "number", "caller_id", "pool", "emergency", "dial"];
    let (elsewhere, home) = match sections {
        Sections::Node => (ROUTING, "a file under routing/"),
        Sections::Routing => (NODE, NODE_FILE),
        Sections::Both => return,
    };
    for (key, place) in file.written() {
        if let Some(known) = elsewhere.iter().find(|name| **name == key) {
            file.refuse(
                place,
                format!("{known} does not belong into this file"),
                format!("move it to {home}"),
            );
            file.know(known);
        }
    }
}
