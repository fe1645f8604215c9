//! PCMU and PCMA (ITU-T G.711) to and from 16-bit linear samples at 8 kHz.
//!
//! Linear values are those of the recommendation in the upper bits of 16: 14 bits of μ-law (±8,031) are ×4, 13 bits of
//! A-law (±4,032) are ×8. A decoder is a table of 256 values; an encoder finds the segment by its leading zeros.

/// μ-law adds this to a magnitude of 16 bits, so that its segments begin at powers of two.
const BIAS: u32 = 33 << 2;

/// The largest magnitude that μ-law can say, before the bias.
const CLIP: u32 = 32_635;

/// Silence, as each law says it.
pub const PCMU_SILENCE: u8 = 0xff;
pub const PCMA_SILENCE: u8 = 0xd5;

/// What each byte stands for.
const PCMU: [i16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let (segment, step) = (!byte >> 4 & 7, !byte & 0x0f);
        let magnitude = ((step << 3 | 0x84) << segment) as i16 - BIAS as i16;
        table[byte] = if byte & 0x80 == 0 { -magnitude } else { magnitude };
        byte += 1;
    }
    table
};

const PCMA: [i16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let (segment, step) = ((byte ^ 0x55) >> 4 & 7, (byte ^ 0x55) & 0x0f);
        let magnitude = match segment {
            0 => step << 4 | 8,
            _ => (step << 4 | 0x108) << (segment - 1),
        } as i16;
        table[byte] = if byte & 0x80 == 0 { -magnitude } else { magnitude };
        byte += 1;
    }
    table
};

/// The sample that a μ-law byte stands for, ±32,124.
pub const fn decode_pcmu(byte: u8) -> i16 {
    PCMU[byte as usize]
}

/// The sample that an A-law byte stands for, ±32,256.
pub const fn decode_pcma(byte: u8) -> i16 {
    PCMA[byte as usize]
}

/// The μ-law byte of a sample.
pub const fn encode_pcmu(sample: i16) -> u8 {
    let magnitude = sample.unsigned_abs() as u32;
    let magnitude = if magnitude > CLIP { CLIP } else { magnitude } + BIAS;
    // The bias makes it at least 132: bit 7 or higher is set.
    let segment = 24 - magnitude.leading_zeros();
    let step = magnitude >> (segment + 3) & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | (segment << 4 | step) as u8)
}

/// The A-law byte of a sample.
pub const fn encode_pcma(sample: i16) -> u8 {
    // Zero belongs to the positive values, and each negative one to the interval that mirrors it.
    let (sign, magnitude) = if sample < 0 { (0, !sample as u32) } else { (0x80, sample as u32) };
    let segment = if magnitude < 0x100 { 0 } else { 24 - magnitude.leading_zeros() };
    let shift = if segment == 0 { 4 } else { segment + 3 };
    let step = magnitude >> shift & 0x0f;
    (sign | (segment << 4 | step) as u8) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where each segment ends (the decision values of ITU-T G.711, tables 1a and 2a), and what its last byte stands for:
    /// an eighth of our values for A-law, a quarter for μ-law.
    const A_ENDS: [i16; 8] = [32, 64, 128, 256, 512, 1024, 2048, 4096];
    const MU_ENDS: [i16; 8] = [31, 95, 223, 479, 991, 2015, 4063, 8159];
    const A_LAST: [i16; 8] = [31, 63, 126, 252, 504, 1008, 2016, 4032];
    const MU_LAST: [i16; 8] = [30, 93, 219, 471, 975, 1983, 3999, 8031];

    #[test]
    fn each_segment_ends_where_the_recommendation_says() {
        for segment in 0..8u8 {
            let at = usize::from(segment);
            let (mu, a) = (!(segment << 4 | 0x0f), (0x80 | segment << 4 | 0x0f) ^ 0x55);
            assert_eq!(decode_pcmu(mu), MU_LAST[at] * 4, "μ {segment}");
            assert_eq!(decode_pcma(a), A_LAST[at] * 8, "A {segment}");
            let below = |ends: i16, by: i16| (i32::from(ends) * i32::from(by) - 1).min(32_767) as i16;
            assert_eq!(encode_pcmu(below(MU_ENDS[at], 4)), mu, "μ {segment}");
            assert_eq!(encode_pcma(below(A_ENDS[at], 8)), a, "A {segment}");
            if let Some(begins) = MU_ENDS[at].checked_mul(4).filter(|_| segment < 7) {
                assert_eq!(encode_pcmu(begins), !((segment + 1) << 4), "μ, after {segment}");
                assert_eq!(
                    encode_pcma(A_ENDS[at] * 8),
                    (0x80 | (segment + 1) << 4) ^ 0x55,
                    "A, after {segment}"
                );
            }
        }
    }

    #[test]
    fn what_is_decoded_is_encoded_as_the_same_byte_for_all_256() {
        for byte in 0..=255 {
            // μ-law has two zeros; the positive one is written.
            let same = if byte == 0x7f { 0xff } else { byte };
            assert_eq!(encode_pcmu(decode_pcmu(byte)), same, "μ {byte:#x}");
            assert_eq!(encode_pcma(decode_pcma(byte)), byte, "A {byte:#x}");
        }
        assert_eq!((decode_pcmu(PCMU_SILENCE), decode_pcma(PCMA_SILENCE)), (0, 8));
    }

    #[test]
    fn what_comes_back_is_near_and_never_out_of_order() {
        for (encode, decode) in
            [(encode_pcmu as fn(i16) -> u8, decode_pcmu as fn(u8) -> i16), (encode_pcma, decode_pcma)]
        {
            let mut before = i16::MIN;
            for sample in i16::MIN..=i16::MAX {
                let back = decode(encode(sample));
                // Half a step: a 32nd of where the segment begins; and what is louder than the loudest.
                let most = u32::from(sample.unsigned_abs()) / 32 + 8;
                assert!(
                    u32::from(back.abs_diff(sample)) <= most.max(32_768 - 32_124),
                    "{sample} comes back as {back}"
                );
                assert!(back >= before, "{sample} comes back as {back}, after {before}");
                before = back;
            }
        }
    }
}
