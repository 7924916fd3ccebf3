//! Debian's `docker-registry` on loopback: a registry that hwb's authors did not write.
//!
//! It needs the packages `docker-registry`, `apache2-utils` and `openssl`, so that it is for the second tier of tests.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// Plain HTTP.
    None,
    /// TLS, with a certificate of [`DockerRegistry::authority`].
    Tls,
}

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Whoever comes.
    Everybody,
    /// Who knows this user name and password.
    Password(&'static str, &'static str),
}

/// A running registry; it ends when this value is dropped, and what it has with it.
#[derive(Debug)]
pub struct DockerRegistry {
    address: SocketAddr,
    folder: tempfile::TempDir,
    child: Child,
}

impl DockerRegistry {
    /// Starts it, and waits until it answers.
    pub fn start(encryption: Encryption, entry: Entry) -> Self {
        let folder = tempfile::tempdir().expect("there is a place for temporary folders");
        let address = free_address();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n",
            folder.path().join("data").display()
        );
        if let Entry::Password(user, password) = entry {
            let passwords = run(Path::new("/"), "htpasswd", &["-Bbn", user, password]);
            let file = folder.path().join("htpasswd");
            write(&file, &passwords);
            config.push_str(&format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display()));
        }
        config.push_str(&format!("http:\n  addr: {address}\n  secret: test\n"));
        if encryption == Encryption::Tls {
            make_certificates(folder.path());
            let path = |name: &str| folder.path().join(name).display().to_string();
            config.push_str(&format!(
                "  tls: {{certificate: {}, key: {}}}\n",
                path("server.pem"),
                path("server.key")
            ));
        }
        let file = folder.path().join("config.yml");
        write(&file, config.as_bytes());
        let mut command = program("docker-registry");
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the Debian package docker-registry is installed");
        let mut registry = Self { address, folder, child };
        registry.wait();
        registry
    }

    fn wait(&mut self) {
        while TcpStream::connect(self.address).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("docker-registry ended with {status}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Host and port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file with the certificate of who vouches for it.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[expect(clippy::disallowed_methods, reason = "a server of a test is no foreign code, and runs beside it")]
fn program(name: &str) -> Command {
    Command::new(name)
}

/// An address at which nobody listens.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port of loopback is free");
    listener.local_addr().expect("a bound socket has an address")
}

/// Makes an authority, and a certificate of it for 127.0.0.1.
fn make_certificates(folder: &Path) {
    let new = ["req", "-newkey", "rsa:2048", "-nodes"];
    let openssl = |arguments: &[&[&str]]| run(folder, "openssl", &arguments.concat());
    openssl(&[&new, &["-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority of a test"]]);
    openssl(&[&new, &["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=registry of a test"]]);
    let names = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";
    write(&folder.join("names"), names.as_bytes());
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(&[&sign, &["-out", "server.pem", "-extfile", "names", "-days", "2"]]);
}

fn write(path: &Path, bytes: &[u8]) {
    fs_err::write(path, bytes).expect("a temporary folder can be written to");
}

/// Runs a program to its end; what it writes.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = self::program(program).args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("`{program}` cannot be run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{program} {}`: {said}", arguments.join(" "));
    output.stdout
}
