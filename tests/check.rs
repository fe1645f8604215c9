//! `check`: every mistake at once, each with its place and what would be right. Each folder of `config_cases` is a
//! configuration; `expected.snap` beside it is what is said of it, warnings included.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use strowger::config::{self, Checked, Finding};

#[test]
fn every_case_says_what_is_expected_of_it() {
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir("tests/config_cases").unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 12, "cases are missing");
    for case in cases {
        let (errors, warnings) = check(&case);
        let said = config::plain(&errors, &warnings).replace(case.to_str().unwrap(), "config");
        let said = if said.is_empty() { "no mistake, no warning\n".to_owned() } else { said };
        insta::with_settings!({
            snapshot_path => Path::new("..").join(&case),
            prepend_module_to_snapshot => false,
            omit_expression => true,
            description => case.file_name().unwrap().to_str().unwrap(),
        }, {
            insta::assert_snapshot!("expected", said);
        });
    }
}

#[test]
fn six_different_mistakes_are_all_reported_with_place_and_remedy() {
    let (errors, _) = check(Path::new("tests/config_cases/six_mistakes"));
    assert_eq!(errors.len(), 6, "{errors:#?}");
    for error in &errors {
        assert!(error.line > 0 && error.column > 0 && !error.message.is_empty() && !error.remedy.is_empty());
    }
}

#[test]
fn the_sample_passes_without_a_warning_in_an_empty_environment() {
    let (errors, warnings) = check(Path::new("config"));
    assert_eq!(config::plain(&errors, &warnings), "");
}

#[test]
fn the_sample_rings_on_loopback_only() {
    let loaded = config::load(Path::new("config"), &|_| None).unwrap();
    let table = strowger::routing::Table::new(&loaded.config, 1, None);
    let agents = table.agents().iter().filter_map(|agent| agent.contact.as_ref()).map(|contact| contact.addr);
    let gateways = table.trunks().iter().flat_map(|trunk| &trunk.gateways).map(|gateway| gateway.addr);
    let all: Vec<_> = agents.chain(gateways).collect();
    assert!(!all.is_empty() && all.iter().all(|addr| addr.is_some_and(|addr| addr.ip().is_loopback())));
}

#[test]
fn a_password_is_taken_from_the_environment_and_one_that_is_not_there_is_a_warning() {
    let text = "[[agent]]\nname = \"alice\"\npassword_env = \"ALICE_PASSWORD\"\n";
    let unset = config::parse(text, &|_| None).unwrap();
    assert_eq!(unset.warnings.len(), 1);
    assert!(unset.warnings[0].message.contains("ALICE_PASSWORD"));
    let set = config::parse(text, &|name| (name == "ALICE_PASSWORD").then(|| "secret".into())).unwrap();
    assert!(set.warnings.is_empty());
    assert_eq!(set.config.agents[0].password.as_ref().unwrap().reveal(), "secret");
    assert!(!format!("{:?}", set.config).contains("secret"), "a password is never printed");
}

#[test]
fn warnings_stand_beside_mistakes_and_no_mistake_makes_a_false_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("routing")).unwrap();
    std::fs::write(dir.path().join("strowger.toml"), "").unwrap();
    let said = |trunk: &str, numbers: &str| {
        let text = format!(
            "[[trunk]]\nname = \"a\"\ngateways = [{{ uri = \"sip:127.0.0.9\" }}]\n{trunk}\n{numbers}"
        );
        std::fs::write(dir.path().join("routing/a.toml"), text).unwrap();
        let (errors, warnings) = check(dir.path());
        [errors, warnings].map(|found| found.iter().map(|one| one.message.clone()).collect::<Vec<_>>())
    };
    let numbers = "[[number]]\ndid = \"+12015550101\"\nforward_to = \"+12015550199\"\nring = [\"bob\"]\n";
    let [errors, warnings] = said("", numbers);
    assert_eq!(errors, ["agent \"bob\" does not exist"]);
    assert_eq!(warnings, ["no outbound trunk serves +12015550199"]);
    // Which numbers that trunk serves is not known, and one that may not be called needs none.
    let [errors, warnings] = said("outbound = true\nprefixes = [\"1201\"]", numbers);
    assert_eq!((errors.len(), warnings.len()), (2, 0), "{errors:?} {warnings:?}");
    let [errors, warnings] = said("", &numbers.replace("+12015550199", "+19005550199"));
    assert_eq!((errors.len(), warnings.len()), (2, 0), "{errors:?} {warnings:?}");
}

#[test]
fn a_mistake_of_syntax_says_what_would_be_right_and_makes_no_other() {
    for (text, remedy) in [
        ("[[number]\ndid = \"+12015550101\"", "close it with ]], as [[number]]"),
        ("[node\nname = \"a\"", "close it with ], as [node]"),
        ("[[number]]\ndid = \"+12015550101", "end the text with \" in the same line"),
        ("[[number]]\ndid = \"+12015550101\"\nring = [\"bob\"", "close the list with ]"),
        ("[[number]]\ndid = ", "write a value after the ="),
        ("[[number]]\ndid", "write = and a value after the key"),
        ("[[number]]\ndid = = 4", "write one ="),
        ("[[number]]\ndid = bob\nring = [\"bob\"]", "put the text in quotes: did = \"bob\""),
        ("[node]\nname = \"a\"\nname = \"b\"", "keep one of them"),
    ] {
        let errors = config::parse(text, &|_| None).unwrap_err();
        assert!(errors.iter().all(|error| error.message.starts_with("TOML: ")), "{text}: {errors:#?}");
        assert!(errors.iter().all(|error| !error.remedy.is_empty()), "{text}: {errors:#?}");
        assert!(errors.iter().any(|error| error.remedy.starts_with(remedy)), "{text}: {errors:#?}");
    }
}

#[test]
fn what_cannot_be_read_is_not_said_to_be_missing() {
    let number = "[[number]]\ndid = \"+12015550101\"\nforward_to = \"+12015550199\"\ntimeout = 30\n";
    let long = "forward_to rings for 30 s without call_connect";
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("routing")).unwrap();
    std::fs::write(dir.path().join("strowger.toml"), "").unwrap();
    for (rest, mistakes, is_long) in [
        ("", 0, true),
        ("call_connect = \"yes\"\n", 1, false),
        ("profile = \"p\"\n", 1, false),
        ("profile = \"p\"\n[[profile]]\nname = \"p\"\ncall_connect = 1\n", 1, false),
        ("profile = \"p\"\n[[profile]]\nname = \"p\"\nrecord = 1\n", 1, true),
        ("[defaults]\ncall_connect = 1\n", 1, false),
        // Where [dial] cannot be read nobody knows what it forbids.
        ("[dial]\nallow = [\"1\"]\n", 1, true),
        ("[dail]\nallow = [\"+1\"]\n", 1, true),
        ("[dial]\nallow = []\n", 1, true),
    ] {
        std::fs::write(dir.path().join("routing/a.toml"), format!("{number}{rest}")).unwrap();
        let (errors, warnings) = check(dir.path());
        assert_eq!(errors.len(), mistakes, "{rest}: {errors:?}");
        assert_eq!(warnings.iter().any(|one| one.message == long), is_long, "{rest}: {warnings:?}");
    }
}

#[test]
fn a_realm_that_no_phone_could_read_between_quotes_is_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("routing")).unwrap();
    let long = "a".repeat(129);
    for (realm, fits) in [
        ("pbx.example.com", true),
        ("Our own exchange, grüß Gott", true),
        ("", false),
        ("a\\\"b", false),
        ("a\\\\b", false),
        ("a\\r\\nX-Evil: b", false),
        ("a\\u007f", false),
        (&long, false),
    ] {
        std::fs::write(dir.path().join("strowger.toml"), format!("[node]\nrealm = \"{realm}\"\n")).unwrap();
        let (errors, _) = check(dir.path());
        let places: Vec<(u32, u32)> = errors.iter().map(|error| (error.line, error.column)).collect();
        assert_eq!(places, if fits { vec![] } else { vec![(2, 9)] }, "{realm}: {errors:?}");
    }
}

#[test]
fn what_a_number_names_is_checked_though_its_did_is_wrong() {
    let text = "[[agent]]\nname = \"bob\"\n[[number]]\ndid = \"2015550101\"\nring = [\"bobb\"]\n\
                overflow = [{ ring = [\"bobbb\"] }]\ntrunk = \"carier\"\n[[number]]\nprofile = \"realty\"\n";
    let found = config::parse(text, &|_| None).unwrap_err();
    let lines: Vec<u32> = found.iter().map(|error| error.line).collect();
    assert_eq!(lines, [4, 5, 6, 7, 8, 9], "{found:?}");
}

#[test]
fn at_most_a_hundred_mistakes_are_reported() {
    let text: String = (0..300).map(|n| format!("[[number]]\ndid = \"wrong {n}\"\n")).collect();
    let errors = config::parse(&text, &|_| None).unwrap_err();
    assert_eq!(errors.len(), config::MAX_FINDINGS);
    let said = "these are the first 100 mistakes: there may be more\n";
    assert!(config::plain(&errors, &[]).ends_with(said) && config::pretty(&errors, &[]).ends_with(said));
    assert!(config::plain(&[], &errors).ends_with("these are the first 100 warnings: there may be more\n"));
    assert!(!config::plain(&errors[1..], &errors[1..]).contains("more"), "these are all");
    // As JSON too.
    let more = |errors, warnings| {
        let json = serde_json::to_value(config::Findings::of(errors, warnings)).unwrap();
        ["more_errors", "more_warnings"].map(|key| json[key].as_bool().unwrap())
    };
    let [all, many] = [&errors[1..], &errors[..]];
    assert_eq!(
        [more(all, all), more(many, all), more(all, many)],
        [[false; 2], [true, false], [false, true]]
    );
}

#[test]
fn files_whose_names_end_in_capitals_are_warned_of_with_the_right_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("routing/FOLDER.CSV")).unwrap();
    std::fs::write(dir.path().join("strowger.toml"), "").unwrap();
    for name in ["A.CSV", "b.Toml", ".c.CSV", "FOLDER.CSV/d.TOML", "notes.TXT"] {
        std::fs::write(dir.path().join("routing").join(name), "wrong").unwrap();
    }
    let (errors, warnings) = check(dir.path());
    assert_eq!(errors, []);
    let told = |warning: &Finding| warning.to_string().split_once("/routing/").unwrap().1.to_owned();
    let not_read = "1:1: it is not read: the names of files end in .toml or .csv, and";
    assert_eq!(
        warnings.iter().map(told).collect::<Vec<_>>(),
        [
            format!("A.CSV:{not_read} A.CSV does not; name it A.csv"),
            format!("FOLDER.CSV/d.TOML:{not_read} d.TOML does not; name it d.toml"),
            format!("b.Toml:{not_read} b.Toml does not; name it b.toml"),
        ]
    );
}

/// Root may read all, so that a thread of its own becomes somebody else where root runs this.
#[test]
fn a_file_without_permission_is_a_mistake_that_says_what_to_see_to() {
    use std::os::unix::fs::PermissionsExt;
    const NOBODY: u32 = 65_534;
    let dir = tempfile::tempdir().unwrap();
    let allow = |name: &str, mode: u32| {
        std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir(dir.path().join("routing")).unwrap();
    let files = ["strowger.toml", "routing/a.toml", "routing/b.csv"];
    std::fs::write(dir.path().join(files[0]), "").unwrap();
    std::fs::write(dir.path().join(files[1]), "[dial]\nallow = [\"+1\"]\n").unwrap();
    std::fs::write(dir.path().join(files[2]), "did,ring\n").unwrap();
    allow("", 0o755);
    let errors_of_somebody = || {
        let work = || {
            if rustix::process::getuid().is_root() {
                rustix::thread::set_thread_uid(rustix::thread::Uid::from_raw(NOBODY)).unwrap();
            }
            check(dir.path()).0
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    };
    assert_eq!(errors_of_somebody(), [], "all may read them");
    for name in files {
        allow(name, 0o000);
        let [error] = &errors_of_somebody()[..] else { panic!("one mistake") };
        let file = dir.path().join(name);
        let file = file.display();
        let said = format!(
            "{file}:1:1: cannot be read: Permission denied (os error 13); see that {file} is there and may be read"
        );
        assert_eq!(error.to_string(), said);
        allow(name, 0o644);
    }
    allow("routing", 0o000);
    let errors = errors_of_somebody();
    assert!(
        errors[0].message.contains("Permission denied") && errors[0].file.ends_with("routing"),
        "{errors:?}"
    );
    allow("routing", 0o755);
}

#[test]
fn a_folder_that_is_not_there_and_files_that_cannot_be_read_are_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let errors = config::load(&dir.path().join("nowhere"), &|_| None).unwrap_err();
    assert!(errors[0].message.contains("cannot be read"), "{errors:?}");
    std::fs::create_dir_all(dir.path().join("routing/deep/er")).unwrap();
    std::fs::write(dir.path().join("strowger.toml"), "").unwrap();
    std::fs::write(dir.path().join("routing/deep/er/latin.toml"), b"[[agent]]\nname = \"Andr\xE9\"\n")
        .unwrap();
    std::fs::write(dir.path().join("routing/.hidden.toml"), "wrong").unwrap();
    std::fs::write(dir.path().join("routing/notes.txt"), "wrong").unwrap();
    let errors = config::load(dir.path(), &|_| None).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!((errors[0].line, errors[0].column, &*errors[0].message), (2, 13, "the text is not UTF-8"));
    assert!(errors[0].file.ends_with("routing/deep/er/latin.toml"));
    // Opening a pipe would wait until somebody writes into it.
    nix::unistd::mkfifo(&dir.path().join("routing/pipe.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let errors = config::load(dir.path(), &|_| None).unwrap_err();
    assert!(errors.iter().any(|error| error.message.contains("no plain file")), "{errors:?}");
    std::fs::remove_file(dir.path().join("routing/pipe.toml")).unwrap();
    let huge = std::fs::File::create(dir.path().join("routing/deep/er/latin.toml")).unwrap();
    huge.set_len((64 << 20) + 1).unwrap();
    let errors = config::load(dir.path(), &|_| None).unwrap_err();
    assert!(errors[0].message.contains("larger than 64 MiB"), "{errors:?}");
}

/// A pair is an even port and the next (RFC 3550 §11); a call takes one for each side.
#[test]
fn ports_that_can_carry_no_call_are_a_mistake() {
    let mistakes = |ports: &str| {
        let text = format!("[media]\nports = \"{ports}\"\n");
        config::parse(&text, &|_| None).err().map_or(0, |findings| findings.len())
    };
    let found = ["23001-23002", "23000-23001", "23001-23004", "65534-65535", "23000-23003", "23001-23005"]
        .map(mistakes);
    assert_eq!(found, [1, 1, 1, 1, 0, 0]);
}

#[test]
fn deep_nesting_is_a_mistake_and_no_crash() {
    for text in ["a = ".to_owned() + &"[".repeat(100_000), "a = ".to_owned() + &"{ a = ".repeat(100_000)] {
        assert!(config::parse(&text, &|_| None).is_err());
    }
}

#[test]
fn the_committed_schemas_are_what_the_types_generate() {
    for (name, text) in config::schemas().into_iter().chain([strowger::routing::schema()]) {
        let path = Path::new("config/schema").join(name);
        if std::env::var_os("STROWGER_WRITE_SCHEMAS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "{} is stale: run with STROWGER_WRITE_SCHEMAS=1", path.display());
    }
}

#[test]
fn the_sample_is_valid_by_its_schemas() {
    let schema = |name: &str| {
        let text = std::fs::read_to_string(Path::new("config/schema").join(name)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let valid = |file: &Path, schema: &Value| {
        let text = std::fs::read_to_string(file).unwrap();
        let value = serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap();
        let wrong = mismatch(&value, schema, schema);
        assert_eq!(wrong, None, "{}", file.display());
    };
    // Each names its schema in its first line, where editors look for it.
    let names = |file: &Path, name: &str| {
        let text = std::fs::read_to_string(file).unwrap();
        let named = text.lines().next().and_then(|line| line.strip_prefix("#:schema ")).unwrap();
        let there = file.parent().unwrap().join(named).canonicalize().unwrap();
        assert_eq!(
            there,
            Path::new("config/schema").join(name).canonicalize().unwrap(),
            "{}",
            file.display()
        );
        valid(file, &schema(name));
    };
    names(Path::new("config/strowger.toml"), "node.json");
    for entry in std::fs::read_dir("config/routing").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ext| ext == "toml") {
            names(&path, "routing.json");
        }
    }
    let loaded = config::load(Path::new("config"), &|_| None).unwrap();
    let number = schema("number.json");
    for listed in loaded.config.numbers.iter() {
        assert_eq!(mismatch(&serde_json::to_value(listed.written()).unwrap(), &number, &number), None);
    }
    let wrong = serde_json::json!({ "did": "+12015550101", "tiemout": 20 });
    assert!(mismatch(&wrong, &number, &number).is_some(), "an unknown key is no number");
}

#[test]
fn routing_reads_as_a_sentence() {
    let loaded = config::load(Path::new("config"), &|_| None).unwrap();
    let table = strowger::routing::Table::new(&loaded.config, 1, None);
    let told = |did: &str| {
        strowger::routing::explain(
            &table,
            &loaded.config,
            &config::Overlay::default(),
            &strowger::routing::Fixed,
            did,
            Some("+12025550123"),
        )
        .to_string()
    };
    let all = [
        "+12015550101",
        "+12015550102",
        "201-555-0103",
        "+12015550104",
        "+12015550105",
        "+12015550207",
        "+12015550303",
        "+12015559999",
        "alice",
    ]
    .map(told)
    .join("\n");
    insta::assert_snapshot!("route", all);
}

#[test]
fn routing_explained_has_a_json_form() {
    let loaded = config::load(Path::new("config"), &|_| None).unwrap();
    let table = strowger::routing::Table::new(&loaded.config, 7, None);
    let told = strowger::routing::explain(
        &table,
        &loaded.config,
        &config::Overlay::default(),
        &strowger::routing::Fixed,
        "+12015550104",
        None,
    );
    insta::assert_snapshot!("route_json", serde_json::to_string_pretty(&told).unwrap());
    let schema = serde_json::from_str(&strowger::routing::schema().1).unwrap();
    assert_eq!(mismatch(&serde_json::to_value(&told).unwrap(), &schema, &schema), None);
}

/// Who the call does not ring is not said to ring, and what the caller is told at once is what is said.
#[test]
fn routing_says_who_is_not_rung_and_what_the_caller_gets() {
    const AGENTS: &str = "[[trunk]]\nname = \"carrier\"\nfrom = [\"127.0.0.1\"]\n\
        [[agent]]\nname = \"alice\"\ncontact = \"sip:alice@127.0.0.1:5090\"\ndnd = true\n\
        [[agent]]\nname = \"bob\"\ncontact = \"sip:bob@127.0.0.1:5091\"\n\
        [[agent]]\nname = \"carol\"\n\
        [[agent]]\nname = \"dora\"\ndnd = true\n\
        [[number]]\ndid = \"+12015550101\"\n";
    let tell = |keys: &str| {
        let loaded = config::parse(&format!("{AGENTS}{keys}"), &|_| None).unwrap();
        let table = strowger::routing::Table::new(&loaded.config, 1, None);
        strowger::routing::explain(
            &table,
            &loaded.config,
            &config::Overlay::default(),
            &strowger::routing::Fixed,
            "+12015550101",
            None,
        )
    };
    let numbered = "forward_to = \"+12015550199\"\n";
    let all = [
        ("ring = [\"alice\"]", Some(486)),
        ("ring = [\"dora\", \"alice\"]", Some(486)),
        ("ring = [\"carol\"]", Some(480)),
        ("ring = [\"alice\", \"carol\"]", Some(480)),
        ("ring = [\"alice\"]\noverflow = [{ ring = [\"dora\"] }]", Some(486)),
        (numbered, Some(480)),
        ("", Some(480)),
        ("ring = [\"alice\", \"bob\", \"carol\"]", None),
        ("ring = [\"carol\"]\noverflow = [{ ring = [\"bob\", \"carol\"], timeout = 15 }]", None),
        ("ring = [\"bob\"]\nassigned_to = \"alice\"\nassigned_head_start = 5", None),
        ("ring = [\"alice\"]\nassigned_to = \"bob\"\nassigned_head_start = 5", None),
    ]
    .map(|(keys, refused)| {
        let told = tell(keys);
        assert_eq!(told.refused, refused, "{keys}");
        for target in told.steps.iter().flat_map(|step| &step.targets) {
            let rung = target.target == "bob";
            assert_eq!((target.shows.is_some(), !target.uris.is_empty()), (rung, rung), "{keys}: {target:?}");
        }
        told.text
    })
    .join("\n");
    insta::assert_snapshot!("not_rung", all);
}

#[test]
fn on_a_terminal_a_mistake_is_shown_in_its_line() {
    let (errors, _) = check(Path::new("tests/config_cases/six_mistakes"));
    let shown = config::pretty(&errors, &[]);
    assert!(shown.contains("ring = [\"alice\", \"bobb\"]"), "{shown}");
    assert!(shown.contains("did you mean \"bob\"?") && shown.contains("^^^^^^"), "{shown}");
    let nowhere = Finding { file: "nowhere".into(), ..errors[0].clone() };
    assert!(config::pretty(&[nowhere], &[]).starts_with("nowhere:3:1: "));
}

#[test]
fn findings_have_a_json_form() {
    let (errors, warnings) = check(Path::new("tests/config_cases/six_mistakes"));
    let json = serde_json::to_value(config::Findings::of(&errors, &warnings)).unwrap();
    let schema = std::fs::read_to_string("config/schema/check.json").unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(mismatch(&json, &schema, &schema), None);
    assert!(mismatch(&serde_json::json!({ "errors": [] }), &schema, &schema).is_some());
    assert_eq!(json["errors"].as_array().unwrap().len(), 6);
    assert_eq!(json["errors"][2]["line"], 7);
    assert_eq!(json["errors"][2]["remedy"], "did you mean \"bob\"?");
    assert_eq!(json["warnings"], serde_json::json!([]));
}

/// The errors and warnings of a folder.
fn check(dir: &Path) -> (Vec<Finding>, Vec<Finding>) {
    let Checked { config, errors, warnings, .. } = config::checked(dir, &|_| None);
    assert_eq!(config.is_some(), errors.is_empty());
    (errors, warnings)
}

/// The first place where a value does not have the schema's shape: types, required and unknown keys, choices.
fn mismatch(value: &Value, schema: &Value, root: &Value) -> Option<String> {
    if let Some(path) = schema["$ref"].as_str() {
        return mismatch(value, root.pointer(path.trim_start_matches('#'))?, root);
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(of) = schema[choice].as_array() {
            let fits = of.iter().any(|schema| mismatch(value, schema, root).is_none());
            return (!fits).then(|| format!("{value} fits nothing of {choice}"));
        }
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Some(format!("{value} is none of {}", schema["enum"]));
    }
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let of = &schema["type"];
    if !of.is_null() && of != is && !of.as_array().is_some_and(|types| types.iter().any(|of| of == is)) {
        return Some(format!("{value} is no {of}"));
    }
    if let Some(items) = value.as_array() {
        return items.iter().find_map(|item| mismatch(item, &schema["items"], root));
    }
    let written = value.as_object()?;
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|key| !written.contains_key(*key)) {
        return Some(format!("{missing} is missing"));
    }
    written.iter().find_map(|(key, value)| match schema["properties"].get(key) {
        Some(schema) => mismatch(value, schema, root).map(|wrong| format!("{key}: {wrong}")),
        None => (schema["additionalProperties"] == false).then(|| format!("{key} is unknown")),
    })
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = config::parse(&text, &|_| None);
    }

    #[test]
    fn no_sections_of_any_kind_panic(lines in prop::collection::vec(line(), 0..30)) {
        let text = lines.join("\n");
        if let Ok(loaded) = config::parse(&text, &|_| None) {
            strowger::routing::Table::new(&loaded.config, 1, None);
        }
    }

    #[test]
    fn no_csv_panics(rows in prop::collection::vec("[a-z_|,\"+0-9*\\r ]{0,40}", 0..10), header in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("routing")).unwrap();
        std::fs::write(dir.path().join("strowger.toml"), "").unwrap();
        let header = if header { "did,ring,forward_to,overflow,timeout\n" } else { "" };
        std::fs::write(dir.path().join("routing/a.csv"), format!("{header}{}", rows.join("\n"))).unwrap();
        let _ = config::load(dir.path(), &|_| None);
    }
}

/// A line that is nearly right: a section, or a key with a value of any kind.
fn line() -> impl Strategy<Value = String> {
    let section = prop::sample::select(vec![
        "[node]",
        "[[listen]]",
        "[media]",
        "[admin]",
        "[public]",
        "[speech]",
        "[limits]",
        "[capture]",
        "[retention]",
        "[defaults]",
        "[[profile]]",
        "[[trunk]]",
        "[[agent]]",
        "[[number]]",
        "[[caller_id]]",
        "[[pool]]",
        "[emergency]",
        "[dial]",
        "[number]",
        "[[node]]",
        "[trunk.gateways]",
    ]);
    let key = prop::sample::select(vec![
        "name",
        "did",
        "ring",
        "forward_to",
        "timeout",
        "overflow",
        "voicemail",
        "whisper",
        "from",
        "gateways",
        "prefixes",
        "addr",
        "transport",
        "country",
        "ports",
        "max_legs",
        "contact",
        "number",
        "verified",
        "allow",
        "deny",
        "numbers",
        "strip",
        "prefix",
        "carry",
        "auth",
        "profile",
        "trunk",
        "pool",
        "enabled",
        "shards",
    ]);
    let value = prop::sample::select(vec![
        "\"alice\"",
        "\"\"",
        "\"+12015550101\"",
        "\"+1201*\"",
        "\"+\"",
        "[\"alice\"]",
        "[]",
        "[[]]",
        "{}",
        "20",
        "-1",
        "99999999999999999999",
        "0xFF",
        "0.5",
        "nan",
        "true",
        "2026-11-01",
        "\"127.0.0.1:5060\"",
        "\"::/0\"",
        "[\"127.0.0.1/32\"]",
        "[{ uri = \"sip:127.0.0.1\" }]",
        "[{ ring = [\"alice\"] }]",
        "{ file = \"a\" }",
        "{ username = \"u\" }",
        "\"US\"",
        "\"1-2\"",
        "[\"+1\"]",
        "'''",
        "\"\\u0000\"",
    ]);
    prop_oneof![
        section.prop_map(str::to_owned),
        (key, value).prop_map(|(key, value)| format!("{key} = {value}"))
    ]
}
