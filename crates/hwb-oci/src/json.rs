//! Documents, read within limits and written in one way.

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};

use hwb_ident::Digest;

use crate::error::ParseError;

/// The largest document that is read: what registries take at most.
pub const MAX_DOCUMENT: usize = 4 << 20;

/// Reads a document; serde_json itself stops at 128 levels.
pub(crate) fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, ParseError> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(ParseError::TooLarge { what, size: bytes.len(), most: MAX_DOCUMENT });
    }
    serde_json::from_slice(bytes).map_err(|source| ParseError::Json { what, source })
}

/// Writes a document with its keys sorted and no blanks.
///
/// Sorted, and not in the order of the specification: that has no place for fields of which hwb does not know, and
/// these are passed on.
pub(crate) fn write<T: Serialize>(document: &T) -> Vec<u8> {
    let mut value = serde_json::to_value(document).expect("a document has only keys that are text");
    value.sort_all_objects();
    value.to_string().into_bytes()
}

/// Reads `null` as if the field were not there, as Docker writes it.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a digest in the one form that image formats have.
pub(crate) fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    Digest::parse_qualified(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Reads a list of digests.
pub(crate) fn digests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
    let texts: Vec<String> = or_default(deserializer)?;
    texts.iter().map(|text| Digest::parse_qualified(text).map_err(D::Error::custom)).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) const fn is_false(value: &bool) -> bool {
    !*value
}
