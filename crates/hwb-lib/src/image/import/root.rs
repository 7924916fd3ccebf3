//! An image of one layer, which is a root file system.

use std::fs::File;
use std::io::{BufReader, Seek as _};

use hwb_archive::tar::{Reader, TarError};
use hwb_ident::Timestamp;
use hwb_oci::layer::WHITEOUT;
use hwb_oci::{Change, Dialect, History, ImageConfig};

use super::{ImportFault, Importer};
use crate::error::{Error, ErrorKind};
use crate::image::catalogue::Image;
use crate::image::choice::Platforms;

/// What is said of the image besides its files.
pub(super) struct Steps {
    pub(super) changes: Vec<Change>,
    pub(super) message: Option<String>,
    /// When it came about, if somebody says so; else it is as old as its newest file.
    pub(super) epoch: Option<Timestamp>,
}

impl Importer<'_> {
    /// Makes an image of a tar archive.
    pub(super) fn root(&self, mut archive: File, steps: Steps) -> Result<Vec<Image>, Error> {
        if *self.platforms == Platforms::All {
            return Err(Error::new(ErrorKind::Usage, ImportFault::Platforms));
        }
        let names = self.names(Vec::new())?;
        let newest = self.newest(&archive)?;
        let unread =
            |source| Error::new(ErrorKind::Source, ImportFault::Read { from: self.from.clone(), source });
        archive.rewind().map_err(unread)?;
        let blob = self.pack(BufReader::new(archive), None)?;
        let layer = blob.descriptor(Dialect::Oci);
        self.kept_now(&layer, blob.diff_id);
        let created = steps.epoch.unwrap_or(newest);
        let mut config = ImageConfig::new(&self.preferred(), created);
        config.config.apply(&steps.changes);
        let history = History { comment: steps.message, ..History::new(created, "hwb image import") };
        config.append_layer(blob.diff_id, history);
        let manifest = self.manifest(&config.to_bytes(), vec![layer])?;
        self.publish(&names, manifest.digest, &manifest)
    }

    /// When the newest file was written to. Reads all of it, so that it is an archive to its end.
    fn newest(&self, archive: &File) -> Result<Timestamp, Error> {
        let fault = |fault| Error::new(ErrorKind::Source, fault);
        let malformed = |source: TarError| fault(ImportFault::Tar { from: self.from.clone(), source });
        let mut reader = Reader::new(BufReader::new(archive));
        let mut newest = 0;
        while let Some(entry) = reader.next_entry().map_err(malformed)? {
            let last = entry.name.rsplit(|byte| *byte == b'/').find(|part| !part.is_empty());
            if last.is_some_and(|last| last.starts_with(WHITEOUT)) {
                let (from, member) = (self.from.clone(), entry.display());
                return Err(fault(ImportFault::Whiteout { from, member }));
            }
            let written = entry.mtime.and_then(|time| u64::try_from(time.seconds).ok());
            newest = newest.max(written.unwrap_or_default());
        }
        Ok(Timestamp::from_seconds(newest))
    }
}
