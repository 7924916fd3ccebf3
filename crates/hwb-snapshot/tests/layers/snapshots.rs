//! Chains of layers in a store, unpacked by this process and by another one.

use std::cell::Cell;
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::PermissionsExt as _;

use hwb_ident::Digest;
use hwb_oci::layer::{Expected, LayerReader};
use hwb_snapshot::unpack::Limits;
use hwb_snapshot::work::{Elsewhere, Pipes, serve};
use hwb_snapshot::{Diff, Form, Here, Marks, Owners, Snapshots, Upper, Worker};
use hwb_store::Store;

use crate::layer::{Layer, form, list};

fn reader(bytes: Vec<u8>) -> LayerReader<Box<dyn Read>> {
    let expected = Expected { compression: None, digest: None, diff_id: None, most: u64::MAX };
    LayerReader::new(Box::new(Cursor::new(bytes)) as Box<dyn Read>, expected).unwrap()
}

fn snapshots<'a>(store: &'a Store, worker: &'a dyn Worker) -> Snapshots<'a> {
    let (owners, marks) = form();
    Snapshots { store, form: Form { owners, marks, ids: String::new() }, worker, limits: Limits::default() }
}

/// Another process, in a thread: it reads and writes pipes as one would.
fn start() -> io::Result<Pipes> {
    let (mut input, to) = io::pipe()?;
    let (from, mut output) = io::pipe()?;
    std::thread::spawn(move || serve(&mut input, &mut output).unwrap());
    Ok(Pipes { input: Box::new(to) as Box<dyn Write>, output: Box::new(from) as Box<dyn Read> })
}

fn layers() -> Vec<Layer> {
    vec![Layer::new().time(9).owner(0, 42).file("a/one", "1"), Layer::new(), Layer::new().file("a/two", "2")]
}

#[test]
fn unpacked_once_under_its_chain() {
    for worker in [&Here as &dyn Worker, &Elsewhere { start: &start }] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let snapshots = snapshots(&store, worker);
        let opened = Cell::new(0);
        let blobs: Vec<_> = layers().iter().map(Layer::bytes).collect();
        let ids: Vec<_> = blobs.iter().map(|bytes| Digest::of(bytes)).collect();
        let mut open = |diff_id: &Digest| {
            opened.set(opened.get() + 1);
            let at = ids.iter().position(|id| id == diff_id).unwrap();
            Ok(reader(blobs[at].clone()))
        };
        let chain = snapshots.chain(&ids, &mut open).unwrap();
        assert_eq!((opened.get(), chain.layers.len()), (3, 2), "the empty layer is not stacked");
        assert_eq!(list(&chain.layers[0]), "/ dir 755\na dir 755\na/two file \"2\" 644\n");
        assert_eq!(list(&chain.layers[1]), "/ dir 755\na dir 755\na/one file \"1\" 644 0:42 @9\n");
        assert_eq!(snapshots.chain(&ids, &mut open).unwrap(), chain);
        assert_eq!(snapshots.chain(&ids[..2], &mut open).unwrap().layers, chain.layers[1..]);
        assert_eq!(opened.get(), 3);
        // The same layer on another one, and in another form, is another snapshot.
        snapshots.chain(&[ids[2], ids[0]], &mut open).unwrap();
        let form = Form { owners: Owners::Recorded, marks: Marks::User, ids: "0 1500 1".to_owned() };
        Snapshots { form, ..snapshots }.chain(&ids[..1], &mut open).unwrap();
        assert_eq!(opened.get(), 6);
        // Nobody else comes near what may be setuid.
        let home = chain.layers[0].path().parent().unwrap().parent().unwrap();
        assert_eq!(home.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn counts_only_if_it_is_whole_and_right() {
    for worker in [&Here as &dyn Worker, &Elsewhere { start: &start }] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let snapshots = snapshots(&store, worker);
        let right = layers()[0].bytes();
        let id = Digest::of(&right);
        let refuse = |bytes: Vec<u8>| {
            let error = snapshots.chain(&[id], &mut |_| Ok(reader(bytes.clone()))).unwrap_err();
            let source = std::error::Error::source(&error).unwrap();
            let deepest = source.source().map(ToString::to_string);
            format!("{error}: {source}{}", deepest.map(|text| format!(": {text}")).unwrap_or_default())
        };
        let other = layers()[2].bytes();
        assert_eq!(
            refuse(other.clone()),
            format!(
                "layer {id} is not to be trusted: the layer should unpack to {id}, but unpacks to {}",
                Digest::of(&other)
            )
        );
        assert_eq!(
            refuse(right[..700].to_vec()),
            format!(
                "cannot unpack layer {id}: cannot read the layer: the archive ends in the middle of `a/one`"
            )
        );
        let hostile = Layer::new().file("../x", &"x".repeat(1 << 20)).bytes();
        assert_eq!(
            refuse(hostile),
            format!(
                "cannot unpack layer {id}: an entry of the layer has a name that leads nowhere in it: `../x` has a part that is `..`"
            )
        );
        let error = snapshots.chain(&[id], &mut |_| Err("not at hand".into())).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read layer {id}"));
        // Nothing of all that is left over.
        let chain = snapshots.chain(&[id], &mut |_| Ok(reader(right.clone()))).unwrap();
        assert_eq!(list(&chain.layers[0]), "/ dir 755\na dir 755\na/one file \"1\" 644 0:42 @9\n");
    }
}

#[test]
fn many_at_once_unpack_once() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = layers()[0].bytes();
    let id = Digest::of(&bytes);
    let opened = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let store = Store::open(folder.path()).unwrap();
                let mut open = |_: &Digest| {
                    opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    Ok(reader(bytes.clone()))
                };
                let chain = snapshots(&store, &Here).chain(&[id], &mut open).unwrap();
                assert!(chain.layers[0].tree().join("a/one").exists());
            });
        }
    });
    assert_eq!(opened.into_inner(), 1);
}

#[test]
fn another_process_takes_and_removes() {
    let folder = tempfile::tempdir().unwrap();
    let upper = folder.path().join("upper");
    std::fs::create_dir_all(upper.join("deep/er")).unwrap();
    let elsewhere = Elsewhere { start: &start };
    let (owners, marks) = form();
    let mounts = vec![hwb_snapshot::LayerPath::parse(b"a b\n\xff").unwrap()];
    let request = Diff {
        upper: Upper::Changes(upper.clone()),
        lowers: Vec::new(),
        owners,
        marks,
        owner_attribute: None,
        mounts,
        newest: None,
    };
    let mut there = Vec::new();
    let diffed = elsewhere.diff(&request, &mut there).unwrap();
    let (here, same) = hwb_snapshot::diff(&request, Vec::new()).unwrap();
    assert_eq!((there, diffed), (here, same));
    let absent = Diff { upper: Upper::Changes(folder.path().join("absent")), ..request };
    let error = elsewhere.diff(&absent, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read `{}`", absent.upper.path().display()));
    assert_eq!(elsewhere.measure(&upper).unwrap(), hwb_store::store::Usage::of(&upper).unwrap());
    elsewhere.clear(&upper).unwrap();
    assert!(!upper.exists());
}
