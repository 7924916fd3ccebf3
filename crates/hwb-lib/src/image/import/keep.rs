//! Layers, checked on the way into the store.

use std::io::{self, Read, Write};

use hwb_archive::Codec;
use hwb_ident::{Digest, Hasher};
use hwb_oci::blob::Checked;
use hwb_oci::layer::{LayerBlob, LayerError, LayerReader, LayerWriter};
use hwb_oci::{Descriptor, Dialect, LayerCompression, MediaType};

use super::{ImportFault, Importer};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::image::layers::expected;

impl Importer<'_> {
    /// Keeps a layer as it is, if it is what its descriptor and the config of its image say.
    pub(super) fn keep(&self, layer: &Descriptor, diff_id: Digest, input: impl Read) -> Result<(), Error> {
        let expected = expected(layer.media_type.compression(), diff_id);
        let mut blob = self.store.begin_blob()?;
        let input = Tee { input: Checked::new(input, layer), output: &mut blob };
        let checked = LayerReader::new(input, expected).and_then(LayerReader::finish);
        checked.map_err(|source| self.spoilt(layer.digest, source))?;
        blob.keep(&layer.digest)?;
        self.kept_now(layer, diff_id);
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
            let layer = self.pack(input, Some(diff_id))?.descriptor(Dialect::Oci);
            self.kept_now(&layer, diff_id);
            return Ok(layer);
        }
        let mut blob = Measured { output: self.store.begin_blob()?, hasher: Hasher::new(), size: 0 };
        let input = Tee { input, output: &mut blob };
        LayerReader::new(input, expected(Some(compression), diff_id))
            .and_then(LayerReader::finish)
            .map_err(spoilt)?;
        let Measured { output, hasher, size } = blob;
        let digest = hasher.finish();
        output.keep(&digest)?;
        let layer = Descriptor::new(MediaType::Layer(Dialect::Oci, compression), digest, size);
        self.kept_now(&layer, diff_id);
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
        Ok(blob)
    }

    /// The layer that was kept and unpacks to `diff_id`.
    pub(super) fn known(&self, diff_id: &Digest) -> Option<Descriptor> {
        self.kept.borrow().get(diff_id).cloned()
    }

    /// Remembers a layer, and tells of it.
    pub(super) fn kept_now(&self, layer: &Descriptor, diff_id: Digest) {
        self.kept.borrow_mut().insert(diff_id, layer.clone());
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
