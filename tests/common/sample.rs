//! The sample configuration, somewhere else.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// Puts it into a folder with that host in place of its own, the ports that each of its ports stands for, and its data
/// there.
pub fn place(config: &Path, data: &Path, host: IpAddr, ports: &[(&str, u16)]) -> io::Result<()> {
    copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config")), config)?;
    let mut files = vec![config.join("strowger.toml")];
    files.extend(fs::read_dir(config.join("routing"))?.flatten().map(|entry| entry.path()));
    for file in files {
        let text = fs::read_to_string(&file)?.replace("127.0.0.1", &host.to_string());
        let data = format!("data_dir = {data:?}");
        let text = ports.iter().fold(text.replace("data_dir = \"data\"", &data), |text, (old, new)| {
            text.replace(&format!(":{old}"), &format!(":{new}"))
        });
        fs::write(file, text)?;
    }
    Ok(())
}

/// A folder and all that is in it.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)?.flatten() {
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
