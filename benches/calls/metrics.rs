//! What a node counts, read from its `/metrics`.

use std::collections::BTreeMap;

/// The gauges that count what lives.
pub const GAUGES: [&str; 3] =
    ["strowger_calls_active", "strowger_legs_active", "strowger_transactions_active"];

/// All of it, as the node that listens there writes it.
pub fn read(admin: u16) -> Result<String, String> {
    let mut answer =
        ureq::get(format!("http://127.0.0.1:{admin}/metrics")).call().map_err(|e| e.to_string())?;
    answer.body_mut().read_to_string().map_err(|e| e.to_string())
}

/// The sum over all labels.
pub fn total(metrics: &str, name: &str) -> u64 {
    each(metrics, name).values().sum()
}

/// The values by their labels, as they are written.
pub fn each(metrics: &str, name: &str) -> BTreeMap<String, u64> {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.starts_with(['{', ' ']).then(|| rest.rsplit_once(' '))??;
        Some((labels.to_owned(), value.parse::<f64>().ok()? as u64))
    });
    values.collect()
}

/// By how much each has grown; those that have not are left out.
pub fn growth(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = after.iter().map(|(label, value)| {
        (label.clone(), value.saturating_sub(before.get(label).copied().unwrap_or_default()))
    });
    grown.filter(|(_, by)| *by > 0).collect()
}

/// The gauges that are not zero.
pub fn alive(metrics: &str) -> Vec<String> {
    let values = GAUGES.iter().map(|gauge| (gauge, total(metrics, gauge)));
    values.filter(|(_, value)| *value > 0).map(|(gauge, value)| format!("{gauge} {value}")).collect()
}
