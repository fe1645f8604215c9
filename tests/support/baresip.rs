//! Debian's baresip: a soft phone that is not ours.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::process::{Program, free_ports};
use super::{Outcome, World};

/// How long baresip may take until it is ready, and until it has noticed the end of a call.
pub const PHONE: Duration = Duration::from_secs(10);

/// Where distributions put its modules.
const MODULES: [&str; 3] = [
    "/usr/lib/baresip/modules",
    "/usr/lib/x86_64-linux-gnu/baresip/modules",
    "/usr/local/lib/baresip/modules",
];

/// A phone with that account.
pub fn phone(world: &World, port: u16, account: &str, more: &[&str]) -> Result<Program, String> {
    let folder = world.folder.path().join("baresip");
    let host = world.host;
    let [keys] = free_ports(host)?;
    let modules = MODULES.iter().find(|path| Path::new(path).is_dir());
    let modules = modules.ok_or_else(|| format!("baresip's modules are in none of {MODULES:?}"))?;
    let config = format!(
        "module_path {modules}\nsip_listen {host}:{port}\nsip_cafile {}\nnet_interface {host}\n\
         audio_player aubridge,alone\naudio_source aubridge,alone\naudio_alert aubridge,alone\n\
         module g711.so\nmodule aubridge.so\nmodule_app account.so\nmodule_app menu.so\n\
         module_app ctrl_tcp.so\nctrl_tcp_listen {host}:{keys}\ncall_hold_other_calls no\n",
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

/// Types a command into the phone, as its user would.
pub fn tell(world: &World, command: &str, with: &str) -> Outcome {
    let said = serde_json::json!({ "command": command, "params": with }).to_string();
    let config = fs::read_to_string(world.folder.path().join("baresip/config")).map_err(|e| e.to_string())?;
    let keys = config.lines().find_map(|line| line.strip_prefix("ctrl_tcp_listen ")).unwrap_or_default();
    let mut keys = TcpStream::connect(keys).map_err(|e| e.to_string())?;
    // In one piece: it reads what comes at once.
    let typed = format!("{}:{said},", said.len());
    keys.write_all(typed.as_bytes()).map_err(|e| e.to_string())?;
    // It has done it when it says so.
    let mut answer = [0; 64];
    match keys.read(&mut answer).map_err(|e| e.to_string())? {
        0 => Err(format!("baresip has not done {typed}")),
        _ => Ok(()),
    }
}
