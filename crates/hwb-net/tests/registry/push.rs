//! Pushing.

use hwb_ident::Digest;
use hwb_net::registry::{BlobUpload, Mirror, Pushed, RegistryError, RegistrySettings, Upload};
use hwb_oci::{Descriptor, Dialect, MediaType};
use hwb_testkit::registry::{Fault, Registry as Server, Request};

use crate::{Client, LAYER, documents, explain, image, layer, layer_type, opener, put_image, settings};

/// Pushes [`LAYER`].
fn push(client: &Client, server: &Server, from: Option<&str>) -> Result<Pushed, RegistryError> {
    let (blob, open) = (layer(), opener(LAYER));
    client.registry.push_blob(&image(server, "app:1"), &BlobUpload { blob: &blob, from, open: &open })
}

#[test]
fn a_blob_is_sent_only_where_it_is_missing() {
    let server = Server::open();
    put_image(&server, "base", "1");
    let client = Client::of([&server]);
    assert_eq!(push(&client, &server, Some("base")).unwrap(), Pushed::Mounted);
    assert_eq!(push(&client, &server, Some("base")).unwrap(), Pushed::Present);
    let other = Server::open();
    let client = Client::of([&other]);
    assert_eq!(push(&client, &other, Some("base")).unwrap(), Pushed::Uploaded);
    assert_eq!(other.blob("app", &Digest::of(LAYER).to_string()).unwrap(), LAYER);
    let head = format!("HEAD /v2/app/blobs/{}", Digest::of(LAYER));
    assert_eq!(
        server.asked(),
        [&format!("{head} 404"), "POST /v2/app/blobs/uploads/ 201", &format!("{head} 200")]
    );
    assert_eq!(
        other.asked(),
        [&format!("{head} 404"), "POST /v2/app/blobs/uploads/ 202", "PUT /v2/app/blobs/uploads/u1 201"]
    );
}

/// Where uploads are.
const UPLOADS: &str = "/v2/app/blobs/uploads/";

/// Pushes [`LAYER`] in spite of faults; what was asked, one word for each request: method, upload, range and status.
fn check_upload(upload: Upload, faults: &[(&str, Fault)], expect: &str) {
    let server = Server::open();
    for (method, fault) in faults {
        server.fault(&format!("{method} {UPLOADS}"), fault.clone());
    }
    let client = Client::with(RegistrySettings { upload, ..settings([&server]) });
    assert_eq!(push(&client, &server, None).unwrap(), Pushed::Uploaded, "{faults:?}");
    assert_eq!(server.blob("app", &Digest::of(LAYER).to_string()).unwrap(), LAYER);
    let line = |request: Request| {
        let name = request.path.split('?').next()?.strip_prefix(UPLOADS)?.to_owned();
        let range = request.headers.get("content-range").cloned().unwrap_or_default();
        let status = request.status.to_string();
        let words = [request.method, name, range, status];
        Some(words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("."))
    };
    let asked: Vec<String> = server.requests().into_iter().filter_map(line).collect();
    assert_eq!(asked.join(" "), expect, "{faults:?}");
}

#[test]
fn an_upload_is_whole_or_in_chunks() {
    let in_three = "POST.202 PATCH.u1.0-14.202 PATCH.u1.15-29.202 PATCH.u1.30-35.202 PUT.u1.201";
    check_upload(Upload::Whole, &[], "POST.202 PUT.u1.201");
    check_upload(Upload::Chunks(15), &[], in_three);
    check_upload(Upload::Chunks(36), &[], "POST.202 PUT.u1.201");
    // Some take no smaller ones.
    let least = vec![("Location", format!("{UPLOADS}u0")), ("OCI-Chunk-Min-Length", "30".to_owned())];
    check_upload(
        Upload::Chunks(15),
        &[("POST", Fault::Answer(202, least, String::new()))],
        &format!("POST.202 PATCH.u0.0-29.404 GET.u0.404 {in_three}"),
    );
}

#[test]
fn an_upload_that_breaks_goes_on() {
    use Fault::{Deaf, Status};
    let chunks = Upload::Chunks(15);
    // The server says how far it heard.
    check_upload(
        Upload::Whole,
        &[("PUT", Deaf(20))],
        "POST.202 PUT.u1.400 GET.u1.204 PATCH.u1.20-35.202 PUT.u1.201",
    );
    check_upload(
        chunks,
        &[("PATCH", Deaf(7))],
        "POST.202 PATCH.u1.0-14.202 GET.u1.204 PATCH.u1.7-21.202 PATCH.u1.22-35.202 PUT.u1.201",
    );
    // It heard nothing, or has forgotten everything.
    check_upload(
        Upload::Whole,
        &[("PUT", Status(500, "E")), ("PUT", Deaf(0))],
        "POST.202 PUT.u1.500 GET.u1.204 POST.202 PUT.u2.400 GET.u2.204 POST.202 PUT.u3.201",
    );
    check_upload(
        Upload::Whole,
        &[("POST", Status(503, "E")), ("PUT", Deaf(9)), ("GET", Status(416, "RANGE_INVALID"))],
        "POST.503 POST.202 PUT.u1.400 GET.u1.416 POST.202 PUT.u2.201",
    );
    check_upload(
        Upload::Whole,
        &[("PUT", Status(404, "BLOB_UPLOAD_UNKNOWN"))],
        "POST.202 PUT.u1.404 GET.u1.204 POST.202 PUT.u2.201",
    );
}

#[test]
fn an_upload_that_gets_nowhere_ends() {
    let check = |faults: &[(&str, Fault)], expect: &str, puts: usize| {
        let server = Server::open();
        for (start, fault) in faults {
            // More often than anybody should ask.
            (0..20).for_each(|_| server.fault(&start.replace(" ", &format!(" {UPLOADS}")), fault.clone()));
        }
        let client = Client::with(RegistrySettings { upload: Upload::Chunks(15), ..settings([&server]) });
        let shown = explain(&push(&client, &server, None).unwrap_err(), &server);
        assert_eq!(shown, format!("Failed to push image `HOST/app:1`: {expect}"));
        let asked = server.asked();
        assert_eq!(asked.iter().filter(|line| line.starts_with("PUT")).count(), puts, "{asked:?}");
    };
    // It takes every part, and never has more.
    let still = vec![("Location", format!("{UPLOADS}u1?state=15")), ("Range", "0-14".to_owned())];
    check(
        &[("PATCH u1?state=15", Fault::Answer(202, still, String::new()))],
        "the answer of `http://HOST/v2/app/blobs/uploads/u1` takes a part, and has no more than the 15 bytes before it",
        0,
    );
    // It takes all parts, forgets them at the last word, and begins anew.
    check(
        &[("PUT ", Fault::Status(500, "E")), ("GET ", Fault::Status(404, "BLOB_UPLOAD_UNKNOWN"))],
        "`http://HOST/v2/app/blobs/uploads/u4` answered 500 Internal Server Error (E: as the test wants it)",
        4,
    );
}

#[test]
fn a_refused_upload_says_why() {
    let check = |start: &str, fault: Fault, expect: &str| {
        let server = Server::open();
        server.fault(start, fault);
        let error = push(&Client::of([&server]), &server, None).unwrap_err();
        let shown = explain(&error, &server);
        assert_eq!(shown, format!("Failed to push image `HOST/app:1`: {expect}"));
    };
    check(
        "PUT",
        Fault::Status(400, "DIGEST_INVALID"),
        "`http://HOST/v2/app/blobs/uploads/u1` answered 400 Bad Request (DIGEST_INVALID: as the test wants it)",
    );
    check(
        "PUT",
        Fault::Status(413, "SIZE_INVALID"),
        "`http://HOST/v2/app/blobs/uploads/u1` answered 413 Payload Too Large (SIZE_INVALID: as the test wants it)",
    );
    check(
        "POST",
        Fault::Status(403, "DENIED"),
        "`http://HOST/v2/app/blobs/uploads/` was refused (DENIED: as the test wants it); no credentials were sent",
    );
    check(
        "POST",
        Fault::Answer(202, vec![], String::new()),
        "the answer of `http://HOST/v2/app/blobs/uploads/` does not say where the upload goes on",
    );
    check(
        "POST",
        Fault::Redirect("http://me:secret@elsewhere.example/?sign=secret".to_owned()),
        "`http://HOST/v2/app/blobs/uploads/` is redirected to `http://elsewhere.example/`, which is not followed: only what reads is sent elsewhere",
    );
    let other = Digest::of(b"");
    check(
        "PUT",
        Fault::Answer(201, vec![("Docker-Content-Digest", other.to_string())], String::new()),
        &format!("`http://HOST/v2/app/blobs/uploads/u1` sent what has the digest {other}, not LAYER"),
    );
}

#[test]
fn who_will_not_listen_is_heard() {
    let server = Server::open();
    server.fault("PUT", Fault::Early(413, "SIZE_INVALID"));
    let client = Client::of([&server]);
    // More than any socket holds.
    let bytes: &'static [u8] = Box::leak(vec![0; 32 << 20].into_boxed_slice());
    let blob = Descriptor::of(layer_type(), bytes);
    let upload = BlobUpload { blob: &blob, from: None, open: &opener(bytes) };
    let error = client.registry.push_blob(&image(&server, "app:1"), &upload).unwrap_err();
    assert!(explain(&error, &server).contains("answered 413 Payload Too Large (SIZE_INVALID"), "{error:?}");
    assert!(error.hint().unwrap().contains("`upload-chunk`"));
}

#[test]
fn what_cannot_be_read_is_not_sent() {
    let server = Server::open();
    let client = Client::of([&server]);
    let blob = layer();
    let upload = BlobUpload { blob: &blob, from: None, open: &opener(&LAYER[..9]) };
    let error = client.registry.push_blob(&image(&server, "app:1"), &upload).unwrap_err();
    let shown = explain(&error, &server);
    let expect =
        "Failed to push image `HOST/app:1`: cannot read what is to be uploaded: unexpected end of file";
    assert_eq!(shown, expect);
}

#[test]
fn a_manifest_gets_its_tags() {
    let server = Server::open();
    let client = Client::of([&server]);
    let (_, manifest) = documents("linux/amd64");
    let (media_type, digest) = (MediaType::Manifest(Dialect::Oci), Digest::of(&manifest));
    server.fault("PUT /v2/app/manifests/", Fault::Status(502, "E"));
    for name in ["app:1".to_owned(), "app:latest".to_owned(), format!("app@{digest}")] {
        let reference = image(&server, &name);
        let pushed = client.registry.push_manifest(&reference, &media_type, &manifest).unwrap();
        assert_eq!(pushed, digest);
        let name = name.split_once([':', '@']).unwrap().1;
        let there = server.manifest("app", name).unwrap();
        assert_eq!(there, (media_type.to_string(), manifest.clone()));
    }
    let other = image(&server, "app:2").with_digest(Digest::of(b""));
    let error = client.registry.push_manifest(&other, &media_type, &manifest).unwrap_err();
    assert!(explain(&error, &server).contains("by which it is named"), "{error}");
}

#[test]
fn a_mirror_is_not_pushed_to() {
    let (origin, mirror) = (Server::open(), Server::open());
    let mut settings = settings([&origin, &mirror]);
    let (prefix, location) = (origin.address().to_string(), mirror.address().to_string());
    settings.mirrors = vec![Mirror::new(&prefix, &location).unwrap()];
    assert_eq!(push(&Client::with(settings), &origin, None).unwrap(), Pushed::Uploaded);
    assert!(mirror.requests().is_empty());
}
