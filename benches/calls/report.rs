//! The measurements as a Markdown table: medians, and what they are of.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::server::Kind;

/// One run of SIPp through one server.
pub struct Cost {
    pub round: u32,
    pub rate: u32,
    /// CPU seconds per 1,000 calls.
    pub cpu: f64,
    /// Datagrams that passed the machine per call.
    pub messages: f64,
    pub failed: u64,
    pub retransmissions: u64,
}

/// All that is known of one server.
#[derive(Default)]
pub struct Figures {
    pub costs: Vec<Cost>,
    /// From the caller's INVITE to its 200, microseconds.
    pub setup: Option<Histogram<u64>>,
    /// From the caller's INVITE to the far end's, microseconds.
    pub passage: Option<Histogram<u64>>,
    pub establishment_rate: Option<u32>,
    /// KiB per held call.
    pub memory: Option<f64>,
}

/// The whole report.
pub fn markdown(rates: &[u32], servers: &BTreeMap<Kind, Figures>) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    if servers.values().any(|figures| !figures.costs.is_empty()) {
        costs(&mut text, rates, servers)?;
    }
    others(&mut text, servers)?;
    Ok(text)
}

/// CPU per rate, and how often the bare relay's: the median of the ratios within each round.
fn costs(text: &mut String, rates: &[u32], servers: &BTreeMap<Kind, Figures>) -> std::fmt::Result {
    write!(text, "| CPU s per 1,000 calls (× the bare relay) |")?;
    for rate in rates {
        write!(text, " {rate}/s |")?;
    }
    writeln!(
        text,
        " messages per call | failed | retransmissions |\n|---|{}---|---|---|",
        "---|".repeat(rates.len())
    )?;
    let relay = servers.get(&Kind::Relay);
    for (kind, figures) in servers {
        write!(text, "| {} |", kind.title())?;
        for rate in rates {
            let of_rate = || figures.costs.iter().filter(|cost| cost.rate == *rate);
            let ratio = |cost: &Cost| {
                let floor =
                    relay?.costs.iter().find(|floor| (floor.rate, floor.round) == (cost.rate, cost.round))?;
                Some(cost.cpu / floor.cpu)
            };
            write!(text, " {:.3}", median(of_rate().map(|cost| cost.cpu)))?;
            if *kind != Kind::Relay {
                write!(text, " ({:.1} ×)", median(of_rate().filter_map(ratio)))?;
            }
            write!(text, " |")?;
        }
        let messages = median(figures.costs.iter().map(|cost| cost.messages));
        let failed: u64 = figures.costs.iter().map(|cost| cost.failed).sum();
        let again: u64 = figures.costs.iter().map(|cost| cost.retransmissions).sum();
        writeln!(text, " {messages:.1} | {failed} | {again} |")?;
    }
    writeln!(text)
}

fn others(text: &mut String, servers: &BTreeMap<Kind, Figures>) -> std::fmt::Result {
    let said = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    writeln!(
        text,
        "| | INVITE to 200, ms: p50 / p99 / p99.9 | INVITE in to INVITE out, ms: p50 / p99 | \
         calls/s without a failed one | KiB per held call |\n|---|---|---|---|---|"
    )?;
    for (kind, figures) in servers {
        let at = |times: &Histogram<u64>, share: f64| {
            let time = Duration::from_micros(times.value_at_quantile(share));
            format!("{:.2}", time.as_secs_f64() * 1_000.0)
        };
        let setup =
            figures.setup.as_ref().map(|times| [0.5, 0.99, 0.999].map(|share| at(times, share)).join(" / "));
        let passage =
            figures.passage.as_ref().map(|times| [0.5, 0.99].map(|share| at(times, share)).join(" / "));
        let rate = figures.establishment_rate.map(|rate| rate.to_string());
        let memory = figures.memory.map(|memory| format!("{memory:.1}"));
        let title = kind.title();
        writeln!(
            text,
            "| {title} | {} | {} | {} | {} |",
            said(setup),
            said(passage),
            said(rate),
            said(memory)
        )?;
    }
    Ok(())
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match (values.get((values.len().max(1) - 1) / 2), values.get(values.len() / 2)) {
        (Some(low), Some(high)) => low.midpoint(*high),
        _ => f64::NAN,
    }
}
