//! A disk that stands still while two talk and are recorded.

use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::thread;

use strowger::media::g711;
use strowger::media::plane::Writing;
use strowger::media::reel::{Event, Format as WavFormat, Reels, Settings, Sheet};
use strowger::time::Wall;
use strowger::volume::{Disk, Log, Space, Volume};

use super::*;

/// How long it stands still.
const STILL: Duration = Duration::from_secs(10);

/// Before and after it does.
const MOVES: Duration = Duration::from_secs(2);

/// Blocks of 64 ms that may wait: two seconds of this call.
const QUEUE: usize = 32;

/// How long a packet may be under way: it is a millisecond here as a rule, and a busy machine makes more of the worst.
const SOON: Duration = Duration::from_millis(5);
const LATE: Duration = Duration::from_millis(250);

/// A disk that stands still when it is told to.
#[derive(Clone, Default)]
struct Told(Arc<(Mutex<bool>, Condvar)>);

struct ToldLog(Box<dyn Log>, Told);

impl Told {
    fn stands_still(&self, still: bool) {
        *self.0.0.lock().expect("nobody panics") = still;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let still = self.0.0.lock().expect("nobody panics");
        drop(self.0.1.wait_while(still, |still| *still).expect("nobody panics"));
    }
}

impl Volume for Told {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Log>> {
        Ok(Box::new(ToldLog(Disk.open(path)?, self.clone())))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        Ok(Space { free: 1 << 39, total: 1 << 40 })
    }
}

impl Log for ToldLog {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.1.wait();
        self.0.write_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

/// The caller talks for so long, and how long each word takes to the other ear.
fn talks(call: &mut Call, lasting: Duration, took: &mut Vec<Duration>) {
    let payload = [g711::encode_pcmu(10_000); 160];
    let begun = Instant::now();
    for word in 1.. {
        let said = Instant::now();
        if said.duration_since(begun) >= lasting {
            return;
        }
        call.caller.says(0, &payload);
        call.called.hears();
        took.push(said.elapsed());
        thread::sleep((Duration::from_millis(20) * word).saturating_sub(begun.elapsed()));
    }
}

#[test]
fn a_disk_that_stands_still_for_10_s_delays_no_word_and_the_gap_is_marked() {
    let (folder, disk) = (tempfile::tempdir().expect("a folder"), Told::default());
    let settings = Settings { volume: Arc::new(disk.clone()), queue: QUEUE };
    let (reels, events) = Reels::open(folder.path().to_owned(), settings).expect("the thread");
    let mut call = Call::talking();
    let recorder = reels.recorder();
    let open = move |rate| {
        let format = WavFormat { channels: 2, rate };
        recorder.start(Sheet::new("still", format, Wall(1_793_527_200_000)), format).ok()
    };
    call.order(Order::Record(Writing(Box::new(open)), CALLER, Some(CALLED)));
    let mut took = Vec::new();
    talks(&mut call, MOVES, &mut took);
    disk.stands_still(true);
    talks(&mut call, STILL, &mut took);
    disk.stands_still(false);
    talks(&mut call, MOVES, &mut took);
    let [caller, _] = call.ends();
    assert_eq!((caller.received as usize, caller.lost), (took.len() + 1, 0));
    took.sort();
    let (median, worst) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    assert!(median < SOON && worst < LATE, "median {median:?}, one in a hundred {worst:?}");
    let event = events.recv_timeout(Duration::from_secs(10)).expect("it is told");
    let Event::Ready { path, duration, .. } = event else { panic!("{event:?}") };
    let said = took.len() as u64 * 20;
    assert!(duration.as_millis().abs_diff(said.into()) < 300, "{duration:?} of {said} ms");
    let sheet = std::fs::read(path.with_extension("json")).expect("a sheet");
    let sheet: Sheet = serde_json::from_slice(&sheet).expect("JSON");
    let gaps: u64 = sheet.gaps.iter().map(|gap| gap.duration_ms).sum();
    // Two seconds wait in the queue, and two may be in the hands of the thread.
    assert!((5_000..=10_500).contains(&gaps), "{:?}", sheet.gaps);
    let mut wav = hound::WavReader::open(&path).expect("a file");
    let left = wav.samples::<i16>().step_by(2).filter(|sample| matches!(sample, Ok(1_000..))).count() as u64;
    let missing = said.saturating_sub(left / 8);
    assert!(missing.abs_diff(gaps) < 300, "{missing} ms are silent, {gaps} ms are said to be");
}
