//! `hwb image run` of images for other machines.

use hwb_testkit::program::{Processor, program};
use hwb_testkit::registry::Registry;
use hwb_testkit::tree::Entry;
use hwb_testkit::{Image, Outcome, Tree};
use insta::assert_snapshot;

use super::{context, name};

/// Runs a program of `processor` in an image that says that it is for `architecture`.
fn run(processor: Processor, architecture: &str) -> Outcome {
    let registry = Registry::open();
    let layer = Tree::new().entry("program", Entry::Program(program(processor)));
    Image::new()
        .architecture(architecture)
        .layer(&layer)
        .config("Cmd", vec!["/program"])
        .push(&registry, "foreign", "1");
    let image = name(&registry, "foreign:1");
    let context = context(&registry).filter(r"(?m)^warning: the container has one user: .*\n", "");
    let platform = format!("linux/{architecture}");
    // No emulator is on it.
    context.command(["image", "run", "-q", "--platform", &platform, &image]).env("PATH", "/nowhere").run()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn programs_of_the_32_bit_sister_run() {
    assert_snapshot!(run(Processor::I386, "386"), @r"
    exit: 3
    --- stdout
    here
    ");
}

#[test]
fn what_would_run_a_foreign_program_is_said() {
    assert_snapshot!(run(Processor::Nobodys, "s390x"), @r"
    exit: 126
    --- stderr
    error: failed to start `/program`
      caused by: Exec format error (os error 8)
    hint: it is a program for linux/s390x: Debian: apt install qemu-user-static
    ");
}
