//! The WAV files of recordings: 16-bit PCM, one or two channels.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::media::tape::Rate;
use crate::volume;

/// Everything before the samples.
pub const HEADER: usize = 44;

/// How many bytes a sample has.
const SAMPLE: u16 = 2;

/// What the samples of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// 1 or 2.
    pub channels: u16,
    pub rate: Rate,
}

impl Format {
    /// Bytes of one moment.
    pub const fn frame(self) -> u64 {
        self.channels as u64 * SAMPLE as u64
    }

    /// How long so many frames last.
    pub const fn lasts(self, frames: u64) -> Duration {
        Duration::from_micros(frames.saturating_mul(1_000_000) / self.rate.hz() as u64)
    }

    /// Of a file with so many frames. Beyond 4 GiB (37 h in stereo at 8 kHz) it says the most that it can; players read on
    /// to the end.
    pub fn header(self, frames: u64) -> [u8; HEADER] {
        let data = u32::try_from(frames.saturating_mul(self.frame())).unwrap_or(u32::MAX - HEADER as u32);
        let mut header = *b"RIFF....WAVEfmt \x10\0\0\0\x01\0ccrrrrbbbbff\x10\0data....";
        let rate = self.rate.hz();
        header[4..8].copy_from_slice(&(data + HEADER as u32 - 8).to_le_bytes());
        header[22..24].copy_from_slice(&self.channels.to_le_bytes());
        header[24..28].copy_from_slice(&rate.to_le_bytes());
        header[28..32].copy_from_slice(&(rate * self.frame() as u32).to_le_bytes());
        header[32..34].copy_from_slice(&(self.frame() as u16).to_le_bytes());
        header[40..44].copy_from_slice(&data.to_le_bytes());
        header
    }

    /// What a header of ours says, whatever length it says. None: it is none of ours.
    pub(super) fn read(header: &[u8; HEADER]) -> Option<Format> {
        let ours = [Rate::Narrow, Rate::Wide]
            .into_iter()
            .flat_map(|rate| [1, 2].map(|channels| Format { channels, rate }));
        ours.into_iter().find(|format| {
            let like = format.header(0);
            header[..4] == like[..4] && header[8..40] == like[8..40]
        })
    }
}

/// Gives an unfinished file its right length and header, and its name; on return all of it survives a power cut.
pub(super) fn seal(file: &File, part: &Path, format: Format, frames: u64) -> io::Result<()> {
    file.set_len(HEADER as u64 + frames * format.frame())?;
    file.write_all_at(&format.header(frames), 0)?;
    file.sync_all()?;
    fs::rename(part, part.with_extension(""))?;
    volume::sync_folder_of(part)
}
