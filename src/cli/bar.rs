//! How far the reading of large tables has come, drawn for whoever sits at a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::show::thousands;
use crate::config::Progress;

/// What is read sooner is not worth a look.
const SOON: Duration = Duration::from_millis(500);
/// How often it is drawn, a second.
const RATE: u8 = 10;

/// What draws how far it has come, on stderr, and takes that away once it is dropped. None: stderr is no terminal that can.
pub(super) fn on_terminal() -> Option<impl FnMut(Progress)> {
    let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    (is_terminal && !is_dumb).then(|| {
        let (began, mut bar) = (Instant::now(), None);
        move |progress: Progress| {
            if began.elapsed() >= SOON {
                draw(bar.get_or_insert_with(empty), progress, began.elapsed());
            }
        }
    })
}

fn empty() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(RATE));
    match ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn draw(bar: &ProgressBar, progress: Progress, since: Duration) {
    let Progress { numbers, all, read } = progress;
    bar.set_length(all);
    bar.set_message(text(numbers, since));
    bar.set_position(read.min(all));
}

/// `1,234,567 numbers, 617,283 a second`
fn text(numbers: usize, since: Duration) -> String {
    let rate = numbers as u128 * 1000 / since.as_millis().max(1);
    format!("{} numbers, {} a second", thousands(numbers as u128), thousands(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_read_at_a_glance() {
        assert_eq!(text(1_234_567, Duration::from_secs(2)), "1,234,567 numbers, 617,283 a second");
        assert_eq!(text(100, Duration::ZERO), "100 numbers, 100,000 a second");
    }
}
