//! Images to and from Debian's `docker-registry`, which speaks as registries do and not as we think that they should.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not tests to clippy")]

use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hwb_ident::{Digest, ImageReference, Timestamp};
use hwb_net::registry::{
    BlobUpload, CredentialSources, Failure, Login, Patience, Proxies, Pushed, Registry, RegistrySettings,
    Secret, Transport, Upload,
};
use hwb_oci::{Descriptor, Dialect, ImageConfig, LayerCompression, Manifest, MediaType};
use hwb_sandbox::Cancel;
use hwb_testkit::docker_registry::{DockerRegistry, Encryption, Entry};

fn settings() -> RegistrySettings {
    RegistrySettings {
        mirrors: Vec::new(),
        transports: BTreeMap::new(),
        proxies: Proxies::default(),
        credentials: CredentialSources::default(),
        patience: Patience { pause: Duration::ZERO, ..Patience::default() },
        upload: Upload::Whole,
        user_agent: "hwb-test".to_owned(),
    }
}

fn open(settings: RegistrySettings) -> Registry<'static> {
    Registry::open(settings, &Cancel::new().unwrap(), |_| {}).unwrap()
}

/// A layer that no registry can have by chance, larger than what sockets hold.
fn layer() -> &'static [u8] {
    let numbers = (0..2_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes());
    Box::leak(numbers.collect())
}

fn layer_type() -> MediaType {
    MediaType::Layer(Dialect::Oci, LayerCompression::None)
}

fn push_blob(
    registry: &Registry,
    reference: &ImageReference,
    from: Option<&str>,
    bytes: &'static [u8],
) -> Pushed {
    let blob = Descriptor::of(layer_type(), bytes);
    let open = |from: u64| Ok(Box::new(&bytes[usize::try_from(from).unwrap()..]) as Box<dyn Read>);
    registry.push_blob(reference, &BlobUpload { blob: &blob, from, open: &open }).unwrap()
}

fn pull_blob(registry: &Registry, reference: &ImageReference, bytes: &[u8]) -> Vec<u8> {
    registry.blob(reference, &Descriptor::of(layer_type(), bytes), &|| Ok(Vec::new())).unwrap()
}

/// Pushes an image, pulls it, and compares.
fn go_round(registry: &Registry, address: SocketAddr) {
    let name = |rest: &str| -> ImageReference { format!("{address}/{rest}").parse().unwrap() };
    let (bytes, reference) = (layer(), name("team/app:1"));
    let platform = "linux/arm64".parse().unwrap();
    let mut config = ImageConfig::new(&platform, Timestamp::from_seconds(0));
    config.rootfs.diff_ids.push(Digest::of(bytes));
    let config: &'static [u8] = Box::leak(config.to_bytes().into_boxed_slice());
    let manifest = Manifest {
        dialect: Dialect::Oci,
        config: Descriptor::of(MediaType::Config(Dialect::Oci), config),
        layers: vec![Descriptor::of(layer_type(), bytes)],
        annotations: BTreeMap::new(),
    };
    let absent = registry.image(&reference, &platform).unwrap_err();
    assert!(matches!(absent.failure(), Failure::Missing { .. }), "{absent:?}");
    assert_eq!(push_blob(registry, &reference, None, bytes), Pushed::Uploaded);
    assert_eq!(push_blob(registry, &reference, None, bytes), Pushed::Present);
    assert_eq!(push_blob(registry, &name("team/other:1"), Some("team/app"), bytes), Pushed::Mounted);
    assert_eq!(push_blob(registry, &name("team/third:1"), Some("team/absent"), bytes), Pushed::Uploaded);
    assert_eq!(push_blob(registry, &reference, None, config), Pushed::Uploaded);
    let (media_type, manifest) = (manifest.media_type(), manifest.to_bytes());
    for name in [reference.clone(), name("team/app:latest")] {
        let digest = registry.push_manifest(&name, &media_type, &manifest).unwrap();
        assert_eq!(registry.image(&name, &platform).unwrap().digest, digest);
    }
    let pulled = registry.image(&reference, &platform).unwrap();
    assert_eq!((pulled.manifest_bytes, pulled.config_bytes.as_slice()), (manifest, config));
    assert_eq!(pull_blob(registry, &reference, bytes), bytes);
}

#[test]
fn an_image_goes_there_and_back() {
    let server = DockerRegistry::start(Encryption::None, Entry::Everybody);
    go_round(&open(settings()), server.address());
}

#[test]
fn an_image_goes_there_in_chunks() {
    let server = DockerRegistry::start(Encryption::None, Entry::Everybody);
    go_round(&open(RegistrySettings { upload: Upload::Chunks(3 << 20), ..settings() }), server.address());
}

/// The settings for a server, with a file of credentials.
fn settings_for(server: &DockerRegistry, transport: Option<Transport>, file: &Path) -> RegistrySettings {
    let mut settings = settings();
    settings.transports.extend(transport.map(|transport| (server.address().to_string(), transport)));
    settings.credentials.files.push(file.to_owned());
    settings
}

#[test]
fn an_image_goes_there_encrypted_and_with_a_password() {
    let server = DockerRegistry::start(Encryption::Tls, Entry::Password("me", "hunter2"));
    let folder = tempfile::tempdir().unwrap();
    let (file, host) = (folder.path().join("config.json"), server.address().to_string());
    let open = |transport| open(settings_for(&server, transport, &file));
    let reference: ImageReference = format!("{host}/team/app:1").parse().unwrap();
    let platform = "linux/arm64".parse().unwrap();
    let find = |registry: &Registry| registry.image(&reference, &platform);
    let login = |password| Login { user: "me".to_owned(), password: Secret::new(password) };

    // Nobody vouches for it, and it is not spoken to without encryption instead.
    let error = find(&open(None)).unwrap_err();
    assert!(matches!(error.failure(), Failure::Unreachable { .. }), "{error:?}");
    assert!(format!("{error:?}").contains("UnknownIssuer"), "{error:?}");
    let error = find(&open(Some(Transport::Plain))).unwrap_err();
    assert!(matches!(error.failure(), Failure::Status { .. }), "{error:?}");

    let registry = open(Some(Transport::Authority(server.authority())));
    let error = find(&registry).unwrap_err();
    assert!(matches!(error.failure(), Failure::Unauthorized { .. }), "{error:?}");
    registry.login(&host, &login("wrong"), &file).unwrap_err();
    assert!(!file.exists());
    registry.login(&host, &login("hunter2"), &file).unwrap();
    go_round(&open(Some(Transport::Authority(server.authority()))), server.address());
    find(&open(Some(Transport::Insecure))).unwrap();
}

/// Passes connections on to a server, and cuts some off.
struct Cutter {
    address: SocketAddr,
    /// After so many bytes the next connections are cut.
    cuts: Cuts,
}

type Cuts = Arc<Mutex<Vec<u64>>>;

/// Which way bytes are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Cutter {
    fn start(server: SocketAddr, way: Way, cuts: &[u64]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = Arc::new(Mutex::new(cuts.to_vec()));
        let left = Arc::clone(&cuts);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
                for (one, from, to) in [(Way::Up, &client, &server), (Way::Down, &server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let cuts = (one == way).then(|| Arc::clone(&left));
                    std::thread::spawn(move || pass_on(from, to, cuts));
                }
            }
        });
        Self { address, cuts }
    }

    fn is_done(&self) -> bool {
        self.cuts.lock().unwrap().is_empty()
    }
}

/// Passes bytes on until enough went through this connection.
fn pass_on(mut from: TcpStream, mut to: TcpStream, cuts: Option<Cuts>) {
    let (mut buffer, mut passed) = ([0; 16 << 10], 0);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        passed += count as u64;
        if let Some(mut cuts) = cuts.as_ref().map(|cuts| cuts.lock().unwrap())
            && cuts.first().is_some_and(|limit| passed > *limit)
        {
            cuts.remove(0);
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}

#[test]
fn what_breaks_goes_on() {
    let server = DockerRegistry::start(Encryption::None, Entry::Everybody);
    let bytes = layer();
    for (number, upload) in [Upload::Whole, Upload::Chunks(1 << 20)].into_iter().enumerate() {
        let cutter = Cutter::start(server.address(), Way::Up, &[3_000_000, 1_000_000]);
        let reference = format!("{}/team/app{number}:1", cutter.address).parse().unwrap();
        let registry = open(RegistrySettings { upload, ..settings() });
        assert_eq!(push_blob(&registry, &reference, None, bytes), Pushed::Uploaded);
        assert!(cutter.is_done());
    }
    let cutter = Cutter::start(server.address(), Way::Down, &[3_000_000, 1_000_000, 10_000]);
    let reference = format!("{}/team/app0:1", cutter.address).parse().unwrap();
    assert_eq!(pull_blob(&open(settings()), &reference, bytes), bytes);
    assert!(cutter.is_done());
}
