//! What a layer says and a file system cannot be made to.
//!
//! An ordinary user has one id and makes no devices. The owners that a layer names, its devices, and attributes that
//! only the system may set then stand in a file beside the unpacked tree:
//!
//! ```text
//! hwb ledger 1
//! dev/null device=character:1:3
//! etc/shadow owner=0:42
//! usr/bin/ping xattr=security.capability:0100000200200000000000000000000000000000
//! ```
//!
//! A line for each path; the root is `.`. A byte that is no printable ASCII, a space and a backslash are written as
//! `\ooo`, in octal. A device stands in the tree as an empty file. What has no owner here belongs to 0:0.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use hwb_archive::tar::Device;

use crate::attributes::{Owner, Xattrs};
use crate::path::{LayerPath, escape, unescape};

/// What a file system could not be made to say, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger(BTreeMap<LayerPath, Record>);

/// What is recorded of one path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Who owns it.
    pub owner: Option<Owner>,
    /// Which device it is.
    pub device: Option<Special>,
    /// Its further attributes, by name.
    pub xattrs: Xattrs,
}

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// One that is read byte by byte.
    Character(Device),
    /// One that is read in blocks.
    Block(Device),
}

/// Why some text is no ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseLedgerError {
    /// It starts as something else.
    #[error("it does not start with `{HEAD}`")]
    Head,
    /// A line that says nothing.
    #[error("line {0} is no record")]
    Line(usize),
}

const HEAD: &str = "hwb ledger 1";

impl Ledger {
    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is recorded of a path.
    pub fn get(&self, path: &LayerPath) -> Option<&Record> {
        self.0.get(path)
    }

    /// The record of a path, to be written to.
    pub fn entry(&mut self, path: LayerPath) -> &mut Record {
        self.0.entry(path).or_default()
    }

    /// Replaces what is recorded of a path.
    pub fn set(&mut self, path: LayerPath, record: Record) {
        if record == Record::default() {
            self.0.remove(&path);
        } else {
            self.0.insert(path, record);
        }
    }

    /// Forgets a path and all below it.
    pub fn forget(&mut self, path: &LayerPath) {
        path.forget_in(&mut self.0);
    }

    /// Every record, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&LayerPath, &Record)> {
        self.0.iter()
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        for (path, record) in &self.0 {
            f.write_str(&path.escaped())?;
            if let Some(Owner { uid, gid }) = record.owner {
                write!(f, " owner={uid}:{gid}")?;
            }
            if let Some(special) = record.device {
                let (kind, Device { major, minor }) = match special {
                    Special::Character(device) => ("character", device),
                    Special::Block(device) => ("block", device),
                };
                write!(f, " device={kind}:{major}:{minor}")?;
            }
            for (name, value) in &record.xattrs {
                write!(f, " xattr={}:", escape(name))?;
                value.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl FromStr for Ledger {
    type Err = ParseLedgerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(ParseLedgerError::Head);
        }
        let mut ledger = Self::default();
        for (number, line) in lines.enumerate() {
            let (path, record) = parse_line(line).ok_or(ParseLedgerError::Line(number + 2))?;
            ledger.set(path, record);
        }
        Ok(ledger)
    }
}

fn parse_line(line: &str) -> Option<(LayerPath, Record)> {
    let mut fields = line.split(' ');
    let path = LayerPath::from_escaped(fields.next()?)?;
    let mut record = Record::default();
    for field in fields {
        match field.split_once('=')? {
            ("owner", value) => record.owner = Some(Owner::parse(value.as_bytes())?),
            ("device", value) => {
                let mut parts = value.split(':');
                let (kind, major, minor) = (parts.next()?, parts.next()?, parts.next()?);
                let device = Device { major: major.parse().ok()?, minor: minor.parse().ok()? };
                record.device = Some(match kind {
                    "character" => Special::Character(device),
                    "block" => Special::Block(device),
                    _ => return None,
                });
            }
            ("xattr", value) => {
                let (name, hex) = value.rsplit_once(':')?;
                record.xattrs.insert(unescape(name)?, unhex(hex)?);
            }
            _ => return None,
        }
    }
    (record != Record::default()).then_some((path, record))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parses() {
        let text = "hwb ledger 1\n\
            . owner=1:2\n\
            a\\040b\\134\\377\\012 owner=0:42 xattr=user.a:b=\\040:00ff\n\
            dev/null device=character:1:3\n\
            dev/sda owner=0:6 device=block:8:0 xattr=security.x: xattr=user.y:61\n";
        let ledger: Ledger = text.parse().unwrap();
        assert_eq!(ledger.to_string(), text);
        let path = LayerPath::parse(b"a b\\\xff\n").unwrap();
        assert_eq!(ledger.get(&path).unwrap().owner, Some(Owner { uid: 0, gid: 42 }));
        assert_eq!(ledger.get(&LayerPath::ROOT).unwrap().owner, Some(Owner { uid: 1, gid: 2 }));
        assert!(ledger.get(&path).unwrap().xattrs.contains_key(&b"user.a:b= "[..]));
    }

    #[test]
    fn refuses_what_is_no_ledger() {
        assert_eq!("".parse::<Ledger>(), Err(ParseLedgerError::Head));
        assert_eq!("hwb ledger 2\n".parse::<Ledger>(), Err(ParseLedgerError::Head));
        for line in [
            "a",
            "../a owner=0:1",
            "a owner=0",
            "a owner=0:4294967295",
            "a owner=-1:0",
            "a device=pipe:1:3",
            "a device=block:1",
            "a xattr=x:0",
            "a xattr=x:zz",
            "a\\9 owner=1:1",
            "a mode=1",
            "",
        ] {
            let text = format!("{HEAD}\nb owner=1:1\n{line}\n");
            assert_eq!(text.parse::<Ledger>(), Err(ParseLedgerError::Line(3)), "{line}");
        }
    }

    #[test]
    fn forgets_what_is_below() {
        let mut ledger = Ledger::default();
        for name in ["a", "a/b", "a-b"] {
            ledger.entry(LayerPath::parse(name.as_bytes()).unwrap()).owner = Some(Owner { uid: 1, gid: 1 });
        }
        ledger.forget(&LayerPath::parse(b"a").unwrap());
        assert_eq!(ledger.to_string(), format!("{HEAD}\na-b owner=1:1\n"));
    }
}
