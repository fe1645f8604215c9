//! A soft phone that is not ours: Debian's baresip is an agent's fixed contact, is rung and answers.

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod support;

use support::baresip::{PHONE, phone, tell};
use support::process::Program;
use support::{DID, Outcome, World};

#[test]
fn baresip_is_rung_answers_and_is_hung_up_on() -> Outcome {
    let world = World::start("ring = [\"alice\"]")?;
    let mut alice = baresip(&world)?;
    let caller = world.caller("caller_talks", world.carrier, &["-d", "500"])?;
    caller.finish().map_err(|e| format!("{e}\nbaresip printed:\n{}", alice.printed()))?;
    alice.wait_until(PHONE, |printed| printed.contains("session closed"))?;
    let printed = alice.printed();
    assert!(printed.contains("Call established"), "{printed}");
    let cdr = world.cdr()?;
    assert_eq!(cdr["outcome"], "answered", "{cdr:#}");
    assert_eq!(cdr["winner"], cdr["legs"][1]["id"], "{cdr:#}");
    assert_eq!(cdr["legs"][1]["target"], "alice", "{cdr:#}");
    Ok(())
}

#[test]
fn baresip_answers_first_and_the_others_stop_ringing() -> Outcome {
    let world = World::start("ring = [\"alice\", \"bob\"]\nforward_to = \"+12015550199\"")?;
    let bob = world.phone("phone_rings", world.bob, &[])?;
    let gateway = world.phone("phone_rings", world.gateway, &[])?;
    let alice = baresip(&world)?;
    world.caller("caller_talks", world.carrier, &["-d", "300"])?.finish()?;
    for other in [bob, gateway] {
        let said = other.finish()?;
        assert!(said.contains("Call completed elsewhere"), "{said}");
    }
    assert!(alice.printed().contains("Call established"), "{}", alice.printed());
    Ok(())
}

#[test]
fn baresip_registers_and_is_rung_where_it_is_by_udp_tcp_and_tls() -> Outcome {
    for transport in ["udp", "tcp", "tls"] {
        let world = World::start("ring = [\"carol\"]")?;
        let mut carol = phone(&world, world.bob, &carols(&world, transport), &[])?;
        carol.wait_until(PHONE, |printed| printed.contains("200 OK"))?;
        let caller = world.caller("caller_talks", world.carrier, &["-d", "300"])?;
        caller.finish().map_err(|e| format!("{transport}: {e}\nbaresip printed:\n{}", carol.printed()))?;
        let cdr = world.cdr()?;
        assert_eq!(
            (&cdr["outcome"], &cdr["legs"][1]["target"]),
            (&"answered".into(), &"carol".into()),
            "{cdr:#}"
        );
    }
    Ok(())
}

#[test]
fn baresip_calls_out_through_a_trunk_and_shows_its_number() -> Outcome {
    for transport in ["udp", "tcp", "tls"] {
        let world = World::start("ring = [\"alice\"]")?;
        let gateway = world.phone("phone_hangs_up", world.gateway, &[])?;
        let mut carol = phone(&world, world.bob, &carols(&world, transport), &["-e", "/dial +12125550188"])?;
        gateway.finish().map_err(|e| format!("{transport}: {e}\nbaresip printed:\n{}", carol.printed()))?;
        carol.wait_until(PHONE, |printed| printed.contains("session closed"))?;
        let cdr = world.cdr()?;
        let of = |key: &str| cdr[key].as_str().unwrap_or_default().to_owned();
        let told = ["direction", "outcome", "dialled", "did", "presented"].map(of);
        assert_eq!(told, ["outbound", "answered", "+12125550188", DID, DID], "{cdr:#}");
    }
    Ok(())
}

#[test]
fn baresip_sends_its_caller_on_and_is_let_go() -> Outcome {
    let world = World::start("ring = [\"carol\"]")?;
    let gateway = world.phone("phone_hangs_up", world.gateway, &["-d", "300"])?;
    let mut carol = phone(&world, world.bob, &carols(&world, "udp"), &[])?;
    carol.wait_until(PHONE, |printed| printed.contains("200 OK"))?;
    let caller = world.caller("caller_is_sent_on", world.carrier, &[])?;
    carol.wait_until(PHONE, |printed| printed.contains("Call established"))?;
    tell(&world, "transfer", "+12125550188")?;
    let told = |said: &str| format!("{said}\nbaresip printed:\n{}", carol.printed());
    gateway.finish().map_err(|e| told(&e))?;
    let said = caller.finish().map_err(|e| told(&e))?;
    assert!(said.contains("offered m=audio"), "{said}");
    let cdr = world.cdr()?;
    let of = |leg: usize, key: &str| cdr["legs"][leg][key].as_str().unwrap_or_default().to_owned();
    assert_eq!([of(1, "target"), of(1, "end")], ["carol", "won"], "{cdr:#}");
    assert_eq!(
        [of(2, "target"), of(2, "role"), of(2, "end")],
        ["+12125550188", "transfer", "won"],
        "{cdr:#}"
    );
    Ok(())
}

#[test]
fn baresip_joins_its_caller_with_whom_it_has_called_on_one_shard_and_on_three() -> Outcome {
    joins_two(&World::start("ring = [\"carol\"]")?)?;
    joins_two(&World::with_shards("ring = [\"carol\"]", 3)?)
}

fn joins_two(world: &World) -> Outcome {
    let gateway = world.phone("phone_is_sent_on", world.gateway, &["-d", "300"])?;
    let mut carol = phone(world, world.bob, &carols(world, "udp"), &[])?;
    carol.wait_until(PHONE, |printed| printed.contains("200 OK"))?;
    let caller = world.caller("caller_is_sent_on", world.carrier, &[])?;
    carol.wait_until(PHONE, |printed| printed.contains("Call established"))?;
    let replaces = dialog_of_first_call(&carol.printed()).ok_or_else(|| carol.printed())?;
    tell(world, "dial", "+12125550188")?;
    carol.wait_until(PHONE, |printed| printed.matches("Call established").count() == 2)?;
    // Its user would press a key; this version has none for it.
    tell(world, "transfer", &format!("<sip:{DID}@{}:{}?Replaces={replaces}>", world.host, world.sip))?;
    let told = |said: &str| format!("{said}\nbaresip printed:\n{}", carol.printed());
    let heard = gateway.finish().map_err(|e| told(&e))?;
    let said = caller.finish().map_err(|e| told(&e))?;
    assert!(heard.contains("offered m=audio") && said.contains("offered m=audio"), "{heard}{said}");
    for cdr in world.cdrs(2)? {
        let last = cdr["legs"].as_array().and_then(|legs| legs.last()).cloned().unwrap_or_default();
        assert_eq!((&cdr["outcome"], &last["role"]), (&"answered".into(), &"transfer".into()), "{cdr:#}");
    }
    Ok(())
}

#[test]
fn the_lines_of_the_readme_register_a_phone_are_rung_and_call_out() -> Outcome {
    let lines = Readme::read()?;
    let (password, secret) = lines.environment.split_once('=').ok_or("no environment")?;
    // The trunk above those lines, which is the sample's, where this machine plays it.
    let trunk = "[[trunk]]\nname = \"carrier\"\nfrom = [\"{host}:{carrier}\"]\noutbound = true\n\
                 gateways = [{ uri = \"sip:{gateway}\" }]\n[dial]\nallow = [\"+1\"]\n";
    let world = World::of(&format!("{trunk}{}", lines.routing), 1, &[(password, secret)])?;
    let account = lines.account.replace("127.0.0.1:5060", &format!("{}:{}", world.host, world.sip));
    // Nobody is there to pick up, and no sound card.
    let account = format!("{account};answermode=auto;audio_codecs=pcmu\n");
    let gateway = world.phone("phone_hangs_up", world.gateway, &[])?;
    let mut alice = phone(&world, world.alice, &account, &[&lines.dials[0], &lines.dials[1]])?;
    let told = |alice: &Program, said: &str| format!("{said}\nbaresip printed:\n{}", alice.printed());
    gateway.finish().map_err(|e| told(&alice, &e))?;
    alice.wait_until(PHONE, |printed| printed.contains("session closed"))?;
    let tried = world.strowger(&lines.tried)?;
    assert!(tried.contains("answered"), "{}", told(&alice, &tried));
    let records = world.cdrs(2)?;
    let of = |record: &serde_json::Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let out = ["direction", "outcome", "did", "presented"].map(|key| of(&records[0], key));
    assert_eq!(out, ["outbound", "answered", DID, DID], "{records:#?}");
    assert!(lines.dials[1].ends_with(&of(&records[0], "dialled")), "{records:#?}");
    let rung = ["direction", "outcome", "did"].map(|key| of(&records[1], key));
    assert_eq!(rung, ["inbound", "answered", DID], "{records:#?}");
    assert_eq!(records[1]["legs"][1]["target"], "alice", "{records:#?}");
    let agents = world.strowger(&lines.listed)?;
    assert!(agents.contains("alice") && agents.contains("baresip"), "{agents}");
    Ok(())
}

/// What the README tells whoever has a softphone, in its section on phones: first what to configure, then what to run.
struct Readme {
    routing: String,
    /// `NAME=value` before `strowger serve`.
    environment: String,
    /// baresip's arguments.
    dials: [String; 2],
    /// The line in its `accounts`.
    account: String,
    /// The arguments of `strowger` by which the DID is called, and those that list the phones.
    tried: Vec<String>,
    listed: Vec<String>,
}

impl Readme {
    fn read() -> Result<Readme, String> {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
        let text = text.map_err(|e| e.to_string())?;
        let section =
            text.split("\n## ").find(|section| section.starts_with("Phones\n")).ok_or("no Phones")?;
        let block = |kind: &str| {
            let (_, rest) = section.split_once(&format!("```{kind}\n"))?;
            rest.split_once("```").map(|(block, _)| block.to_owned())
        };
        let routing = block("toml").ok_or("no toml")?;
        let shell = block("sh").ok_or("no sh")?;
        let commands: Vec<&str> =
            shell.lines().map(|line| line.split('#').next().unwrap_or("").trim()).collect();
        let words = |start: &str| {
            let command = commands.iter().find_map(|command| command.strip_prefix(start));
            let words = command.ok_or(format!("no {start} in\n{shell}"))?.split_whitespace();
            Ok::<Vec<String>, String>(words.map(str::to_owned).collect())
        };
        let served = commands.iter().find_map(|command| command.strip_suffix(" strowger serve"));
        let dialled = words("baresip -e ")?.join(" ").trim_matches('"').to_owned();
        let account = shell.lines().find_map(|line| line.trim_start().strip_prefix("# <"));
        Ok(Readme {
            routing,
            environment: served.ok_or("no serve")?.to_owned(),
            dials: ["-e".to_owned(), dialled],
            account: format!("<{}", account.ok_or("no account")?.trim()),
            tried: [vec!["try".to_owned()], words("strowger try ")?].concat(),
            listed: [vec!["agents".to_owned()], words("strowger agents")?].concat(),
        })
    }
}

/// The first call's dialog, as the node knows it and a Refer-To writes it.
fn dialog_of_first_call(printed: &str) -> Option<String> {
    let invite = &printed[printed.find("INVITE sip:carol")?..];
    let answer = &invite[invite.find("SIP/2.0 200 ")?..];
    let line = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name));
    let tag = |value: &str| value.rsplit_once("tag=").map(|(_, tag)| tag.trim().to_owned());
    let (ours, theirs) = (tag(line("From: ")?)?, tag(line("To: ")?)?);
    Some(format!("{}%3Bto-tag%3D{ours}%3Bfrom-tag%3D{theirs}", line("Call-ID: ")?.trim()))
}

/// An account that registers with the node.
fn carols(world: &World, transport: &str) -> String {
    let port = if transport == "tls" { world.secure } else { world.sip };
    format!(
        "<sip:carol@{}:{port};transport={transport}>;auth_user=carol;auth_pass=swordfish;regint=60;answermode=auto;\
         audio_codecs=pcmu\n",
        world.host,
    )
}

/// Alice's phone: answers at once, hears itself instead of a sound card, prints every message.
fn baresip(world: &World) -> Result<Program, String> {
    let (host, port) = (world.host, world.alice);
    phone(
        world,
        port,
        &format!("<sip:alice@{host}:{port}>;regint=0;answermode=auto;audio_codecs=pcmu\n"),
        &[],
    )
}
