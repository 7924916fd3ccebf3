//! Programs of another machine: an image of one that runs nothing but itself.

use anyhow::{Context as _, ensure};
use hwb_testkit::Tree;
use hwb_testkit::program::{Processor, program};
use hwb_testkit::tree::Entry;

use super::Found;
use super::person::{Person, Who};
use crate::programs::capture;

/// What is run, for which platform, and what comes of it: the exit code and what was said.
#[derive(Debug)]
struct Foreign {
    name: &'static str,
    processor: Processor,
    platform: &'static str,
    expected: fn(Who) -> &'static str,
}

const HERE: &str = "3 here\n";

const ALL: [Foreign; 2] = [
    Foreign {
        name: "`--platform linux/386`: without an emulator",
        processor: Processor::I386,
        platform: "linux/386",
        expected: |_| HERE,
    },
    Foreign {
        name: "`--platform linux/arm64`: by an emulator for the container alone, which root of the host is refused",
        processor: Processor::Arm64,
        platform: "linux/arm64",
        // Root has the machine's register, in which nobody has put anything.
        expected: |who| if who == Who::Root { "126 " } else { HERE },
    },
];

/// The names of all of it.
pub(super) fn names() -> impl Iterator<Item = String> {
    ALL.iter().map(|foreign| foreign.name.to_owned())
}

/// Runs all of it as `person`, in the order of [`names`].
pub(super) fn examine(person: &Person, who: Who) -> Vec<Found> {
    let mut found = Vec::new();
    for foreign in &ALL {
        let one = match foreign.run(person, who) {
            Ok(()) => Found::Same,
            Err(error) => Found::Wrong(format!("{error:#}").replace('\n', " / ")),
        };
        println!("  {:60} {}", foreign.name, one.shown());
        found.push(one);
    }
    found
}

impl Foreign {
    fn run(&self, person: &Person, who: Who) -> anyhow::Result<()> {
        let tree = Tree::new().entry("program", Entry::Program(program(self.processor)));
        let archive = person.hwb().with_file_name("foreign.tar");
        fs_err::write(&archive, tree.tar("."))?;
        let hwb = || person.command(&person.hwb());
        let mut import = hwb();
        import
            .args(["image", "import", "--quiet", "--platform", self.platform])
            .arg(&archive)
            .arg("foreign:1");
        capture(&mut import)?;
        let run =
            ["image", "run", "--rm", "--pull", "never", "--platform", self.platform, "foreign:1", "/program"];
        let output = hwb().args(run).output().context("hwb did not start")?;
        let code = output.status.code().context("hwb was killed")?;
        let said = format!("{code} {}", String::from_utf8_lossy(&output.stdout));
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(said == (self.expected)(who), "{said} ({})", complaint.trim_end());
        Ok(())
    }
}
