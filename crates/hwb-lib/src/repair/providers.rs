//! Libraries that come in other wheels: those of distributions that the wheel requires.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hwb_archive::zip::Source;
use hwb_ident::{PackageName, Requirement, WheelFilename};
use hwb_repair::{Exceptions, Provider};
use hwb_wheel::{Record, Wheel};

use super::RepairFault;
use crate::audit::is_wheel;
use crate::error::{Error, ErrorKind};

/// What distributions have, by the paths of their files after installation.
#[derive(Debug, Default)]
pub(super) struct Providers(BTreeMap<PackageName, BTreeSet<String>>);

impl Providers {
    /// Looks at wheels, folders of wheels, and folders of installed packages.
    pub(super) fn read(places: &[PathBuf]) -> Result<Self, Error> {
        let mut providers = Self::default();
        for place in places {
            if is_wheel(place) {
                providers.wheel(place)?;
                continue;
            }
            for entry in fs_err::read_dir(place).map_err(read_error(place))? {
                let path = entry.map_err(read_error(place))?.path();
                if is_wheel(&path) {
                    providers.wheel(&path)?;
                } else if path.extension().is_some_and(|extension| extension == "dist-info") {
                    providers.installed(&path);
                }
            }
        }
        Ok(providers)
    }

    fn wheel(&mut self, path: &Path) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Ok(filename) = name.parse::<WheelFilename>() else { return Ok(()) };
        let input = super::open(path)?;
        // One that cannot be read provides nothing; it is not what was asked for.
        let Ok(wheel) = Wheel::read(&name, Source::of(&input)) else { return Ok(()) };
        let paths = wheel.files().map(|member| installed_path(member.path.as_str()).to_owned());
        self.0.entry(filename.name).or_default().extend(paths);
        Ok(())
    }

    fn installed(&mut self, dist_info: &Path) {
        let stem = dist_info.file_stem().unwrap_or_default().to_string_lossy();
        let name = stem.split('-').next().and_then(|name| name.parse::<PackageName>().ok());
        let record = fs_err::read(dist_info.join("RECORD")).ok().and_then(|bytes| Record::parse(&bytes).ok());
        if let Some((name, record)) = name.zip(record) {
            let paths = record.rows.into_iter().map(|row| row.path.to_string());
            self.0.entry(name).or_default().extend(paths);
        }
    }

    /// Notes what the distributions that a wheel requires have.
    pub(super) fn except(&self, wheel: &Wheel<'_>, exceptions: &mut Exceptions) {
        // What only an extra asks for may not be there.
        let always = |requirement: &&Requirement| requirement.marker.top_level_extra_name().is_none();
        let required =
            wheel.metadata().requires_dist.iter().filter(always).map(|requirement| &requirement.name);
        for name in required.filter(|name| **name != wheel.metadata().name) {
            for path in self.0.get(name).into_iter().flatten() {
                let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
                if file.contains(".so") {
                    let provider = Provider { distribution: name.to_string(), folder: folder.to_owned() };
                    exceptions.provide(file, provider);
                }
            }
        }
    }
}

/// Where a file of a wheel is among the packages.
fn installed_path(path: &str) -> &str {
    let below = |scheme: &str| path.split_once(".data/").and_then(|(_, rest)| rest.strip_prefix(scheme));
    below("platlib/").or_else(|| below("purelib/")).unwrap_or(path)
}

fn read_error(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::new(ErrorKind::Source, RepairFault::Read { path: path.to_owned(), source })
}
