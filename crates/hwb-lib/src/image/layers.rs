//! The layers of an image, out of the store.

use std::io::{self, Read, Write};

use hwb_ident::Digest;
use hwb_oci::LayerCompression;
use hwb_oci::layer::{Expected, LayerReader};
use hwb_sandbox::Cancel;
use hwb_snapshot::snapshots::AnyError;
use hwb_store::Store;

use super::catalogue::Image;
use super::choice::lacking;
use crate::world;

/// No layer unpacks to more.
const MOST: u64 = 1 << 40;

/// What a layer is to be that unpacks to `diff_id`; its packed bytes are checked by whoever has them.
pub(super) const fn expected(compression: Option<LayerCompression>, diff_id: Digest) -> Expected {
    Expected { compression, digest: None, diff_id: Some(diff_id), most: MOST }
}

/// Opens the layer of an image that unpacks to `diff_id`; its blob is read through before. `cancel` ends the reading.
pub(super) fn open_layer(
    store: &Store,
    image: &Image,
    diff_id: &Digest,
    cancel: &Cancel,
) -> Result<LayerReader<Box<dyn Read>>, AnyError> {
    world::check(cancel)?;
    let place = image.config.rootfs.diff_ids.iter().position(|known| known == diff_id);
    let layer = place.and_then(|place| image.manifest.layers.get(place));
    let layer = layer.ok_or_else(|| lacking(&image.name, *diff_id))?;
    let file = store.open_blob(&layer.digest)?.ok_or_else(|| lacking(&image.name, layer.digest))?;
    let file: Box<dyn Read> = Box::new(Stoppable { stream: file, cancel: cancel.clone() });
    Ok(LayerReader::new(file, expected(layer.media_type.compression(), *diff_id))?)
}

/// Goes on until the user asks to stop.
#[derive(Debug)]
pub(super) struct Stoppable<S> {
    pub(super) stream: S,
    pub(super) cancel: Cancel,
}

impl<S> Stoppable<S> {
    fn check(&self) -> io::Result<()> {
        // Not as `ErrorKind::Interrupted`, after which everybody would try again.
        world::check(&self.cancel).map_err(io::Error::other)
    }
}

impl<S: Read> Read for Stoppable<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.stream.read(buffer)
    }
}

impl<S: Write> Write for Stoppable<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_stop_with_the_user() {
        let cancel = Cancel::new().unwrap();
        let mut reader = Stoppable { stream: &b"more"[..], cancel: cancel.clone() };
        let mut writer = Stoppable { stream: Vec::new(), cancel: cancel.clone() };
        assert_eq!(reader.read(&mut [0; 2]).unwrap(), 2);
        writer.write_all(b"some").unwrap();
        cancel.cancel();
        let refused = [reader.read_to_end(&mut Vec::new()).map(drop), writer.write_all(b"more")];
        assert!(refused.iter().all(|result| result.as_ref().unwrap_err().to_string() == "interrupted"));
        assert_eq!(writer.stream, b"some");
    }
}
