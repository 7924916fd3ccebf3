//! Uploads: opened, continued, asked about, completed.

use super::{Answer, Pages, Request, error, parameter};
use crate::sha256_hex;

impl Pages {
    pub(super) fn upload(&self, request: &Request, repository: &str, upload: &str) -> Answer {
        let query = request.path.split_once('?').map_or("", |(_, query)| query);
        match request.method.as_str() {
            "POST" => self.open_upload(repository, query),
            "PATCH" => self.continue_upload(request, repository, upload),
            "GET" => self.status(repository, upload),
            "PUT" => self.complete(request, repository, upload, query),
            "DELETE" => {
                self.lock().uploads.remove(upload);
                Answer::new(204, "text/plain", "")
            }
            _ => error(405, "UNSUPPORTED"),
        }
    }

    fn open_upload(&self, repository: &str, query: &str) -> Answer {
        let mut state = self.lock();
        let (mount, from) = (parameter(query, "mount"), parameter(query, "from"));
        if let (Some(mount), Some(from)) = (mount, from) {
            let (mount, from) = (mount.replace("%3A", ":"), from.replace("%2F", "/"));
            let found = state.repositories.get(&from).and_then(|from| from.blobs.get(&mount)).cloned();
            if let Some(bytes) = found {
                let repository = state.repositories.entry(repository.to_owned()).or_default();
                repository.blobs.insert(mount, bytes);
                return Answer::new(201, "text/plain", "");
            }
        }
        state.opened += 1;
        let name = format!("u{}", state.opened);
        state.uploads.insert(name.clone(), Vec::new());
        drop(state);
        progress(202, repository, &name, 0)
    }

    fn continue_upload(&self, request: &Request, repository: &str, upload: &str) -> Answer {
        let mut state = self.lock();
        let Some(bytes) = state.uploads.get_mut(upload) else { return error(404, "BLOB_UPLOAD_UNKNOWN") };
        let from = request.headers.get("content-range").and_then(|range| range.split_once('-'));
        if from.is_some_and(|(from, _)| from != bytes.len().to_string()) {
            let length = bytes.len();
            drop(state);
            return progress(416, repository, upload, length);
        }
        bytes.extend_from_slice(&request.body);
        let length = bytes.len();
        drop(state);
        progress(202, repository, upload, length)
    }

    fn status(&self, repository: &str, upload: &str) -> Answer {
        let length = self.lock().uploads.get(upload).map(Vec::len);
        length.map_or_else(
            || error(404, "BLOB_UPLOAD_UNKNOWN"),
            |length| progress(204, repository, upload, length),
        )
    }

    fn complete(&self, request: &Request, repository: &str, upload: &str, query: &str) -> Answer {
        let mut state = self.lock();
        let Some(bytes) = state.uploads.get_mut(upload) else { return error(404, "BLOB_UPLOAD_UNKNOWN") };
        bytes.extend_from_slice(&request.body);
        let length: usize =
            request.headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if request.body.len() < length {
            return error(400, "SIZE_INVALID");
        }
        let bytes = state.uploads.remove(upload).unwrap_or_default();
        let digest = format!("sha256:{}", sha256_hex(&bytes));
        if parameter(query, "digest").map(|digest| digest.replace("%3A", ":")) != Some(digest.clone()) {
            return error(400, "DIGEST_INVALID");
        }
        let repository = state.repositories.entry(repository.to_owned()).or_default();
        repository.blobs.insert(digest.clone(), bytes.into());
        Answer::new(201, "text/plain", "").header("Docker-Content-Digest", &digest)
    }
}

/// Where an upload is, and how far it came.
fn progress(status: u16, repository: &str, upload: &str, length: usize) -> Answer {
    let answer = Answer::new(status, "text/plain", "");
    let answer =
        answer.header("Location", &format!("/v2/{repository}/blobs/uploads/{upload}?state={length}"));
    answer.header("Range", &format!("0-{}", length.saturating_sub(1)))
}
