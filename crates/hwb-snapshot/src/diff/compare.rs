//! Whether something is as it was.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Stat};

use super::plan::{Opaque, Present};
use super::{Diff, DiffError, Upper};
use crate::attributes::{Attributes, Owner, Owners, PERMISSIONS, Xattrs, is_of_a_layer, modified};
use crate::lowers::{Found, Lowers};
use crate::path::LayerPath;
use crate::tree::{self, Tree, kind};

/// An upper directory over layers.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) request: &'a Diff,
    pub(super) upper: Tree,
    pub(super) lowers: Lowers,
}

/// What of something differs from what the layers below show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    None,
    /// Its time alone.
    Time,
    More,
}

impl View<'_> {
    /// Whether an attribute is part of a layer; one that was called like a mark is, once overlayfs has shown it.
    fn shows(&self, name: &[u8]) -> bool {
        (is_of_a_layer(name) || name.starts_with(self.request.marks.prefix())) && !self.is_owner(name)
    }

    /// Whether an attribute says who something belongs to.
    fn is_owner(&self, name: &[u8]) -> bool {
        self.request.owner_attribute.as_ref().is_some_and(|attribute| attribute.as_bytes() == name)
    }
}

/// That something in the upper directory cannot be read.
pub(super) fn fault<E: Into<io::Error>>(
    upper: &Tree,
    path: &LayerPath,
) -> impl FnOnce(E) -> DiffError + use<E> {
    let path = upper.place(path);
    move |source| DiffError::Read { path, source: source.into() }
}

/// Says what is at `path` of the upper directory, and how it differs from what was found below.
pub(super) fn compare(
    view: &View<'_>,
    path: &LayerPath,
    (held, stat): (&OwnedFd, Stat),
    found: Option<&Found>,
) -> Result<(Present, Difference), DiffError> {
    let Marked { opaque, owner: noted, mut xattrs } = attributes(view, path, held)?;
    let mut was = match found {
        Some(found) => Some(view.lowers.attributes(path, found, view.request.owners)?),
        None => None,
    };
    let record = found.and_then(|found| view.lowers.ledger(found).get(path));
    if let Some(was) = &mut was {
        was.xattrs.retain(|name, _| view.shows(name));
    }
    let mtime = modified(&stat);
    let is_empty_file = kind(&stat) == FileType::RegularFile && stat.st_size == 0;
    let device = record.and_then(|record| record.device).filter(|_| is_empty_file);
    // What could not be set on the file below was not copied up with it; a new time means new contents, and the kernel
    // takes capabilities from these.
    let unchanged = record.filter(|_| was.as_ref().is_some_and(|was| was.mtime == mtime));
    let recorded = unchanged.into_iter().flat_map(|record| record.xattrs.clone());
    xattrs.extend(recorded.filter(|(name, _)| view.shows(name)));
    let owner = match (noted, view.request.owners) {
        (Some(owner), _) => owner,
        (None, Owners::Kept) => Owner { uid: stat.st_uid, gid: stat.st_gid },
        (None, Owners::Recorded) => was.as_ref().map(|was| was.owner).unwrap_or_default(),
    };
    let attributes = Attributes { mode: stat.st_mode & PERMISSIONS, owner, mtime, xattrs };
    let difference = match (found, was) {
        (Some(found), Some(was)) if opaque == Opaque::No => {
            difference(view, path, (&stat, &attributes), (found, &was))?
        }
        _ => Difference::More,
    };
    Ok((Present { stat, attributes, device, opaque }, difference))
}

/// What the attributes of something in the upper directory say.
#[derive(Debug)]
struct Marked {
    opaque: Opaque,
    /// An owner that it could not be given.
    owner: Option<Owner>,
    /// What is part of the layer.
    xattrs: Xattrs,
}

fn attributes(view: &View<'_>, path: &LayerPath, held: &OwnedFd) -> Result<Marked, DiffError> {
    let mut marked = Marked { opaque: Opaque::No, owner: None, xattrs: Xattrs::new() };
    for (name, value) in tree::xattrs(held).map_err(fault(&view.upper, path))? {
        match view.request.marks.unescape(&name) {
            Some(name) if view.is_owner(&name) => {
                let owner = Owner::parse(&value).ok_or_else(|| DiffError::Owner {
                    path: path.clone(),
                    owner: value.escape_ascii().to_string(),
                })?;
                marked.owner = Some(owner);
            }
            Some(name) if view.shows(&name) => {
                marked.xattrs.insert(name, value);
            }
            Some(_) => {}
            // Where there is no overlay, anybody may have written them.
            None if matches!(view.request.upper, Upper::Whole(_)) => {}
            None if name == view.request.marks.opaque().to_bytes() && value == b"y" => {
                marked.opaque = Opaque::Yes;
            }
            None if name.ends_with(b".metacopy") || name.ends_with(b".redirect") => {
                let mark = String::from_utf8_lossy(&name).into_owned();
                return Err(DiffError::Mark { path: path.clone(), mark });
            }
            // `origin`, `impure` and their like say nothing about what is seen.
            None => {}
        }
    }
    Ok(marked)
}

fn difference(
    view: &View<'_>,
    path: &LayerPath,
    (stat, is): (&Stat, &Attributes),
    (found, was): (&Found, &Attributes),
) -> Result<Difference, DiffError> {
    let kind = kind(stat);
    let is_directory = kind == FileType::Directory;
    if kind != tree::kind(&found.stat)
        || is.owner != was.owner
        || is.xattrs != was.xattrs
        || (kind != FileType::Symlink && is.mode != was.mode)
        || (!is_directory && stat.st_size != found.stat.st_size)
        || stat.st_rdev != found.stat.st_rdev
    {
        return Ok(Difference::More);
    }
    if is.mtime != was.mtime {
        return Ok(Difference::Time);
    }
    let same = match kind {
        FileType::RegularFile => same_contents(view, path, found).map_err(fault(&view.upper, path))?,
        FileType::Symlink => {
            let read = |tree| tree::read_link(tree, path).map_err(fault(&view.upper, path));
            read(&view.upper)? == read(view.lowers.tree(found))?
        }
        _ => true,
    };
    Ok(if same { Difference::None } else { Difference::More })
}

fn same_contents(view: &View<'_>, path: &LayerPath, found: &Found) -> io::Result<bool> {
    let open = |tree: &Tree| tree.read(path).map(File::from);
    let (mut is, mut was) = (open(&view.upper)?, open(view.lowers.tree(found))?);
    let (mut one, mut other) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let got = is.read(&mut one)?;
        if got == 0 {
            return Ok(was.read(&mut other)? == 0);
        }
        match was.read_exact(&mut other[..got]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if one[..got] != other[..got] {
            return Ok(false);
        }
    }
}
