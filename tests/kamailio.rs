//! An SBC that is not ours: Debian's Kamailio stands in the path of every call, to and from carriers and phones, and
//! hides one side from the other where it is told to. Its configuration is in `tests/kamailio/`.

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod support;

use std::fs;
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use support::baresip::{self, PHONE};
use support::process::{Program, free_ports, until};
use support::{DID, Outcome, Sipp, World, own_host};

const FORWARD: &str = "forward_to = \"+12015550199\"";
const CAROL: &str = "ring = [\"carol\"]";

/// How long Kamailio may take to listen, and to have said what it did.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where Debian has the empty tables for topology hiding.
const TABLES: &str = "/usr/share/kamailio/dbtext/kamailio";

/// By what the SBC speaks with the node.
#[derive(Clone, Copy, Debug)]
enum By {
    Udp,
    Tcp,
}

/// What the SBC does to the addresses of one side that the other would see.
#[derive(Clone, Copy, Debug)]
enum Hiding {
    Nothing,
    /// Masks them, so that a request finds its way by the route alone.
    Masks,
    /// Takes them off, the route too, and keeps them.
    Strips,
}

impl By {
    fn token(self) -> &'static str {
        match self {
            By::Udp => "udp",
            By::Tcp => "tcp",
        }
    }
}

impl Hiding {
    fn config(self) -> &'static str {
        match self {
            Hiding::Nothing => "",
            Hiding::Masks => include_str!("kamailio/topoh.cfg"),
            Hiding::Strips => include_str!("kamailio/topos.cfg"),
        }
    }
}

/// The node behind the SBC: calls come from it and go out through it.
struct Behind {
    world: World,
    host: IpAddr,
    /// Where carriers and phones find the SBC.
    outside: u16,
    edge: Program,
}

impl Behind {
    fn start(number: &str, by: By, hiding: Hiding) -> Result<Behind, String> {
        Behind::start_so(number, by, hiding, &[], "")
    }

    /// The same with options of Kamailio's, and more keys for the trunk whose gateway it is.
    fn start_so(
        number: &str,
        by: By,
        hiding: Hiding,
        options: &[&str],
        trunk: &str,
    ) -> Result<Behind, String> {
        let (host, token) = (own_host(), by.token());
        let [inside, outside] = free_ports(host)?;
        let world = World::start_with(
            number,
            &format!(
                "gateways = [{{ uri = \"sip:{host}:{inside};transport={token}\" }}]\noptions_interval = 0\n{trunk}\n\
                 [[trunk]]\nname = \"edge\"\nfrom = [\"{host}\"]\noptions_interval = 0"
            ),
        )?;
        let folder = world.folder.path().join("kamailio");
        let tables = folder.join("tables");
        fs::create_dir_all(&tables).map_err(|e| e.to_string())?;
        if let Hiding::Strips = hiding {
            for table in ["topos_d", "topos_t", "version"] {
                let empty = fs::read_to_string(Path::new(TABLES).join(table))
                    .map_err(|e| format!("{TABLES}/{table}: {e}"))?;
                // It writes rows that its own tables do not allow.
                fs::write(tables.join(table), empty.replace("(string)", "(string,null)"))
                    .map_err(|e| e.to_string())?;
            }
        }
        let text = include_str!("kamailio/edge.cfg")
            .replace("# @HIDING@", hiding.config())
            .replace("@FOLDER@", &folder.display().to_string())
            .replace("@HOST@", &host.to_string())
            .replace("@INSIDE@", &inside.to_string())
            .replace("@OUTSIDE@", &outside.to_string())
            .replace("@TRANSPORT@", token)
            .replace("@NODE@", &format!("{}:{}", world.host, world.sip))
            .replace("@GATEWAY@", &format!("{}:{}", world.host, world.gateway));
        let config = folder.join("kamailio.cfg");
        fs::write(&config, text).map_err(|e| e.to_string())?;
        let mut command = Command::new("kamailio");
        // In the foreground, little memory, its sockets and pid file in its own folder.
        command
            .args(["-DD", "-E", "-m", "64", "-M", "8", "-Y"])
            .arg(&folder)
            .arg("-f")
            .arg(&config)
            .args(options);
        let edge = Program::start("edge", command.process_group(0), &folder)?;
        let node = Behind { world, host, outside, edge };
        let ready = until(PATIENCE, || support::is_bound("udp", outside) && support::is_bound(token, inside));
        ready.then_some(()).ok_or_else(|| format!("Kamailio does not listen: {}", node.edge.last_words()))?;
        Ok(node)
    }

    /// A SIPp that calls through the SBC.
    fn caller(&self, scenario: &str, port: u16, more: &[&str]) -> Result<Sipp, String> {
        self.world.caller_by((self.host, self.outside), scenario, port, more)
    }

    /// What a scenario said; where it failed, with what the SBC printed.
    fn end(&self, sipp: Sipp) -> Result<String, String> {
        sipp.finish().map_err(|e| format!("{e}\nKamailio printed:\n{}", self.edge.last_words()))
    }

    /// The SBC has done so much, each so often.
    fn has(&self, done: &[(&str, usize)]) -> Outcome {
        let so = |printed: &str| done.iter().all(|(what, count)| printed.matches(what).count() == *count);
        until(PATIENCE / 10, || so(&self.edge.printed()));
        let printed = self.edge.printed();
        // Of what it makes itself, for who is outside and from its timer, its masking says that it is no whole message.
        let is_wrong = |line: &&str| {
            line.contains("ERROR") && !line.contains("th_prepare_msg") || line.contains("without a route")
        };
        let error = printed.lines().find(is_wrong);
        match (so(&printed), error) {
            (true, None) => Ok(()),
            (_, Some(error)) => Err(format!("{error}\n{printed}")),
            (false, None) => Err(format!("not {done:?}:\n{printed}")),
        }
    }
}

impl Drop for Behind {
    /// Ends it with its group: of its processes one may outlive the first.
    fn drop(&mut self) {
        let group = Pid::from_raw(self.edge.id().cast_signed());
        self.edge.end();
        killpg(group, Signal::SIGKILL).ok();
    }
}

/// Every way in which the SBC may stand there.
fn each(test: impl Fn(By, Hiding) -> Outcome) -> Outcome {
    for by in [By::Udp, By::Tcp] {
        for hiding in [Hiding::Nothing, Hiding::Masks, Hiding::Strips] {
            test(by, hiding).map_err(|e| format!("{by:?}, {hiding:?}: {e}"))?;
        }
    }
    Ok(())
}

fn is(cdr: &Value, key: &str, wanted: &str) -> Outcome {
    (cdr[key] == wanted).then_some(()).ok_or_else(|| format!("{key} is not {wanted}: {cdr:#}"))
}

#[test]
fn a_call_comes_in_and_goes_out_through_an_sbc_and_is_ended_from_either_side() -> Outcome {
    each(|by, hiding| {
        let node = Behind::start(FORWARD, by, hiding)?;
        let phone = node.world.phone("phone_answers", node.world.gateway, &["-d", "50"])?;
        node.end(node.caller("caller_talks", node.world.carrier, &["-d", "50"])?)?;
        node.end(phone)?;
        // In and out, and by the route of each dialog.
        node.has(&[("INVITE in", 1), ("INVITE out", 1), ("ACK by its route", 2), ("BYE by its route", 2)])?;
        is(&node.world.cdr()?, "ended_by", "caller")?;

        let phone = node.world.phone("phone_hangs_up", node.world.gateway, &["-d", "50"])?;
        node.end(node.caller("caller_listens", node.world.carrier, &[])?)?;
        node.end(phone)?;
        node.has(&[("INVITE out", 2), ("ACK by its route", 4), ("BYE by its route", 4)])?;
        let cdr = node.world.cdrs(2)?.pop().ok_or("no record")?;
        is(&cdr, "ended_by", "callee")?;
        is(&cdr, "trunk", "edge")?;
        is(&cdr, "outcome", "answered")
    })
}

#[test]
fn r11_hold_update_and_info_go_through_an_sbc() -> Outcome {
    each(|by, hiding| {
        let node = Behind::start(FORWARD, by, hiding)?;
        let phone = node.world.phone("phone_is_held", node.world.gateway, &[])?;
        let caller = node.end(node.caller("caller_holds", node.world.carrier, &[])?)?;
        let phone = node.end(phone)?;
        assert!(phone.contains("offered a=sendonly") && phone.contains("offered a=sendrecv"), "{phone}");
        assert!(caller.contains("answered a=recvonly"), "{caller}");
        node.has(&[("INVITE by its route", 4), ("ACK by its route", 6), ("BYE by its route", 2)])?;

        let phone = node.world.phone("phone_is_updated", node.world.gateway, &[])?;
        let caller = node.end(node.caller("caller_updates", node.world.carrier, &[])?)?;
        let phone = node.end(phone)?;
        assert!(phone.contains("offered a=sendonly"), "{phone}");
        assert!(caller.contains("answered a=recvonly") && caller.contains("informed Signal=5"), "{caller}");
        node.has(&[("UPDATE by its route", 2), ("INFO by its route", 2), ("BYE by its route", 4)])?;
        node.world.cdrs(2)?.iter().try_for_each(|cdr| is(cdr, "outcome", "answered"))
    })
}

#[test]
fn a_caller_behind_an_sbc_gives_up_and_a_busy_phone_is_told() -> Outcome {
    each(|by, hiding| {
        let node = Behind::start(FORWARD, by, hiding)?;
        let phone = node.world.phone("phone_rings", node.world.gateway, &[])?;
        node.end(node.caller("caller_cancels", node.world.carrier, &[])?)?;
        node.end(phone)?;
        is(&node.world.cdr()?, "outcome", "cancelled")?;
        let phone = node.world.phone("phone_is_busy", node.world.gateway, &[])?;
        let said =
            node.end(node.caller("caller_is_refused", node.world.carrier, &["-key", "hops", "70"])?)?;
        node.end(phone)?;
        assert!(said.contains("final 486"), "{said}");
        node.has(&[("INVITE in", 2), ("INVITE out", 2)])?;
        is(node.world.cdrs(2)?.last().ok_or("no record")?, "outcome", "busy")
    })
}

#[test]
fn a_phone_that_registers_through_an_sbc_is_rung_through_it_and_calls_out_through_it() -> Outcome {
    let account = ["-au", "carol", "-ap", "swordfish"];
    each(|by, hiding| {
        let node = Behind::start(CAROL, by, hiding)?;
        let (world, at) = (&node.world, node.world.bob);
        let said = node.end(node.caller("carol_registers", at, &account)?)?;
        // RFC 3327 §5.3: it is told its path, which goes through both sides of the SBC.
        assert!(said.contains(&format!("path  <sip:{}:", node.host)), "{said}");

        let phone = world.phone("phone_answers", at, &["-d", "50"])?;
        node.end(node.caller("caller_talks", world.carrier, &["-d", "50"])?)?;
        node.end(phone)?;
        node.has(&[("INVITE by its path", 1), ("INVITE in", 1), ("BYE by its route", 2)])?;
        let cdr = world.cdr()?;
        is(&cdr, "outcome", "answered")?;
        is(&cdr["legs"][1], "target", "carol")?;

        let to = [
            "-s",
            "+12125550188",
            "-d",
            "50",
            "-auth_uri",
            &format!("+12125550188@{}:{}", node.host, node.outside),
        ];
        let gateway = world.phone("phone_answers", world.gateway, &["-d", "50"])?;
        node.end(node.caller("phone_calls_out", at, &[&account[..], &to[..]].concat())?)?;
        node.end(gateway)?;
        node.has(&[("INVITE out", 1), ("INVITE in", 3), ("BYE by its route", 4)])?;
        let cdr = world.cdrs(2)?.pop().ok_or("no record")?;
        is(&cdr, "direction", "outbound")?;
        is(&cdr, "outcome", "answered")?;
        is(&cdr, "presented", DID)
    })
}

#[test]
fn r11_a_phone_behind_an_sbc_sends_its_caller_on() -> Outcome {
    each(|by, hiding| {
        let node = Behind::start(CAROL, by, hiding)?;
        let world = &node.world;
        let gateway = world.phone("phone_hangs_up", world.gateway, &["-d", "300"])?;
        let account = format!(
            "<sip:carol@{}:{}>;auth_user=carol;auth_pass=swordfish;regint=60;answermode=auto;audio_codecs=pcmu\n",
            node.host, node.outside
        );
        let mut carol = baresip::phone(world, world.bob, &account, &[])?;
        carol.wait_until(PHONE, |printed| printed.contains("200 OK"))?;
        let caller = node.caller("caller_is_sent_on", world.carrier, &[])?;
        carol.wait_until(PHONE, |printed| printed.contains("Call established"))?;
        baresip::tell(world, "transfer", "+12125550188")?;
        let told = |e: String| format!("{e}\nbaresip printed:\n{}", carol.printed());
        node.end(gateway).map_err(told)?;
        node.end(caller).map_err(told)?;
        node.has(&[("REFER by its route", 1), ("INVITE by its path", 1), ("INVITE out", 1)])?;
        let cdr = world.cdr()?;
        let of = |leg: usize, key: &str| cdr["legs"][leg][key].as_str().unwrap_or_default().to_owned();
        let ends = [of(1, "target"), of(1, "end"), of(2, "target"), of(2, "role"), of(2, "end")];
        assert_eq!(ends, ["carol", "won", "+12125550188", "transfer", "won"], "{cdr:#}");
        Ok(())
    })
}

/// RFC 3261 §22.3: a proxy asks in each request, and by 407. The carrier's own side of the call it believes.
#[test]
fn r14_a_proxy_that_asks_for_our_password_in_every_request_gets_it() -> Outcome {
    let account = "auth = { username = \"house\", password = \"sesame\" }";
    for by in [By::Udp, By::Tcp] {
        let node = Behind::start_so(FORWARD, by, Hiding::Nothing, &["-A", "ASKS"], account)?;
        let phone = node.world.phone("phone_is_held", node.world.gateway, &[])?;
        node.end(node.caller("caller_holds", node.world.bob, &[])?)?;
        node.end(phone)?;
        node.has(&[
            ("INVITE asked", 3),
            ("INVITE of house", 3),
            ("BYE asked", 1),
            ("BYE of house", 1),
            ("BYE by its route", 2),
        ])?;
        is(&node.world.cdr()?, "outcome", "answered")?;
    }
    Ok(())
}

/// The SBC's own proof: what a side sees of the other.
#[test]
fn what_hides_one_side_shows_nothing_of_the_node() -> Outcome {
    for hiding in [Hiding::Masks, Hiding::Strips] {
        let node = Behind::start(FORWARD, By::Udp, hiding)?;
        let phone = node.world.phone("phone_answers", node.world.gateway, &["-d", "50"])?;
        node.end(node.caller("caller_talks", node.world.carrier, &["-d", "50"])?)?;
        let shown = phone.messages();
        node.end(phone)?;
        let own = format!("{}:{}", node.world.host, node.world.sip);
        let lines = shown.lines().filter(|line| line.starts_with("Contact:") || line.starts_with("Via:"));
        let seen: Vec<&str> = lines.filter(|line| line.contains(&own)).collect();
        assert!(seen.is_empty() && shown.contains("INVITE "), "{hiding:?}: {seen:?}");
    }
    Ok(())
}
