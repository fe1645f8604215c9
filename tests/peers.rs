//! The programs beside a node in long runs can fail: whatever ends one of them early, and nothing done at all, is an exit
//! status, and no figure of what was not measured.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const CHANGES: &str = "benches/peers/changes.py";
const TABLE: [&str; 2] = ["+49305550000", "+49305550001"];

/// What a node that is well answers, by method.
fn well(method: &str) -> String {
    match method {
        "POST" => answer("200 OK", "", "{\"generation\": 7}"),
        _ => answer("200 OK", "strowger-generation: 8\r\n", "{}"),
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

/// A node's admin as far as it is asked; an empty answer ends the connection. Tells each method that was asked.
fn serve(answer: fn(&str) -> String) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let (asked, methods) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let asked = asked.clone();
            std::thread::spawn(move || talk(stream.ok()?, answer, &asked));
        }
    });
    (addr, methods)
}

fn talk(stream: TcpStream, answer: fn(&str) -> String, asked: &Sender<String>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            head += &line;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
        reader.read_exact(&mut vec![0; length.unwrap_or(0)]).ok()?;
        let method = head.split(' ').next()?;
        let text = answer(method);
        asked.send(method.to_owned()).ok();
        if text.is_empty() {
            return None;
        }
        writer.write_all(text.as_bytes()).ok()?;
    }
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dids"), TABLE.join("\n")).unwrap();
    folder
}

fn python(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(root.join(CHANGES)).args(args).current_dir(folder);
    command
}

/// Runs a verb of changes.py: its status and what it says.
fn ran(folder: &Path, args: &[&str]) -> (i32, String) {
    said(python(folder, args).output().unwrap())
}

fn said(output: Output) -> (i32, String) {
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(text).unwrap())
}

/// Has numbers changed and files reloaded until something of both was asked for, or it has ended by itself.
fn change(answer: fn(&str) -> String) -> (i32, String) {
    let (folder, (admin, methods)) = (folder(), serve(answer));
    let mut child = python(folder.path(), &["change", &admin, "z.csv", "dids", "200", "log"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut reloads, mut changes) = (0, 0);
    while (reloads < 2 || changes < 2) && child.try_wait().unwrap().is_none() {
        match methods.recv_timeout(Duration::from_millis(20)).as_deref() {
            Ok("POST") => reloads += 1,
            Ok(_) => changes += 1,
            // One of both may have ended.
            Err(RecvTimeoutError::Timeout) if reloads > 20 || changes > 20 => break,
            Err(_) => {}
        }
        if reloads > 20 || changes > 20 {
            break;
        }
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).ok();
    said(child.wait_with_output().unwrap())
}

#[test]
fn changes_and_reloads_that_are_answered_are_no_failure() {
    let (code, said) = change(well);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(" changes, ") && said.contains(" reloads: "), "{said}");
}

#[test]
fn whatever_ends_the_changes_or_the_reloads_early_is_told_and_fails() {
    fn refused(_: &str) -> String {
        answer("500 Internal Server Error", "", "{}")
    }
    fn reset(_: &str) -> String {
        String::new()
    }
    fn no_reload(method: &str) -> String {
        if method == "POST" { String::new() } else { well(method) }
    }
    fn no_json(method: &str) -> String {
        if method == "POST" { answer("200 OK", "", "<html>") } else { well(method) }
    }
    fn no_generation(method: &str) -> String {
        if method == "POST" { answer("200 OK", "", "{}") } else { well(method) }
    }
    fn no_header(method: &str) -> String {
        if method == "POST" { well(method) } else { answer("200 OK", "", "{}") }
    }
    for (answers, told) in [
        (refused as fn(&str) -> String, "500"),
        (reset, "changes: RemoteDisconnected"),
        (no_reload, "reloads: RemoteDisconnected"),
        (no_json, "reloads: JSONDecodeError"),
        (no_generation, "reloads: KeyError"),
        (no_header, "changes: TypeError"),
    ] {
        let (code, said) = change(answers);
        assert_eq!(code, 1, "{told}: {said}");
        assert!(said.contains(told), "{told}: {said}");
    }
}

#[test]
fn with_nobody_listening_nothing_was_changed_and_that_is_told() {
    let folder = folder();
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (code, said) = ran(folder.path(), &["change", &nowhere, "z.csv", "dids", "100", "log"]);
    assert_eq!(code, 1, "{said}");
    for line in [
        "reloads: ConnectionRefused",
        "changes: ConnectionRefused",
        "no number was changed",
        "nothing was reloaded",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let (code, said) = ran(folder.path(), &["change", &nowhere, "z.csv", "dids", "0", "log"]);
    assert!(code == 1 && said.contains("nothing was reloaded"), "{said}");
}

#[test]
fn records_are_compared_with_something_and_none_of_them_is_missing() {
    let folder = folder();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let [did, _] = TABLE;
    let record = format!(
        "{{\"generation\": 2, \"did\": \"{did}\", \"account\": \"round 1\", \"started\": \"2026-11-01T10:00:00.000Z\"}}\n"
    );
    std::fs::create_dir(folder.path().join("cdr")).unwrap();
    write("cdr/2026-11-01.jsonl", &record);
    write("log", "[2000000000.0, 2, null, \"round 1\"]\n");
    let compare = |calls: &str| ran(folder.path(), &["compare", "log", "dids", "cdr", calls]);
    assert_eq!(compare("1").0, 0, "{}", compare("1").1);
    let (code, said) = compare("2");
    assert!(code == 1 && said.contains("2 calls were made, and there are 1 records"), "{said}");
    write("cdr/2026-11-01.jsonl", &record.replace("round 1", "round 2"));
    assert_eq!(compare("1").0, 1);
    // Of a run without a change and a reload: what it began with is compared with itself.
    write("log", "");
    write("cdr/2026-11-01.jsonl", &record.replace("round 1", "round 0"));
    let (code, said) = compare("1");
    assert!(code == 1 && said.contains("nothing to compare with"), "{said}");
}

#[test]
fn what_the_node_sent_twice_and_what_came_to_it_twice_is_a_failure() {
    let folder = folder();
    let metrics = |name: &str, counts: [u32; 2]| {
        let line =
            |dir: &str, count: u32| format!("strowger_sip_retransmissions_total{{dir=\"{dir}\"}} {count}\n");
        let text = line("out", counts[0]) + &line("in", counts[1]);
        std::fs::write(folder.path().join(name), text).unwrap();
    };
    let repeated = || ran(folder.path(), &["repeated", "at rest", "before", "after"]);
    for (before, after, code) in
        [([3, 5], [3, 5], 0), ([3, 5], [4, 5], 1), ([3, 5], [3, 6], 1), ([0, 0], [0, 0], 0)]
    {
        metrics("before", before);
        metrics("after", after);
        assert_eq!(repeated().0, code, "{}", repeated().1);
    }
    std::fs::write(folder.path().join("after"), "strowger_calls_active 0\n").unwrap();
    assert_eq!(repeated().0, 1, "who does not tell has not sent nothing twice");
}

#[test]
fn calls_that_failed_were_repeated_or_never_made_are_a_failure() {
    let folder = folder();
    let calls = |rows: &[[u32; 3]], args: &[&str]| {
        let header = "TotalCallCreated;FailedCall(P);FailedCall(C);Retransmissions(C);\n".to_owned();
        let row = |[made, failed, twice]: &[u32; 3]| format!("{made};0;{failed};{twice};\n");
        let text = header + &rows.iter().map(row).collect::<String>();
        std::fs::write(folder.path().join("stat.csv"), text).unwrap();
        ran(folder.path(), &[&["calls", "at rest", "stat.csv"], args].concat()).0
    };
    assert_eq!(calls(&[[5, 0, 0], [10, 0, 0]], &["10"]), 0);
    assert_eq!(calls(&[[10, 0, 0]], &[]), 0, "the far end knows no number of calls");
    for (rows, args) in [
        (&[[9, 0, 0]][..], &["10"][..]),
        (&[[10, 1, 0]], &["10"]),
        (&[[10, 0, 1]], &["10"]),
        (&[[10, 0, 1]], &[]),
        (&[[0, 0, 0]], &[]),
        (&[], &["10"]),
        (&[], &[]),
    ] {
        assert_eq!(calls(rows, args), 1, "{rows:?} {args:?}");
    }
    std::fs::remove_file(folder.path().join("stat.csv")).unwrap();
    assert_eq!(ran(folder.path(), &["calls", "at rest", "stat.csv", "10"]).0, 1);
}

/// A client that ends early would leave the figure of fewer.
#[test]
fn a_client_whose_connection_ends_fails_the_bench_of_changes() {
    fn reset(_: &str) -> String {
        String::new()
    }
    fn well(_: &str) -> String {
        answer("201 Created", "", "{}")
    }
    const RATE: &str = "import sys; sys.path.insert(0, sys.argv[1]); import durable; print(durable.rate(sys.argv[2], 2, 1, 1, True))";
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let rate = |admin: &str| {
        let mut python = Command::new("python3");
        let command = python.env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", RATE]).arg(&peers).arg(admin);
        said(command.output().unwrap())
    };
    let (code, told) = rate(&serve(well).0);
    assert_eq!(code, 0, "{told}");
    let (code, told) = rate(&serve(reset).0);
    assert!(code == 1 && told.contains("RemoteDisconnected"), "{told}");
}

#[test]
fn a_run_that_would_judge_nothing_is_no_use_of_a_script() {
    for (script, args) in [
        ("soak-reload", &["--reloads", "1"][..]),
        ("soak-reload", &["--reloads", "0"]),
        ("soak-reload", &["--rounds", "0"]),
        ("soak-reload", &["--rate", "0"]),
        ("soak-reload", &["--seconds", "0"]),
        ("soak-reload", &["--numbers", "0"]),
        ("soak-kill", &["--rounds", "0"]),
        ("bench-changes", &["--numbers", ","]),
        ("bench-changes", &["--seconds", "0"]),
        ("bench-changes", &["--seconds", "1,2"]),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
        let output = Command::new(path).args(args).output().unwrap();
        let usage = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{script} {args:?}: {usage}");
        assert!(usage.contains(&format!("scripts/{script} [-h]")), "{usage}");
    }
}
