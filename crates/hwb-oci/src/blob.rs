//! Bytes that are held against their descriptor while they are read.

use std::io::{self, Read};

use hwb_ident::{Digest, Hasher};

use crate::descriptor::Descriptor;

/// Bytes are not those that were named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// They are others.
    #[error("blob {wanted} was asked for, but {found} came")]
    Digest {
        /// What was named.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// They end too early.
    #[error("blob {digest} should have {wanted} bytes, but ends after {found}")]
    Short {
        /// What was named.
        digest: Digest,
        /// How many bytes it should have.
        wanted: u64,
        /// How many came.
        found: u64,
    },
    /// They do not end where they should.
    #[error("blob {digest} should have {wanted} bytes, but goes on")]
    Long {
        /// What was named.
        digest: Digest,
        /// How many bytes it should have.
        wanted: u64,
    },
}

/// Reads exactly the bytes that a descriptor names. The last read, the one that gives nothing, fails with a
/// [`BlobError`] if they were others; until then nothing is to be believed.
#[derive(Debug)]
pub struct Checked<R> {
    input: R,
    digest: Digest,
    size: u64,
    read: u64,
    hasher: Option<Hasher>,
}

impl<R: Read> Checked<R> {
    /// Holds what `input` gives against `descriptor`.
    pub fn new(input: R, descriptor: &Descriptor) -> Self {
        let (digest, size) = (descriptor.digest, descriptor.size);
        Self { input, digest, size, read: 0, hasher: Some(Hasher::new()) }
    }

    fn end(&mut self) -> Result<(), BlobError> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        if self.read < self.size {
            return Err(BlobError::Short { digest: self.digest, wanted: self.size, found: self.read });
        }
        let (wanted, found) = (self.digest, hasher.finish());
        if wanted == found { Ok(()) } else { Err(BlobError::Digest { wanted, found }) }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            return self.end().map(|()| 0).map_err(io::Error::other);
        }
        self.read += count as u64;
        if self.read > self.size {
            return Err(io::Error::other(BlobError::Long { digest: self.digest, wanted: self.size }));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Dialect, MediaType};

    #[test]
    fn believes_nothing_but_the_named_bytes() {
        let descriptor = Descriptor::of(MediaType::Config(Dialect::Oci), b"abc");
        let read = |bytes: &[u8]| {
            let mut out = Vec::new();
            Checked::new(bytes, &descriptor)
                .read_to_end(&mut out)
                .map(|_| out)
                .map_err(|error| error.to_string())
        };
        assert_eq!(read(b"abc"), Ok(b"abc".to_vec()));
        let digest = descriptor.digest;
        assert_eq!(read(b"ab"), Err(format!("blob {digest} should have 3 bytes, but ends after 2")));
        assert_eq!(read(b"abcd"), Err(format!("blob {digest} should have 3 bytes, but goes on")));
        let other = Digest::of(b"xyz");
        assert_eq!(read(b"xyz"), Err(format!("blob {digest} was asked for, but {other} came")));
    }
}
