//! Layers, checked on the way into the store.

use std::io::{self, Read, Write};

use hwb_archive::Codec;
use hwb_ident::{Digest, Hasher};
use hwb_oci::blob::Checked;
use hwb_oci::layer::{Expected, LayerBlob, LayerError, LayerReader, LayerWriter};
use hwb_oci::{Descriptor, Dialect, LayerCompression, MediaType};

use super::{ImportFault, Importer};
use crate::error::{Error, ErrorKind};
use crate::event::Event;

/// The most that a layer may unpack to: nothing is kept of it, and no real one is larger.
const LARGEST: u64 = 1 << 40;

impl Importer<'_> {
    /// Keeps a layer as it is, if it is what its descriptor and the config of its image say.
    pub(super) fn keep(&self, layer: &Descriptor, diff_id: Digest, input: impl Read) -> Result<(), Error> {
        let compression = match layer.media_type {
            MediaType::Layer(_, compression) => Some(compression),
            _ => None,
        };
        let expected = Expected { compression, digest: None, diff_id: Some(diff_id), most: LARGEST };
        let mut blob = self.store.begin_blob()?;
        let input = Tee { input: Checked::new(input, layer), output: &mut blob };
        let checked = LayerReader::new(input, expected).and_then(LayerReader::finish);
        checked.map_err(|source| self.spoilt(layer.digest, source))?;
        blob.keep(&layer.digest)?;
        self.tell(layer);
        Ok(())
    }

    /// Keeps a layer of which nothing is known but how it unpacks: as it is if it is compressed.
    pub(super) fn keep_or_pack(&self, diff_id: Digest, mut input: impl Read) -> Result<Descriptor, Error> {
        let spoilt = |source| self.spoilt(diff_id, source);
        let mut head = Vec::new();
        let begun = input.by_ref().take(4).read_to_end(&mut head);
        begun.map_err(|source| spoilt(LayerError::Read(source)))?;
        let compression = LayerCompression::detect(&head);
        let input = io::Cursor::new(head).chain(input);
        if compression == LayerCompression::None {
            return Ok(self.pack(input, Some(diff_id))?.descriptor(Dialect::Oci));
        }
        let mut blob = Measured { output: self.store.begin_blob()?, hasher: Hasher::new(), size: 0 };
        let expected =
            Expected { compression: Some(compression), digest: None, diff_id: Some(diff_id), most: LARGEST };
        let input = Tee { input, output: &mut blob };
        LayerReader::new(input, expected).and_then(LayerReader::finish).map_err(spoilt)?;
        let Measured { output, hasher, size } = blob;
        let digest = hasher.finish();
        output.keep(&digest)?;
        let layer = Descriptor::new(MediaType::Layer(Dialect::Oci, compression), digest, size);
        self.tell(&layer);
        Ok(layer)
    }

    /// Compresses the tar archive of a layer into the store.
    pub(super) fn pack(&self, mut input: impl Read, diff_id: Option<Digest>) -> Result<LayerBlob, Error> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut writer = LayerWriter::new(self.store.begin_blob()?, Codec::GZIP, threads);
        let packed = io::copy(&mut input, &mut writer).and_then(|_| writer.finish());
        let (output, blob) = packed.map_err(|source| {
            Error::new(ErrorKind::Source, ImportFault::Read { from: self.from.clone(), source })
        })?;
        match diff_id {
            Some(wanted) if wanted != blob.diff_id => {
                return Err(self.spoilt(wanted, LayerError::DiffId { wanted, found: blob.diff_id }));
            }
            _ => {}
        }
        output.keep(&blob.digest)?;
        self.tell(&blob.descriptor(Dialect::Oci));
        Ok(blob)
    }

    fn tell(&self, layer: &Descriptor) {
        let what = format!("layer {}", layer.digest.short());
        (self.events)(Event::Fetched { what, bytes: layer.size });
    }

    pub(super) fn spoilt(&self, layer: Digest, source: LayerError) -> Error {
        let from = self.from.clone();
        Error::new(ErrorKind::Source, ImportFault::Layer { from, layer, source })
    }
}

/// Writes down what is read.
struct Tee<R, W> {
    input: R,
    output: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.output.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// Names what is written.
struct Measured<W> {
    output: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
