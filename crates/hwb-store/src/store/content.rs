//! What is kept: blobs, records, history.

use std::fs::{File, Permissions};
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hwb_ident::{Digest, Hasher, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{FsError, Store, StoreError, fs, plain};

impl Store {
    /// Puts everything that `reader` yields into the store, under its digest.
    ///
    /// # Errors
    ///
    /// If `reader` fails, or the blob cannot be written.
    pub fn put_blob(&self, reader: &mut dyn Read) -> Result<Digest, StoreError> {
        let mut incoming = self.begin_blob()?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let got = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(StoreError::Incoming { source }),
            };
            hasher.update(&buffer[..got]);
            incoming.write_all(&buffer[..got]).map_err(FsError::write(&incoming.path))?;
        }
        let digest = hasher.finish();
        incoming.keep(&digest)?;
        Ok(digest)
    }

    /// Begins a blob whose bytes come one after the other.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn begin_blob(&self) -> Result<Incoming<'_>, StoreError> {
        let path = self.incoming()?;
        let file = File::create_new(&path).map_err(FsError::create(&path))?;
        Ok(Incoming { store: self, file, path })
    }

    /// Whether a blob is there; it is not read.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).exists()
    }

    /// Where the blob of this digest is, or would be. Nothing is checked; see [`Store::open_blob`].
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.home.join("blobs").join(&hex[..2]).join(&hex[2..])
    }

    /// Opens a blob after reading it through; one that is not what its name says is thrown away and counts as absent.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be read.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let path = self.blob_path(digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FsError::open(&path)(error).into()),
        };
        if Digest::of_reader(&mut file).map_err(FsError::read(&path))? != *digest {
            fs::remove_tree(&path)?;
            return Ok(None);
        }
        file.rewind().map_err(FsError::read(&path))?;
        Ok(Some(file))
    }

    /// Keeps a small document; an older one under the same name is replaced in one step.
    ///
    /// # Errors
    ///
    /// If `area` or `name` is no plain name, or the document cannot be written.
    pub fn record_put<T: Serialize + ?Sized>(
        &self,
        area: &str,
        name: &str,
        document: &T,
    ) -> Result<(), StoreError> {
        let path = self.record_path(area, name)?;
        self.put_document(&path, document)
    }

    /// Fetches a document. One that cannot be understood is thrown away and counts as absent: whatever is in the
    /// store can be made again.
    ///
    /// # Errors
    ///
    /// If `area` or `name` is no plain name, or the document is there and cannot be read.
    pub fn record_get<T: DeserializeOwned>(&self, area: &str, name: &str) -> Result<Option<T>, StoreError> {
        let path = self.record_path(area, name)?;
        let Some(bytes) = read_if_there(&path)? else { return Ok(None) };
        let Ok(document) = serde_json::from_slice(&bytes) else {
            fs::remove_tree(&path)?;
            return Ok(None);
        };
        Ok(Some(document))
    }

    /// All documents of an area with their names, sorted by name; what cannot be understood is passed over.
    ///
    /// # Errors
    ///
    /// If `area` is no plain name, or cannot be read.
    pub fn records<T: DeserializeOwned>(&self, area: &str) -> Result<Vec<(String, T)>, StoreError> {
        let directory = self.home.join("records").join(plain(area)?);
        let mut documents = Vec::new();
        if !directory.exists() {
            return Ok(documents);
        }
        for entry in crate::walk_sorted(&directory)? {
            let Some(name) = entry.path.to_str().and_then(|path| path.strip_suffix(".json")) else {
                continue;
            };
            let Some(bytes) = read_if_there(&directory.join(&entry.path))? else { continue };
            documents.extend(serde_json::from_slice(&bytes).ok().map(|document| (name.to_owned(), document)));
        }
        Ok(documents)
    }

    /// Marks a document as used now, if it is there.
    ///
    /// # Errors
    ///
    /// If `area` or `name` is no plain name.
    pub fn record_touch(&self, area: &str, name: &str) -> Result<(), StoreError> {
        super::touch(&self.record_path(area, name)?);
        Ok(())
    }

    /// Removes a document; it need not be there.
    ///
    /// # Errors
    ///
    /// If `area` or `name` is no plain name, or the document cannot be removed.
    pub fn record_remove(&self, area: &str, name: &str) -> Result<(), StoreError> {
        Ok(fs::remove_tree(&self.record_path(area, name)?)?)
    }

    /// Adds a document about what happened at `at` to the history.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn history_append<T: Serialize + ?Sized>(
        &self,
        at: Timestamp,
        document: &T,
    ) -> Result<(), StoreError> {
        let path = self.home.join("history");
        let encoded = encode(&path, document)?;
        // Names in the order of time; twelve digits last for thirty thousand years.
        let name = format!("{:012}-{}.json", at.seconds(), Digest::of(&encoded).short());
        self.put_bytes(&path.join(name), &encoded)
    }

    /// Everything in the history, the oldest first; what cannot be understood is passed over.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn history(&self) -> Result<Vec<serde_json::Value>, StoreError> {
        let directory = self.home.join("history");
        let mut documents = Vec::new();
        if !directory.exists() {
            return Ok(documents);
        }
        for entry in crate::walk_sorted(&directory)? {
            if let Some(bytes) = read_if_there(&directory.join(entry.path))? {
                documents.extend(serde_json::from_slice::<serde_json::Value>(&bytes));
            }
        }
        Ok(documents)
    }

    fn record_path(&self, area: &str, name: &str) -> Result<PathBuf, StoreError> {
        Ok(self.home.join("records").join(plain(area)?).join(format!("{}.json", plain(name)?)))
    }

    fn put_document<T: Serialize + ?Sized>(&self, path: &Path, document: &T) -> Result<(), StoreError> {
        self.put_bytes(path, &encode(path, document)?)
    }

    fn put_bytes(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let incoming = self.incoming()?;
        let mut file = File::create_new(&incoming).map_err(FsError::create(&incoming))?;
        file.write_all(bytes).map_err(FsError::write(&incoming))?;
        Ok(place(&incoming, path)?)
    }
}

/// A blob that is not whole yet. What is not kept goes with this value.
#[derive(Debug)]
pub struct Incoming<'a> {
    store: &'a Store,
    file: File,
    path: PathBuf,
}

impl Incoming<'_> {
    /// Puts it into the store. The caller has checked that its bytes have this digest.
    ///
    /// # Errors
    ///
    /// If it cannot be put there.
    pub fn keep(self, digest: &Digest) -> Result<(), StoreError> {
        // Nobody writes to a blob, by accident either.
        self.file.set_permissions(Permissions::from_mode(0o444)).map_err(FsError::write(&self.path))?;
        Ok(place(&self.path, &self.store.blob_path(digest))?)
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        // What was kept is elsewhere by now. Whatever fails here, the scratch directory goes, later.
        drop(std::fs::remove_file(&self.path));
    }
}

impl io::Write for Incoming<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn encode<T: Serialize + ?Sized>(path: &Path, document: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(document).map_err(|source| StoreError::Encode { path: path.to_owned(), source })
}

/// Moves a complete file to its place.
fn place(from: &Path, to: &Path) -> Result<(), FsError> {
    let rename = || std::fs::rename(from, to);
    let renamed = match rename() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            to.parent().map_or(Ok(()), fs::create_directory)?;
            rename()
        }
        renamed => renamed,
    };
    renamed.map_err(|source| FsError::Move { from: from.to_owned(), to: to.to_owned(), source })
}

/// Reads a file; `None` if there is none.
fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FsError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(FsError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_what_they_are_called() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let content = vec![7; 200_000];
        let digest = store.put_blob(&mut &content[..]).unwrap();
        assert_eq!(digest, Digest::of(&content));
        assert_eq!(store.put_blob(&mut &content[..]).unwrap(), digest);
        let mut found = Vec::new();
        io::copy(&mut store.open_blob(&digest).unwrap().unwrap(), &mut found).unwrap();
        assert_eq!(found, content);
        assert!(store.open_blob(&Digest::of(b"absent")).unwrap().is_none());
        // What the disk spoils is thrown away, and can be put again.
        fs::write_atomic(&store.blob_path(&digest), b"spoilt").unwrap();
        assert!(store.open_blob(&digest).unwrap().is_none());
        assert!(!store.blob_path(&digest).exists());
        store.put_blob(&mut &content[..]).unwrap();
        assert!(store.open_blob(&digest).unwrap().is_some());
    }

    #[test]
    fn a_failing_reader_leaves_nothing() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let error = store.put_blob(&mut Failing).unwrap_err();
        assert_eq!(error.to_string(), "cannot read what is to be stored");
        assert!(!store.home.join("blobs").exists());
        assert!(crate::walk_sorted(&store.home.join("tmp/incoming/0")).unwrap().is_empty());
    }

    #[test]
    fn what_is_not_kept_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let parts = || crate::walk_sorted(&store.home.join("tmp/incoming/0")).unwrap().len();
        let begin = || {
            let mut blob = store.begin_blob().unwrap();
            blob.write_all(b"content").unwrap();
            blob
        };
        let (dropped, kept) = (begin(), begin());
        assert_eq!(parts(), 2);
        drop(dropped);
        assert_eq!(parts(), 1);
        let digest = Digest::of(b"content");
        kept.keep(&digest).unwrap();
        assert_eq!(parts(), 0);
        assert!(store.open_blob(&digest).unwrap().is_some());
    }

    #[test]
    fn records_come_back_or_are_absent() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.record_get::<Vec<u8>>("pins", "x").unwrap(), None);
        store.record_put("pins", "x", &[1, 2]).unwrap();
        store.record_put("pins", "x", &[3]).unwrap();
        assert_eq!(store.record_get::<Vec<u8>>("pins", "x").unwrap(), Some(vec![3]));
        assert_eq!(store.record_get::<String>("pins", "x").unwrap(), None);
        assert!(!store.home.join("records/pins/x.json").exists());
        store.record_put("pins", "../x", &1).unwrap_err();
        store.record_put("pins", "y", &[4]).unwrap();
        store.record_put("pins", "z", "text").unwrap();
        assert_eq!(store.records::<Vec<u8>>("pins").unwrap(), [("y".to_owned(), vec![4])]);
        store.record_remove("pins", "y").unwrap();
        store.record_remove("pins", "y").unwrap();
        assert!(store.records::<Vec<u8>>("pins").unwrap().is_empty());
        assert!(store.records::<Vec<u8>>("nothing").unwrap().is_empty());
    }

    #[test]
    fn history_is_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(store.history().unwrap().is_empty());
        for (at, what) in [(1_000_000_000, "second"), (999_999_999, "first"), (1_000_000_001, "third")] {
            store.history_append(Timestamp::from_seconds(at), what).unwrap();
        }
        fs::write_atomic(&store.home.join("history/000000000000-torn.json"), b"{").unwrap();
        assert_eq!(store.history().unwrap(), ["first", "second", "third"]);
    }
}
