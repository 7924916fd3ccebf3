//! All that layers show, in one directory.

use std::collections::BTreeMap;

use rustix::fs::FileType;

use super::writer::Writer;
use super::{Unpack, UnpackError};
use crate::path::LayerPath;
use crate::tree::kind;

/// Copies what the layers below show into a snapshot that needs none below: for machines that refuse overlays.
///
/// # Errors
///
/// If something cannot be read or written.
pub fn flatten(request: &Unpack) -> Result<(), UnpackError> {
    let mut writer = Writer::start(request)?;
    let mut pending = vec![(LayerPath::ROOT, writer.lowers.root())];
    // The first name of a file that has several.
    let mut first = BTreeMap::new();
    while let Some((directory, part)) = pending.pop() {
        for name in writer.lowers.names(&part, &directory)? {
            let path = directory.child(&name);
            let (found, inside) = writer.lowers.look(&part, &path)?;
            let Some(found) = found else { continue };
            if kind(&found.stat) == FileType::Directory {
                let attributes = writer.lowers.attributes(&path, &found, request.owners)?;
                writer.directory(&path, attributes)?;
                pending.push((path, inside));
                continue;
            }
            match first.get(&found.inode()) {
                Some(original) => writer.hard_link(&path, original)?,
                None => {
                    writer.bring_up(&path)?;
                    if found.stat.st_nlink > 1 {
                        first.insert(found.inode(), path);
                    }
                }
            }
        }
    }
    writer.finish().map(drop)
}
