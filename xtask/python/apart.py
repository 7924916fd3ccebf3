"""Takes a repaired wheel apart, as if it had never been repaired.

    PATCHELF WHEEL FOLDER

What the wheel's native files need of each other goes to FOLDER/libraries, the rest to a wheel for linux_x86_64 in
FOLDER/wheel, without run paths.
"""

import base64
import hashlib
import os
import stat
import subprocess
import sys
import zipfile

RECORD, SBOM = ".dist-info/RECORD", ".dist-info/sboms/auditwheel.cdx.json"


def patchelf(*arguments):
    return subprocess.run([patchelf.program, *arguments], check=True, capture_output=True, text=True).stdout.split()


def apart(wheel, folder):
    libraries, rest = os.path.join(folder, "libraries"), os.path.join(folder, "rest")
    with zipfile.ZipFile(wheel) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir() and not info.filename.endswith((RECORD, SBOM))]
        for info in infos:
            archive.extract(info, rest)
    place = {info.filename: os.path.join(rest, info.filename) for info in infos}
    native = [name for name, path in place.items() if open(path, "rb").read(4) == b"\x7fELF"]
    needed = {library for name in native for library in patchelf("--print-needed", place[name])}
    moved = {name for name in native if os.path.basename(name) in needed}
    os.makedirs(libraries)
    for name in native:
        if name in moved:
            os.rename(place[name], os.path.join(libraries, os.path.basename(name)))
        else:
            patchelf("--remove-rpath", place[name])
    write([info for info in infos if info.filename not in moved], place, wheel, folder)


def write(infos, place, wheel, folder):
    name, python, abi, platforms = os.path.basename(wheel)[: -len(".whl")].rsplit("-", 3)
    os.makedirs(os.path.join(folder, "wheel"))
    dist_info = next(info.filename for info in infos if info.filename.endswith(".dist-info/WHEEL")).rpartition("/")[0]
    record = []
    path = os.path.join(folder, "wheel", f"{name}-{python}-{abi}-linux_x86_64.whl")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info in infos:
            with open(place[info.filename], "rb") as file:
                data = file.read()
            if info.filename == dist_info + "/WHEEL":
                data = retagged(data.decode(), platforms).encode()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{info.filename},sha256={digest},{len(data)}\n")
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
        listing = zipfile.ZipInfo(dist_info + "/RECORD", (2023, 11, 14, 22, 13, 20))
        listing.compress_type = zipfile.ZIP_DEFLATED
        listing.external_attr = (stat.S_IFREG | 0o644) << 16
        archive.writestr(listing, "".join(record) + dist_info + "/RECORD,,\n")


def retagged(text, platforms):
    for platform in platforms.split("."):
        text = text.replace("-" + platform + "\n", "-linux_x86_64\n")
    # Several tags became one.
    return "".join(dict.fromkeys(text.splitlines(keepends=True)))


patchelf.program = sys.argv[1]
apart(*sys.argv[2:])
