//! Who writes down what is said: recordings and messages, each kind by a thread of its own.

use std::io;
use std::path::Path;
use std::sync::mpsc::Receiver;

use crate::media::reel::{Event, Recorder, Reels, Settings};

/// The threads that write, until the node ends.
pub(super) struct Audio {
    recordings: Reels,
    messages: Reels,
}

impl Audio {
    /// Makes whole what a crash cut off, and begins.
    pub fn open(data_dir: &Path) -> io::Result<Audio> {
        let open = |folder: &'static str, what: &'static str| {
            let (reels, events) = Reels::open(data_dir.join(folder), Settings::default())?;
            let mended = reels.mended();
            if !mended.whole.is_empty() {
                tracing::warn!(
                    count = mended.whole.len(),
                    "{what}s that an earlier process left were made whole"
                );
            }
            std::thread::Builder::new().name(folder.to_owned()).spawn(move || tell(&events, what))?;
            Ok::<Reels, io::Error>(reels)
        };
        Ok(Audio { recordings: open("recordings", "recording")?, messages: open("voicemail", "message")? })
    }

    pub fn recordings(&self) -> Recorder {
        self.recordings.recorder()
    }

    pub fn messages(&self) -> Recorder {
        self.messages.recorder()
    }
}

/// Logs what became of them. Ends with the thread that tells it.
fn tell(events: &Receiver<Event>, what: &'static str) {
    for event in events {
        match event {
            Event::Ready { call, duration, .. } => {
                tracing::info!(%call, seconds = duration.as_secs_f64(), "{what} ready");
            }
            Event::Refused { call, why } => tracing::warn!(%call, %why, "no {what}"),
            Event::Failed { call, error } => tracing::error!(%call, %error, "no {what}"),
        }
    }
}
