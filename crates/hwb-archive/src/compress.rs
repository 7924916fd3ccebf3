//! Streams compressed in pieces on several threads, into bytes that do not depend on their number.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::{fmt, mem};

use libdeflater::CompressionLvl;

/// How a stream is compressed. Every piece is on its own: a gzip member, or a zstd frame.
///
/// The sizes of the pieces are fixed, as others would be other bytes. Small enough to keep every thread at work, they
/// cost a thousandth of the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// Not at all.
    None,
    /// RFC 1952, a member for each MiB, by libdeflate.
    Gzip(Level<12>),
    /// RFC 8878, a frame for each 4 MiB.
    Zstd(Level<22>),
}

/// How much work is done for fewer bytes: 1 to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level<const MOST: u8>(u8);

/// A level that a codec does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no compression level {level}, only 1 to {most}")]
pub struct LevelError {
    level: u8,
    most: u8,
}

impl<const MOST: u8> Level<MOST> {
    /// Takes a level.
    ///
    /// # Errors
    ///
    /// If the codec has no such level.
    pub const fn new(level: u8) -> Result<Self, LevelError> {
        if level == 0 || level > MOST {
            return Err(LevelError { level, most: MOST });
        }
        Ok(Self(level))
    }

    /// The level as a number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl Codec {
    /// Gzip as good as zlib's best known level at half its work.
    pub const GZIP: Self = Self::Gzip(Level(4));

    /// Zstd as its own tool does it.
    pub const ZSTD: Self = Self::Zstd(Level(3));

    /// How many bytes a piece has before it is compressed.
    const fn piece(self) -> usize {
        match self {
            Self::None | Self::Gzip(_) => 1 << 20,
            Self::Zstd(_) => 4 << 20,
        }
    }
}

/// Compresses what is written to it.
///
/// Where threads are allowed it starts them with the second piece; until then it works on its own.
pub struct Compressor<W: Write> {
    out: W,
    codec: Codec,
    piece: Piece,
    spare: Vec<Piece>,
    encoder: Option<Encoder>,
    threads: usize,
    workers: Vec<Worker>,
    /// Pieces given away, and those of them that came back and were written.
    given: usize,
    written: usize,
}

/// The bytes of a piece before and after; both buffers are used again.
#[derive(Default)]
struct Piece {
    raw: Vec<u8>,
    packed: Vec<u8>,
}

/// A thread that compresses one piece after the other. Pieces are dealt in turn, so that they come back in order.
struct Worker {
    pieces: Sender<Piece>,
    packed: Receiver<io::Result<Piece>>,
    thread: JoinHandle<()>,
}

/// Pieces that wait for each thread: one at work, one behind it.
const DEPTH: usize = 2;

impl<W: Write> Compressor<W> {
    /// Starts a stream that up to `threads` threads work on; zero and one are the thread that writes.
    pub fn new(out: W, codec: Codec, threads: usize) -> Self {
        Self {
            out,
            codec,
            piece: Piece::default(),
            spare: Vec::new(),
            encoder: None,
            threads,
            workers: Vec::new(),
            given: 0,
            written: 0,
        }
    }

    /// Ends the stream.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn finish(mut self) -> io::Result<W> {
        if self.codec == Codec::None {
            return Ok(self.out);
        }
        // A stream of nothing is still a stream.
        if !self.piece.raw.is_empty() || self.given == 0 {
            let piece = mem::take(&mut self.piece);
            if self.workers.is_empty() { self.pack(piece)? } else { self.give(piece)? }
        }
        while self.written < self.given {
            self.take_back()?;
        }
        for Worker { pieces, packed, thread } in self.workers {
            drop((pieces, packed));
            thread.join().map_err(|_| io::Error::other(LOST))?;
        }
        Ok(self.out)
    }

    /// Does with a full piece what is to be done.
    fn turn(&mut self) -> io::Result<()> {
        let next = self.spare.pop().unwrap_or_default();
        let piece = mem::replace(&mut self.piece, next);
        if self.threads < 2 {
            return self.pack(piece);
        }
        while self.workers.len() < self.threads {
            self.workers.push(Worker::start(self.codec)?);
        }
        if self.given - self.written == DEPTH * self.workers.len() {
            self.take_back()?;
        }
        self.give(piece)
    }

    fn pack(&mut self, mut piece: Piece) -> io::Result<()> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(self.codec)?),
        };
        encoder.pack(&mut piece)?;
        self.given += 1;
        self.put(piece)
    }

    fn give(&mut self, piece: Piece) -> io::Result<()> {
        let worker = &self.workers[self.given % self.workers.len()];
        worker.pieces.send(piece).map_err(|_| io::Error::other(LOST))?;
        self.given += 1;
        Ok(())
    }

    fn take_back(&mut self) -> io::Result<()> {
        let worker = &self.workers[self.written % self.workers.len()];
        let piece = worker.packed.recv().map_err(|_| io::Error::other(LOST))??;
        self.put(piece)
    }

    fn put(&mut self, mut piece: Piece) -> io::Result<()> {
        self.out.write_all(&piece.packed)?;
        self.written += 1;
        piece.raw.clear();
        self.spare.push(piece);
        Ok(())
    }
}

const LOST: &str = "a thread that compresses has ended too early";

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.codec == Codec::None {
            return self.out.write(bytes);
        }
        let room = self.codec.piece() - self.piece.raw.len();
        let bytes = &bytes[..bytes.len().min(room)];
        self.piece.raw.extend_from_slice(bytes);
        if self.piece.raw.len() == self.codec.piece() {
            self.turn()?;
        }
        Ok(bytes.len())
    }

    /// Flushes the output; a piece that is not full is not cut, as that would be other bytes.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> fmt::Debug for Compressor<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl Worker {
    fn start(codec: Codec) -> io::Result<Self> {
        let mut encoder = Encoder::new(codec)?;
        let (pieces, inbox) = channel::<Piece>();
        let (outbox, packed) = channel();
        let work = move || {
            for mut piece in inbox {
                let result = encoder.pack(&mut piece).map(|()| piece);
                if outbox.send(result).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("compress".to_owned()).spawn(work)?;
        Ok(Self { pieces, packed, thread })
    }
}

/// What makes a piece smaller.
enum Encoder {
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
    Plain,
}

impl Encoder {
    fn new(codec: Codec) -> io::Result<Self> {
        Ok(match codec {
            Codec::None => Self::Plain,
            Codec::Gzip(level) => {
                let level = CompressionLvl::new(i32::from(level.0));
                Self::Gzip(libdeflater::Compressor::new(level.expect("libdeflate has these levels")))
            }
            Codec::Zstd(level) => Self::Zstd(zstd::bulk::Compressor::new(i32::from(level.0))?),
        })
    }

    fn pack(&mut self, piece: &mut Piece) -> io::Result<()> {
        let Piece { raw, packed } = piece;
        let length = match self {
            Self::Gzip(encoder) => {
                packed.resize(encoder.gzip_compress_bound(raw.len()), 0);
                encoder.gzip_compress(raw, packed).map_err(io::Error::other)?
            }
            Self::Zstd(encoder) => {
                packed.resize(zstd::zstd_safe::compress_bound(raw.len()), 0);
                encoder.compress_to_buffer(raw, packed.as_mut_slice())?
            }
            Self::Plain => {
                mem::swap(raw, packed);
                packed.len()
            }
        };
        packed.truncate(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use hwb_ident::Digest;

    use super::*;

    /// Text that is neither random nor all the same.
    fn text(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let words = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            format!("word{} ", state >> 22)
        });
        let mut text: Vec<u8> = words.take(length / 5 + 1).flat_map(String::into_bytes).collect();
        text.truncate(length);
        text
    }

    fn compress(bytes: &[u8], codec: Codec, threads: usize, step: usize) -> Vec<u8> {
        let mut compressor = Compressor::new(Vec::new(), codec, threads);
        for part in bytes.chunks(step) {
            compressor.write_all(part).unwrap();
        }
        compressor.finish().unwrap()
    }

    fn decompress(bytes: &[u8], codec: Codec) -> Vec<u8> {
        let mut out = Vec::new();
        match codec {
            Codec::None => bytes.to_vec(),
            Codec::Gzip(_) => {
                flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out).unwrap();
                out
            }
            Codec::Zstd(_) => zstd::decode_all(bytes).unwrap(),
        }
    }

    #[test]
    fn bytes_depend_on_no_thread_and_no_step() {
        let all = text(13 << 20);
        for codec in [Codec::None, Codec::GZIP, Codec::ZSTD] {
            let piece = codec.piece();
            for length in [0, 1, piece, piece + 1, 3 * piece + 123] {
                let bytes = &all[..length];
                let expect = compress(bytes, codec, 1, 1 << 16);
                assert!(decompress(&expect, codec) == bytes, "{codec:?} {length}");
                for (threads, step) in [(2, 10_007), (3, 5 << 20)] {
                    assert!(compress(bytes, codec, threads, step) == expect, "{codec:?} {length} {threads}");
                }
            }
        }
    }

    /// Layers are found again by the digest of these bytes. If a new version of a codec changes them, that must be seen.
    #[test]
    fn bytes_stay_the_same() {
        let bytes = text((5 << 20) + 5);
        let codecs = [Codec::GZIP, Codec::Gzip(Level::new(9).unwrap()), Codec::ZSTD];
        let found = codecs.map(|codec| Digest::of(&compress(&bytes, codec, 2, 1 << 16)).short());
        assert_eq!(found, ["85d1649a1711", "a36c976b0207", "3550ee22c598"]);
    }

    #[test]
    fn the_gzip_header_says_nothing() {
        let empty = compress(b"", Codec::GZIP, 2, 1);
        assert_eq!(empty[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        assert!(!compress(b"", Codec::ZSTD, 2, 1).is_empty());
    }

    #[test]
    fn levels_end_somewhere() {
        assert_eq!(Level::<12>::new(12).map(Level::number), Ok(12));
        for level in [0, 13, 255] {
            let error = Level::<12>::new(level).unwrap_err();
            assert_eq!(error.to_string(), format!("there is no compression level {level}, only 1 to 12"));
        }
    }

    #[test]
    fn a_full_output_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for threads in [1, 2] {
            let mut compressor = Compressor::new(Full, Codec::GZIP, threads);
            let written = compressor.write_all(&text(6 << 20));
            let result = written.and_then(|()| compressor.finish().map(drop));
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
    }
}
