//! A kept copy of a large working tree, brought up to date by what has changed.
//!
//! ```text
//! <store>/mirrors/<key>/tree    the copy: what a snapshot of the source would be
//! <store>/mirrors/<key>/index   what is in it, and what the source's files looked like when they were read
//! <store>/mirrors/<key>/clock   a file whose time says what time it is for the file system
//! <store>/locks/mirrors-<key>           held while the copy is compared and changed
//! <store>/locks/mirrors-<key>.readers   shared by those who read the copy
//! ```
//!
//! Whoever holds the first lock is the only one who may take the second one alone. So the copy can be compared, changed
//! and handed to a reader without a moment in which another could change it, and readers are never waited for.
//!
//! The index is removed before the copy is touched, and written when it is complete: what a killed process leaves has
//! none, and is made anew.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use hwb_ident::{Digest, Hasher};

use crate::fs::{self, FsError};
use crate::lock::{Absent, Lock};
use crate::snapshot::{self, Exclude, Snapshot, SnapshotError, Taking};
use crate::store::{Store, StoreError};
use crate::transfer::{self, Done, Stamp, Transfer};
use crate::tree::Records;

use self::index::{Contents, Index};
use self::plan::{Comparison, Need, Now, Plan};

mod index;
mod plan;

/// The area of mirrors.
const AREA: &str = "mirrors";

/// Why a kept copy could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The place for it could not be prepared or locked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source could not be read, or the copy not be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl From<FsError> for MirrorError {
    fn from(error: FsError) -> Self {
        Self::Store(error.into())
    }
}

/// A kept copy of a working tree. Nobody changes or removes it as long as this value lives.
#[derive(Debug)]
pub struct Mirror {
    path: PathBuf,
    snapshot: Snapshot,
    /// Taken when the mirror is dropped.
    reading: Option<Lock>,
}

impl Mirror {
    /// Where the copy is. It belongs to all its readers: nobody may write to it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it.
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // A lock file that stays is held by nobody, and the next reader's.
        drop(self.reading.take().map(Lock::leave));
    }
}

impl Store {
    /// Brings the kept copy of `source` up to date, or makes it, and holds it for reading. It is exactly what
    /// [`snapshot::take`] would make. `None` if it would have to change while somebody is reading it.
    ///
    /// A file is read again only if the file system says something else of it than before: its device, inode, mode,
    /// size and times. Those who do the same at the same time are waited for, readers are not.
    ///
    /// # Errors
    ///
    /// As [`snapshot::take`], or if the copy cannot be locked.
    pub fn mirror(&self, source: &Path, exclude: &Exclude) -> Result<Option<Mirror>, MirrorError> {
        let source = snapshot::canonical(source)?;
        let key = key(&source);
        let name = format!("{AREA}-{}", key.short());
        let alone = Lock::wait(&self.lock_file(&name))?;
        let place = self.directory(AREA)?.join(key.short());
        fs::create_directory(&place)?;
        let mut taking = Taking::new(&source, exclude);
        taking.exclude(&place);
        let updating = Updating {
            source: &source,
            tree: place.join("tree"),
            index: place.join("index"),
            readers: self.lock_file(&format!("{name}.readers")),
            now: now(&place)?,
            key,
        };
        let found = updating.settle(taking)?;
        let mirror = match found {
            None => None,
            Some(snapshot) => {
                let reading = Some(Lock::share(&updating.readers)?);
                Some(Mirror { path: updating.tree, snapshot, reading })
            }
        };
        alone.remove()?;
        Ok(mirror)
    }
}

/// What tells the copies of different sources apart. What is excluded does not count: it may differ between two builds
/// of one source (the output folder is not there before the first), and a copy follows that as any other change.
fn key(source: &Path) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(b"hwb mirror 1");
    hasher.field(source.as_os_str().as_bytes());
    hasher.finish()
}

/// Asks the file system of the mirror what time it is: its clock is coarser than the system's.
fn now(place: &Path) -> Result<Now, FsError> {
    let path = place.join("clock");
    let file = File::create(&path).map_err(FsError::create(&path))?;
    (&file).write_all(b".").map_err(FsError::write(&path))?;
    let stat = rustix::fs::fstat(&file).map_err(FsError::read(&path))?;
    let stamp = Stamp::of(&stat);
    Ok(Now { device: stamp.device, moment: stamp.modified })
}

/// A copy that nobody else compares or changes.
#[derive(Debug)]
struct Updating<'a> {
    source: &'a Path,
    key: Digest,
    tree: PathBuf,
    index: PathBuf,
    readers: PathBuf,
    now: Now,
}

impl Updating<'_> {
    /// Makes the copy equal to the source, and says what is in it; `None` if somebody is reading another state of it.
    fn settle(&self, mut taking: Taking<'_>) -> Result<Option<Snapshot>, MirrorError> {
        let (index, survey) = std::thread::scope(|scope| {
            let index = scope.spawn(|| Index::read(&self.index, &self.key).filter(|_| self.tree.is_dir()));
            let survey = transfer::run(&Transfer::survey(self.source), &mut taking);
            (index.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), survey)
        });
        let survey = survey?;
        let passed_over = survey.passed_over;
        let contents = match index {
            Some(index) => self.refresh(index, survey)?,
            None => {
                self.carry_out(Comparison::of(Vec::new(), survey, self.now).settle(Records::default()))?
            }
        };
        let left_out = taking.left_out();
        Ok(contents.map(|Contents { digest, files, bytes }| Snapshot {
            digest,
            files,
            bytes,
            left_out,
            passed_over,
        }))
    }

    /// Does what a survey says that has to be done.
    fn refresh(&self, index: Index, survey: Done) -> Result<Option<Contents>, MirrorError> {
        let Index { contents, entries } = index;
        let comparison = Comparison::of(entries, survey, self.now);
        let doubtful = comparison.doubtful();
        let records = if doubtful.is_empty() {
            Records::default()
        } else {
            transfer::run(&Transfer::measure(self.source), &mut doubtful.below(self.source))?.records
        };
        let plan = comparison.settle(records);
        match plan.need() {
            Need::Nothing => Ok(Some(contents)),
            Need::Index => {
                let index = Index::of(plan.kept);
                index.write(&self.index, &self.key)?;
                Ok(Some(index.contents))
            }
            Need::Tree => self.carry_out(plan),
        }
    }

    /// Changes the copy, unless somebody is reading it.
    fn carry_out(&self, plan: Plan) -> Result<Option<Contents>, MirrorError> {
        let Some(writing) = Lock::attempt(&self.readers, Absent::Create)? else { return Ok(None) };
        fs::remove_tree(&self.index)?;
        let Plan { kept, gone, wanted, .. } = plan;
        if kept.is_empty() {
            fs::remove_tree(&self.tree)?;
        }
        for path in gone {
            fs::remove_tree(&self.tree.join(path))?;
        }
        let update = Transfer::update(self.source, &self.tree);
        let done = transfer::run(&update, &mut wanted.below(self.source))?;
        let index = Index::of(kept.into_iter().chain(wanted.entries(done.records)).collect());
        index.write(&self.index, &self.key)?;
        // The next one who wants it alone has to hold the first lock, as we still do.
        drop(writing);
        Ok(Some(index.contents))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps};

    use super::index::Entry;
    use super::*;
    use crate::fs::{remove_tree, write_atomic};
    use crate::snapshot::{measure, take};
    use crate::transfer::Moment;
    use crate::tree_digest;

    /// A source and a store, side by side.
    struct Fixture {
        folder: tempfile::TempDir,
        source: PathBuf,
        store: Store,
        exclude: Exclude,
    }

    /// Something of every kind.
    const THINGS: [(&str, &str); 12] = [
        (".git/HEAD", ""),
        (".gitignore", "/build/\n"),
        ("a", "content"),
        ("build/made", "again"),
        ("d/b", "1"),
        ("d/deep/er/c", "2"),
        ("d/l", "-> b"),
        ("d-1/x", "3"),
        ("empty/", ""),
        ("other/y", "4"),
        ("other/z", "5"),
        ("top", "-> d/deep"),
    ];

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().canonicalize().unwrap();
            let source = root.join("source");
            let exclude = Exclude { directories: vec![source.join("out")] };
            let fixture = Self { store: Store::open(&root.join("store")).unwrap(), source, folder, exclude };
            THINGS.iter().for_each(|(path, content)| fixture.put(path, content));
            fixture
        }

        /// Puts something into the source. `-> x` is a link; a path that ends in `/` is an empty directory.
        fn put(&self, path: &str, content: &str) {
            let at = self.source.join(path);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            if let Some(target) = content.strip_prefix("-> ") {
                symlink(target, at).unwrap();
            } else if path.ends_with('/') {
                std::fs::create_dir_all(at).unwrap();
            } else {
                write_atomic(&at, content.as_bytes()).unwrap();
            }
        }

        fn remove(&self, path: &str) {
            remove_tree(&self.source.join(path)).unwrap();
        }

        fn mirror(&self) -> Option<Mirror> {
            self.store.mirror(&self.source, &self.exclude).unwrap()
        }

        fn place(&self) -> PathBuf {
            self.store.directory(AREA).unwrap().join(key(&self.source).short())
        }

        fn index(&self) -> PathBuf {
            self.place().join("index")
        }

        /// Brings the mirror up to date, and checks that it is what a snapshot would be.
        fn check(&self, what: &str) -> Mirror {
            let mirror = self.mirror().unwrap();
            let copy = self.folder.path().join("copy");
            let expect = take(&self.source, &copy, &self.exclude).unwrap();
            assert_eq!(*mirror.snapshot(), expect, "{what}");
            assert_eq!(expect, measure(&self.source, &self.exclude).unwrap(), "{what}");
            assert_eq!(tree_digest(mirror.path()).unwrap(), expect.digest, "{what}");
            assert_eq!(looks(mirror.path()), looks(&copy), "{what}");
            remove_tree(&copy).unwrap();
            mirror
        }

        /// Lets every file look as if it had been there for long, for the index too: tests do not wait.
        fn age(&self) {
            let key = key(&self.source);
            drop(self.mirror().unwrap());
            let survey = transfer::run(&Transfer::survey(&self.source), &mut transfer::Everything).unwrap();
            let stamps: BTreeMap<_, _> = survey.stamps.into_iter().collect();
            let mut index = Index::read(&self.index(), &key).unwrap();
            for entry in &mut index.entries {
                entry.stamp = stamps.get(&entry.path).copied();
            }
            index.write(&self.index(), &key).unwrap();
        }
    }

    /// The mode and the time of everything, by which two copies are compared that have the same digest.
    fn looks(tree: &Path) -> BTreeMap<PathBuf, (u32, i64, i64)> {
        let paths = crate::walk_sorted(tree).unwrap().into_iter().map(|entry| entry.path);
        let look = |path: PathBuf| {
            let metadata = tree.join(&path).symlink_metadata().unwrap();
            (path, (metadata.mode(), metadata.mtime(), metadata.mtime_nsec()))
        };
        paths.chain([PathBuf::new()]).map(look).collect()
    }

    /// The inodes of all files and links.
    fn inodes(tree: &Path) -> BTreeMap<String, u64> {
        let entries = crate::walk_sorted(tree).unwrap().into_iter();
        let files = entries.filter(|entry| !matches!(entry.kind, crate::EntryKind::Directory));
        let path = |entry: crate::Entry| entry.path.to_str().unwrap().to_owned();
        files
            .map(path)
            .map(|path| (path.clone(), tree.join(path).symlink_metadata().unwrap().ino()))
            .collect()
    }

    fn set_modified(path: &Path, seconds: i64) {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    /// A change of the source.
    #[derive(Debug)]
    enum Edit {
        Put(&'static str, &'static str),
        Remove(&'static str),
        Rename(&'static str, &'static str),
        Mode(&'static str, u32),
        /// Sets the time of the last change.
        Touch(&'static str),
        /// Writes into the file that is there, and lets it look as old as it was.
        Forge(&'static str, &'static str),
    }

    impl Edit {
        fn apply(&self, fixture: &Fixture) {
            let at = |path: &str| fixture.source.join(path);
            match *self {
                Self::Put(path, content) => fixture.put(path, content),
                Self::Remove(path) => fixture.remove(path),
                Self::Rename(from, to) => std::fs::rename(at(from), at(to)).unwrap(),
                Self::Mode(path, mode) => {
                    std::fs::set_permissions(at(path), Permissions::from_mode(mode)).unwrap();
                }
                Self::Touch(path) => set_modified(&at(path), 7),
                Self::Forge(path, content) => {
                    let file = File::options().write(true).open(at(path)).unwrap();
                    let modified = file.metadata().unwrap().modified().unwrap();
                    (&file).write_all(content.as_bytes()).unwrap();
                    file.set_modified(modified).unwrap();
                }
            }
        }
    }

    /// Changes a source whose files are old, and says which files of the mirror are not the very same as before.
    fn check_change(edits: &[Edit], changed: &[&str]) {
        let what = format!("{edits:?}");
        let fixture = Fixture::new();
        fixture.age();
        let before = inodes(fixture.check(&what).path());
        // While the old files are open, new ones cannot have their inodes.
        let tree = fixture.place().join("tree");
        let open = |path: &String| {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::open(tree.join(path), flags, rustix::fs::Mode::empty()).unwrap()
        };
        let _opened: Vec<_> = before.keys().map(open).collect();
        edits.iter().for_each(|edit| edit.apply(&fixture));
        let after = inodes(fixture.check(&what).path());
        let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let differ = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
        assert_eq!(differ.collect::<Vec<_>>(), changed, "{what}");
    }

    #[test]
    fn follows_every_change_and_writes_nothing_else() {
        use Edit::{Forge, Mode, Put, Remove, Rename, Touch};
        check_change(&[], &[]);
        check_change(&[Put("a", "CONTENT")], &["a"]);
        check_change(&[Forge("a", "CONTENT")], &["a"]);
        check_change(&[Put("d/b", "longer")], &["d/b"]);
        check_change(&[Put("a", "content"), Touch("d/b"), Touch("d"), Mode("d-1/x", 0o640)], &[]);
        check_change(&[Mode("a", 0o755), Mode("d", 0o700)], &["a"]);
        check_change(&[Remove("a"), Put("a/in", "new")], &["a", "a/in"]);
        check_change(&[Remove("d/deep"), Put("d/deep", "file")], &["d/deep", "d/deep/er/c"]);
        check_change(&[Remove("other"), Put("other", "-> d")], &["other", "other/y", "other/z"]);
        check_change(&[Remove("top"), Put("top", "-> d")], &["top"]);
        check_change(&[Remove("top"), Put("top", "file")], &["top"]);
        check_change(&[Remove("a"), Put("a", "-> d")], &["a"]);
        check_change(&[Remove("d/deep/er/c")], &["d/deep/er/c"]);
        check_change(&[Remove("other")], &["other/y", "other/z"]);
        check_change(&[Put("d/deep/new", "x"), Put("d/none/", ""), Remove("empty")], &["d/deep/new"]);
        check_change(&[Rename("other/y", "other/w")], &["other/w", "other/y"]);
        check_change(&[Rename("other/y", "other/z")], &["other/y", "other/z"]);
        check_change(&[Rename("d", "e")], &["d/b", "d/deep/er/c", "d/l", "e/b", "e/deep/er/c", "e/l"]);
        // What comes along changes as well.
        check_change(&[Put("out/wheel", "x"), Put("d/.git", "gitdir: nowhere")], &[]);
        check_change(&[Put(".gitignore", "#build/\n")], &[".gitignore", "build/made"]);
        check_change(
            &[Remove(""), Put("new", "")],
            &[".gitignore", "a", "d-1/x", "d/b", "d/deep/er/c", "d/l", "new", "other/y", "other/z", "top"],
        );
    }

    #[test]
    fn a_young_file_is_read_again() {
        let fixture = Fixture::new();
        drop(fixture.check("made"));
        let key = key(&fixture.source);
        let index = Index::read(&fixture.index(), &key).unwrap();
        // What was written a moment ago could be written again without a trace.
        let younger = Now { moment: Moment(0), ..now(&fixture.place()).unwrap() };
        let older = Now { moment: Moment(i128::MAX), ..younger };
        let elsewhere = Now { device: younger.device + 1, ..now(&fixture.place()).unwrap() };
        let survey = || {
            let mut taking = Taking::new(&fixture.source, &fixture.exclude);
            transfer::run(&Transfer::survey(&fixture.source), &mut taking).unwrap()
        };
        for (now, trusted) in [(younger, 0), (elsewhere, 0), (older, 7)] {
            let plan = Comparison::of(Vec::new(), survey(), now).settle(Records::default());
            let records = transfer::run(
                &Transfer::measure(&fixture.source),
                &mut plan.wanted.below(&fixture.source.canonicalize().unwrap()),
            );
            let entries: Vec<_> = plan.wanted.entries(records.unwrap().records).collect();
            assert_eq!(entries.iter().filter(|entry| entry.stamp.is_some()).count(), trusted);
        }
        let untrusted = index.entries.into_iter().map(|entry| Entry { stamp: None, ..entry });
        Index::of(untrusted.collect()).write(&fixture.index(), &key).unwrap();
        drop(fixture.check("all doubtful"));
    }

    #[test]
    fn what_is_half_made_is_made_anew() {
        let fixture = Fixture::new();
        fixture.age();
        let key = key(&fixture.source);
        let spoil = |path: &str| {
            let path = fixture.place().join("tree").join(path);
            remove_tree(&path).unwrap();
            write_atomic(&path, b"half made").unwrap();
        };
        let whole = fs::read(&fixture.index()).unwrap();
        let torn = &whole[..whole.len() / 2];
        let cases: [(&str, &dyn Fn()); 5] = [
            ("killed while it was changed", &|| remove_tree(&fixture.index()).unwrap()),
            ("torn", &|| write_atomic(&fixture.index(), torn).unwrap()),
            ("something else", &|| write_atomic(&fixture.index(), b"hwb mirror index 2\n").unwrap()),
            ("another source's", &|| {
                let index = Index::read(&fixture.index(), &key).unwrap();
                index.write(&fixture.index(), &Digest::of(b"other")).unwrap();
            }),
            ("written before the system was started again", &|| {
                let index = Index::read(&fixture.index(), &key).unwrap();
                write_atomic(&fixture.index(), &index::encode(&index, &key, b"other")).unwrap();
            }),
        ];
        for (what, damage) in cases {
            damage();
            ["a", "d/deep", "unknown"].into_iter().for_each(spoil);
            drop(fixture.check(what));
        }
        remove_tree(&fixture.place().join("tree")).unwrap();
        drop(fixture.check("removed by hand"));
        remove_tree(&fixture.place()).unwrap();
        drop(fixture.check("all removed by hand"));
    }

    #[test]
    fn nothing_changes_under_a_reader() {
        let fixture = Fixture::new();
        fixture.age();
        let (first, second) = (fixture.mirror().unwrap(), fixture.mirror().unwrap());
        assert_eq!((first.path(), first.snapshot()), (second.path(), second.snapshot()));
        set_modified(&fixture.source.join("a"), 7);
        assert!(fixture.mirror().is_some(), "the content is the same");
        fixture.put("a", "changed");
        assert!(fixture.mirror().is_none());
        drop(first);
        assert!(fixture.mirror().is_none());
        assert_eq!(tree_digest(second.path()).unwrap(), second.snapshot().digest);
        drop(second);
        drop(fixture.check("all readers are gone"));
        let locks = crate::walk_sorted(&fixture.store.lock_file("")).unwrap();
        assert_eq!(locks.iter().map(|entry| entry.path.to_str().unwrap()).collect::<Vec<_>>(), ["store"]);
    }

    #[test]
    fn many_at_once_see_what_they_asked_for() {
        let fixture = Fixture::new();
        let expect = measure(&fixture.source, &fixture.exclude).unwrap();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (fixture, expect) = (&fixture, &expect);
                scope.spawn(move || {
                    for round in 0..20 {
                        if number == 0 {
                            set_modified(&fixture.source.join("a"), round);
                        }
                        let store = Store::open(fixture.store.root()).unwrap();
                        let mirror = store.mirror(&fixture.source, &fixture.exclude).unwrap();
                        if let Some(mirror) = mirror {
                            assert_eq!(mirror.snapshot(), expect);
                            assert_eq!(tree_digest(mirror.path()).unwrap(), expect.digest);
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn is_removed_only_while_nobody_reads_it() {
        let fixture = Fixture::new();
        let mirror = fixture.mirror().unwrap();
        assert!(fixture.store.usage(None).unwrap()[AREA].files >= 7);
        assert_eq!(fixture.store.clean(None).unwrap().in_use, [AREA]);
        assert_eq!(tree_digest(mirror.path()).unwrap(), mirror.snapshot().digest);
        drop(mirror);
        assert!(fixture.store.clean(None).unwrap().in_use.is_empty());
        assert!(!fixture.store.usage(None).unwrap().contains_key(AREA));
        drop(fixture.check("after it was removed"));
    }

    #[test]
    fn fails_as_a_snapshot_does() {
        let fixture = Fixture::new();
        drop(fixture.check("before"));
        let fails = |what: &str| {
            let expect = take(&fixture.source, &fixture.folder.path().join("copy"), &fixture.exclude);
            let error = fixture.store.mirror(&fixture.source, &fixture.exclude).unwrap_err();
            assert_eq!(error.to_string(), expect.unwrap_err().to_string(), "{what}");
            remove_tree(&fixture.folder.path().join("copy")).unwrap();
        };
        fixture.put("d/out", "-> ../../elsewhere");
        fails("a link that leaves");
        fixture.remove("d/out");
        drop(fixture.check("without it"));
        // Root may read everything.
        if !rustix::process::geteuid().is_root() {
            for path in ["a", "d/new", "d"] {
                fixture.put("d/new", "");
                let at = fixture.source.join(path);
                let mode = at.metadata().unwrap().permissions();
                std::fs::set_permissions(&at, Permissions::from_mode(0o0)).unwrap();
                fails(path);
                std::fs::set_permissions(&at, mode).unwrap();
                drop(fixture.check(path));
            }
        }
        fixture.remove("");
        fails("no source");
    }

    #[test]
    fn a_store_in_the_source_is_left_out() {
        let fixture = Fixture::new();
        let store = Store::open(&fixture.source.join("cache")).unwrap();
        let exclude = Exclude { directories: vec![store.root().to_owned()] };
        for _ in 0..2 {
            let mirror = store.mirror(&fixture.source, &exclude).unwrap().unwrap();
            assert_eq!(*mirror.snapshot(), measure(&fixture.source, &exclude).unwrap());
        }
        // Its own place is left out in any case.
        let mirror = store.mirror(&fixture.source, &Exclude::default()).unwrap().unwrap();
        assert!(!mirror.path().join("cache/v1/mirrors").join(key(&fixture.source).short()).exists());
    }
}
