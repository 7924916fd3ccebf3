//! What a backend prints, line by line: kept whole in a file, its end in memory, passed on as it comes.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use hwb_sandbox::{OutputSink, Stream};

/// How many lines are kept for an error message and its diagnosis.
const TAIL: usize = 400;

/// A line that is longer is passed on in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// Receives the output of hooks.
pub struct Log<'a> {
    path: PathBuf,
    file: fs_err::File,
    partial: Vec<u8>,
    tail: VecDeque<String>,
    on_line: &'a (dyn Fn(&str) + Sync),
}

impl std::fmt::Debug for Log<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<'a> Log<'a> {
    /// Starts a log in the file at `path`; `on_line` is told each line.
    ///
    /// # Errors
    ///
    /// If the file cannot be made.
    pub fn create(path: &Path, on_line: &'a (dyn Fn(&str) + Sync)) -> io::Result<Self> {
        let file = fs_err::File::create(path)?;
        Ok(Self { path: path.to_path_buf(), file, partial: Vec::new(), tail: VecDeque::new(), on_line })
    }

    /// Where the whole log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last lines, oldest first.
    pub fn tail(&mut self) -> Vec<String> {
        self.end_line();
        self.tail.iter().cloned().collect()
    }

    fn end_line(&mut self) {
        if self.partial.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&self.partial).trim_end_matches('\r').to_owned();
        self.partial.clear();
        (self.on_line)(&line);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }
}

impl OutputSink for Log<'_> {
    fn write(&mut self, _stream: Stream, bytes: &[u8]) {
        // A full disk must not stop a build because of its log; the tail in memory stays right.
        let _full = self.file.write_all(bytes);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(line) => {
                    self.partial.extend_from_slice(line);
                    if self.partial.is_empty() {
                        self.partial.push(b' ');
                    }
                    self.end_line();
                }
                None => self.partial.extend_from_slice(piece),
            }
            if self.partial.len() > LONGEST_LINE {
                self.end_line();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn joins_pieces_to_lines() {
        let directory = tempfile::tempdir().unwrap();
        let seen = Mutex::new(Vec::new());
        let on_line = |line: &str| seen.lock().unwrap().push(line.to_owned());
        let mut log = Log::create(&directory.path().join("log"), &on_line).unwrap();
        for piece in ["on", "e\r\ntwo\n", "\nthr\u{e9}", "e"] {
            log.write(Stream::Stdout, piece.as_bytes());
        }
        assert_eq!(log.tail(), ["one", "two", " ", "thr\u{e9}e"]);
        assert_eq!(seen.lock().unwrap().len(), 4);
        assert_eq!(fs_err::read_to_string(log.path()).unwrap(), "one\r\ntwo\n\nthr\u{e9}e");
    }
}
