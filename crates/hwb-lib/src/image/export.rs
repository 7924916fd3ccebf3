//! From the store into files.

use std::fmt;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hwb_oci::Descriptor;
use hwb_oci::layout::{ArchiveWriter, Blobs, Contents, Flavour, Layout, LayoutError, NamedImage};
use hwb_store::Store;
use schemars::JsonSchema;
use serde::Serialize;

use super::choice::{Chosen, Platforms};
use super::folder::{Folder, FolderWriter};
use crate::ambient::Ambient;
use crate::cache;
use crate::error::{Error, ErrorKind};
use crate::settings::Settings;

/// What is to be exported.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// The images: their names, or the beginnings of their identifiers.
    pub images: Vec<String>,
    /// For which platforms; several go under an index of them.
    pub platforms: Platforms,
    /// How; `None` for a layout where the place is a directory, and else for an archive of one.
    pub format: Option<ExportFormat>,
}

/// Where it is to go.
#[expect(missing_debug_implementations, reason = "nothing is known of an output")]
pub enum ExportTarget<'a> {
    /// A file or a directory.
    Path(PathBuf),
    /// An output that takes bytes, one after the other.
    Stream(&'a mut dyn Write),
}

/// What images are as files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// A tar archive of an OCI image layout.
    OciArchive,
    /// An OCI image layout, in a directory.
    OciLayout,
    /// The same archive, with what `docker load` looks for.
    DockerArchive,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExportReport {
    /// The file or directory; `None` where it was an output.
    pub path: Option<PathBuf>,
    /// What it is.
    pub format: ExportFormat,
    /// The images in it, by name.
    pub images: Vec<ExportedImage>,
}

/// An image in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExportedImage {
    /// What it is called there; `None` if its name is a digest that is not its own.
    pub name: Option<String>,
    /// The digest of its manifest or index.
    pub digest: String,
}

/// A text that is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no format; there are oci-archive, oci-layout and docker-archive")]
pub struct ParseFormatError(String);

#[derive(Debug, thiserror::Error)]
enum ExportFault {
    #[error("failed to export to {to}")]
    Layout { to: String, source: LayoutError },
    #[error("failed to write {to}")]
    Write { to: String, source: io::Error },
    #[error("an image layout is a directory, and cannot be written to an output")]
    StreamedLayout,
    #[error("{to} is a directory, but an archive is a file")]
    Directory { to: String },
    #[error("{to} is neither an image layout nor an empty directory")]
    Foreign { to: String },
}

/// Writes images of the store into a file or a directory, or to an output. Which bytes follows from the images and
/// their names. A file appears whole, a device or a pipe is written to; in a layout that is there, images of other names stay.
///
/// # Errors
///
/// If an image is not in the store, the format has no words for it, or it cannot be written.
pub fn export(
    settings: &Settings,
    ambient: &Ambient,
    request: &ExportRequest,
    target: ExportTarget<'_>,
) -> Result<ExportReport, Error> {
    let store = cache::open(settings)?;
    let find = |image: &String| {
        let chosen = Chosen::find(&store, image, &request.platforms)?;
        chosen.check(&store).map(|()| named(chosen))
    };
    let images = request.images.iter().map(find).collect::<Result<Vec<_>, Error>>()?;
    let format = request.format.unwrap_or_else(|| target.usual_format(ambient));
    let exporter = Exporter { store: &store, images: &images, to: target.display() };
    let path = match (target, format) {
        (ExportTarget::Stream(_), ExportFormat::OciLayout) => {
            return Err(Error::new(ErrorKind::Usage, ExportFault::StreamedLayout));
        }
        (ExportTarget::Stream(out), format) => {
            exporter.archive(out, format)?;
            None
        }
        (ExportTarget::Path(path), format) => {
            let place = ambient.absolute(&path);
            match format {
                ExportFormat::OciLayout => exporter.folder(&place)?,
                _ => exporter.file(&place, format)?,
            }
            Some(path)
        }
    };
    let report = |NamedImage { name, descriptor }: &NamedImage| ExportedImage {
        name: name.as_ref().map(ToString::to_string),
        digest: descriptor.digest.to_string(),
    };
    Ok(ExportReport { path, format, images: images.iter().map(report).collect() })
}

/// What an image is called outside of the store: it may have been chosen from what its digest names.
fn named(chosen: Chosen) -> NamedImage {
    let Chosen { name, descriptor, .. } = chosen;
    let name = match (name.digest(), name.tag()) {
        (Some(digest), tag) if digest != descriptor.digest => tag.and_then(|tag| name.with_tag(tag).ok()),
        _ => Some(name),
    };
    NamedImage { name, descriptor }
}

impl ExportTarget<'_> {
    fn usual_format(&self, ambient: &Ambient) -> ExportFormat {
        match self {
            Self::Path(path) if path.as_os_str().to_string_lossy().ends_with('/') => ExportFormat::OciLayout,
            Self::Path(path) if ambient.absolute(path).is_dir() => ExportFormat::OciLayout,
            _ => ExportFormat::OciArchive,
        }
    }

    fn display(&self) -> String {
        match self {
            Self::Path(path) => format!("`{}`", path.display()),
            Self::Stream(_) => "the output".to_owned(),
        }
    }
}

struct Exporter<'a> {
    store: &'a Store,
    images: &'a [NamedImage],
    /// Where it goes, for people.
    to: String,
}

impl Exporter<'_> {
    /// Writes an archive to what is at `place`: a new file for an old one, but a device or a pipe is written to.
    fn file(&self, place: &Path, format: ExportFormat) -> Result<(), Error> {
        match fs_err::metadata(place) {
            Ok(found) if found.is_dir() => {
                Err(Error::new(ErrorKind::Usage, ExportFault::Directory { to: self.to.clone() })
                    .hint("`--format oci-layout` writes a directory"))
            }
            // A link stays, and leads to the new file.
            Ok(found) if found.is_file() => {
                self.new_file(&fs_err::canonicalize(place).map_err(self.unwritten())?, format)
            }
            Ok(_) => {
                let opened = fs_err::File::options().write(true).open(place);
                self.archive(&mut opened.map_err(self.unwritten())?, format)
            }
            // A link to nothing is no place for a file: what it leads to may be there tomorrow.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !place.is_symlink() => {
                self.new_file(place, format)
            }
            Err(error) => Err(self.unwritten()(error)),
        }
    }

    /// Writes an archive beside everything, and puts it into its place.
    fn new_file(&self, place: &Path, format: ExportFormat) -> Result<(), Error> {
        let scratch = self.store.scratch("export")?;
        let complete = scratch.path().join("archive.tar");
        let mut file = fs_err::File::create(&complete).map_err(self.unwritten())?;
        self.archive(&mut file, format)?;
        drop(file);
        Ok(hwb_store::fs::publish(&complete, place)?)
    }

    fn archive(&self, out: &mut dyn Write, format: ExportFormat) -> Result<(), Error> {
        let flavour = match format {
            ExportFormat::DockerArchive => Flavour::Docker,
            ExportFormat::OciArchive | ExportFormat::OciLayout => Flavour::Oci,
        };
        let mut blobs = Stored(self.store);
        let mut archive = ArchiveWriter::new(BufWriter::with_capacity(1 << 18, out));
        let contents = Contents::of(self.images, flavour, &mut blobs).map_err(|error| self.failed(error))?;
        contents.write(&mut blobs, &mut archive).map_err(|error| self.failed(error))?;
        archive.finish().and_then(|mut out| out.flush()).map_err(self.unwritten())
    }

    /// Writes file by file into a directory, which is a layout once the last one is there.
    fn folder(&self, place: &Path) -> Result<(), Error> {
        let is_new = !place.exists();
        fs_err::create_dir_all(place).map_err(self.unwritten())?;
        let written = self.fill(place);
        if is_new && written.is_err() {
            // That it failed is to be told, and not what remains.
            let _remains = hwb_store::fs::remove_tree(place);
        }
        written
    }

    fn fill(&self, place: &Path) -> Result<(), Error> {
        let mut blobs = Stored(self.store);
        let contents =
            Contents::of(self.images, Flavour::Oci, &mut blobs).map_err(|error| self.failed(error))?;
        let contents = match hwb_store::walk_sorted(place)?.as_slice() {
            [] => contents,
            _ if !place.join("oci-layout").is_file() => {
                let fault = ExportFault::Foreign { to: self.to.clone() };
                return Err(Error::new(ErrorKind::Usage, fault));
            }
            _ => {
                let folder = Folder::open(place).map_err(self.unwritten())?;
                let existing = Layout::open(folder).map_err(|error| self.failed(error))?;
                contents.beside(existing.index())
            }
        };
        let scratch = self.store.scratch("export")?;
        let mut folder = FolderWriter::new(place, scratch.path());
        contents.write(&mut blobs, &mut folder).map_err(|error| self.failed(error))
    }

    fn failed(&self, source: LayoutError) -> Error {
        let (kind, hint) = match &source {
            LayoutError::SeveralPlatforms(_) => {
                (ErrorKind::Usage, Some("name one of them with `--platform`"))
            }
            LayoutError::Write { .. } => (ErrorKind::Machine, None),
            _ => (ErrorKind::Source, None),
        };
        let error = Error::new(kind, ExportFault::Layout { to: self.to.clone(), source });
        hint.into_iter().fold(error, Error::hint)
    }

    fn unwritten(&self) -> impl FnOnce(io::Error) -> Error + use<> {
        let to = self.to.clone();
        move |source| Error::new(ErrorKind::Machine, ExportFault::Write { to, source })
    }
}

/// The blobs of the store. Each is read through before it is given out.
struct Stored<'a>(&'a Store);

impl Blobs for Stored<'_> {
    fn open(&mut self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + '_>> {
        let found = self.0.open_blob(&descriptor.digest).map_err(io::Error::other)?;
        Ok(Box::new(found.ok_or(io::ErrorKind::NotFound)?))
    }
}

impl FromStr for ExportFormat {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "oci-archive" => Ok(Self::OciArchive),
            "oci-layout" => Ok(Self::OciLayout),
            "docker-archive" => Ok(Self::DockerArchive),
            _ => Err(ParseFormatError(text.to_owned())),
        }
    }
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OciArchive => "oci-archive",
            Self::OciLayout => "oci-layout",
            Self::DockerArchive => "docker-archive",
        })
    }
}
