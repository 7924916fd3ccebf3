//! What to try after a failed hook: the end of its log, read for failures that are known.

/// A failure that is known, with its remedies, most helpful first.
pub fn diagnose(log: &[String], missing_module: Option<&str>) -> Vec<String> {
    let mut hints: Vec<String> = Vec::new();
    let mut add = |hint: String| {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    };
    for (at, line) in log.iter().enumerate().rev() {
        match missing_header(line) {
            Some("longintrepr.h") => add(OLD_CYTHON.to_owned()),
            Some(header) => add(header_hint(header, &log[at + 1..])),
            None => {}
        }
        if let Some(hint) = missing_program(line).and_then(program_hint) {
            add(hint);
        }
        if let Some(module) = removed_module(line) {
            add(module_hint(module));
        }
        if let Some(library) = missing_library(line) {
            add(library_hint(library));
        }
        for (marks, hint) in KNOWN {
            if marks.iter().all(|mark| line.contains(mark)) {
                add((*hint).to_owned());
            }
        }
    }
    if let Some(module) = missing_module {
        add(module_hint(module));
    }
    hints
}

/// Lines that all hold these texts, and what they mean.
const KNOWN: &[(&[&str], &str)] = &[
    (&["Unable to find a compiler"], COMPILER),
    (&["Unknown compiler(s)"], COMPILER),
    (&["No CMAKE_C_COMPILER could be found"], COMPILER),
    (&["No CMAKE_CXX_COMPILER could be found"], COMPILER),
    (&["No CMAKE_Fortran_COMPILER could be found"], FORTRAN),
    (&["can't find Rust compiler"], RUST),
    (&["Cargo, the Rust package manager, is not installed"], RUST),
    (&["linker `cc` not found"], COMPILER),
    (&["CMake must be installed"], CMAKE),
    (&["Problem with the CMake installation"], CMAKE),
    (&["\"go\": executable file not found"], GO),
    (&["pkg-config", "not found"], PKG_CONFIG),
    (&["Did not find pkg-config"], PKG_CONFIG),
    (&["use_2to3 is invalid"], OLD_SETUPTOOLS_2TO3),
    (&["has no attribute 'ImpImporter'"], OLD_SETUPTOOLS),
    (&["No module named 'setuptools.command.test'"], TEST_COMMAND),
    (&["has no attribute", "setuptools.command.test"], TEST_COMMAND),
    (&["setuptools-scm was unable to detect version"], SCM),
    (&["LookupError", "setuptools-scm"], SCM),
    (&["Missing parentheses in call to 'print'"], PYTHON_2),
    (&["No space left on device"], FULL_DISK),
    (&["cython_sources"], CYTHON_3),
    (&["'collections' has no attribute"], OLD_COLLECTIONS),
    (&["cannot import name", "from 'collections'"], OLD_COLLECTIONS),
    (&["require flit_core<4"], FLIT_4),
    (
        &["SSL: CERTIFICATE_VERIFY_FAILED"],
        "the backend downloads something and does not trust the server: set `SSL_CERT_FILE`",
    ),
];

/// What to do about a full disk, whoever noticed it.
pub const FULL_DISK: &str =
    "the disk is full: make room there, or write elsewhere (`--cache-dir` moves the cache, `-o` the output)";

const COMPILER: &str = "install a C compiler (Debian: `build-essential`; Fedora: `gcc gcc-c++ make`; Alpine: `build-base`), or set `CC`";
const FORTRAN: &str =
    "install a Fortran compiler (Debian: `gfortran`; Fedora: `gcc-gfortran`; Alpine: `gfortran`)";
const RUST: &str = "install Rust (Debian: `cargo`; Fedora: `cargo`; Alpine: `cargo`; or rustup)";
const CMAKE: &str = "install CMake (Debian, Fedora and Alpine: `cmake`), or add it with `--with cmake`";
const GO: &str = "install Go (Debian: `golang-go`; Fedora: `golang`; Alpine: `go`)";
const SWIG: &str = "install SWIG (Debian, Fedora and Alpine: `swig`)";
const NINJA: &str =
    "install Ninja (Debian and Fedora: `ninja-build`; Alpine: `samurai`), or add it with `--with ninja`";
const PKG_CONFIG: &str = "install pkg-config (Debian: `pkg-config`; Fedora and Alpine: `pkgconf`)";
const OLD_SETUPTOOLS_2TO3: &str = "setuptools 58 and newer have no `use_2to3`: constrain it with a `--build-constraint` file that says `setuptools<58`, on a Python that still runs it";
const OLD_SETUPTOOLS: &str = "this setuptools is too old for the interpreter: choose an older one with `--python 3.11`, or constrain setuptools with `--build-constraint`";
const TEST_COMMAND: &str = "setuptools 72 and newer have no `test` command: constrain it with a `--build-constraint` file that says `setuptools<72`";
const SCM: &str = "the version comes from git, and the tags are not there: build from a git checkout with its tags, or set `SETUPTOOLS_SCM_PRETEND_VERSION`";
const PYTHON_2: &str = "the project is written for Python 2: it cannot be built with Python 3";
const CYTHON_3: &str =
    "the project needs an older Cython: constrain it with a `--build-constraint` file that says `cython<3`";
const OLD_COLLECTIONS: &str = "the code is written for Python older than 3.10, which took these names out of `collections`: build with `--python 3.9`, or take a newer release";
const FLIT_4: &str = "flit 4 does not read this project's metadata: constrain it with a `--build-constraint` file that says `flit_core<4`";

const OLD_CYTHON: &str =
    "the C code comes from a Cython that does not know Python 3.11 and newer: build with `--python 3.10`";

/// The header of `fatal error: x.h: No such file or directory`, which gcc and clang say alike.
fn missing_header(line: &str) -> Option<&str> {
    let rest = line.split_once("fatal error: ")?.1;
    let header = match rest.split_once(": No such file") {
        Some((header, _)) => header,
        None => rest.strip_prefix('\'')?.split_once("' file not found")?.0,
    };
    header.ends_with(['h', 'p', 'x']).then_some(header)
}

/// The program that could not be started, as Python, distutils, make and shells say it.
fn missing_program(line: &str) -> Option<&str> {
    const ABSENT: &str = "No such file or directory";
    if let Some((_, rest)) = line.split_once("No such file or directory: '") {
        return rest.split('\'').next();
    }
    for mark in ["command '", "unable to execute '"] {
        if let Some((_, rest)) = line.split_once(mark).filter(|_| line.ends_with(ABSENT)) {
            return rest.split('\'').next();
        }
    }
    let (name, rest) = line.strip_prefix("make: ")?.split_once(": ")?;
    (rest == ABSENT).then_some(name)
}

/// What to do about a program, if it is one that builds need.
fn program_hint(program: &str) -> Option<String> {
    let hint = match program {
        "cargo" | "rustc" => RUST,
        "cmake" => CMAKE,
        "go" => GO,
        "swig" => SWIG,
        "ninja" => NINJA,
        "make" => COMPILER,
        "pkg-config" | "pkgconf" => PKG_CONFIG,
        "gfortran" | "f77" | "f95" => FORTRAN,
        program => return compiler_hint(program),
    };
    Some(hint.to_owned())
}

/// A compiler by its usual name is not installed; a path or another name comes from a variable.
fn compiler_hint(program: &str) -> Option<String> {
    let name = program.rsplit('/').next().unwrap_or(program);
    // `x86_64-linux-gnu-gcc-12`
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    let word = plain.rsplit('-').next().unwrap_or(plain);
    if word.contains('.') || !["cc", "++", "clang"].iter().any(|end| word.ends_with(end)) {
        return None;
    }
    let is_usual =
        ["cc", "gcc", "c++", "g++"].contains(&word) && (plain == word || plain.contains("-linux-"));
    Some(if is_usual && name == program {
        COMPILER.to_owned()
    } else {
        format!(
            "the compiler `{program}` is not there: if `CC` or `CXX` names it, name another one or leave it out"
        )
    })
}

/// A module of earlier days that some process did not find.
fn removed_module(line: &str) -> Option<&'static str> {
    let (_, rest) = line.split_once("No module named '")?;
    REMOVED
        .into_iter()
        .find(|module| rest.strip_prefix(module).is_some_and(|rest| rest.starts_with(['\'', '.'])))
}

/// Modules that a newer Python or setuptools has no more.
const REMOVED: [&str; 6] = ["distutils", "pkg_resources", "imp", "asyncore", "asynchat", "cgi"];

/// The library of `cannot find -lx` or `library 'x' not found`.
fn missing_library(line: &str) -> Option<&str> {
    let name = match line.split_once("cannot find -l") {
        Some((_, name)) => name,
        None => line.split_once("unable to find library -l")?.1,
    };
    let name = name.split([':', ' ']).next()?;
    (!name.is_empty()).then_some(name)
}

/// Header, library, and the packages of Debian, Fedora and Alpine that have them.
const PACKAGES: &[(&str, &str, &str, &str, &str)] = &[
    ("Python.h", "python3", "python3-dev", "python3-devel", "python3-dev"),
    ("ffi.h", "ffi", "libffi-dev", "libffi-devel", "libffi-dev"),
    ("openssl/", "ssl", "libssl-dev", "openssl-devel", "openssl-dev"),
    ("openssl/", "crypto", "libssl-dev", "openssl-devel", "openssl-dev"),
    ("libpq-fe.h", "pq", "libpq-dev", "libpq-devel", "libpq-dev"),
    (
        "mysql",
        "mysqlclient",
        "default-libmysqlclient-dev",
        "mariadb-connector-c-devel",
        "mariadb-connector-c-dev",
    ),
    ("libxml/", "xml2", "libxml2-dev", "libxml2-devel", "libxml2-dev"),
    ("libxslt/", "xslt", "libxslt1-dev", "libxslt-devel", "libxslt-dev"),
    ("curl/", "curl", "libcurl4-openssl-dev", "libcurl-devel", "curl-dev"),
    ("zlib.h", "z", "zlib1g-dev", "zlib-devel", "zlib-dev"),
    ("bzlib.h", "bz2", "libbz2-dev", "bzip2-devel", "bzip2-dev"),
    ("lzma.h", "lzma", "liblzma-dev", "xz-devel", "xz-dev"),
    ("jpeglib.h", "jpeg", "libjpeg-dev", "libjpeg-turbo-devel", "libjpeg-turbo-dev"),
    ("png.h", "png", "libpng-dev", "libpng-devel", "libpng-dev"),
    ("tiff.h", "tiff", "libtiff-dev", "libtiff-devel", "tiff-dev"),
    ("ft2build.h", "freetype", "libfreetype-dev", "freetype-devel", "freetype-dev"),
    ("webp/", "webp", "libwebp-dev", "libwebp-devel", "libwebp-dev"),
    ("lcms2.h", "lcms2", "liblcms2-dev", "lcms2-devel", "lcms2-dev"),
    ("gmp.h", "gmp", "libgmp-dev", "gmp-devel", "gmp-dev"),
    ("mpfr.h", "mpfr", "libmpfr-dev", "mpfr-devel", "mpfr-dev"),
    ("mpc.h", "mpc", "libmpc-dev", "libmpc-devel", "mpc1-dev"),
    ("yaml.h", "yaml", "libyaml-dev", "libyaml-devel", "yaml-dev"),
    ("zmq.h", "zmq", "libzmq3-dev", "zeromq-devel", "zeromq-dev"),
    ("sodium.h", "sodium", "libsodium-dev", "libsodium-devel", "libsodium-dev"),
    ("leveldb/", "leveldb", "libleveldb-dev", "leveldb-devel", "leveldb-dev"),
    ("snappy", "snappy", "libsnappy-dev", "snappy-devel", "snappy-dev"),
    ("lz4", "lz4", "liblz4-dev", "lz4-devel", "lz4-dev"),
    ("hdf5.h", "hdf5", "libhdf5-dev", "hdf5-devel", "hdf5-dev"),
    ("sql.h", "odbc", "unixodbc-dev", "unixODBC-devel", "unixodbc-dev"),
    ("sqlite3.h", "sqlite3", "libsqlite3-dev", "sqlite-devel", "sqlite-dev"),
    ("ldap.h", "ldap", "libldap-dev", "openldap-devel", "openldap-dev"),
    ("sasl/", "sasl2", "libsasl2-dev", "cyrus-sasl-devel", "cyrus-sasl-dev"),
    ("geos_c.h", "geos_c", "libgeos-dev", "geos-devel", "geos-dev"),
    ("cairo", "cairo", "libcairo2-dev", "cairo-devel", "cairo-dev"),
    ("dbus/", "dbus-1", "libdbus-1-dev", "dbus-devel", "dbus-dev"),
    ("glib.h", "glib-2.0", "libglib2.0-dev", "glib2-devel", "glib-dev"),
    ("krb5.h", "krb5", "libkrb5-dev", "krb5-devel", "krb5-dev"),
    ("gssapi", "gssapi_krb5", "libkrb5-dev", "krb5-devel", "krb5-dev"),
    ("portaudio.h", "portaudio", "portaudio19-dev", "portaudio-devel", "portaudio-dev"),
    ("graphviz/", "cgraph", "libgraphviz-dev", "graphviz-devel", "graphviz-dev"),
    ("magic.h", "magic", "libmagic-dev", "file-devel", "file-dev"),
    ("usb.h", "usb-1.0", "libusb-1.0-0-dev", "libusb1-devel", "libusb-dev"),
    ("pcap.h", "pcap", "libpcap-dev", "libpcap-devel", "libpcap-dev"),
    ("systemd/", "systemd", "libsystemd-dev", "systemd-devel", "elogind-dev"),
    ("uuid/", "uuid", "uuid-dev", "libuuid-devel", "util-linux-dev"),
    ("ncurses.h", "ncurses", "libncurses-dev", "ncurses-devel", "ncurses-dev"),
    ("readline/", "readline", "libreadline-dev", "readline-devel", "readline-dev"),
    ("expat.h", "expat", "libexpat1-dev", "expat-devel", "expat-dev"),
    ("event.h", "event", "libevent-dev", "libevent-devel", "libevent-dev"),
    ("uv.h", "uv", "libuv1-dev", "libuv-devel", "libuv-dev"),
];

/// What to do about a header; compilers show in the `rest` of the log which line includes it.
fn header_hint(header: &str, rest: &[String]) -> String {
    let known =
        PACKAGES.iter().find(|row| header.starts_with(row.0) || header.ends_with(&format!("/{}", row.0)));
    let in_quotes = format!("\"{header}\"");
    let is_own = rest.iter().take(3).any(|line| line.contains("#include") && line.contains(&in_quotes));
    if known.is_none() && is_own {
        return format!(
            "`{header}` should come with the project: is it generated, in a submodule, or missing in the sdist?"
        );
    }
    packages_hint(&format!("the header `{header}`"), known)
}

fn library_hint(library: &str) -> String {
    packages_hint(&format!("the library `{library}`"), PACKAGES.iter().find(|row| library == row.1))
}

fn packages_hint(what: &str, known: Option<&(&str, &str, &str, &str, &str)>) -> String {
    match known {
        Some((_, _, debian, fedora, alpine)) => {
            format!("install {what} (Debian: `{debian}`; Fedora: `{fedora}`; Alpine: `{alpine}`)")
        }
        None => format!("install the development package that has {what}"),
    }
}

fn module_hint(module: &str) -> String {
    match module.split('.').next().unwrap_or(module) {
        "distutils" => "Python 3.12 has no `distutils`: build with `--python 3.11`, or add setuptools with `--with setuptools`".to_owned(),
        "pkg_resources" => "the build needs `pkg_resources`, which setuptools 82 and newer do not have: constrain it with a `--build-constraint` file that says `setuptools<82`".to_owned(),
        removed @ ("imp" | "asyncore" | "asynchat" | "cgi") => {
            format!("Python has no `{removed}` any more: build with an older one, such as `--python 3.11`")
        }
        package => {
            format!("the project does not say that its build needs `{package}`: add it with `--with {package}`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: &str) {
        let hints = diagnose(&[line.to_owned()], None);
        assert!(hints.iter().any(|hint| hint.contains(expect)), "{line}: {hints:?}");
    }

    fn check_silent(line: &str) {
        assert_eq!(diagnose(&[line.to_owned()], None), [""; 0], "{line}");
    }

    #[test]
    fn knows_what_is_missing() {
        check("x.c:1:10: fatal error: Python.h: No such file or directory", "`python3-dev`");
        check("x.c:1:10: fatal error: 'libpq-fe.h' file not found", "`libpq-dev`");
        check("src/x.c:1:10: fatal error: openssl/ssl.h: No such file or directory", "`openssl-devel`");
        check(
            "x.c:1:10: fatal error: odd/thing.h: No such file or directory",
            "that has the header `odd/thing.h`",
        );
        check("/usr/bin/ld: cannot find -lxml2: No such file or directory", "`libxml2-dev`");
        check("error: can't find Rust compiler", "Rust");
        check("error in nose setup command: use_2to3 is invalid.", "setuptools<58");
        check("OSError: [Errno 28] No space left on device", "disk is full");
    }

    #[test]
    fn knows_which_program_is_missing() {
        for compiler in ["gcc", "cc", "c++", "g++", "gcc-12", "x86_64-linux-gnu-gcc", "aarch64-linux-gnu-g++"]
        {
            for line in [
                format!("FileNotFoundError: [Errno 2] No such file or directory: '{compiler}'"),
                format!("error: command '{compiler}' failed: No such file or directory"),
                format!("unable to execute '{compiler}': No such file or directory"),
                format!("make: {compiler}: No such file or directory"),
            ] {
                check(&line, "install a C compiler");
            }
        }
        for compiler in ["nonexist-cc", "/nonexistent/gcc", "clang++-19", "/opt/a.b/bin/riscv-gcc"] {
            check(
                &format!("[Errno 2] No such file or directory: '{compiler}'"),
                &format!("`{compiler}` is not"),
            );
            check(&format!("error: command '{compiler}' failed: No such file or directory"), "`CC`");
        }
        check("FileNotFoundError: [Errno 2] No such file or directory: 'cargo'", "Rust");
        check("FileNotFoundError: [Errno 2] No such file or directory: 'ninja'", "--with ninja");
        check("exec: \"go\": executable file not found in $PATH", "Go");
        check_silent("FileNotFoundError: [Errno 2] No such file or directory: 'README.rst'");
        check_silent("FileNotFoundError: [Errno 2] No such file or directory: 'src/engine.cc'");
        check_silent("x86_64-linux-gnu-gcc: error: engine.c: No such file or directory");
    }

    #[test]
    fn knows_what_is_no_more() {
        let old = "--python 3.9";
        check("AttributeError: module 'collections' has no attribute 'MutableMapping'", old);
        check("ImportError: cannot import name 'Mapping' from 'collections' (/usr/lib/collections.py)", old);
        check("flit_core.config.ConfigError: Switch to X or require flit_core<4 in Y", "says `flit_core<4`");
        check("ModuleNotFoundError: No module named 'pkg_resources'", "setuptools<82");
        check("ModuleNotFoundError: No module named 'imp'", "has no `imp` any more");
        check("ModuleNotFoundError: No module named 'distutils.core'", "--with setuptools");
        check_silent("ModuleNotFoundError: No module named 'importlib_resources'");
    }

    #[test]
    fn a_header_of_the_project_is_in_no_package() {
        let log = |lines: [&str; 2]| diagnose(&lines.map(str::to_owned), None).join("\n");
        let own =
            log(["x.c:3:10: fatal error: pf.h: No such file or directory", "    3 | #include \"pf.h\""]);
        assert!(own.starts_with("`pf.h` should come with the project"), "{own}");
        let foreign =
            log(["x.c:3:10: fatal error: zmq.h: No such file or directory", "    3 | #include \"zmq.h\""]);
        assert!(foreign.contains("`libzmq3-dev`"), "{foreign}");
        let system =
            log(["x.c:3:10: fatal error: pf.h: No such file or directory", "    3 | #include <pf.h>"]);
        assert!(system.contains("development package"), "{system}");
    }

    #[test]
    fn names_a_module() {
        assert!(diagnose(&[], Some("distutils"))[0].contains("3.11"));
        assert!(diagnose(&[], Some("numpy.core"))[0].contains("--with numpy"));
        assert!(diagnose(&["all is well".to_owned()], None).is_empty());
    }
}
