//! The tests of containers in hwb-sandbox, which try all ids that somebody has.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use super::person::{Person, Who};
use crate::ordinary_user::test_programs;
use crate::programs::capture;
use crate::workspace::Workspace;

/// The test program, which needs no harness.
#[derive(Debug)]
pub(super) struct Tests {
    executable: PathBuf,
}

/// What they tried as one person.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// Ids, and how many system calls and files with them.
    ways: Vec<(String, usize)>,
    /// How many tests there are with all ids.
    tests: usize,
}

impl Tests {
    /// Builds the test program.
    pub(super) fn build(workspace: &Workspace) -> anyhow::Result<Self> {
        let programs = test_programs(workspace, &["hwb-sandbox".to_owned()])?;
        let named = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("container-"))
        };
        let executable = programs.into_iter().map(|test| test.executable).find(named);
        Ok(Self { executable: executable.context("hwb-sandbox has no test program `container`")? })
    }

    /// Runs a copy of it that this person can read.
    ///
    /// # Errors
    ///
    /// A test failed, or the ids that this person has were not among those that were tried.
    pub(super) fn run(&self, who: Who, person: &Person) -> anyhow::Result<Tried> {
        let copy = person.hwb().with_file_name("container-tests");
        fs_err::copy(&self.executable, &copy)?;
        let said = capture(&mut person.command(&copy))?;
        let tried = Tried::read(&said);
        let ids = match who {
            Who::Root => "same ids",
            Who::Ranges => "ranges",
            Who::OneId => "single id",
        };
        ensure!(tried.ways.iter().any(|(tried, _)| tried == ids), "no way out was tried with {ids}:\n{said}");
        Ok(tried)
    }
}

impl Tried {
    fn read(said: &str) -> Self {
        let mut tried = Self::default();
        for line in said.lines() {
            if let Some((number, ids)) = line.split_once(" ways out tried with ") {
                tried.ways.extend(number.parse().ok().map(|number| (ids.to_owned(), number)));
            }
            tried.tests += usize::from(line.starts_with("test ") && line.ends_with(" ... ok"));
        }
        tried
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways: Vec<_> = self.ways.iter().map(|(ids, number)| format!("{number} with {ids}")).collect();
        write!(formatter, "{}; {} tests of containers passed", ways.join(", "), self.tests)
    }
}
