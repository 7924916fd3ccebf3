//! Ctrl-C, and worse: what was started ends, and nothing is left.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use fs_err as fs;
use hwb_testkit::{CommandContext, Project};

use crate::{context_with, dist, greeter, remains};

/// A project whose backend waits for longer than any test, with a child that does the same and that no signal but
/// the last one ends.
fn endless() -> Project {
    let backend = "import signal, subprocess, sys, time\n\
                   def build_wheel(directory, settings=None, metadata=None):\n    \
                       signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    \
                       child = subprocess.Popen(['sleep', '600'])\n    \
                       print('the backend is there', flush=True)\n    \
                       child.wait()\n";
    greeter().file("_backend/tiny_backend.py", backend)
}

/// Starts a build and returns it when its backend runs.
fn start(context: &CommandContext) -> Child {
    let mut hwb = context.command(["build", "greeter", "-v"]).prepare().spawn().unwrap();
    let mut said = BufReader::new(hwb.stderr.as_mut().unwrap());
    let mut line = String::new();
    while !line.contains("the backend is there") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the build ended early");
    }
    assert!(!running(context).is_empty(), "the processes of a build are found by their environment");
    hwb
}

fn signal(hwb: &Child, name: &str) {
    let script = format!("kill -{name} {}", hwb.id());
    CommandContext::new("/bin/sh").run(["-c", &script]).success();
}

/// The processes whose environment names the cache of this test: hooks, and what they started.
fn running(context: &CommandContext) -> Vec<String> {
    let mark = context.cache().into_os_string().into_string().unwrap();
    let is_ours = |folder: &Path| {
        let holds = |name: &str| {
            let bytes = fs::read(folder.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(&mark)
        };
        holds("environ") || holds("cmdline")
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let ours = processes.filter(|folder| folder.join("environ").exists() && is_ours(folder));
    ours.map(|folder| fs::read_to_string(folder.join("comm")).unwrap_or_default()).collect()
}

/// Waits until no process of the build is left: those that were killed need a moment to go.
fn gone(context: &CommandContext) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !running(context).is_empty() {
        assert!(Instant::now() < patience, "these are still there: {:?}", running(context));
        std::thread::yield_now();
    }
}

#[test]
fn a_signal_ends_a_build() {
    for name in ["INT", "TERM", "HUP"] {
        let context = context_with(&endless());
        let mut hwb = start(&context);
        signal(&hwb, name);
        let mut said = String::new();
        hwb.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let code = hwb.wait().unwrap().code();
        assert_eq!(code, Some(130), "{name}: {said}");
        gone(&context);
        assert_eq!(remains(&context), [""; 0], "{name}");
        assert_eq!(dist(&context), [""; 0], "{name}");
        let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "{name}: {said}");
        insta::allow_duplicates! {
            let said = context.filtered(&said[said.find("error: ").unwrap()..]);
            insta::assert_snapshot!(said, @r"
            error: failed to run `build_wheel`
              caused by: `[ENVIRONMENT]/bin/python` was interrupted
            ");
        }
    }
}

/// Nobody can clean up after SIGKILL but the next build. What the killed one had started ends by itself.
#[test]
fn a_killed_build_is_cleaned_up_by_the_next() {
    let context = context_with(&endless());
    let mut hwb = start(&context);
    hwb.kill().unwrap();
    hwb.wait().unwrap();
    gone(&context);
    greeter().write_to(&context.work().join("greeter"));
    context.run(["build", "greeter", "-q"]).success();
    assert_eq!(remains(&context), [""; 0]);
    assert_eq!(dist(&context).len(), 1);
}

/// A build beside it is not disturbed, and does not disturb.
#[test]
fn two_builds_of_one_source_in_one_cache() {
    let context = context_with(&endless());
    let mut first = start(&context);
    greeter().write_to(&context.work().join("other"));
    context.run(["build", "other", "-q"]).success();
    let mut second = start(&context);
    signal(&second, "INT");
    drop(second.stderr.take());
    assert_eq!(second.wait().unwrap().code(), Some(130));
    assert!(!running(&context).is_empty(), "the first build goes on");
    let cleaned = context.run(["cache", "clean"]).success();
    assert!(cleaned.stdout.contains("Left alone, as another hwb is running: "), "{cleaned}");
    assert!(!running(&context).is_empty(), "the first build goes on");
    signal(&first, "INT");
    drop(first.stderr.take());
    assert_eq!(first.wait().unwrap().code(), Some(130));
    gone(&context);
    assert_eq!(remains(&context), [""; 0]);
}
