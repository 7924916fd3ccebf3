//! The layers of an image, out of the store.

use std::io::Read;

use hwb_ident::Digest;
use hwb_oci::MediaType;
use hwb_oci::layer::{Expected, LayerReader};
use hwb_snapshot::snapshots::AnyError;
use hwb_store::Store;

use super::ImageFault;
use super::catalogue::Image;

/// No layer unpacks to more.
const MOST: u64 = 1 << 40;

/// Opens the layer of an image that unpacks to `diff_id`; its blob is read through before.
pub(super) fn open_layer(
    store: &Store,
    image: &Image,
    diff_id: &Digest,
) -> Result<LayerReader<Box<dyn Read>>, AnyError> {
    let place = image.config.rootfs.diff_ids.iter().position(|known| known == diff_id);
    let layer = place.and_then(|place| image.manifest.layers.get(place));
    let absent = || ImageFault::LayerGone(image.name.to_string());
    let layer = layer.ok_or_else(absent)?;
    let file = store.open_blob(&layer.digest)?.ok_or_else(absent)?;
    let compression = match layer.media_type {
        MediaType::Layer(_, compression) => Some(compression),
        _ => None,
    };
    let expected = Expected { compression, digest: None, diff_id: Some(*diff_id), most: MOST };
    Ok(LayerReader::new(Box::new(file) as Box<dyn Read>, expected)?)
}
