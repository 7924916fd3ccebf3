//! Which files, and what they are.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use hwb_archive::tar::Members;
use hwb_archive::{Compression, Format};
use hwb_ident::ArchivePath;
use hwb_oci::layer::{Expected, LayerReader};
use hwb_oci::layout::Files;

use super::ImportFault;
use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind};
use crate::image::folder::Folder;

/// So many times its own size may an archive unpack to,
const RATIO: u64 = 200;
/// unless that is less than this.
const HARMLESS: u64 = 1 << 30;

/// What somebody named.
#[derive(Debug)]
pub(super) struct Source {
    kind: Option<Kind>,
    place: Place,
    /// Which of the images there.
    pub(super) selection: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Layout,
    Archive,
    Docker,
    Root,
}

#[derive(Debug)]
enum Place {
    Input,
    Path { shown: String, path: PathBuf },
}

/// What was found there.
#[derive(Debug)]
pub(super) enum Material {
    Layout(LayoutFiles),
    Docker(Members<File>),
    /// A tar archive that stands at its start.
    Root(File),
}

/// Where the files of an image layout are.
#[derive(Debug)]
pub(super) enum LayoutFiles {
    Folder(Folder),
    Archive(Members<File>),
}

const PREFIXES: [(&str, Kind); 4] = [
    ("oci-layout:", Kind::Layout),
    ("oci-archive:", Kind::Archive),
    ("docker-archive:", Kind::Docker),
    ("tar:", Kind::Root),
];

impl Source {
    /// Takes a source apart. A colon belongs to the path of what is there, and else stands before a name.
    pub(super) fn parse(text: &str, ambient: &Ambient) -> Self {
        let known = PREFIXES.iter().find_map(|(prefix, kind)| Some((text.strip_prefix(prefix)?, *kind)));
        let (rest, kind) = known.map_or((text, None), |(rest, kind)| (rest, Some(kind)));
        let is_there = |path: &str| ambient.absolute(Path::new(path)).exists();
        let (path, selection) = match rest.split_once(':') {
            Some((path, name)) if matches!(kind, Some(kind) if kind != Kind::Root) && !is_there(rest) => {
                (path, Some(name.to_owned()))
            }
            _ => (rest, None),
        };
        let place = match path {
            "-" => Place::Input,
            path => Place::Path { shown: path.to_owned(), path: ambient.absolute(Path::new(path)) },
        };
        Self { kind, place, selection }
    }

    /// For people.
    pub(super) fn display(&self) -> String {
        match &self.place {
            Place::Input => "the input".to_owned(),
            Place::Path { shown, .. } => format!("`{shown}`"),
        }
    }

    /// Finds out what it is; `scratch` is for what must be unpacked first.
    pub(super) fn open(&self, input: &mut dyn Read, scratch: &Path) -> Result<Material, Error> {
        let unread = |source| self.fault(ImportFault::Read { from: self.display(), source });
        let found = match &self.place {
            Place::Path { path, .. } if path.metadata().map_err(unread)?.is_dir() => {
                Material::Layout(LayoutFiles::Folder(Folder::open(path).map_err(unread)?))
            }
            place => {
                let file = self.unpacked(place, input, scratch).map_err(unread)??;
                self.archive(file)?
            }
        };
        match self.kind {
            Some(wanted) if wanted != found.kind() => {
                let (found, wanted) = (found.kind().describe(), wanted.describe());
                Err(self.fault(ImportFault::Other { from: self.display(), found, wanted }))
            }
            _ => Ok(found),
        }
    }

    /// The tar archive as a file that can be gone back in.
    fn unpacked(
        &self,
        place: &Place,
        input: &mut dyn Read,
        scratch: &Path,
    ) -> io::Result<Result<File, Error>> {
        let mut file = match place {
            Place::Path { path, .. } => {
                let mut file = File::open(path)?;
                // A pipe cannot be gone back in.
                match file.metadata()?.is_file() {
                    true => file,
                    false => spool(&mut file, &scratch.join("input"))?,
                }
            }
            Place::Input => spool(input, &scratch.join("input"))?,
        };
        let mut head = Vec::new();
        file.by_ref().take(Format::HEAD as u64).read_to_end(&mut head)?;
        file.rewind()?;
        Ok(match Format::detect(&head) {
            Some(Format::Tar(Compression::None)) => Ok(file),
            Some(Format::Tar(Compression::Gzip | Compression::Zstd)) => {
                let most = file.metadata()?.len().saturating_mul(RATIO).max(HARMLESS);
                let expected = Expected { compression: None, digest: None, diff_id: None, most };
                let reader = LayerReader::new(BufReader::new(file), expected);
                Ok(spool(&mut reader.map_err(io::Error::other)?, &scratch.join("unpacked"))?)
            }
            Some(Format::Tar(compression)) => Err(self.kind_fault(format!("packed by {compression}"))),
            Some(Format::Zip) => Err(self.kind_fault("a zip archive".to_owned())),
            None => Err(self.fault(ImportFault::NoArchive(self.display()))),
        })
    }

    fn archive(&self, file: File) -> Result<Material, Error> {
        let unread = |source| self.fault(ImportFault::Read { from: self.display(), source });
        let members = file.try_clone().map_err(unread)?;
        let mut members = Members::scan(members)
            .map_err(|source| self.fault(ImportFault::Tar { from: self.display(), source }))?;
        let mut has = |name: &str| {
            let path = name.parse().ok();
            path.map_or(Ok(false), |path| Ok(members.open(&path)?.is_some())).map_err(unread)
        };
        let (is_layout, is_docker) = (has("oci-layout")?, has("manifest.json")?);
        Ok(match self.kind {
            Some(Kind::Root) => rewound(file).map_err(unread)?,
            // What Docker writes today is both; the layout has the digests of its layers too.
            Some(Kind::Docker) if is_docker => Material::Docker(members),
            _ if is_layout => Material::Layout(LayoutFiles::Archive(members)),
            _ if is_docker => Material::Docker(members),
            _ => rewound(file).map_err(unread)?,
        })
    }

    fn kind_fault(&self, found: String) -> Error {
        self.fault(ImportFault::Kind { from: self.display(), found })
    }

    fn fault(&self, fault: ImportFault) -> Error {
        Error::new(ErrorKind::Source, fault)
    }
}

impl Kind {
    const fn describe(self) -> &'static str {
        match self {
            Self::Layout => "an image layout in a directory",
            Self::Archive => "an archive of an image layout",
            Self::Docker => "an archive of `docker save`",
            Self::Root => "a tar archive without an image in it",
        }
    }
}

impl Material {
    const fn kind(&self) -> Kind {
        match self {
            Self::Layout(LayoutFiles::Folder(_)) => Kind::Layout,
            Self::Layout(LayoutFiles::Archive(_)) => Kind::Archive,
            Self::Docker(_) => Kind::Docker,
            Self::Root(_) => Kind::Root,
        }
    }
}

impl Files for LayoutFiles {
    fn open(&mut self, path: &ArchivePath) -> io::Result<Option<Box<dyn Read + '_>>> {
        match self {
            Self::Folder(folder) => folder.open(path),
            Self::Archive(members) => Files::open(members, path),
        }
    }
}

fn rewound(mut file: File) -> io::Result<Material> {
    file.rewind()?;
    Ok(Material::Root(file))
}

/// Writes everything into a new file, which stands at its start then.
fn spool(input: &mut dyn Read, path: &Path) -> io::Result<File> {
    let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
    io::copy(input, &mut file)?;
    file.rewind()?;
    Ok(file)
}
