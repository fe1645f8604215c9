//! Programs that speak well, badly, for ever and not at all. Each is a line of a shell, which is given the file to write
//! as `$1`, the text as `$2` and a folder of its own as `$3`.

use std::os::unix::fs::MetadataExt;

use super::*;

/// A configuration's prompts, a `data_dir`, and somewhere for the programs to write.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("shipped")).unwrap();
        fs::create_dir(place.path("notes")).unwrap();
        fs::copy(shipped("press-one.wav"), place.path("sound.wav")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, line: &str) -> Vec<Box<str>> {
        let notes = self.path("notes").to_str().unwrap().to_owned();
        ["sh", "-c", line, "sh", WAV, TEXT, &notes].map(Box::from).to_vec()
    }

    /// One that speaks, and notes the text.
    fn speaks(&self) -> Vec<Box<str>> {
        let sound = self.path("sound.wav");
        self.command(&format!("echo \"[$2]\" >> $3/said; cp {} \"$1\"", sound.display()))
    }

    fn speak(&self, words: &[Words], command: &[Box<str>]) -> Said {
        let (shipped, kept) = (self.path("shipped"), self.path("data/prompts"));
        let voice = Voice { command, shipped: &shipped, kept: &kept };
        speak_within(words, &voice, Duration::from_secs(5))
    }

    /// Why that one text cannot be said.
    fn error(&self, words: Words, command: &[Box<str>]) -> String {
        let errors = self.speak(std::slice::from_ref(&words), command).unwrap_err();
        let [(of, error)] = &errors[..] else { panic!("{errors:?}") };
        assert_eq!(*of, words);
        error.to_string()
    }

    fn note(&self, name: &str) -> String {
        fs::read_to_string(self.path("notes").join(name)).unwrap_or_default()
    }

    fn kept(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("data/prompts")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

fn shipped(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prompts").join(file)
}

fn text(text: &str) -> Words {
    Words::Text(text.into())
}

fn file(path: impl AsRef<Path>) -> Words {
    Words::File(path.as_ref().into())
}

/// Whether that process runs; one that waits to be collected does not.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
}

fn wait_for(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_ships_needs_no_program() {
    let place = Place::new();
    fs::copy(shipped("notice.wav"), place.path("shipped/own.wav")).unwrap();
    fs::write(place.path("shipped/index.toml"), "\"own.wav\" = \"Our own notice.\"").unwrap();
    let none = ["no-such-program", TEXT, WAV].map(Box::from);
    let words = [
        text("Our own notice."),
        text("Press 1 to accept."),
        text("Please leave a message after the tone."),
        file(shipped("main-street.wav")),
        text("Our own notice."),
    ];
    let said = place.speak(&words, &none).unwrap();
    assert_eq!(said.len(), 4);
    assert_eq!(*said[&words[0]], read_sound(&shipped("notice.wav")).unwrap());
    assert!(Arc::ptr_eq(&said[&words[1]], &Standard::PressOne.prompt()));
    assert_eq!(*said[&words[3]], read_sound(&shipped("main-street.wav")).unwrap());
    assert!(!place.path("data").exists());
    // The sample's folder, with a text that only it has.
    let voice = Voice { command: &none, shipped: &shipped(""), kept: &place.path("data/prompts") };
    assert!(speak(&[text("Incoming call for Main Street listing")], &voice).is_ok());
}

#[test]
fn a_text_is_spoken_once_and_kept_whole() {
    let place = Place::new();
    let words = [text("Hello"), text("Good bye"), text("Hello")];
    let said = place.speak(&words, &place.speaks()).unwrap();
    assert_eq!(said.len(), 2);
    assert_eq!(*said[&words[0]], *Standard::PressOne.prompt());
    let mut kept = place.kept();
    kept.sort();
    assert_eq!(kept.len(), 2);
    for path in &kept {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.len() == 64 + 4 && name.ends_with(".wav"), "{name}");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o640);
    }
    assert_eq!(place.path("data/prompts").metadata().unwrap().mode() & 0o777, 0o750);
    place.speak(&words, &place.speaks()).unwrap();
    assert_eq!(place.note("said").lines().count(), 2);
    // Another voice has its own, and one that was broken is spoken again.
    let mut other = place.speaks();
    other.push("-slow".into());
    place.speak(&words, &other).unwrap();
    assert_eq!((place.note("said").lines().count(), place.kept().len()), (4, 4));
    fs::write(&kept[0], "broken").unwrap();
    place.speak(&words, &place.speaks()).unwrap();
    assert_eq!(place.note("said").lines().count(), 5);
}

#[test]
fn a_text_is_one_argument_whatever_it_says() {
    let place = Place::new();
    let said = ["$(touch x) `id` ; | \" ' {wav} {text}", "-o option", "one\ntwo\t\u{1b}[3m  three"];
    for one in said {
        place.speak(&[text(one)], &place.speaks()).unwrap();
    }
    assert_eq!(
        place.note("said"),
        "[$(touch x) `id` ; | \" ' {wav} {text}]\n[ -o option]\n[one two [3m three]\n"
    );
    assert_eq!(fill("a={text}{wav}={text}", "{wav}", Path::new("/x")), OsString::from("a={wav}/x={wav}"));
}

#[test]
fn what_cannot_be_spoken_says_what_to_do() {
    let place = Place::new();
    let error = |text: &str, command: &[&str]| {
        let command: Vec<Box<str>> = command.iter().map(|part| (*part).into()).collect();
        place.error(self::text(text), &command)
    };
    let speaks = ["true", TEXT, WAV];
    for (said, right) in [
        (error(" \n", &speaks), "the text is empty; write what"),
        (
            error(&"x".repeat(2_001), &speaks),
            "the text has 2001 characters; 2000 at most, record longer ones: { file = \"…\" }",
        ),
        (error("x", &[]), "[speech] command names no program; write [\"flite\", "),
        (error("x", &["", TEXT, WAV]), "[speech] command names no program"),
        (error("x", &["flite", WAV]), "[speech] command has no {text} among"),
        (error("x", &["flite", TEXT]), "[speech] command has no {wav} among"),
        (
            error("x", &["/no/flite", TEXT, WAV]),
            "/no/flite is not installed, which speaks it; install it (Debian: apt-get install flite), or record it: { file = \"…\" }",
        ),
        (
            error("x", &["no-such\u{1b}", TEXT, WAV]),
            "no-such\\u{1b} is not installed, which speaks it; install it, or flite (Debian: apt-get install flite) and name",
        ),
        (error("x", &["/", TEXT, WAV]), "/ cannot be run: "),
        (error("x", &speaks), "true wrote no file at {wav}: \"it said nothing\"; see [speech] command"),
    ] {
        assert!(said.starts_with(right), "{right}: {said}");
    }
    let failing = place.command("echo first >&2; printf 'no voice \\033[2J=x\\n\\n' >&2; : > \"$1\"; exit 3");
    assert_eq!(
        place.error(text("x"), &failing),
        "sh failed (exit status: 3): \"no voice \\u{1b}[2J\\u{3d}x\"; see [speech] command"
    );
    let garbage = place.command("echo garbage > \"$1\"");
    assert!(place.error(text("x"), &garbage).starts_with("what sh wrote is no sound: it is no WAV file; "));
    let chatty = place.command("yes chatter | head -c 3000000 >&2; echo the end >&2; exit 1");
    assert!(place.error(text("x"), &chatty).contains("\"the end\""));
    assert_eq!(place.kept(), Vec::<PathBuf>::new(), "nothing is left of what failed");
}

#[test]
fn one_that_hangs_is_ended_with_all_that_it_started() {
    let place = Place::new();
    let hangs = place.command("sleep 300 & echo $! > $3/child; echo $$ > $3/self; wait");
    let (shipped, kept) = (place.path("shipped"), place.path("data/prompts"));
    let voice = Voice { command: &hangs, shipped: &shipped, kept: &kept };
    let begun = Instant::now();
    let errors = speak_within(&[text("x")], &voice, Duration::from_secs(1)).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(errors[0].1.to_string(), "sh did not finish within 1 s and was ended; see [speech] command");
    for name in ["self", "child"] {
        let pid = place.note(name);
        assert!(!pid.is_empty());
        wait_for(|| !runs(&pid));
    }
    let endless = place.command("truncate -s 65M \"$1\"; echo $$ > $3/endless; exec sleep 300");
    assert!(place.error(text("x"), &endless).starts_with("sh wrote more than 64 MiB and was ended"));
    assert_eq!(place.kept(), Vec::<PathBuf>::new());
}

#[test]
fn a_grandchild_that_keeps_its_voice_holds_nobody_up() {
    let place = Place::new();
    let sound = place.path("sound.wav");
    let leaves = format!("sleep 300 & echo $! > $3/child; cp {} \"$1\"", sound.display());
    let begun = Instant::now();
    place.speak(&[text("x")], &place.command(&leaves)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4));
    let pid = place.note("child").trim().parse().unwrap();
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn at_most_four_speak_at_once() {
    let place = Place::new();
    let sound = place.path("sound.wav");
    let line = format!(
        "mkdir -p $3/now; : > $3/now/$$; ls $3/now | wc -l >> $3/count; sleep 0.1; rm $3/now/$$; cp {} \"$1\"",
        sound.display()
    );
    let words: Vec<Words> = (0..12).map(|n| text(&format!("text {n}"))).collect();
    assert_eq!(place.speak(&words, &place.command(&line)).unwrap().len(), 12);
    let counts: Vec<u32> = place.note("count").lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!(counts.len(), 12);
    assert!(counts.iter().all(|count| *count <= 4) && counts.iter().any(|count| *count > 1), "{counts:?}");
}

#[test]
fn all_that_cannot_be_said_is_told_in_order() {
    let place = Place::new();
    let missing = place.path("missing.wav");
    let words = [text("good"), file(&missing), text(""), text("bad"), file(place.path("sound.wav"))];
    let command = place.command("[ \"$2\" = good ] && cp $3/../sound.wav \"$1\"");
    let errors = place.speak(&words, &command).unwrap_err();
    let of: Vec<&Words> = errors.iter().map(|(words, _)| words).collect();
    assert_eq!(of, [&text(""), &text("bad"), &file(&missing)]);
    let said = errors[2].1.to_string();
    assert!(
        said.contains("missing.wav: No such file") && said.ends_with("; the file must be there and readable")
    );
}

#[test]
fn a_file_that_is_no_sound_is_refused_by_its_name() {
    let place = Place::new();
    let none = [];
    let (pipe, large, words) = (place.path("pipe"), place.path("large.wav"), place.path("words.wav"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    File::create(&large).unwrap().set_len(wav::LARGEST as u64 + 5).unwrap();
    fs::write(&words, "words").unwrap();
    for (path, right) in [
        (pipe, "pipe: it is no file; the file must be there"),
        (large, "large.wav: it has 65 MiB; 64 at most"),
        (words, "words.wav: it is no WAV file; convert it"),
        (place.path("shipped"), "shipped: it is no file"),
    ] {
        let said = place.error(file(&path), &none);
        assert!(said.contains(right), "{said}");
    }
}

#[test]
fn an_index_that_cannot_be_read_is_told_of() {
    let place = Place::new();
    fs::write(place.path("shipped/index.toml"), "notice.wav = 3").unwrap();
    let said = place.error(text("x"), &place.speaks());
    assert!(
        said.contains("shipped/index.toml: ") && said.contains("; each line is a file and its text: "),
        "{said}"
    );
    fs::write(place.path("shipped/index.toml"), "#".repeat(LARGEST_INDEX as usize + 1)).unwrap();
    assert!(place.error(text("x"), &place.speaks()).contains("index.toml: it has more than 256 KiB; "));
    fs::write(place.path("shipped/index.toml"), "\"gone.wav\" = \"x\"").unwrap();
    assert!(place.error(text("x"), &place.speaks()).contains("gone.wav: No such file"));
}

#[test]
fn a_folder_that_cannot_be_written_is_told_of_and_old_parts_go() {
    let place = Place::new();
    fs::write(place.path("data"), "a file").unwrap();
    let said = place.error(text("x"), &place.speaks());
    assert!(
        said.contains("data/prompts: ") && said.ends_with("; it must be a folder that this user may write"),
        "{said}"
    );
    fs::remove_file(place.path("data")).unwrap();
    fs::create_dir_all(place.path("data/prompts")).unwrap();
    let part = |name: &str| place.path("data/prompts").join(format!("{name}{PART}"));
    fs::write(part("old"), "").unwrap();
    fs::write(part("new"), "").unwrap();
    let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    File::options().write(true).open(part("old")).unwrap().set_modified(hour_ago).unwrap();
    place.speak(&[text("x")], &place.speaks()).unwrap();
    assert!(!part("old").exists() && part("new").exists());
}

#[test]
fn the_same_text_in_two_ways_is_no_quarrel() {
    let place = Place::new();
    let words = ["Hello you", " Hello you", "Hello  you", "Hello\nyou"].map(text);
    assert_eq!(place.speak(&words, &place.speaks()).unwrap().len(), 4);
    assert_eq!(place.kept().len(), 1);
}

/// What the sample's `[speech] command` names.
#[test]
fn flite_speaks() {
    let place = Place::new();
    let flite = ["flite", "-voice", "slt", "-t", TEXT, "-o", WAV].map(Box::from);
    let words = text("The number you have dialled is not in service.");
    let said = place.speak(std::slice::from_ref(&words), &flite).unwrap();
    let length = said[&words].length();
    assert!((Duration::from_millis(1_500)..Duration::from_secs(5)).contains(&length), "{length:?}");
}
