//! Files with holes, as GNU tar writes them: its old header, and the pax formats 0.0, 0.1 and 1.0.
//!
//! All four say the same: the file is `size` bytes long, its pieces stand at these offsets, and the bytes of the
//! pieces follow each other in the archive.

use crate::tar::header::{BLOCK, Header, number};

/// A file with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sparse {
    /// How long the file is, holes included.
    pub size: u64,
    /// What is not a hole, in ascending order and apart from each other.
    pub pieces: Vec<Piece>,
}

/// A run of bytes between holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
}

impl Sparse {
    /// Checks that the pieces are in order, inside the file, and `stored` bytes together.
    pub(crate) fn checked(self, stored: u64) -> Option<Self> {
        let mut end = 0_u64;
        let mut bytes = 0_u64;
        for piece in &self.pieces {
            if piece.offset < end {
                return None;
            }
            end = piece.offset.checked_add(piece.length)?;
            bytes += piece.length;
        }
        (end <= self.size && bytes == stored).then_some(self)
    }
}

/// Bytes of one pair of numbers in GNU's old format.
const PAIR: usize = 24;

/// The pieces in a header of type `S`, and whether a block with more of them follows.
pub(crate) fn old_header(header: &Header) -> Option<(Sparse, bool)> {
    let size = number(&header.0[483..495])?;
    let pieces = pairs(&header.0[386..482])?;
    Some((Sparse { size, pieces }, header.0[482] != 0))
}

/// The pieces in a block that continues such a header, and whether another one follows.
pub(crate) fn old_continuation(block: &[u8; BLOCK]) -> Option<(Vec<Piece>, bool)> {
    Some((pairs(&block[..504])?, block[504] != 0))
}

fn pairs(field: &[u8]) -> Option<Vec<Piece>> {
    let used = field.chunks_exact(PAIR).take_while(|pair| pair.iter().any(|&byte| byte != 0));
    used.map(|pair| Some(Piece { offset: number(&pair[..12])?, length: number(&pair[12..])? })).collect()
}

/// What pax records say about holes.
#[derive(Debug, Default)]
pub(crate) struct Records {
    size: Option<u64>,
    major: Option<u64>,
    /// Offset, length, offset, length, …
    numbers: Vec<u64>,
}

/// Where the pieces of a file are told.
#[derive(Debug)]
pub(crate) enum Map {
    /// Nowhere: it has no holes.
    Nowhere,
    /// In the records.
    Known(Sparse),
    /// In front of the contents of a file of this size (format 1.0).
    InContents(u64),
}

impl Records {
    /// Takes in `GNU.sparse.<key>`; `None` if it makes no sense. The name is the caller's.
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"major" => self.major = Some(decimal(value)?),
            b"offset" | b"numbytes" => self.numbers.push(decimal(value)?),
            b"map" if value.is_empty() => self.numbers.clear(),
            b"map" => {
                self.numbers = value.split(|&byte| byte == b',').map(decimal).collect::<Option<_>>()?;
            }
            _ => {}
        }
        Some(())
    }

    /// `None` if what was said of holes is not enough.
    pub(crate) fn map(self) -> Option<Map> {
        match (self.size, self.major) {
            (None, None) if self.numbers.is_empty() => Some(Map::Nowhere),
            (Some(size), Some(1)) => Some(Map::InContents(size)),
            (Some(size), None | Some(0)) => Some(Map::Known(Sparse { size, pieces: pieces(&self.numbers)? })),
            _ => None,
        }
    }
}

/// How far a map has been read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More of it follows.
    More,
    /// To its end.
    Whole(Vec<Piece>),
}

/// The map in front of the contents, as far as it has been read: a count, then pairs, a number in each line.
#[derive(Debug, Default)]
pub(crate) struct ContentsMap {
    text: Vec<u8>,
    lines: usize,
}

impl ContentsMap {
    /// Takes in a block; `None` if it is no map.
    pub(crate) fn push(&mut self, block: &[u8; BLOCK]) -> Option<Progress> {
        self.text.extend_from_slice(block);
        self.lines += block.iter().filter(|&&byte| byte == b'\n').count();
        if self.lines == 0 {
            return Some(Progress::More);
        }
        let mut lines = self.text.split(|&byte| byte == b'\n');
        let wanted = usize::try_from(decimal(lines.next()?)?).ok()?.checked_mul(2)?;
        if self.lines - 1 < wanted {
            return Some(Progress::More);
        }
        pieces(&lines.take(wanted).map(decimal).collect::<Option<Vec<_>>>()?).map(Progress::Whole)
    }
}

fn pieces(numbers: &[u64]) -> Option<Vec<Piece>> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|&[offset, length]| Piece { offset, length }).collect())
}

fn decimal(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(size: u64, pieces: &[(u64, u64)]) -> Sparse {
        let pieces = pieces.iter().map(|&(offset, length)| Piece { offset, length }).collect();
        Sparse { size, pieces }
    }

    #[test]
    fn pieces_stay_inside_in_order_and_add_up() {
        for (size, pieces, stored, fine) in [
            (10, &[][..], 0, true),
            (10, &[(0, 4), (6, 4)], 8, true),
            (10, &[(0, 4), (4, 0), (10, 0)], 4, true),
            (10, &[(0, 4), (3, 4)], 8, false),
            (10, &[(6, 4), (0, 4)], 8, false),
            (10, &[(6, 5)], 5, false),
            (10, &[(u64::MAX, 2)], 2, false),
            (10, &[(0, 4)], 5, false),
            (10, &[(0, 4)], 3, false),
        ] {
            assert_eq!(sparse(size, pieces).checked(stored).is_some(), fine, "{size} {pieces:?} {stored}");
        }
    }

    #[test]
    fn reads_each_kind_of_record() {
        let read = |records: &[(&str, &str)]| {
            let mut found = Records::default();
            for (key, value) in records {
                found.set(key.as_bytes(), value.as_bytes())?;
            }
            Some(match found.map()? {
                Map::Known(sparse) => format!("{} {:?}", sparse.size, sparse.pieces.len()),
                Map::InContents(size) => format!("{size} in contents"),
                Map::Nowhere => "none".to_owned(),
            })
        };
        let check = |records: &[(&str, &str)], expect: Option<&str>| {
            assert_eq!(read(records).as_deref(), expect, "{records:?}");
        };
        check(&[], Some("none"));
        check(&[("size", "9"), ("map", "0,1,5,4")], Some("9 2"));
        check(&[("size", "9"), ("numblocks", "1"), ("offset", "0"), ("numbytes", "4")], Some("9 1"));
        check(&[("major", "1"), ("minor", "0"), ("realsize", "9")], Some("9 in contents"));
        check(&[("size", "9"), ("map", "0,1,5")], None);
        check(&[("size", "9"), ("map", "0,-1")], None);
        check(&[("map", "0,1")], None);
        check(&[("major", "2"), ("realsize", "9")], None);
        check(&[("size", "")], None);
    }

    #[test]
    fn reads_the_map_before_the_contents() {
        let push = |map: &mut ContentsMap, text: &str| {
            let mut block = [0; BLOCK];
            block[..text.len()].copy_from_slice(text.as_bytes());
            map.push(&block)
        };
        let whole = |pieces| Some(Progress::Whole(sparse(0, pieces).pieces));
        assert_eq!(push(&mut ContentsMap::default(), "2\n0\n5\n10\n5\n"), whole(&[(0, 5), (10, 5)]));
        assert_eq!(push(&mut ContentsMap::default(), "0\n"), whole(&[]));
        assert_eq!(push(&mut ContentsMap::default(), "x\n"), None);
        assert_eq!(push(&mut ContentsMap::default(), "1\n0\n"), Some(Progress::More));
        let mut map = ContentsMap::default();
        assert_eq!(push(&mut map, &format!("1\n{}", "0".repeat(BLOCK - 2))), Some(Progress::More));
        assert_eq!(push(&mut map, "\n7\n"), whole(&[(0, 7)]));
    }
}
