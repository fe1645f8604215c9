//! The built program: what it prints where, and how it ends.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use ran::Ran;
use schema::violations;
use serde_json::Value;
use served::{misspelt, served, served_on};
use strowger::admin::operations::NotPublished;

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod common;
#[path = "common/ran.rs"]
mod ran;
#[path = "common/schema.rs"]
mod schema;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "common/served.rs"]
mod served;

#[test]
fn a_command_line_that_is_not_understood_is_usage() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["frobnicate"][..], &["call"], &["calls", "--nothing"], &["reload", "--config"]] {
        let ran = strowger(folder.path(), args);
        assert_eq!(ran.code, 2, "{args:?}");
        assert!(ran.out.is_empty() && ran.err.contains("--help"), "{args:?}: {}", ran.err);
    }
    for args in [&["--help"][..], &["--version"], &["calls", "--help"]] {
        let ran = strowger(folder.path(), args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
        assert!(!ran.out.is_empty());
    }
}

#[test]
fn a_node_that_is_not_there_is_exit_3_and_a_folder_that_is_not_there_exit_1() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = configured(nobody, "");
    for args in [
        &["calls"][..],
        &["call", "x"],
        &["call", "x", "--pcap", "x"],
        &["reload"],
        &["route", "+12015550101"],
        &["generations"],
    ] {
        let ran = strowger(folder.path(), args);
        assert_eq!(ran.code, 3, "{args:?}: {}", ran.err);
        assert!(ran.err.contains(&nobody.to_string()) && ran.out.is_empty(), "{}", ran.err);
    }
    let ran = strowger(folder.path(), &["calls", "--config", "elsewhere"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("elsewhere/strowger.toml"), "{}", ran.err);

    std::fs::write(folder.path().join("config/strowger.toml"), "[node]\nname = \"edge-1\"\n").unwrap();
    let ran = strowger(folder.path(), &["calls"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("no [admin]"), "{}", ran.err);
}

#[test]
fn calls_are_shown_as_a_table_and_as_json() {
    let node = served();
    let folder = configured(node.addr, "");
    let ran = strowger(folder.path(), &["calls"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let rows: Vec<&str> = ran.out.lines().collect();
    assert!(
        rows[0].starts_with("ID") && rows[1].starts_with("c1") && rows[3].starts_with("c3"),
        "{}",
        ran.out
    );
    let json: Value = serde_json::from_str(&strowger(folder.path(), &["calls", "--json"]).out).unwrap();
    assert_eq!((json["items"].as_array().unwrap().len(), &json["next"]), (3, &Value::Null));
}

#[test]
fn trunks_are_shown_as_a_table_and_as_json() {
    let node = served();
    let folder = configured(node.addr, "");
    let ran = strowger(folder.path(), &["trunks"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let rows: Vec<&str> = ran.out.lines().collect();
    assert!(rows[0].starts_with("TRUNK") && rows[1].starts_with("carrier"), "{}", ran.out);
    assert!(rows[1].contains("down since") && rows[1].contains("no answer to OPTIONS"), "{}", ran.out);
    let json: Value = serde_json::from_str(&strowger(folder.path(), &["trunks", "--json"]).out).unwrap();
    assert_eq!((json["items"].as_array().unwrap().len(), &json["next"]), (2, &Value::Null));
}

#[test]
fn a_call_is_shown_with_its_ladder_and_an_unknown_one_is_refused() {
    let node = served();
    let folder = configured(node.addr, "");
    let ran = strowger(folder.path(), &["call", "c1"]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("├── INVITE ─▶│"), "{}", ran.out);
    let ran = strowger(folder.path(), &["call", "nobody/../x"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("no call"), "{}", ran.err);
    let ran = strowger(folder.path(), &["--json", "call", "nobody"]);
    assert_eq!(ran.code, 1);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["status"], 404);
}

#[test]
fn a_calls_messages_are_written_to_a_file_and_what_is_missing_is_said() {
    let node = served();
    let folder = configured(node.addr, "");
    let ran = strowger(folder.path(), &["call", "c1", "--pcap", "c1.pcap"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "14 messages in c1.pcap\n", ""));
    assert_eq!(std::fs::read(folder.path().join("c1.pcap")).unwrap(), b"a file");
    let ran = strowger(folder.path(), &["call", "c2", "--pcap", "c2.pcap", "--json"]);
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &told["messages"]), (0, &14.into()));
    assert_eq!(told["missing"], "the first messages are no longer kept");
    assert!(ran.err.starts_with("warning: the first"), "{}", ran.err);
    for (id, file, said) in [
        ("c3", "x.pcap", "no longer kept"),
        ("off", "x.pcap", "no [capture]"),
        ("nobody", "x.pcap", "no call nobody"),
        ("c1", "nowhere/x.pcap", "nowhere/x.pcap"),
    ] {
        let ran = strowger(folder.path(), &["call", id, "--pcap", file]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        assert!(ran.err.contains(said), "{}", ran.err);
    }
    assert!(!folder.path().join("x.pcap").exists());
}

#[test]
fn reload_tells_what_changed_or_every_mistake_with_its_place() {
    let node = served();
    let folder = configured(node.addr, "");
    let ran = strowger(folder.path(), &["reload"]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.starts_with("generation 2: 0 added"), "{}", ran.out);
    let ran = strowger(folder.path(), &["reload", "--dry-run"]);
    assert!(ran.out.starts_with("would change generation 1"), "{}", ran.out);

    *node.node.reloads.lock().unwrap() = Some(NotPublished::Wrong(vec![misspelt()]));
    let ran = strowger(folder.path(), &["reload"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    let expected = "config/routing/numbers.toml:14:9: agent \"bobb\" does not exist; did you mean \"bob\"?";
    assert!(ran.err.contains(expected), "{}", ran.err);
}

#[test]
fn a_route_is_told_in_words() {
    let node = served();
    let folder = configured(node.addr, "");
    let ran = strowger(folder.path(), &["route", "+12015550101", "--from", "+12025550123"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "+12015550101 from +12025550123 rings alice\n"));
    let ran = strowger(folder.path(), &["route", "+12015559999"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
}

#[test]
fn a_running_node_is_found_by_what_it_wrote_of_itself_and_the_token_is_sent() {
    let node = served_on("0.0.0.0:0", Some("open sesame"));
    let folder = configured(SocketAddr::from(([127, 0, 0, 1], 1)), "token_env = \"A_TOKEN\"");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let wildcard = format!("{{\"name\":\"edge-1\",\"admin\":\"0.0.0.0:{}\"}}", node.addr.port());
    std::fs::write(data.join("node.json"), wildcard).unwrap();
    let refused = strowger(folder.path(), &["calls"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("token_env"), "{}", refused.err);
    let mut command = command(folder.path(), &["calls"]);
    let ran = Ran::of(command.env("A_TOKEN", "open sesame").output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn check_reports_every_mistake_at_once_and_the_sample_has_none() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let six = ["check", "--config", "tests/config_cases/six_mistakes"];
    let ran = strowger(root, &six);
    assert_eq!(ran.code, 1);
    let placed = |line: &&str| line.starts_with("tests/config_cases/six_mistakes/");
    assert_eq!(ran.out.lines().filter(placed).count(), 6, "{}", ran.out);
    let json = strowger(root, &[&six[..], &["--json"]].concat());
    let found: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, found["errors"].as_array().unwrap().len()), (1, 6));

    let ran = strowger(root, &["check"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("no mistake"), "{}", ran.out);
    assert_eq!(strowger(root, &["check", "--deny-warnings"]).code, 0);
    assert_eq!(strowger(root, &["check", "--config", "nowhere"]).code, 1);
}

#[test]
fn a_warning_is_no_mistake_unless_it_is_denied() {
    let folder = configured(SocketAddr::from(([127, 0, 0, 1], 1)), "");
    std::fs::create_dir(folder.path().join("config/routing")).unwrap();
    let agent = "[[agent]]\nname = \"alice\"\npassword = \"in clear text\"\n";
    std::fs::write(folder.path().join("config/routing/all.toml"), agent).unwrap();
    let ran = strowger(folder.path(), &["check"]);
    assert!(ran.code == 0 && ran.out.contains("warning"), "{}", ran.out);
    assert_eq!(strowger(folder.path(), &["check", "--deny-warnings"]).code, 1);
}

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schemas = strowger::cli::files::schemas();
    for (name, text) in &schemas {
        let committed = std::fs::read_to_string(root.join("config/schema").join(name)).unwrap_or_default();
        assert!(&committed == text, "run `strowger config-schema --out config/schema`: {name} differs");
    }
    let ran = strowger(root, &["config-schema"]);
    let all: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, all.as_object().unwrap().len()), (0, schemas.len()));
    let committed = std::fs::read_dir(root.join("config/schema")).unwrap();
    let mut committed: Vec<_> =
        committed.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    committed.sort();
    assert_eq!(committed, schemas.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

#[test]
fn what_serve_check_and_config_schema_print_as_json_fits_their_schemas() {
    let schemas = strowger::cli::files::schemas();
    let fits = |name: &str, printed: &str| {
        let (_, text) = schemas.iter().find(|(known, _)| *known == name).unwrap();
        let wrong = violations(&serde_json::from_str(text).unwrap(), &serde_json::from_str(printed).unwrap());
        assert_eq!(wrong, Vec::<String>::new(), "{name}: {printed}");
    };
    let folder = configured(SocketAddr::from(([127, 0, 0, 1], 0)), "");
    fits("check.json", &strowger(folder.path(), &["check", "--json"]).out);
    fits("check.json", &strowger(folder.path(), &["check", "--json", "--config", "nowhere"]).out);
    let node = served();
    let asks = configured(node.addr, "");
    fits("pcap.json", &strowger(asks.path(), &["call", "c2", "--pcap", "x", "--json"]).out);
    fits("written.json", &strowger(folder.path(), &["config-schema", "--json", "--out", "schemas"]).out);

    let listen = "[[listen]]\ntransport = \"udp\"\naddr = \"127.0.0.1:0\"\n";
    let folder = configured(SocketAddr::from(([127, 0, 0, 1], 0)), listen);
    let serve =
        command(folder.path(), &["serve", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut node = serve.unwrap();
    let mut line = String::new();
    BufReader::new(node.stdout.take().unwrap()).read_line(&mut line).unwrap();
    node.kill().unwrap();
    node.wait().unwrap();
    fits("serve.json", &line);
}

/// A folder with `config/strowger.toml` that names an `[admin]`.
fn configured(admin: SocketAddr, more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("config")).unwrap();
    let text = format!("[admin]\naddr = \"{admin}\"\n{more}\n");
    std::fs::write(folder.path().join("config/strowger.toml"), text).unwrap();
    folder
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strowger"));
    command.args(args).current_dir(folder).env_remove("STROWGER_LOG");
    command
}

fn strowger(folder: &Path, args: &[&str]) -> Ran {
    Ran::of(command(folder, args).output().unwrap())
}
