//! The metrics of the contract, described before the first is counted, and rendered for Prometheus.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Bounds of `setup_seconds`: from well below a millisecond, where we belong, to where a caller notices.
const SETUP: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.0025, 0.0035, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.5, 1.0,
];
/// Bounds of `answer_seconds`: how long people let it ring.
const ANSWER: [f64; 10] = [1.0, 2.0, 4.0, 6.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0];

/// How often histograms are emptied into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// What of the process can be rendered as `/metrics`.
#[derive(Clone)]
pub struct Metrics(Option<PrometheusHandle>);

impl Metrics {
    /// Installs the process's recorder at the first call; later calls give the same.
    ///
    /// Before it, counting goes nowhere: a node installs it before its shards fetch their counters. When the
    /// process has a recorder of another kind, `/metrics` stays empty.
    pub fn install() -> Metrics {
        Metrics(HANDLE.get_or_init(installed).clone())
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        self.0.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }

    /// Moves what histograms collect into their buckets every few seconds, for ever: memory stays bounded while
    /// nobody asks, with `[admin]` and without.
    pub async fn upkeep(self) {
        let Some(handle) = self.0 else { return };
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            handle.run_upkeep();
        }
    }
}

fn installed() -> Option<PrometheusHandle> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(full("strowger_setup_seconds"), &SETUP)
        .and_then(|builder| builder.set_buckets_for_metric(full("strowger_answer_seconds"), &ANSWER));
    let handle = match builder.and_then(PrometheusBuilder::install_recorder) {
        Ok(handle) => handle,
        Err(error) => {
            tracing::error!(%error, "/metrics will be empty");
            return None;
        }
    };
    describe();
    metrics::gauge!("strowger_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Some(handle)
}

fn describe() {
    for (name, what) in [
        ("calls_total", "Calls that have ended, by direction and outcome."),
        ("sip_messages_total", "SIP messages, by dir (in, out), kind (method or class) and transport."),
        ("sip_retransmissions_total", "SIP messages that were repeated, by dir."),
        ("rejected_total", "Requests that were refused before they became a call, by reason."),
        ("queue_full_total", "How often a queue was full and what came was refused or dropped, by queue."),
        ("rtp_packets_total", "RTP packets that came (in), and that left, relayed or said by us (out)."),
        ("rtp_dropped_total", "RTP packets that went no further, by reason."),
        ("media_faults_total", "Calls whose audio a bug has ended."),
        ("udp_dropped_total", "Datagrams that the kernel dropped before we read them."),
        ("recordings_total", "Recordings, by outcome (whole, cut, failed, refused)."),
        ("recording_gaps_total", "Stretches of recordings that the disk was too slow for."),
        ("store_errors_total", "Failed writes of call records; each is tried again."),
    ] {
        describe_counter!(format!("strowger_{name}"), what);
    }
    for (name, what) in [
        ("calls_active", "Calls in progress."),
        ("legs_active", "Legs that are called or talk, the callers' included."),
        ("transactions_active", "SIP transactions in progress."),
        ("trunk_calls_active", "Calls in progress on a trunk, both ways."),
        ("registrations", "Contacts that agents have registered."),
        ("queue_depth", "What waits in a queue."),
        ("config_generation", "The generation of the configuration that is served."),
        ("config_numbers", "The numbers in it."),
        ("media_threads", "Threads that carry audio and live."),
        ("media_calls", "Calls whose audio they carry."),
        ("build_info", "1; its labels say what runs."),
    ] {
        describe_gauge!(format!("strowger_{name}"), what);
    }
    describe_histogram!(
        "strowger_setup_seconds",
        Unit::Seconds,
        "From the caller's INVITE to the last leg's."
    );
    describe_histogram!("strowger_answer_seconds", Unit::Seconds, "From the caller's INVITE to our 200.");
}
