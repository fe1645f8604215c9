//! What is left of a call: what its ends heard as sound files, and what the node wrote down of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ladder::CALLER;
use super::play::Played;
use super::voice::Heard;
use crate::call::cdr::Cdr;
use crate::media::reel::{Kind, Shelf};

/// What is written down is whole soon after its call, unless the disk is slow.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

/// The files of what was heard.
const OF_CALLER: &str = "try-caller.wav";
const OF_PHONE: &str = "try-phone.wav";

const WAV: hound::WavSpec = hound::WavSpec {
    channels: 1,
    sample_rate: 8_000,
    bits_per_sample: 16,
    sample_format: hound::SampleFormat::Int,
};

/// What one end of a trial heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hearing {
    /// `caller`, an agent's name or a number.
    pub by: String,
    /// A sound file: 8 kHz, one channel.
    pub file: PathBuf,
    pub duration_ms: u64,
}

/// Writes what caller and phone have heard into a folder. Of several phones the one that was bridged, or else the one
/// that heard most.
pub(super) fn write(
    played: &Played,
    folder: &Path,
    name: impl Fn(u16) -> String,
) -> io::Result<Vec<Hearing>> {
    let heard = || played.heard.iter().filter(|heard| !heard.samples.is_empty());
    let bridged = played.bridged.as_ref().map(|(column, _)| *column);
    let phones = heard().filter(|heard| heard.column != CALLER);
    let phone = phones.max_by_key(|heard| (Some(heard.column) == bridged, heard.samples.len()));
    let caller = heard().find(|heard| heard.column == CALLER);
    let mut written = Vec::new();
    for (file, Heard { column, samples }) in
        [(OF_CALLER, caller), (OF_PHONE, phone)].into_iter().filter_map(|(file, heard)| Some((file, heard?)))
    {
        if !folder.as_os_str().is_empty() {
            fs::create_dir_all(folder)?;
        }
        let file = folder.join(file);
        let mut wav = hound::WavWriter::create(&file, WAV).map_err(io::Error::other)?;
        samples.iter().try_for_each(|sample| wav.write_sample(*sample)).map_err(io::Error::other)?;
        wav.finalize().map_err(io::Error::other)?;
        let duration_ms = samples.len() as u64 / 8;
        written.push(Hearing { by: name(*column), file, duration_ms });
    }
    Ok(written)
}

/// Where the node wrote down what was said, by the call's record. Waits for it a little.
pub(super) fn written_down(data_dir: &Path, cdr: &Cdr) -> Option<(Kind, PathBuf)> {
    let recording = cdr.recording.as_deref().map(|id| (Kind::Recording, id));
    let (kind, id) = recording.or(cdr.voicemail.as_deref().map(|id| (Kind::Message, id)))?;
    let (shelf, until) = (Shelf::new(data_dir, kind), Instant::now() + PATIENCE);
    loop {
        match shelf.find(id) {
            Some(path) => return Some((kind, path)),
            None if Instant::now() >= until => return None,
            None => std::thread::sleep(LOOK),
        }
    }
}
