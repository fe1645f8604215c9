//! Who writes down what is said: recordings and messages, each kind by a thread of its own; and for how long it is kept.

use std::io;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::engine::clock::Clock;
use crate::media::reel::{Ending, Event, GivenUp, Kind, Recorder, Reels, Settings, Shelf, Whole};

/// How often old recordings are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(86_400);
/// So many are removed at once, and then it is paused: a thousand in a second leave the disk to those that are written.
const SWEEP_STEP: usize = 100;
const SWEEP_PAUSE: Duration = Duration::from_millis(100);

/// The threads that write, until the node ends.
pub(super) struct Audio {
    recordings: Reels,
    messages: Reels,
}

impl Audio {
    /// Makes whole what a crash cut off, and begins.
    pub fn open(data_dir: &Path) -> io::Result<Audio> {
        let open = |kind: Kind| {
            let folder = data_dir.join(kind.folder());
            let (reels, events) = Reels::open(folder, Settings::default())?;
            let teller = Teller { kind, data_dir: data_dir.into() };
            let mended = reels.mended();
            if !mended.whole.is_empty() {
                let (count, noun) = (mended.whole.len(), kind.noun());
                tracing::warn!(count, "{noun}s that an earlier process left were made whole");
            }
            for Whole { call, path, duration } in &mended.whole {
                teller.ready(call, path, *duration, Ending::CutOff);
            }
            let name = kind.folder().to_owned();
            std::thread::Builder::new().name(name).spawn(move || teller.tell(&events))?;
            Ok::<Reels, io::Error>(reels)
        };
        Ok(Audio { recordings: open(Kind::Recording)?, messages: open(Kind::Message)? })
    }

    pub fn recordings(&self) -> Recorder {
        self.recordings.recorder()
    }

    pub fn messages(&self) -> Recorder {
        self.messages.recorder()
    }
}

/// Logs what became of them.
struct Teller {
    kind: Kind,
    data_dir: Box<Path>,
}

impl Teller {
    /// Ends with the thread that tells it.
    fn tell(&self, events: &Receiver<Event>) {
        let noun = self.kind.noun();
        for event in events {
            match event {
                Event::Ready { call, path, duration, end } => self.ready(&call, &path, duration, end),
                Event::Refused { call, why } => tracing::warn!(%call, %why, "no {noun}"),
                Event::Failed { call, error } => tracing::error!(%call, %error, "no {noun}"),
            }
        }
    }

    /// `strowger.recording.ready` and `strowger.voicemail.ready`: always these fields, the file within `data_dir`, and
    /// the id that `/v1/recordings` and `/v1/voicemails` take.
    fn ready(&self, call: &str, path: &Path, duration: Duration, end: Ending) {
        let event = match self.kind {
            Kind::Recording => "strowger.recording.ready",
            Kind::Message => "strowger.voicemail.ready",
        };
        let file = path.strip_prefix(&*self.data_dir).unwrap_or(path).display();
        let (seconds, noun) = (duration.as_secs_f64(), self.kind.noun());
        let end = match end {
            Ending::Whole | Ending::Running => None,
            Ending::CutOff => Some("cut off"),
            Ending::Disk => Some("the disk"),
        };
        tracing::info!(event, id = call, call, %file, seconds, end, "{noun} ready");
    }
}

/// Removes recordings and messages that are older than so many days, as long as the node runs; 0 = never.
pub(super) async fn give_up_old_ones(data_dir: Box<Path>, days: u32, clock: Clock) {
    if days == 0 {
        return;
    }
    let mut every = tokio::time::interval(SWEEP_EVERY);
    loop {
        every.tick().await;
        for kind in Kind::ALL {
            let removed = sweep(&Shelf::new(&data_dir, kind), days, clock).await;
            if removed > 0 {
                let noun = kind.noun();
                tracing::info!(removed, days, "{noun}s that are too old were removed");
            }
        }
    }
}

/// One step after another, until there is nothing to do.
async fn sweep(shelf: &Shelf, days: u32, clock: Clock) -> usize {
    let mut all = 0;
    loop {
        let (shelf, now) = (shelf.clone(), clock.read().now.wall);
        let step = tokio::task::spawn_blocking(move || shelf.give_up(now, days, SWEEP_STEP)).await;
        let Ok(GivenUp { removed, failed, error }) = step else { return all };
        all += removed;
        if removed == 0 {
            if let Some(error) = error {
                tracing::error!(failed, %error, "recordings that are too old cannot be removed");
            }
            return all;
        }
        tokio::time::sleep(SWEEP_PAUSE).await;
    }
}
