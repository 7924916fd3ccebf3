//! Wheels for tests, right unless told otherwise.

use hwb_archive::Executable;
use hwb_archive::zip::Writer;
use hwb_ident::{Digest, Timestamp};

use crate::record::Hash;

/// A wheel in the making.
#[derive(Debug, Clone)]
pub(crate) struct Forge {
    pub(crate) filename: String,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// Replaces the right `RECORD`.
    pub(crate) record: Option<String>,
}

impl Forge {
    /// A small pure wheel, `a-1.0-py3-none-any.whl`.
    pub(crate) fn pure() -> Self {
        let files = [
            ("a/__init__.py", "VALUE = 1\n"),
            ("a-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: a\nVersion: 1.0\n"),
            (
                "a-1.0.dist-info/WHEEL",
                "Wheel-Version: 1.0\nGenerator: g\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            ),
        ];
        Self {
            filename: "a-1.0-py3-none-any.whl".to_owned(),
            files: files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).to_vec(),
            record: None,
        }
    }

    pub(crate) fn named(self, filename: &str) -> Self {
        Self { filename: filename.to_owned(), ..self }
    }

    /// Adds a file, or replaces it.
    pub(crate) fn file(mut self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.files.retain(|(other, _)| other != path);
        self.files.push((path.to_owned(), contents.as_ref().to_vec()));
        self
    }

    pub(crate) fn without(mut self, path: &str) -> Self {
        self.files.retain(|(other, _)| other != path);
        self
    }

    /// Changes the `RECORD` that would be right.
    pub(crate) fn record(mut self, change: impl FnOnce(String) -> String) -> Self {
        self.record = Some(change(self.right_record()));
        self
    }

    fn right_record(&self) -> String {
        let row = |(path, contents): &(String, Vec<u8>)| {
            format!("{path},{},{}\n", Hash::sha256(&Digest::of(contents)), contents.len())
        };
        let rows: String = self.files.iter().map(row).collect();
        format!("{rows}a-1.0.dist-info/RECORD,,\n")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let record = self.record.clone().unwrap_or_else(|| self.right_record());
        let mut writer = Writer::new(Vec::new(), Timestamp::from_seconds(1_700_000_000));
        for (path, contents) in &self.files {
            writer.deflate(&path.parse().unwrap(), Executable::No, contents).unwrap();
        }
        let path = "a-1.0.dist-info/RECORD".parse().unwrap();
        writer.deflate(&path, Executable::Yes, record.as_bytes()).unwrap();
        writer.finish().unwrap()
    }
}
