"""A whole PEP 517 and PEP 660 backend in one module, which does what a test asks of it.

It reads `[tool.tiny]` of pyproject.toml:

    name, version, summary      what is built
    modules                     files and folders that go into the wheel, as they stand
    requires                    Requires-Dist lines
    scripts                     lines of [console_scripts]
    requires-for-wheel, requires-for-sdist, requires-for-editable
                                what the get_requires hooks answer
    tag                         the wheel's tag; else py3-none-any, or the platform's with an extension
    extension                   a C file that is compiled with `cc` into <name>/_native<suffix>
    fail                        the hook that fails, and fail-how: exception, exit, kill, garbage
    print, print-error          lines written to the standard streams by each building hook
    sleep                       seconds that a building hook takes
    record-environment          puts environment, arguments and site-packages into the wheel
    record-machine              puts what differs between machines into the wheel: clock, user, order of folders
    misbehave                   rewrites this very module where it is installed
    connect                     "host:port" that is tried; what happened stands in the wheel
    random                      puts random bytes into the wheel
    faults                      what is wrong with the wheel: see `spoil`
"""

import base64
import hashlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import zipfile

MISBEHAVED = False


def _settings():
    with open("pyproject.toml", "rb") as file:
        text = file.read().decode()
    try:
        import tomllib
    except ImportError:
        return _plain_settings(text)
    return tomllib.loads(text).get("tool", {}).get("tiny", {})


def _plain_settings(text):
    """Reads the table where Python has no TOML: one `key = value` on a line, values as JSON has them."""
    lines = text.partition("[tool.tiny]\n")[2].split("\n[")[0].splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key.strip(): json.loads(value) for key, _, value in pairs}


def _enter(hook, settings):
    """What each hook does before its work."""
    for number in range(settings.get("print", 0)):
        print("%s: line %d" % (hook, number + 1))
    for number in range(settings.get("print-error", 0)):
        print("%s: complaint %d" % (hook, number + 1), file=sys.stderr)
    sys.stdout.flush()
    if settings.get("sleep") and hook.startswith("build_"):
        time.sleep(settings["sleep"])
    if settings.get("misbehave") and hook.startswith("build_"):
        os.chmod(__file__, 0o644)
        with open(__file__, "a") as file:
            file.write("\nMISBEHAVED = True\n")
        with open(os.path.join(os.path.dirname(__file__), "tiny_stain.py"), "w") as file:
            file.write("")
    if settings.get("fail") == hook:
        return _fail(settings.get("fail-how", "exception"))
    return None


def _fail(how):
    if how == "exit":
        sys.exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "garbage":
        return {"not": "what a hook answers"}
    raise RuntimeError("tiny_backend was told to fail")


def get_requires_for_build_wheel(config_settings=None):
    settings = _settings()
    return _enter("get_requires_for_build_wheel", settings) or settings.get("requires-for-wheel", [])


def get_requires_for_build_sdist(config_settings=None):
    settings = _settings()
    return _enter("get_requires_for_build_sdist", settings) or settings.get("requires-for-sdist", [])


def get_requires_for_build_editable(config_settings=None):
    settings = _settings()
    return _enter("get_requires_for_build_editable", settings) or settings.get("requires-for-editable", [])


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    settings = _settings()
    answer = _enter("prepare_metadata_for_build_wheel", settings)
    dist_info = _stem(settings) + ".dist-info"
    os.mkdir(os.path.join(metadata_directory, dist_info))
    for name, contents in _metadata_files(settings).items():
        with open(os.path.join(metadata_directory, dist_info, name), "wb") as file:
            file.write(contents)
    return answer or dist_info


def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    return prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    settings = _settings()
    answer = _enter("build_wheel", settings)
    name = _write_wheel(wheel_directory, settings, _payload(settings, config_settings))
    return answer or name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    settings = _settings()
    answer = _enter("build_editable", settings)
    path = os.path.abspath("src" if os.path.isdir("src") else ".") + "\n"
    payload = [("_%s_editable.pth" % _module(settings), path.encode())]
    return answer or _write_wheel(wheel_directory, settings, payload)


def build_sdist(sdist_directory, config_settings=None):
    settings = _settings()
    answer = _enter("build_sdist", settings)
    stem = _stem(settings)
    name = stem + ".tar.gz"
    with tarfile.open(os.path.join(sdist_directory, name), "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path in ["pyproject.toml"] + settings.get("modules", []) + _sources(settings):
            archive.add(path, stem + "/" + path)
        metadata = _metadata(settings)
        member = tarfile.TarInfo(stem + "/PKG-INFO")
        member.size = len(metadata)
        member.mtime = int(time.time())
        archive.addfile(member, io.BytesIO(metadata))
    return answer or name


def _sources(settings):
    return [settings["extension"]] if "extension" in settings else []


def _module(settings):
    return settings["name"].replace("-", "_").replace(".", "_").lower()


def _stem(settings):
    return "%s-%s" % (_module(settings), settings["version"])


def _tag(settings):
    if "tag" in settings:
        return settings["tag"]
    if "extension" not in settings:
        return "py3-none-any"
    version = "cp%d%d" % sys.version_info[:2]
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return "%s-%s-%s" % (version, version, platform)


def _metadata(settings):
    lines = ["Metadata-Version: 2.1", "Name: " + settings["name"], "Version: " + settings["version"]]
    lines += ["Summary: " + settings["summary"]] if "summary" in settings else []
    lines += ["Requires-Dist: " + requirement for requirement in settings.get("requires", [])]
    return ("\n".join(lines) + "\n").encode()


def _metadata_files(settings):
    wheel = ["Wheel-Version: 1.0", "Generator: tiny_backend 1.0"]
    wheel += ["Root-Is-Purelib: " + ("false" if "extension" in settings else "true")]
    wheel += ["Tag: " + tag for tag in _expanded(_tag(settings))]
    files = {"METADATA": _metadata(settings), "WHEEL": ("\n".join(wheel) + "\n").encode()}
    if settings.get("scripts"):
        files["entry_points.txt"] = ("[console_scripts]\n" + "\n".join(settings["scripts"]) + "\n").encode()
    return files


def _expanded(tag):
    python, abi, platform = tag.split("-")
    return [
        "%s-%s-%s" % (x, y, z) for x in python.split(".") for y in abi.split(".") for z in platform.split(".")
    ]


def _payload(settings, config_settings):
    """The members of the wheel outside of its .dist-info, in no particular order."""
    members = []
    for path in settings.get("modules", []):
        members += _files(path)
    if "extension" in settings:
        members.append(_compile(settings))
    if settings.get("record-environment"):
        members.append(("tiny_environment.json", _surroundings(config_settings)))
    if settings.get("record-machine"):
        members.append(("tiny_machine.json", _machine()))
    if "connect" in settings:
        members.append(("tiny_network.txt", _connect(settings["connect"])))
    if settings.get("random"):
        members.append(("tiny_random.bin", os.urandom(16)))
    random.shuffle(members)
    return members


def _files(path):
    if not os.path.isdir(path):
        with open(path, "rb") as file:
            return [(path[4:] if path.startswith("src/") else path, file.read())]
    found = []
    for name in os.listdir(path):
        if name != "__pycache__":
            found += _files(path + "/" + name)
    return found


def _compile(settings):
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    output = os.path.abspath("_native" + suffix)
    compiler = os.environ.get("CC", "cc").split()
    flags = os.environ.get("CPPFLAGS", "").split() + os.environ.get("CFLAGS", "").split()
    include = "-I" + sysconfig.get_path("include")
    command = compiler + flags + ["-shared", "-fPIC", "-g", include, settings["extension"], "-o", output]
    subprocess.run(command, check=True)
    with open(output, "rb") as file:
        return (_module(settings) + "/_native" + suffix, file.read())


def _surroundings(config_settings):
    beside = os.path.dirname(os.path.abspath(__file__))
    seen = {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "files": sorted(os.listdir(".")),
        "config_settings": config_settings,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "python": list(sys.version_info[:3]),
        "site_packages": sorted(name for name in os.listdir(beside) if name != "__pycache__"),
        "misbehaved": MISBEHAVED,
        "umask": _umask(),
    }
    return json.dumps(seen, indent=1, sort_keys=True).encode()


def _machine():
    # With a timeout Python waits by the clock, which must not fail where the clock is moved.
    date = subprocess.run(["sh", "-c", "sleep 0.1; date +%s"], check=True, stdout=subprocess.PIPE, timeout=600)
    seen = {
        "clock": time.time(),
        "clock_of_programs": int(date.stdout),
        "user": os.getuid(),
        "folders": [os.getcwd(), sysconfig.get_path("purelib")],
        "orders": [_order("."), _order(sysconfig.get_path("purelib"))],
    }
    return json.dumps(seen, indent=1, sort_keys=True).encode()


def _order(root):
    """All names below a folder, as the file system gives them."""
    return [name for _, folders, files in os.walk(root) for name in folders + files if name != "__pycache__"]


def _umask():
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _connect(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        return ("refused: %s" % type(error).__name__).encode()
    return b"reached"


def _write_wheel(directory, settings, payload):
    """Writes the wheel as careless backends do: unsorted, with the clock's time."""
    faults = settings.get("faults", [])
    dist_info = _stem(settings) + ".dist-info/"
    members = payload + [(dist_info + name, data) for name, data in _metadata_files(settings).items()]
    lines = []
    for path, data in members:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append("%s,sha256=%s,%d" % (path, digest, len(data)))
    lines.append(dist_info + "RECORD,,")
    members.append((dist_info + "RECORD", ("\r\n".join(lines) + "\r\n").encode()))
    members = spoil(members, faults)
    name = "%s-%s.whl" % (_stem(settings), _tag(settings))
    if "file-name" in faults:
        name = "other-9.9-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members:
            archive.writestr(path, data)
    if "truncated" in faults:
        with open(os.path.join(directory, name), "r+b") as file:
            file.truncate(64)
    return name


def spoil(members, faults):
    """Makes the wheel wrong, after its RECORD was made: one fault a word."""
    spoilt = []
    for path, data in members:
        last = path.rpartition("/")[2]
        if "missing-record" in faults and last == "RECORD":
            continue
        if "missing-metadata" in faults and last == "METADATA":
            continue
        if "wrong-hash" in faults and last == "METADATA":
            data += b"Keywords: changed,later\n"
        if "wrong-name" in faults and last == "METADATA":
            data = b"Metadata-Version: 2.1\nName: other\nVersion: 1.0\n"
        if "not-metadata" in faults and last == "METADATA":
            data = b"\xff\xfe no metadata"
        spoilt.append((path, data))
    if "unlisted" in faults:
        spoilt.append(("unlisted.py", b""))
    if "escape" in faults:
        spoilt.append(("../escaped.py", b""))
    if "elf-in-any" in faults:
        spoilt.append(("native.so", b"\x7fELF\x02\x01\x01" + bytes(57)))
    return spoilt
