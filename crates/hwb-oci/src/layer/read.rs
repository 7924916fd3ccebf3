//! Taking a blob of a layer apart.

use std::io::{self, BufReader, Cursor, Read};

use hwb_archive::Decoder;
use hwb_ident::{Digest, Hasher};

use crate::media::LayerCompression;

/// How much of a blob is read at once.
const BUFFER: usize = 256 << 10;

/// What a layer must be.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// How its media type says that it is compressed; `None` where nobody said.
    pub compression: Option<LayerCompression>,
    /// The digest of its blob; `None` if it was checked before, or is not known.
    pub digest: Option<Digest>,
    /// The digest of its tar archive; `None` if that is not known.
    pub diff_id: Option<Digest>,
    /// The most bytes that its tar archive may have.
    pub most: u64,
}

/// Why a layer is refused.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// It is compressed in another way than was said. Some readers go by the one and some by the other.
    #[error("the layer is said to be {said}, but is {found}")]
    Compression {
        /// By its media type.
        said: LayerCompression,
        /// By its first bytes.
        found: LayerCompression,
    },
    /// It is larger than it may be.
    #[error("the layer unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// It cannot be read or does not unpack.
    #[error("cannot read the layer")]
    Read(#[source] io::Error),
    /// The blob is another one.
    #[error("the layer should be {wanted}, but is {found}")]
    Digest {
        /// What was named.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// What the blob unpacks to is something else.
    #[error("the layer should unpack to {wanted}, but unpacks to {found}")]
    DiffId {
        /// What the config says.
        wanted: Digest,
        /// What came out.
        found: Digest,
    },
}

/// The tar archive of a layer, unpacked while it is read.
///
/// Nothing of it is to be believed before [`LayerReader::finish`] has said so.
#[derive(Debug)]
pub struct LayerReader<R: Read> {
    decoder: Decoder<BufReader<Hashed<R>>>,
    compression: LayerCompression,
    expected: Expected,
    diff_id: Hasher,
    unpacked: u64,
}

/// Bytes of which the first are known already, with their digest if somebody wants it.
#[derive(Debug)]
struct Hashed<R> {
    input: io::Chain<Cursor<Vec<u8>>, R>,
    hasher: Option<Hasher>,
}

impl LayerCompression {
    /// Tells how a layer is compressed from its first four bytes, or as many as there are.
    pub fn detect(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

impl<R: Read> LayerReader<R> {
    /// Opens a blob.
    ///
    /// # Errors
    ///
    /// If its start cannot be read, or is not what its media type says.
    pub fn new(mut input: R, expected: Expected) -> Result<Self, LayerError> {
        let mut head = Vec::new();
        input.by_ref().take(4).read_to_end(&mut head).map_err(LayerError::Read)?;
        let found = LayerCompression::detect(&head);
        match expected.compression {
            Some(said) if said != found => return Err(LayerError::Compression { said, found }),
            _ => {}
        }
        let hasher = expected.digest.map(|_| Hasher::new());
        let input = Hashed { input: Cursor::new(head).chain(input), hasher };
        let input = BufReader::with_capacity(BUFFER, input);
        let decoder = match found {
            LayerCompression::None => Decoder::None(input),
            LayerCompression::Gzip => Decoder::gzip(input),
            LayerCompression::Zstd => Decoder::zstd(input).map_err(LayerError::Read)?,
        };
        Ok(Self { decoder, compression: found, expected, diff_id: Hasher::new(), unpacked: 0 })
    }

    /// How it is compressed.
    pub const fn compression(&self) -> LayerCompression {
        self.compression
    }

    /// Reads what is left, and gives the digest of the tar archive.
    ///
    /// # Errors
    ///
    /// If it is not what was expected.
    pub fn finish(mut self) -> Result<Digest, LayerError> {
        io::copy(&mut self, &mut io::sink()).map_err(LayerError::from_read)?;
        let mut rest = self.decoder.into_inner();
        io::copy(&mut rest, &mut io::sink()).map_err(LayerError::Read)?;
        let found = rest.into_inner().hasher.map(Hasher::finish);
        if let (Some(wanted), Some(found)) = (self.expected.digest, found)
            && wanted != found
        {
            return Err(LayerError::Digest { wanted, found });
        }
        let found = self.diff_id.finish();
        match self.expected.diff_id {
            Some(wanted) if wanted != found => Err(LayerError::DiffId { wanted, found }),
            _ => Ok(found),
        }
    }
}

impl LayerError {
    /// Takes out again what a read had to wrap.
    fn from_read(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::Read)
    }
}

impl<R: Read> Read for LayerReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.diff_id.update(&buffer[..count]);
        self.unpacked += count as u64;
        if self.unpacked > self.expected.most {
            return Err(io::Error::other(LayerError::TooLarge(self.expected.most)));
        }
        Ok(count)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use hwb_archive::Codec;

    use super::*;
    use crate::descriptor::Descriptor;
    use crate::layer::LayerWriter;
    use crate::media::{Dialect, MediaType};

    fn tar(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at / 7 % 251).unwrap()).collect()
    }

    /// Gives its bytes one by one, as a slow connection may.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    fn read(blob: &[u8], expected: Expected) -> Result<(Vec<u8>, Digest), LayerError> {
        let mut reader = LayerReader::new(Slow(blob), expected)?;
        let mut out = Vec::new();
        reader.read_to_end(&mut out).map_err(LayerError::from_read)?;
        Ok((out, reader.finish()?))
    }

    #[test]
    fn reads_what_is_written() {
        let archive = tar(20_000);
        for (codec, name) in [
            (Codec::None, "application/vnd.oci.image.layer.v1.tar"),
            (Codec::GZIP, "application/vnd.oci.image.layer.v1.tar+gzip"),
            (Codec::ZSTD, "application/vnd.oci.image.layer.v1.tar+zstd"),
        ] {
            let mut writer = LayerWriter::new(Vec::new(), codec, 2);
            writer.write_all(&archive).unwrap();
            let (bytes, blob) = writer.finish().unwrap();
            assert_eq!(blob.diff_id, Digest::of(&archive));
            assert_eq!(blob.descriptor(Dialect::Oci), Descriptor::of(MediaType::parse(name), &bytes));
            assert_eq!(blob.unpacked, 20_000);
            let expected = Expected {
                compression: Some(blob.compression),
                digest: Some(blob.digest),
                diff_id: Some(blob.diff_id),
                most: 20_000,
            };
            assert_eq!(read(&bytes, expected).unwrap(), (archive.clone(), blob.diff_id));
            // Nobody said anything, and nobody read it to its end.
            let expected = Expected { compression: None, digest: None, diff_id: None, most: 20_000 };
            assert_eq!(LayerReader::new(&bytes[..], expected).unwrap().finish().unwrap(), blob.diff_id);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let archive = tar(20_000);
        let gzip = {
            let mut writer = LayerWriter::new(Vec::new(), Codec::GZIP, 1);
            writer.write_all(&archive).unwrap();
            writer.finish().unwrap().0
        };
        let open = Expected { compression: None, digest: None, diff_id: None, most: u64::MAX };
        let other = Digest::of(b"other");
        let (digest, diff_id) = (Digest::of(&gzip), Digest::of(&archive));
        let said = |compression| Expected { compression: Some(compression), ..open };
        let (padded, cut) = ([&gzip[..], b"more"].concat(), &gzip[..gzip.len() - 9]);
        for (blob, expected, expect) in [
            (
                &gzip[..],
                said(LayerCompression::None),
                "the layer is said to be uncompressed, but is gzip".to_owned(),
            ),
            (&gzip, said(LayerCompression::Zstd), "the layer is said to be zstd, but is gzip".to_owned()),
            (
                &archive,
                said(LayerCompression::Gzip),
                "the layer is said to be gzip, but is uncompressed".to_owned(),
            ),
            (
                &gzip,
                Expected { most: 19_999, ..open },
                "the layer unpacks to more than 19999 bytes".to_owned(),
            ),
            (
                &gzip,
                Expected { digest: Some(other), ..open },
                format!("the layer should be {other}, but is {digest}"),
            ),
            (
                &gzip,
                Expected { diff_id: Some(other), ..open },
                format!("the layer should unpack to {other}, but unpacks to {diff_id}"),
            ),
            (&padded, open, "cannot read the layer".to_owned()),
            (cut, open, "cannot read the layer".to_owned()),
        ] {
            assert_eq!(read(blob, expected).unwrap_err().to_string(), expect);
        }
    }

    #[test]
    fn several_members_are_one_layer() {
        let mut blob = Vec::new();
        for part in [&b"one"[..], b"", b"two"] {
            let mut writer = LayerWriter::new(&mut blob, Codec::GZIP, 1);
            writer.write_all(part).unwrap();
            writer.finish().unwrap();
        }
        let open = Expected { compression: None, digest: None, diff_id: None, most: 6 };
        assert_eq!(read(&blob, open).unwrap().0, b"onetwo");
    }
}
