//! What the kernel says that a server has used, its children included.

use std::fs;
use std::io;

/// The process and all that it has begotten.
fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name stands in parentheses and may hold anything; then come the state and the parent.
            let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
            Some((id, parent))
        })
        .collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    family
}

/// CPU time in nanoseconds, user and system together, of every living thread: `schedstat` counts what the
/// scheduler gave, to the nanosecond, where `stat` has ticks of 10 ms.
pub fn cpu(root: u32) -> io::Result<u64> {
    let mut sum = 0;
    for process in tree(root) {
        for task in fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
            let text = fs::read_to_string(task.path().join("schedstat"))?;
            sum += text.split_whitespace().next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(sum)
}

/// Resident memory in KiB; a page that several processes share counts in parts (PSS).
pub fn memory(root: u32) -> io::Result<u64> {
    let mut sum = 0;
    for process in tree(root) {
        let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        sum += line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// How many sockets the process has.
pub fn sockets(process: u32) -> io::Result<usize> {
    let open = fs::read_dir(format!("/proc/{process}/fd"))?.flatten();
    let kinds = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    Ok(kinds.filter(|kind| kind.to_string_lossy().starts_with("socket:")).count())
}

/// Datagrams that this machine has delivered so far, to any socket.
pub fn datagrams() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let received = pairs.find(|(name, _)| *name == "InDatagrams").and_then(|(_, value)| value.parse().ok());
    received.ok_or_else(|| io::Error::other("/proc/net/snmp counts no InDatagrams"))
}

/// Datagrams that the kernel dropped because the buffer of the socket at this port was full.
pub fn dropped(port: u16) -> io::Result<u64> {
    let text = fs::read_to_string("/proc/net/udp")?;
    let here = format!(":{port:04X}");
    let sockets = text
        .lines()
        .filter(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(here.as_str())));
    Ok(sockets.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum())
}

/// The machine, for the table's caption.
pub fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown CPU", |(_, name)| name.trim());
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}
