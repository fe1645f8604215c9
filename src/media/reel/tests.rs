use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Condvar;
use std::time::Instant;

use super::*;
use crate::media::tape::Rate;
use crate::volume::{Disk, Log, Space};

/// 2026-11-01T10:00:00Z.
const STARTED: Wall = Wall(1_793_527_200_000);
const STEREO: Format = Format { channels: 2, rate: Rate::Narrow };
const PATIENCE: Duration = Duration::from_secs(20);

/// Frames of a block.
const BLOCK: usize = 512;

/// What the folder of a call that began then is.
const DAY: &str = "recordings/2026/11/01";

/// A disk that does as it is told.
#[derive(Clone, Default)]
struct Told(Arc<Order>);

#[derive(Default)]
struct Order {
    stands_still: Mutex<bool>,
    moves: Condvar,
    /// Bytes that it still takes; none: all.
    takes: Mutex<Option<u64>>,
    space: Mutex<Option<Space>>,
}

struct ToldLog(Box<dyn Log>, Arc<Order>);

impl Told {
    fn stand_still(&self, still: bool) {
        *self.0.stands_still.lock().unwrap() = still;
        self.0.moves.notify_all();
    }

    fn free(&self, free: u64) {
        *self.0.space.lock().unwrap() = Some(Space { free, total: 1 << 40 });
    }
}

impl Volume for Told {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Log>> {
        Ok(Box::new(ToldLog(Disk.open(path)?, Arc::clone(&self.0))))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.0.space.lock().unwrap().map_or_else(|| Disk.space(path), Ok)
    }
}

impl Log for ToldLog {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let still = self.1.stands_still.lock().unwrap();
        drop(self.1.moves.wait_while(still, |still| *still).unwrap());
        if let Some(takes) = &mut *self.1.takes.lock().unwrap() {
            let taken = (bytes.len() as u64).min(*takes);
            *takes -= taken;
            if taken < bytes.len() as u64 {
                self.0.write_at(offset, &bytes[..taken as usize])?;
                return Err(nix::errno::Errno::ENOSPC.into());
            }
        }
        self.0.write_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

/// A folder in memory, where there is one: what is tested is not the machine's disk.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn opened(folder: &Path, disk: &Told, queue: usize) -> (Reels, Receiver<Event>) {
    disk.free(1 << 39);
    Reels::open(folder.join("recordings"), Settings { volume: Arc::new(disk.clone()), queue }).unwrap()
}

/// The thread, driven by hand.
fn by_hand(folder: &Path, disk: &Told) -> (Writer, Recorder, Receiver<Event>) {
    let (items, queue) = sync_channel(64);
    let (events, told) = sync_channel(64);
    let shared = Arc::new(Shared::default());
    let recordings = folder.join("recordings");
    volume::make_folder(&recordings).unwrap();
    let writer = Writer::new(recordings, Arc::new(disk.clone()), queue, events, Arc::clone(&shared));
    (writer, Recorder { items, shared }, told)
}

fn sheet(call: &str) -> Sheet {
    Sheet { did: Some("+12015550101".into()), ..Sheet::new(call, STEREO, STARTED) }
}

/// The block of that number: each frame says which it is.
fn block(number: usize) -> Vec<i16> {
    (number * BLOCK..(number + 1) * BLOCK).flat_map(|frame| [frame as i16 | 1, -1]).collect()
}

/// Reads a file as others would: by its header. The samples, and the sheet.
fn read(folder: &Path, call: &str) -> (Vec<[i16; 2]>, Sheet) {
    let path = folder.join(DAY).join(format!("{call}.wav"));
    let bytes = fs::read(&path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((&bytes[..4], &bytes[8..16], &bytes[36..40]), (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..]));
    assert_eq!((word(4), word(40)), (bytes.len() - 8, bytes.len() - 44));
    // PCM, two channels, 8,000 Hz, 32,000 bytes a second, four a frame, 16 bits.
    assert_eq!((word(16), word(20), word(24)), (16, 2 << 16 | 1, 8_000));
    assert_eq!((word(28), word(32)), (32_000, 16 << 16 | 4));
    let sample = |bytes: &[u8]| i16::from_le_bytes([bytes[0], bytes[1]]);
    let frames = bytes[44..].chunks_exact(4).map(|frame| [sample(frame), sample(&frame[2..])]).collect();
    let sheet = fs::read(path.with_extension("json")).unwrap();
    (frames, serde_json::from_slice(&sheet).unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let inside = fs::read_dir(folder.join(DAY)).into_iter().flatten();
    let mut names: Vec<_> = inside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_recording_is_whole_with_its_sheet_when_it_is_told_of() {
    let (folder, disk) = (folder(), Told::default());
    let (reels, told) = opened(folder.path(), &disk, QUEUE);
    let mut reel = reels.recorder().start(sheet("call-1"), STEREO).unwrap();
    reel.notice_said(Wall(STARTED.0 + 20));
    (0..50).for_each(|number| reel.write(&block(number)));
    reel.write(&[7, 8]);
    drop(reel);
    let Event::Ready { call, path, duration, end } = told.recv_timeout(PATIENCE).unwrap() else { panic!() };
    assert_eq!((&*call, end), ("call-1", Ending::Whole));
    assert_eq!(path, folder.path().join(DAY).join("call-1.wav"));
    assert_eq!(duration, Duration::from_micros(25_601 * 125));
    let (frames, sheet) = read(folder.path(), "call-1");
    let mut said: Vec<_> = (0..25_600).map(|frame| [frame as i16 | 1, -1]).collect();
    said.push([7, 8]);
    assert!(frames == said);
    assert_eq!((sheet.duration_ms, sheet.notice_said), (3_200, Some(Wall(STARTED.0 + 20))));
    assert_eq!((sheet.started, sheet.did.as_deref(), sheet.gaps), (STARTED, Some("+12015550101"), vec![]));
    assert_eq!(names(folder.path()), ["call-1.json", "call-1.wav"]);
    for (name, mode) in [("", 0o750), ("call-1.wav", 0o640), ("call-1.json", 0o640)] {
        let found = folder.path().join(DAY).join(name).metadata().unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
}

#[test]
fn a_call_s_id_leads_nowhere_else_and_is_recorded_once() {
    let (folder, disk) = (folder(), Told::default());
    let (reels, told) = opened(folder.path(), &disk, QUEUE);
    let long = "x".repeat(65);
    for bad in ["", "..", "../../etc/passwd", "a/b", "a.wav", "a b", "é", "a\0", &long] {
        assert_eq!(reels.recorder().start(sheet(bad), STEREO).err(), Some(Refusal::Name), "{bad:?}");
    }
    drop(reels.recorder().start(sheet("once"), STEREO).unwrap());
    assert!(matches!(told.recv_timeout(PATIENCE), Ok(Event::Ready { .. })));
    let mut again = reels.recorder().start(sheet("once"), STEREO).unwrap();
    again.write(&block(0));
    assert!(matches!(told.recv_timeout(PATIENCE), Ok(Event::Failed { .. })));
    assert_eq!(read(folder.path(), "once").0.len(), 0, "the first one is as it was");
}

#[test]
fn a_disk_that_stands_still_for_10_s_stops_no_call_and_the_gap_is_marked() {
    const CALLS: usize = 5;
    let (folder, disk) = (folder(), Told::default());
    // So much that two seconds of them find room.
    let (reels, told) = opened(folder.path(), &disk, CALLS * 32);
    let mut calls: Vec<_> =
        (0..CALLS).map(|n| reels.recorder().start(sheet(&format!("c{n}")), STEREO).unwrap()).collect();
    let say = |calls: &mut Vec<Reel>, blocks: std::ops::Range<usize>| {
        for number in blocks {
            calls.iter_mut().for_each(|call| call.write(&block(number)));
        }
    };
    say(&mut calls, 0..16);
    let settled = |frames: u64| {
        let until = Instant::now() + PATIENCE;
        let there = |n| {
            let part = folder.path().join(DAY).join(format!("c{n}.wav.part"));
            part.metadata().is_ok_and(|meta| meta.len() == 44 + frames * 4)
        };
        while !(0..CALLS).all(there) {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
    };
    settled(16 * BLOCK as u64);
    disk.stand_still(true);
    // 10 s of blocks of 64 ms. Were one waited for, this would never end.
    say(&mut calls, 16..172);
    disk.stand_still(false);
    // What waited is written before another that begins, and then there is room again.
    let until = Instant::now() + PATIENCE;
    while reels.recorder().start(sheet("behind"), STEREO).is_err() {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    assert!(matches!(told.recv_timeout(PATIENCE), Ok(Event::Ready { .. })));
    say(&mut calls, 172..180);
    drop(calls);
    for _ in 0..CALLS {
        let Ok(Event::Ready { end, duration, .. }) = told.recv_timeout(PATIENCE) else { panic!() };
        assert_eq!((end, duration), (Ending::Whole, Duration::from_millis(180 * 64)));
    }
    for n in 0..CALLS {
        let (frames, Sheet { gaps, .. }) = read(folder.path(), &format!("c{n}"));
        assert_eq!(frames.len(), 180 * BLOCK);
        let is_silent = |frame: usize| frames[frame] == [0, 0];
        for (frame, said) in frames.iter().enumerate() {
            assert!(*said == [frame as i16 | 1, -1] || is_silent(frame), "frame {frame} of c{n}");
        }
        let silent = (0..frames.len()).filter(|frame| is_silent(*frame)).count();
        // At most 32 blocks of each call wait, and as many that the thread has taken.
        assert!(silent >= 92 * BLOCK, "{silent}");
        assert!(!is_silent(16 * BLOCK) && !is_silent(172 * BLOCK) && !is_silent(180 * BLOCK - 1));
        let marked: u64 = gaps.iter().map(|gap| gap.duration_ms).sum();
        assert_eq!(marked, silent as u64 / 8, "{gaps:?}");
        // What found room late waited for the disk.
        let last = gaps.last().map_or(0, |gap| gap.at_ms + gap.duration_ms);
        assert!((140 * 64..=172 * 64).contains(&last), "{gaps:?}");
    }
}

#[test]
fn what_was_left_out_at_the_end_is_silence_too() {
    let (folder, disk) = (folder(), Told::default());
    let (mut writer, recorder, _told) = by_hand(folder.path(), &disk);
    let mut reel = recorder.start(sheet("a"), STEREO).unwrap();
    (0..100).for_each(|number| reel.write(&block(number)));
    drop(reel);
    writer.turn();
    let (frames, Sheet { gaps, .. }) = read(folder.path(), "a");
    // The beginning and 63 blocks were all that could wait.
    assert_eq!(frames.len(), 100 * BLOCK);
    assert!(frames[63 * BLOCK..].iter().all(|frame| *frame == [0, 0]));
    assert_eq!(gaps, [Gap { at_ms: 63 * 64, duration_ms: 37 * 64 }]);
}

#[test]
fn a_full_disk_ends_its_recording_whole_and_no_other_thing() {
    let (folder, disk) = (folder(), Told::default());
    let (mut writer, recorder, told) = by_hand(folder.path(), &disk);
    let mut reel = recorder.start(sheet("a"), STEREO).unwrap();
    writer.turn();
    // In the midst of a frame of the third block.
    *disk.0.takes.lock().unwrap() = Some(2 * 2_048 + 1_001);
    for number in 0..2 {
        reel.write(&block(number));
        writer.turn();
    }
    reel.write(&block(2));
    writer.turn();
    let Ok(Event::Ready { end, duration, .. }) = told.try_recv() else { panic!() };
    assert_eq!((end, duration), (Ending::Disk, Duration::from_millis(128)));
    let (frames, Sheet { end, .. }) = read(folder.path(), "a");
    assert_eq!((frames.len(), end), (2 * BLOCK, Ending::Disk));
    reel.write(&block(3));
    drop(reel);
    // Another that begins meanwhile fails, and leaves nothing.
    let next = recorder.start(sheet("b"), STEREO).unwrap();
    writer.turn();
    let Ok(Event::Failed { call, error }) = told.try_recv() else { panic!() };
    assert_eq!((&*call, error.kind()), ("b", io::ErrorKind::StorageFull));
    drop(next);
    *disk.0.takes.lock().unwrap() = None;
    drop(recorder.start(sheet("c"), STEREO).unwrap());
    writer.turn();
    assert!(matches!(told.try_recv(), Ok(Event::Ready { end: Ending::Whole, .. })));
    assert_eq!(names(folder.path()), ["a.json", "a.wav", "c.json", "c.wav"]);
}

#[test]
fn below_the_floor_none_begins_and_those_that_run_end_whole() {
    let (folder, disk) = (folder(), Told::default());
    disk.free(2 << 30);
    let (mut writer, recorder, told) = by_hand(folder.path(), &disk);
    let mut reel = recorder.start(sheet("a"), STEREO).unwrap();
    reel.write(&block(0));
    writer.turn();
    disk.free((1 << 30) - 1);
    writer.look_after_space(Instant::now());
    assert_eq!(recorder.start(sheet("b"), STEREO).err(), Some(Refusal::NoRoom));
    // It needs a little more than the floor to begin again.
    disk.free((1 << 30) + 1);
    writer.look_after_space(Instant::now());
    assert_eq!(recorder.start(sheet("b"), STEREO).err(), Some(Refusal::NoRoom));
    reel.write(&block(1));
    writer.turn();
    assert!(told.try_recv().is_err(), "the one that runs goes on");
    disk.free((1 << 28) - 1);
    writer.look_after_space(Instant::now());
    let Ok(Event::Ready { end, duration, .. }) = told.try_recv() else { panic!() };
    assert_eq!((end, duration), (Ending::Disk, Duration::from_millis(128)));
    assert_eq!(read(folder.path(), "a").0.len(), 2 * BLOCK);
    disk.free(2 << 30);
    writer.look_after_space(Instant::now());
    assert!(recorder.start(sheet("b"), STEREO).is_ok());
    // Nobody reads a disk of 10 GB as full at 1 GB.
    let small = |free| Space { free, total: 10 << 30 };
    assert!(!writer::is_full(small(600 << 20), false) && writer::is_full(small(500 << 20), false));
}

#[test]
fn the_node_s_end_is_every_recording_s_end() {
    let (folder, disk) = (folder(), Told::default());
    let (reels, told) = opened(folder.path(), &disk, QUEUE);
    let mut reel = reels.recorder().start(sheet("a"), STEREO).unwrap();
    reel.write(&block(0));
    drop(reels);
    assert!(matches!(told.try_recv(), Ok(Event::Ready { end: Ending::CutOff, .. })));
    assert_eq!(read(folder.path(), "a").0.len(), BLOCK);
    reel.write(&block(1));
}

#[test]
fn cut_off_at_any_byte_it_is_made_whole() {
    let folder = folder();
    let day = folder.path().join(DAY);
    volume::make_folder(&day).unwrap();
    let frames = 8_800u64;
    let mut file = STEREO.header(8_000).to_vec();
    file.extend((0..frames).flat_map(|frame| [frame as i16 | 1, -1]).flat_map(i16::to_le_bytes));
    let part = day.join("a.wav.part");
    let last_second = file.len() - 32_000..=file.len();
    for length in (0..=60).chain(last_second) {
        fs::write(&part, &file[..length]).unwrap();
        fs::write(day.join("a.json.part"), sheet("a").text()).unwrap();
        let mended = mend(&folder.path().join("recordings"));
        assert!(mended.failed.is_empty());
        let whole = length.saturating_sub(44) / 4;
        if length <= 44 {
            assert_eq!((mended.empty, names(folder.path()).len()), (1, 0));
            continue;
        }
        assert_eq!(mended.whole[0].duration, STEREO.lasts(whole as u64));
        let path = day.join("a.wav");
        let made = fs::read(&path).unwrap();
        assert_eq!(made.len(), 44 + whole * 4);
        assert_eq!(made[..44], STEREO.header(whole as u64));
        assert!(made[44..] == file[44..44 + whole * 4]);
        if length % 1_000 == 0 {
            let (_, sheet) = read(folder.path(), "a");
            assert_eq!((sheet.end, sheet.duration_ms), (Ending::CutOff, whole as u64 / 8));
            assert_eq!(sheet.did.as_deref(), Some("+12015550101"));
        }
        assert_eq!(names(folder.path()), ["a.json", "a.wav"]);
        fs::remove_file(path).unwrap();
        fs::remove_file(day.join("a.json")).unwrap();
    }
}

#[test]
fn what_is_none_of_ours_or_lost_its_sheet_is_mended_or_left() {
    let folder = folder();
    let day = folder.path().join(DAY);
    volume::make_folder(&day).unwrap();
    let mono = Format { channels: 1, rate: Rate::Wide };
    fs::write(day.join("alone.wav.part"), [&mono.header(0)[..], &[1; 3_201]].concat()).unwrap();
    fs::write(day.join("torn.wav.part"), [&mono.header(0)[..], &[1; 4]].concat()).unwrap();
    fs::write(day.join("torn.json.part"), b"{\"v\":1,\"ca").unwrap();
    fs::write(day.join("other.wav.part"), [7; 100]).unwrap();
    fs::write(day.join("fine.wav"), [7; 100]).unwrap();
    fs::write(day.join("fine.wav.part"), [&mono.header(0)[..], &[1; 4]].concat()).unwrap();
    let mut mended = mend(&folder.path().join("recordings"));
    mended.whole.sort_by(|a, b| a.call.cmp(&b.call));
    let whole: Vec<_> = mended.whole.iter().map(|whole| (&*whole.call, whole.duration.as_millis())).collect();
    assert_eq!(whole, [("alone", 100), ("torn", 0)]);
    assert_eq!(mended.failed.len(), 2, "{:?}", mended.failed);
    assert_eq!(fs::read(day.join("fine.wav")).unwrap(), [7; 100]);
    let sheet: Sheet = serde_json::from_slice(&fs::read(day.join("alone.json")).unwrap()).unwrap();
    assert_eq!((sheet.channels, sheet.sample_rate, sheet.end), (1, 16_000, Ending::CutOff));
    assert!(mend(Path::new("nowhere")).failed.is_empty());
}

/// Where the child of the next test records.
const CHILD: &str = "STROWGER_TEST_RECORDS_IN";

#[test]
fn killed_in_its_midst_a_recording_is_whole_at_the_next_start() {
    let folder = folder();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "media::reel::tests::records_until_it_is_killed", "--ignored"])
        .env(CHILD, folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let part = folder.path().join(DAY).join("killed.wav.part");
    let header = || -> Option<u32> {
        let bytes = fs::read(&part).ok()?;
        Some(u32::from_le_bytes(bytes.get(40..44)?.try_into().ok()?))
    };
    let until = Instant::now() + PATIENCE;
    // Once its header has been made right with a second of sound behind it.
    while header().is_none_or(|data| data < 32_000) {
        assert!(Instant::now() < until, "the child records nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let there = (part.metadata().unwrap().len() - 44) / 4;
    let (reels, _told) = Reels::open(folder.path().join("recordings"), Settings::default()).unwrap();
    assert_eq!(reels.mended().whole.len(), 1);
    let (frames, sheet) = read(folder.path(), "killed");
    assert_eq!(frames.len() as u64, there);
    assert!(frames.iter().enumerate().all(|(frame, said)| *said == [frame as i16 | 1, -1]));
    assert_eq!((sheet.end, sheet.duration_ms), (Ending::CutOff, there / 8));
}

#[test]
#[ignore = "the child of the test above"]
fn records_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let (reels, _told) = Reels::open(Path::new(&folder).join("recordings"), Settings::default()).unwrap();
    let mut reel = reels.recorder().start(sheet("killed"), STEREO).unwrap();
    // A minute at ten times the speed: it is killed long before.
    for number in 0..9_000 {
        reel.write(&block(number));
        std::thread::sleep(Duration::from_millis(6));
    }
}
