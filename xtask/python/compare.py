"""Prints as JSON what differs between two wheels of the same source."""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile


def read(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}


def exported(data):
    """What a library needs and what it gives, without addresses and sizes."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        said = subprocess.run(["readelf", "-dW", "--dyn-syms", file.name], capture_output=True, text=True, check=True)
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", said.stdout)
    symbols = set()
    for line in said.stdout.splitlines():
        words = line.split()
        if len(words) >= 8 and words[0].endswith(":") and words[0][:-1].isdigit():
            kind, bind, index, name = words[3], words[4], words[6], words[7]
            if index != "UND" and bind in ("GLOBAL", "WEAK"):
                symbols.add((kind, bind, name))
    return needed, sorted(symbols)


def wheel_file(data):
    lines = data.decode().replace("\r\n", "\n").split("\n")
    return sorted(line for line in lines if line and not line.startswith("Generator:"))


def member(name, left, right):
    last = name.rpartition("/")[2]
    in_dist_info = ".dist-info/" in name
    if left == right or (in_dist_info and last == "RECORD"):
        return []
    if in_dist_info and last == "WHEEL":
        return [] if wheel_file(left) == wheel_file(right) else [name + ": more than the generator differs"]
    if left[:4] == right[:4] == b"\x7fELF":
        (left_needed, left_symbols), (right_needed, right_symbols) = exported(left), exported(right)
        found = []
        if left_needed != right_needed:
            found.append("%s: NEEDED %s and %s" % (name, left_needed, right_needed))
        if left_symbols != right_symbols:
            odd = sorted(set(left_symbols) ^ set(right_symbols))
            found.append("%s: exported symbols differ: %s" % (name, ", ".join(row[2] for row in odd[:5])))
        return found
    return ["%s: contents differ" % name]


def main(left_path, right_path):
    names = os.path.basename(left_path), os.path.basename(right_path)
    found = [] if names[0] == names[1] else ["file name: %s and %s" % names]
    left, right = read(left_path), read(right_path)
    found += ["only in the first: " + name for name in sorted(left.keys() - right.keys())]
    found += ["only in the second: " + name for name in sorted(right.keys() - left.keys())]
    for name in sorted(left.keys() & right.keys()):
        found += member(name, left[name], right[name])
    print(json.dumps(found))


main(*sys.argv[1:])
