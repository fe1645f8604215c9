//! SIPp as carrier and far end: programs that are not ours offer the calls whose cost is measured.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::load::Ports;
use crate::message::NUMBERS;
use crate::process::Program;

/// SIPp writes its figures every second: after so long the far end's are on disk.
pub const SETTLE: Duration = Duration::from_millis(1_200);

/// From the 200 to the BYE. Long enough that the two are not handled in one wake-up.
const HOLD: Duration = Duration::from_millis(500);

/// What SIPp counted.
#[derive(Clone, Copy, Default)]
pub struct Counted {
    pub completed: u64,
    pub failed: u64,
    /// By either end.
    pub retransmissions: u64,
}

/// Offers `rate` calls a second for `seconds` and sees them through.
pub fn offer(ports: Ports, rate: u32, seconds: u32, folder: &Path) -> Result<Counted, String> {
    let numbers = numbers(folder)?;
    let scenario = |name: &str| format!("{}/benches/peers/{name}.xml", env!("CARGO_MANIFEST_DIR"));
    let sipp = |name: &str, port: u16| {
        let figures = folder.join(format!("{name}.csv"));
        fs::remove_file(&figures).ok();
        let mut command = Command::new("sipp");
        command.args([
            "-sf",
            &scenario(name),
            "-i",
            "127.0.0.1",
            "-mi",
            "127.0.0.1",
            "-p",
            &port.to_string(),
        ]);
        command.args(["-nostdin", "-trace_stat", "-fd", "1", "-stf"]).arg(&figures);
        (command, figures)
    };
    let (mut far, far_figures) = sipp("far", ports.far);
    let far = Program::start("far", &mut far, folder)?;
    // The far end's sockets are there before its first figures are.
    thread::sleep(Duration::from_millis(300));
    let (mut carrier, carrier_figures) = sipp("carrier", ports.caller);
    let calls = rate * seconds;
    carrier.arg("-inf").arg(&numbers);
    carrier.args(["-r", &rate.to_string(), "-m", &calls.to_string(), "-l", &calls.to_string()]);
    carrier.args(["-d", &HOLD.as_millis().to_string(), &format!("127.0.0.1:{}", ports.server)]);
    let mut carrier = Program::start("carrier", &mut carrier, folder)?;
    // SIPp's exit code says whether a call failed; its figures say how many.
    carrier.wait(Duration::from_secs(u64::from(seconds) * 2 + 60))?;
    thread::sleep(SETTLE);
    drop(far);
    let counted = figures(&carrier_figures).map_err(|e| format!("{e}\n{}", carrier.last_words()));
    let (mut counted, far) = (counted?, figures(&far_figures)?);
    counted.retransmissions += far.retransmissions;
    Ok(counted)
}

/// The dialled numbers for SIPp's `-inf`, every row once, neighbours in time no neighbours in the table.
fn numbers(folder: &Path) -> Result<PathBuf, String> {
    let path = folder.join("numbers.csv");
    if !path.exists() {
        let mut text = String::from("SEQUENTIAL\n");
        for call in 0..NUMBERS {
            writeln!(text, "+1555{:07}", call * 7_919 % NUMBERS).map_err(|e| e.to_string())?;
        }
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(path)
}

/// The last line of SIPp's figures.
fn figures(path: &Path) -> Result<Counted, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let names: Vec<&str> = text.lines().next().unwrap_or_default().split(';').collect();
    let values: Vec<&str> = text.lines().last().unwrap_or_default().split(';').collect();
    let get = |wanted: &str| {
        let at = names.iter().position(|name| *name == wanted);
        at.and_then(|at| values.get(at)?.trim().parse().ok()).ok_or(format!("SIPp counts no {wanted}"))
    };
    Ok(Counted {
        completed: get("SuccessfulCall(C)")?,
        failed: get("FailedCall(C)")?,
        retransmissions: get("Retransmissions(C)")?,
    })
}
