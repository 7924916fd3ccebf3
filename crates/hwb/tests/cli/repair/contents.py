"""Prints the files of a wheel in their order, with what native code says of libraries; by other code than hwb's.

Ends where RECORD is not what it must be.
"""

import base64
import hashlib
import struct
import sys
import zipfile

NAMES = {1: "needs", 14: "is", 15: "rpath", 29: "runpath"}
LOADED, DYNAMIC, STRINGS = 1, 2, 5


def libraries(data):
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    head = struct.unpack_from(order + ("HHIQQQIHHH" if wide else "HHIIIIIHHH"), data, 16)
    segments = []
    for number in range(head[9]):
        at = head[4] + number * head[8]
        if wide:
            kind, _, offset, address, _, size = struct.unpack_from(order + "IIQQQQ", data, at)
        else:
            kind, offset, address, _, size = struct.unpack_from(order + "IIIII", data, at)
        segments.append((kind, offset, address, size))
    _, offset, _, size = next(segment for segment in segments if segment[0] == DYNAMIC)
    pairs = struct.iter_unpack(order + ("QQ" if wide else "II"), data[offset : offset + size])
    entries = []
    for tag, value in pairs:
        if tag == 0:
            break
        entries.append((tag, value))
    address = dict(entries)[STRINGS]
    strings = next(
        address - start + offset
        for kind, offset, start, size in segments
        if kind == LOADED and start <= address < start + size
    )
    text = lambda at: data[strings + at : data.index(b"\0", strings + at)].decode()
    words = [f"{NAMES[tag]} {text(value)}" for tag, value in entries if tag in NAMES]
    return ", ".join(sorted(words))


wheel = zipfile.ZipFile(sys.argv[1])
rows = []
for info in wheel.infolist():
    data = wheel.read(info)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    is_record = info.filename.endswith(".dist-info/RECORD")
    rows.append(f"{info.filename},," if is_record else f"{info.filename},sha256={digest},{len(data)}")
    mode = {0o100755: " x", 0o100644: ""}[info.external_attr >> 16]
    said = ": " + libraries(data) if data.startswith(b"\x7fELF") else ""
    print(f"{info.filename}{mode}{said}")
assert data.decode() == "".join(f"{row}\n" for row in rows), "RECORD is not what it must be"
