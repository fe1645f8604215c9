//! Regular expressions as far as our JSON Schemas have them: `^…$`, groups, `|`, classes, escapes, and how often.

use std::iter::Peekable;
use std::str::Chars;

/// Whether a text is of this pattern.
pub fn is_like(pattern: &str, text: &str) -> bool {
    let inner = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$'));
    let mut chars =
        inner.unwrap_or_else(|| panic!("{pattern} is not one of a whole text")).chars().peekable();
    let either = either(&mut chars);
    assert_eq!(chars.next(), None, "{pattern}");
    let text: Vec<char> = text.chars().collect();
    ends(&either, &text, 0).contains(&text.len())
}

/// One of several sequences.
type Either = Vec<Vec<Piece>>;

/// What comes so often.
struct Piece {
    what: What,
    least: usize,
    most: usize,
}

enum What {
    Group(Either),
    /// From and to; not one of these.
    Class(Vec<(char, char)>, bool),
}

fn either(chars: &mut Peekable<Chars<'_>>) -> Either {
    let mut all = vec![Vec::new()];
    while let Some(next) = chars.next_if(|next| *next != ')') {
        let what = match next {
            '|' => {
                all.push(Vec::new());
                continue;
            }
            '(' => {
                let group = either(chars);
                assert_eq!(chars.next(), Some(')'));
                What::Group(group)
            }
            '[' => class(chars),
            '\\' => What::Class(escaped(chars), false),
            '.' => What::Class(Vec::new(), true),
            '{' | '}' | '*' | '+' | '?' | ']' | '^' | '$' => panic!("{next} is not known here"),
            plain => What::Class(vec![(plain, plain)], false),
        };
        let (least, most) = times(chars);
        all.last_mut().unwrap().push(Piece { what, least, most });
    }
    all
}

fn times(chars: &mut Peekable<Chars<'_>>) -> (usize, usize) {
    let times = match chars.peek() {
        Some('?') => (0, 1),
        Some('*') => (0, usize::MAX),
        Some('+') => (1, usize::MAX),
        Some('{') => {
            let inner: String = chars.by_ref().skip(1).take_while(|next| *next != '}').collect();
            let (least, most) = inner.split_once(',').unwrap_or((&inner, &inner));
            return (least.parse().unwrap(), most.parse().unwrap());
        }
        _ => return (1, 1),
    };
    chars.next();
    times
}

fn class(chars: &mut Peekable<Chars<'_>>) -> What {
    let is_not = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while let Some(next) = chars.next_if(|next| *next != ']') {
        let from = if next == '\\' { escaped(chars) } else { vec![(next, next)] };
        let mut behind = chars.clone();
        if behind.next() == Some('-') && behind.next() != Some(']') {
            chars.next();
            let to = chars.next().unwrap();
            let to = if to == '\\' { escaped(chars)[0].1 } else { to };
            assert!(from[0].0 <= to, "a range that holds nothing");
            ranges.push((from[0].0, to));
        } else {
            ranges.extend(from);
        }
    }
    assert_eq!(chars.next(), Some(']'));
    What::Class(ranges, is_not)
}

fn escaped(chars: &mut Peekable<Chars<'_>>) -> Vec<(char, char)> {
    match chars.next().unwrap() {
        'd' => vec![('0', '9')],
        'x' => {
            let code = u32::from_str_radix(&chars.by_ref().take(2).collect::<String>(), 16).unwrap();
            let it = char::from_u32(code).unwrap();
            vec![(it, it)]
        }
        plain if plain.is_ascii_punctuation() => vec![(plain, plain)],
        other => panic!("\\{other} is not known here"),
    }
}

/// Where it may end that begins there, each place once.
fn ends(either: &Either, text: &[char], begin: usize) -> Vec<usize> {
    let mut all: Vec<usize> = Vec::new();
    for sequence in either {
        let mut here = vec![begin];
        for piece in sequence {
            here = here.iter().flat_map(|begin| ends_of(piece, text, *begin)).collect();
            here.sort_unstable();
            here.dedup();
        }
        all.extend(here);
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn ends_of(piece: &Piece, text: &[char], begin: usize) -> Vec<usize> {
    let (mut here, mut all) = (vec![begin], Vec::new());
    for count in 0.. {
        if count >= piece.least {
            all.extend(&here);
        }
        if count == piece.most || here.is_empty() {
            break;
        }
        let next = |at: &usize| match &piece.what {
            What::Group(group) => ends(group, text, *at),
            What::Class(ranges, is_not) => {
                let fits = |one: &char| ranges.iter().any(|(from, to)| from <= one && one <= to) != *is_not;
                text.get(*at).filter(|one| fits(one)).map(|_| *at + 1).into_iter().collect()
            }
        };
        let before = here;
        here = before.iter().flat_map(next).filter(|end| *end > before[0]).collect();
        here.sort_unstable();
        here.dedup();
    }
    all
}
