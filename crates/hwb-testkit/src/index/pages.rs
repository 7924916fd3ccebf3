//! What the index says: pages and files.

use serde_json::{Value, json};

use super::{Fault, IndexBuilder, Metadata};
use crate::http::{Answer, Delivery};
use crate::tree::Artifact;

/// The media type of a page in JSON (PEP 691).
pub(super) const JSON: &str = "application/vnd.pypi.simple.v1+json";

/// The formats of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Html,
    Json,
}

/// The page of a project, or with an empty name the list of projects.
pub(super) fn page(index: &IndexBuilder, project: &str, format: Format) -> Answer {
    let mut answer = if project.is_empty() { list(index, format) } else { links(index, project, format) };
    answer.more.push_str("Cache-Control: max-age=600, public\r\nVary: Accept\r\n");
    afflict(answer, index.faults.get(project))
}

/// A file, or with the ending `.metadata` the METADATA of a wheel.
pub(super) fn file(index: &IndexBuilder, name: &str) -> Answer {
    let found = match name.strip_suffix(".metadata") {
        Some(wheel) => index.files.get(wheel).and_then(|wheel| served_metadata(index, wheel)),
        None => index.files.get(name).map(|artifact| artifact.bytes.clone()),
    };
    let Some(bytes) = found else { return Answer::plain(404, "no such file") };
    let mut answer = Answer::new(200, "application/octet-stream", bytes);
    answer.more.push_str("Cache-Control: max-age=365000000, immutable, public\r\n");
    afflict(answer, index.faults.get(name))
}

fn afflict(answer: Answer, fault: Option<&Fault>) -> Answer {
    match fault {
        Some(Fault::Status(status)) => Answer::plain(*status, "as the test wants it"),
        Some(Fault::Truncated) => Answer { delivery: Delivery::Cut(answer.body.len() / 2), ..answer },
        Some(Fault::Slow(time)) => Answer { delivery: Delivery::After(*time), ..answer },
        Some(Fault::WrongHash | Fault::NoHash) | None => answer,
    }
}

fn list(index: &IndexBuilder, format: Format) -> Answer {
    let mut names: Vec<String> = index.files.keys().map(|file| project_of(file)).collect();
    names.dedup();
    match format {
        Format::Html => {
            let rows: String =
                names.iter().map(|name| format!("<a href=\"{name}/\">{name}</a><br>\n")).collect();
            html(&rows)
        }
        Format::Json => {
            let projects: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
            Answer::new(
                200,
                JSON,
                json!({ "meta": { "api-version": "1.1" }, "projects": projects }).to_string(),
            )
        }
    }
}

fn links(index: &IndexBuilder, project: &str, format: Format) -> Answer {
    let files: Vec<&Artifact> =
        index.files.values().filter(|artifact| project_of(&artifact.name) == normalized(project)).collect();
    if files.is_empty() {
        return Answer::plain(404, "no such project");
    }
    match format {
        Format::Html => html(&files.iter().map(|artifact| anchor(index, artifact)).collect::<String>()),
        Format::Json => {
            let files: Vec<Value> = files.iter().map(|artifact| json_file(index, artifact)).collect();
            let page = json!({ "meta": { "api-version": "1.1" }, "name": project, "files": files });
            Answer::new(200, JSON, page.to_string())
        }
    }
}

fn html(rows: &str) -> Answer {
    let text =
        format!("<!DOCTYPE html>\n<html><head><title>Links</title></head><body>\n{rows}</body></html>\n");
    Answer::new(200, "text/html; charset=utf-8", text)
}

fn anchor(index: &IndexBuilder, artifact: &Artifact) -> String {
    let fragment = digest(index, artifact).map(|digest| format!("#sha256={digest}")).unwrap_or_default();
    let metadata = match served_metadata(index, artifact) {
        Some(text) => format!(" data-core-metadata=\"sha256={}\"", crate::sha256_hex(&text)),
        None => String::new(),
    };
    let name = &artifact.name;
    format!("<a href=\"../../files/{name}{fragment}\"{metadata}>{name}</a><br>\n")
}

fn json_file(index: &IndexBuilder, artifact: &Artifact) -> Value {
    let name = &artifact.name;
    let hashes = match digest(index, artifact) {
        Some(digest) => json!({ "sha256": digest }),
        None => json!({}),
    };
    let mut file = json!({
        "filename": name,
        "url": format!("../../files/{name}"),
        "hashes": hashes,
        "size": artifact.bytes.len(),
    });
    if let Some(text) = served_metadata(index, artifact) {
        file["core-metadata"] = json!({ "sha256": crate::sha256_hex(&text) });
    }
    if let Some(time) = index.uploaded.get(name) {
        file["upload-time"] = json!(time);
    }
    file
}

/// The digest that the page gives for a file.
fn digest(index: &IndexBuilder, artifact: &Artifact) -> Option<String> {
    match index.faults.get(&artifact.name) {
        Some(Fault::WrongHash) => Some(crate::sha256_hex(b"something else")),
        Some(Fault::NoHash) => None,
        Some(Fault::Status(_) | Fault::Truncated | Fault::Slow(_)) | None => Some(artifact.sha256()),
    }
}

/// The METADATA of a wheel, where the index serves it.
fn served_metadata(index: &IndexBuilder, artifact: &Artifact) -> Option<Vec<u8>> {
    if index.metadata == Metadata::InWheelOnly || !artifact.name.ends_with(".whl") {
        return None;
    }
    crate::wheel::read_member(&artifact.bytes, ".dist-info/METADATA")
}

/// The normalised project name in a file name.
fn project_of(file: &str) -> String {
    let stem = file.strip_suffix(".tar.gz").or_else(|| file.strip_suffix(".zip"));
    let name = match stem {
        Some(stem) => stem.rsplit_once('-').map_or(stem, |(name, _)| name),
        None => file.split('-').next().unwrap_or(file),
    };
    normalized(name)
}

fn normalized(name: &str) -> String {
    let parts: Vec<String> =
        name.split(['-', '_', '.']).filter(|part| !part.is_empty()).map(str::to_lowercase).collect();
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::project_of;

    #[test]
    fn projects_are_known_by_their_files() {
        for (file, project) in [
            ("Some_Thing-1.0-py3-none-any.whl", "some-thing"),
            ("some-thing-1.0.tar.gz", "some-thing"),
            ("zope.event-6.2.zip", "zope-event"),
        ] {
            assert_eq!(project_of(file), project, "{file}");
        }
    }
}
