//! `strowger try`: one call, its ladder as it happens, and what came of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::client::Failed;
use super::{Exit, Out};
use crate::trial::{self, Manner, Trial, Watcher};

/// The longest that a phone rings or a call is held.
const LONGEST: f64 = 3_600.0;

#[derive(Debug, Args)]
pub struct Try {
    /// The number that is called.
    pub did: String,
    /// The caller's number.
    #[arg(long, value_name = "NUMBER", default_value = "+12025550123")]
    pub from: String,
    /// What the phones do: answer after so many seconds (the first; each further one half a second later), be
    /// busy, or never answer.
    #[arg(long, value_name = "SECONDS|busy|never", default_value = "1", value_parser = manner)]
    pub answer: Manner,
    /// Whoever answers presses 1 when call connect asks for it.
    #[arg(long, value_name = "DIGIT", value_parser = ["1"])]
    pub press: Option<String>,
    /// How long the caller stays on the line; left out: a second, or where audio comes through the node, as long as
    /// it takes to hear it.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub hold: Option<Duration>,
    /// The folder for what caller and phone hear, as try-caller.wav and try-phone.wav; wants [media].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=LONGEST).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Ok(_) | Err(_) => Err(format!("write seconds, 0 to {LONGEST}")),
    }
}

fn manner(text: &str) -> Result<Manner, String> {
    match text {
        "busy" => Ok(Manner::Busy),
        "never" => Ok(Manner::Never),
        other => match seconds(other) {
            Ok(after) => Ok(Manner::Answers(after)),
            Err(why) => Err(format!("{why}, \"busy\" or \"never\"")),
        },
    }
}

/// Ladder to stdout, unless JSON was asked for; remarks to stderr.
struct Shown(Out);

impl Watcher for Shown {
    fn line(&mut self, line: &str) {
        if !self.0.json {
            // Whoever stopped reading does not end the call.
            let _unread = self.0.write(Ok(line.to_owned()));
        }
    }

    fn remark(&mut self, remark: &str) {
        self.0.message(remark);
    }
}

pub(super) fn run(config: &Path, asked: &Try, out: Out) -> Result<Exit, Failed> {
    let trial = Trial {
        folder: config.to_owned(),
        did: asked.did.clone(),
        from: asked.from.clone(),
        manner: asked.answer,
        press: asked.press.is_some(),
        hold: asked.hold,
        out: asked.out.clone().unwrap_or_default(),
    };
    let env = Arc::new(|name: &str| std::env::var(name).ok());
    let told = trial.run(env, &mut Shown(out)).map_err(|failed| match failed {
        trial::Failed::Wrong(said) => Failed::Wrong(said),
        trial::Failed::Unreachable(said) => Failed::Unreachable(said),
    })?;
    out.result(&told, || format!("\n{}", told.text()))?;
    Ok(if told.bridged { Exit::Done } else { Exit::Refused })
}
