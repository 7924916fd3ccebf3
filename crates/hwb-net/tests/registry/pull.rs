//! Pulling.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hwb_ident::{Digest, ImageReference};
use hwb_net::registry::{Failure, Mirror, RegistryError, Transport};
use hwb_oci::descriptor::Platform;
use hwb_oci::{Descriptor, Dialect, Index, MAX_DOCUMENT, MediaType};
use hwb_testkit::registry::{Fault, Registry as Server};

use crate::{Client, LAYER, documents, explain, fetch_image, image, layer, put_image, settings};

/// Fetches [`LAYER`] of a repository.
fn fetch(client: &Client, reference: &ImageReference) -> Result<Vec<u8>, RegistryError> {
    client.registry.blob(reference, &layer(), &|| Ok(Vec::new()))
}

#[test]
fn an_image_is_chosen_from_an_index() {
    let server = Server::open();
    let mut index = Index { dialect: Dialect::Oci, manifests: Vec::new(), annotations: [].into() };
    for platform in ["linux/amd64", "linux/arm64", "linux/arm/v7"] {
        let (config, manifest) = documents(platform);
        server.put_blob("team/app", config);
        let media_type = MediaType::Manifest(Dialect::Oci);
        server.put_manifest("team/app", "x", media_type.as_str(), &manifest);
        let mut descriptor = Descriptor::of(media_type, &manifest);
        descriptor.platform = Some(Platform::from(&platform.parse().unwrap()));
        index.manifests.push(descriptor);
    }
    let bytes = index.to_bytes();
    let digest = server.put_manifest("team/app", "1", index.media_type().as_str(), &bytes);
    let client = Client::of([&server]);
    let reference = image(&server, "team/app:1");
    for (wanted, expect) in [("linux/arm64", Ok("linux/arm64")), ("linux/s390x", Err(()))] {
        let found = client.registry.image(&reference, &wanted.parse().unwrap());
        let found = found.map(|image| {
            assert_eq!(image.digest.to_string(), digest);
            assert_eq!(Digest::of(&image.manifest_bytes), image.descriptor.digest);
            assert_eq!(Digest::of(&image.config_bytes), image.manifest.config.digest);
            assert_eq!(image.manifest.layers, [layer()]);
            image.config.platform().unwrap().to_string()
        });
        assert_eq!(found.as_deref().map_err(drop), expect, "{wanted}");
    }
    let absent = fetch_image(&client, &image(&server, "team/app:2")).unwrap_err();
    assert!(matches!(absent.failure(), Failure::Missing { .. }), "{absent:?}");
}

#[test]
fn a_registry_of_this_machine_may_be_without_encryption() {
    let server = Server::open();
    let digest = put_image(&server, "app", "1");
    let client = Client::with(settings([]));
    let pulled = fetch_image(&client, &image(&server, "app:1")).unwrap();
    assert_eq!(pulled.descriptor.digest.to_string(), digest);
    assert_eq!(server.asked()[..2], ["GET /v2/ 200", "GET /v2/app/manifests/1 200"]);
    // Somebody said that it is encrypted.
    let mut settings = settings([]);
    settings.transports.insert(server.address().to_string(), Transport::System);
    fetch_image(&Client::with(settings), &image(&server, "app:1")).unwrap_err();
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_blob_comes_whole_and_right_or_not_at_all() {
    use Fault::{Answer, Cut, Endless, Garbled, Status, WithoutRanges};
    let check = |faults: &[Fault], expect: &str, asked: usize| {
        let server = Server::open();
        put_image(&server, "app", "1");
        let path = format!("GET /v2/app/blobs/{}", Digest::of(LAYER));
        faults.iter().for_each(|fault| server.fault(&path, fault.clone()));
        let client = Client::of([&server]);
        let shown = match fetch(&client, &image(&server, "app:1")) {
            Ok(bytes) if bytes == LAYER => "right".to_owned(),
            Ok(bytes) => format!("wrong: {bytes:?}"),
            Err(error) => explain(&error, &server),
        };
        let prefix = "Failed to pull image `HOST/app:1`: ";
        let url = "`http://HOST/v2/app/blobs/LAYER`";
        let shown = shown.strip_prefix(prefix).unwrap_or(&shown).replace(url, "URL");
        assert_eq!(shown, expect, "{faults:?}");
        assert_eq!(server.requests().len(), asked, "{faults:?}: {:?}", server.asked());
    };
    check(&[], "right", 1);
    // Broken connections go on where they broke.
    check(&[Cut(10)], "right", 2);
    check(&[Cut(10), Cut(3), Cut(0)], "right", 4);
    check(&[Cut(10), WithoutRanges], "right", 2);
    check(&[Cut(10), Cut(3), WithoutRanges], "right", 3);
    check(&[Status(500, "UNKNOWN"), Status(503, "UNAVAILABLE"), Status(429, "TOOMANYREQUESTS")], "right", 4);
    let wait = |seconds: &str| {
        Answer(429, vec![("Retry-After", seconds.to_owned())], r#"{"errors":[{"code":"TOOMANY"}]}"#.into())
    };
    check(&[wait("0"), wait("0")], "right", 3);
    check(&[wait("3")], "URL takes no more requests for now (TOOMANY); no credentials were sent", 1);
    let gave_up = "URL answered 500 Internal Server Error (E: as the test wants it)";
    check(&[Status(500, "E"), Status(500, "E"), Status(500, "E"), Status(500, "E")], gave_up, 4);
    // What is wrong stays wrong.
    check(&[Status(404, "BLOB_UNKNOWN")], "URL does not exist (BLOB_UNKNOWN: as the test wants it)", 1);
    let refused = "URL was refused (DENIED: as the test wants it); no credentials were sent";
    check(&[Status(403, "DENIED")], refused, 1);
    let other: Vec<u8> = LAYER.iter().map(|byte| byte + 1).collect();
    check(&[Garbled], &format!("URL sent what has the digest {}, not LAYER", Digest::of(&other)), 1);
    check(&[Endless], "URL sends more where 36 bytes should come", 1);
    check(&[Cut(10), Endless], "URL sends more where 36 bytes should come", 2);
    check(&[Answer(200, vec![], "short".into())], "URL sends 5 where 36 bytes should come", 1);
    let part = Answer(206, vec![("Content-Range", "bytes 9-35/36".to_owned())], "x".repeat(27));
    check(&[Cut(10), part], "the answer of URL is not the part from byte 10 on", 2);
    let sideways = Answer(206, vec![("Content-Range", "bytes 1-36/37".to_owned())], "x".repeat(36));
    check(&[sideways], "the answer of URL is not the part from byte 0 on", 1);
    check(&[Answer(418, vec![], "<html>".into())], "URL answered 418 I'm a teapot", 1);
}

#[test]
fn silence_is_not_waited_for_for_ever() {
    let server = Server::open();
    put_image(&server, "app", "1");
    server.fault("GET /v2/app/blobs/", Fault::Stalled(7));
    let mut settings = settings([&server]);
    settings.patience.stall = Duration::from_millis(100);
    // A slow machine may be silent more often.
    settings.patience.attempts = 1000;
    let client = Client::with(settings);
    assert_eq!(fetch(&client, &image(&server, "app:1")).unwrap(), LAYER);
    assert!(client.events() > 0);
}

#[test]
fn a_cancel_ends_it() {
    let server = Server::open();
    put_image(&server, "app", "1");
    server.fault("GET /v2/app/blobs/", Fault::Stalled(7));
    let client = Client::of([&server]);
    let shown = std::thread::scope(|scope| {
        let pull = scope.spawn(|| fetch(&client, &image(&server, "app:1")));
        while server.requests().is_empty() {
            std::thread::yield_now();
        }
        client.cancel.cancel();
        explain(&pull.join().unwrap().unwrap_err(), &server)
    });
    assert_eq!(shown, "Failed to pull image `HOST/app:1`: it was interrupted");
}

#[test]
fn a_manifest_is_what_it_was_asked_for_by() {
    let server = Server::open();
    let digest = put_image(&server, "app", "1");
    let (_, manifest) = documents("linux/amd64");
    let (tagged, pinned) = (image(&server, "app:1"), image(&server, &format!("app@{digest}")));
    let check = |reference: &ImageReference, fault: Option<Fault>, expect: &str| {
        if let Some(fault) = fault {
            server.fault("GET /v2/app/manifests/", fault);
        }
        let client = Client::of([&server]);
        let shown = match fetch_image(&client, reference) {
            Ok(pulled) => pulled.descriptor.digest.to_string(),
            Err(error) => explain(&error, &server),
        };
        let name = reference.digest().map_or("1".to_owned(), |digest| digest.to_string());
        let shown = shown.replace(&format!("`http://HOST/v2/app/manifests/{name}`"), "URL");
        let shown = shown.split_once(": ").map_or(shown.clone(), |(_, source)| source.to_owned());
        assert!(shown.starts_with(expect), "{shown}");
    };
    let answer = |headers: &[(&'static str, String)], body: &[u8]| {
        Fault::Answer(200, headers.to_vec(), String::from_utf8(body.to_vec()).unwrap())
    };
    for reference in [&tagged, &pinned] {
        check(reference, None, &digest);
        check(reference, Some(answer(&[], &manifest)), &digest);
        check(reference, Some(Fault::Garbled), "URL sent what has the digest sha256:");
        let most = vec![b' '; MAX_DOCUMENT + 1];
        check(reference, Some(answer(&[], &most)), "URL sends 4194305 where 4194304 bytes should come");
        check(reference, Some(Fault::Endless), "URL sends more where 4194304 bytes should come");
    }
    let other = ("Docker-Content-Digest", Digest::of(b"").to_string());
    check(&tagged, Some(answer(&[other], &manifest)), "URL sent what has the digest sha256:");
    check(&tagged, Some(answer(&[], b"[]")), "URL is not usable");
    let first = br#"{"schemaVersion":1,"fsLayers":[]}"#;
    check(&tagged, Some(answer(&[], first)), "URL is not usable: the manifest is of schema 1");
}

#[test]
fn redirects_are_followed_within_limits_and_tell_nobody_who_asks() {
    let (server, storage) = (Server::open(), Server::open());
    put_image(&server, "app", "1");
    put_image(&storage, "app", "1");
    let path = format!("/v2/app/blobs/{}", Digest::of(LAYER));
    let elsewhere = format!("http://me:secret@{}{path}?signature=secret", storage.address());
    server.fault("GET /v2/app/blobs/", Fault::Redirect(elsewhere));
    let client = Client::of([&server]);
    let reference = image(&server, "app:1");
    assert_eq!(fetch(&client, &reference).unwrap(), LAYER);
    assert!(storage.requests()[0].path.ends_with("?signature=secret"));
    assert!(!storage.requests()[0].headers.contains_key("authorization"));

    for _ in 0..11 {
        server.fault("GET /v2/app/blobs/", Fault::Redirect(path.clone()));
    }
    let shown = explain(&fetch(&client, &reference).unwrap_err(), &server);
    assert!(shown.ends_with("was redirected more than 10 times"), "{shown}");

    server.fault("GET /v2/app/blobs/", Fault::Redirect("file:///etc/passwd".to_owned()));
    let shown = explain(&fetch(&client, &reference).unwrap_err(), &server);
    assert!(shown.ends_with("not followed: it is not HTTP"), "{shown}");
}

#[test]
fn mirrors_are_asked_first_and_the_origin_last() {
    let (origin, mirror) = (Server::open(), Server::open());
    put_image(&origin, "pypa/app", "1");
    let mut settings = settings([&origin, &mirror]);
    let (prefix, location) = (format!("{}/pypa", origin.address()), format!("{}/copy", mirror.address()));
    settings.mirrors = vec![Mirror::new(&prefix, &location).unwrap()];
    let client = Client::with(settings);
    let reference = image(&origin, "pypa/app:1");
    let created = AtomicUsize::new(0);
    let fetch = || {
        client.registry.blob(&reference, &layer(), &|| {
            created.fetch_add(1, Ordering::Relaxed);
            Ok(Vec::new())
        })
    };
    // It does not have it, then it has it wrong, then it has it.
    assert_eq!(fetch().unwrap(), LAYER);
    assert_eq!((created.swap(0, Ordering::Relaxed), client.events()), (2, 1));
    put_image(&mirror, "copy/app", "1");
    mirror.fault("GET /v2/copy/app/blobs/", Fault::Garbled);
    assert_eq!(fetch().unwrap(), LAYER);
    assert_eq!((created.swap(0, Ordering::Relaxed), client.events()), (2, 2));
    let before = origin.requests().len();
    assert_eq!(fetch().unwrap(), LAYER);
    fetch_image(&client, &reference).unwrap();
    assert_eq!((origin.requests().len(), client.events()), (before, 2));
}

#[test]
fn a_mirror_that_is_away_is_asked_once() {
    // Nobody listens there.
    let away = "127.0.0.1:1";
    for transport in [None, Some(Transport::Plain)] {
        let origin = Server::open();
        put_image(&origin, "app", "1");
        let mut settings = settings([&origin]);
        settings.mirrors = vec![Mirror::new(&origin.address().to_string(), away).unwrap()];
        settings.transports.extend(transport.map(|transport| (away.to_owned(), transport)));
        let client = Client::with(settings);
        let reference = image(&origin, "app:1");
        fetch_image(&client, &reference).unwrap();
        assert_eq!(fetch(&client, &reference).unwrap(), LAYER);
        assert_eq!(client.events(), 1);
        // Where there is no other place, it is tried again.
        let alone = format!("{away}/app:1").parse().unwrap();
        fetch(&client, &alone).unwrap_err();
        assert_eq!(client.events(), 4);
    }
}

#[test]
fn blobs_come_side_by_side() {
    let server = Server::open();
    let blobs: Vec<Vec<u8>> = (0..8_u8).map(|fill| vec![fill; 300_000]).collect();
    blobs.iter().for_each(|blob| drop(server.put_blob("app", blob.clone())));
    let client = Client::of([&server]);
    let reference = image(&server, "app:1");
    std::thread::scope(|scope| {
        for blob in &blobs {
            let (client, reference) = (&client, &reference);
            scope.spawn(move || {
                let descriptor = Descriptor::of(crate::layer_type(), blob);
                let came = client.registry.blob(reference, &descriptor, &|| Ok(Vec::new()));
                assert_eq!(came.unwrap(), *blob);
            });
        }
    });
    assert_eq!(server.requests().len(), blobs.len());
}

#[test]
fn proxies_stand_between_where_they_should() {
    let proxy = Server::open();
    let ask = |host: &str, none: Option<&str>| {
        let mut settings = settings([&proxy]);
        settings.transports.insert(host.to_owned(), Transport::Plain);
        settings.patience.attempts = 1;
        settings.proxies.http = Some(format!("http://me:hunter2@{}", proxy.address()).parse().unwrap());
        settings.proxies.none = none.map(str::to_owned);
        let error = fetch_image(&Client::with(settings), &format!("{host}/a:1").parse().unwrap());
        let error = error.unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        matches!(error.failure(), Failure::Missing { .. })
    };
    assert!(ask("registry.invalid", None));
    let seen = &proxy.requests()[0];
    assert_eq!(seen.path, "http://registry.invalid/v2/a/manifests/1");
    assert_eq!(seen.headers["proxy-authorization"], "Basic bWU6aHVudGVyMg==");
    assert!(!ask("registry.invalid", Some("other.example, .invalid")));
    assert_eq!(proxy.requests().len(), 1);
}
