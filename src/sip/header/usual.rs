//! Header names as nearly all write them.

use super::{Name, chars};

/// The first sixteen bytes of a line up to its colon, that included; what follows is 0.
type Words = [u64; 2];

#[derive(Clone, Copy)]
struct Usual {
    words: Words,
    name: Name,
}

const SLOTS: usize = 128;

/// Times this, the words of no two names fall into one slot.
const FACTOR: u64 = factor();

static USUAL: [Usual; SLOTS] = table();

/// The name at the start of a line and where its colon stands, if the name is spelled as its RFC spells it
/// and has at most 15 letters.
#[inline(always)]
pub(crate) fn usual(line: &[u8]) -> Option<(Name, usize)> {
    let (words, _) = line.first_chunk::<16>()?.as_chunks::<8>();
    let [first, second] = [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])];
    let (words, colon) = match (chars::marks_of::<b':'>(first), chars::marks_of::<b':'>(second)) {
        (0, 0) => return None,
        (0, mark) => ([first, second & up_to(mark)], 8 + mark.trailing_zeros() as usize / 8),
        (mark, _) => ([first & up_to(mark), 0], mark.trailing_zeros() as usize / 8),
    };
    let usual = &USUAL[slot(words, FACTOR)];
    (usual.words == words).then_some((usual.name, colon))
}

/// All bits up to the lowest that is set.
const fn up_to(mark: u64) -> u64 {
    mark ^ (mark - 1)
}

const fn slot(words: Words, factor: u64) -> usize {
    ((words[0] ^ words[1]).wrapping_mul(factor) >> (u64::BITS - SLOTS.ilog2())) as usize
}

const fn words(name: Name) -> Option<Words> {
    let spelling = name.token().as_bytes();
    if spelling.len() > 15 {
        return None;
    }
    let (mut words, mut at) = ([0, 0], 0);
    while at <= spelling.len() {
        let byte = if at < spelling.len() { spelling[at] } else { b':' };
        words[at / 8] |= (byte as u64) << (at % 8 * 8);
        at += 1;
    }
    Some(words)
}

const fn factor() -> u64 {
    let mut factor = 0x9e37_79b9_7f4a_7c15;
    while !parts_all(factor) {
        factor = factor.wrapping_mul(0x5851_f42d_4c95_7f2d) | 1;
    }
    factor
}

const fn parts_all(factor: u64) -> bool {
    let (mut taken, mut at) = ([false; SLOTS], 0);
    while at < Name::ALL.len() {
        if let Some(words) = words(Name::ALL[at]) {
            if taken[slot(words, factor)] {
                return false;
            }
            taken[slot(words, factor)] = true;
        }
        at += 1;
    }
    true
}

const fn table() -> [Usual; SLOTS] {
    let mut table = [Usual { words: [0, 0], name: Name::Other }; SLOTS];
    let mut at = 0;
    while at < Name::ALL.len() {
        let name = Name::ALL[at];
        if let Some(words) = words(name) {
            table[slot(words, FACTOR)] = Usual { words, name };
        }
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_up_to_15_letters_is_told_by_its_first_bytes() {
        for &name in Name::ALL {
            let spelling = name.token();
            let line = format!("{spelling}: a value of some length");
            let told = (spelling.len() <= 15).then_some((name, spelling.len()));
            assert_eq!(usual(line.as_bytes()), told, "{line}");
            assert_eq!(usual(line.to_lowercase().as_bytes()), None, "{line}");
            assert_eq!(usual(line.replacen(':', " :", 1).as_bytes()), None, "{line}");
        }
        assert_eq!(usual(b"To: <sip:a@b>\r\n"), None, "too short a line");
    }
}
