//! A soft phone that is not ours: Debian's baresip is an agent's fixed contact, is rung and answers.

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::process::Program;
use support::{Outcome, World};

/// How long baresip may take until it is ready, and until it has noticed the end of a call.
const PHONE: Duration = Duration::from_secs(10);

/// Where distributions put its modules.
const MODULES: [&str; 3] = [
    "/usr/lib/baresip/modules",
    "/usr/lib/x86_64-linux-gnu/baresip/modules",
    "/usr/local/lib/baresip/modules",
];

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
        assert_eq!(told, ["outbound", "answered", "+12125550188", support::DID, support::DID], "{cdr:#}");
    }
    Ok(())
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

/// A phone with that account.
fn phone(world: &World, port: u16, account: &str, more: &[&str]) -> Result<Program, String> {
    let folder = world.folder.path().join("baresip");
    let host = world.host;
    let modules = MODULES.iter().find(|path| Path::new(path).is_dir());
    let modules = modules.ok_or_else(|| format!("baresip's modules are in none of {MODULES:?}"))?;
    let config = format!(
        "module_path {modules}\nsip_listen {host}:{port}\nsip_cafile {}\nnet_interface {host}\n\
         audio_player aubridge,alone\naudio_source aubridge,alone\naudio_alert aubridge,alone\n\
         module g711.so\nmodule aubridge.so\nmodule_app account.so\nmodule_app menu.so\n",
        world.folder.path().join("ca.pem").display()
    );
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).map_err(|e| e.to_string());
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    write("config", &config)?;
    write("accounts", account)?;
    write("contacts", "")?;
    let mut command = Command::new("baresip");
    let mut phone = Program::start(
        "baresip",
        command.args(["-4", "-s", "-f"]).arg(&folder).args(more),
        world.folder.path(),
    )?;
    phone.wait_until(PHONE, |printed| printed.contains("baresip is ready"))?;
    Ok(phone)
}
