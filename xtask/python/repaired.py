"""Looks at repaired wheels; knows nothing of the tools that repaired them. Prints JSON.

    list WHEEL     the base names of the grafted libraries
    smoke FOLDER   unpacks FOLDER/needs/*.whl and the wheels of FOLDER/task.json ({name: code}), runs each code in this
                   process, and lists what is wrong, the grafted libraries that were also loaded from elsewhere, and how many
                   were loaded as grafted
"""

import base64
import csv
import hashlib
import importlib
import io
import json
import os
import re
import sys
import traceback
import zipfile


def plain(path):
    """A library's name without what a repair puts into it."""
    return re.sub(r"-[0-9a-f]{8,}(?=\.|$)", "", os.path.basename(path))


def is_grafted(path):
    return path.partition("/")[0].endswith(".libs") and ".so" in path


def digest(data):
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def unpack(wheel, site):
    """Writes what RECORD lists, and returns its paths and what is wrong with it."""
    problems, listed = [], []
    with zipfile.ZipFile(wheel) as archive:
        members = [info.filename for info in archive.infolist() if not info.is_dir()]
        record = next(name for name in members if name.endswith(".dist-info/RECORD"))
        for path, claimed, size in csv.reader(io.StringIO(archive.read(record).decode())):
            data = archive.read(path)
            if path != record and (claimed, size) != (digest(data), str(len(data))):
                problems.append("RECORD is wrong about " + path)
            place = os.path.join(site, re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", path))
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as file:
                file.write(data)
            listed.append(path)
    if sorted(listed) != sorted(members):
        problems.append("RECORD lists other files than there are: %s" % sorted(set(listed) ^ set(members)))
    return listed, problems


def mapped():
    with open("/proc/self/maps") as maps:
        return {line.split(None, 5)[5].rstrip("\n") for line in maps if "/" in line}


def load_standard_library():
    """Loads all that is native in it, with the libraries that the interpreter brings along."""
    folder = os.path.dirname(importlib.import_module("_json").__file__)
    for name in sorted(os.listdir(folder)):
        try:
            importlib.import_module(name.partition(".")[0])
        except ImportError:
            pass


def smoke(folder):
    site, needs = os.path.join(folder, "site"), os.path.join(folder, "needed")
    sys.path[:0] = [site, needs]
    with open(os.path.join(folder, "task.json")) as file:
        task = json.load(file)
    for wheel in sorted(os.listdir(os.path.join(folder, "needs"))):
        unpack(os.path.join(folder, "needs", wheel), needs)
    problems, grafted = [], []
    for wheel in task:
        listed, wrong = unpack(os.path.join(folder, wheel), site)
        problems += wrong
        grafted += [os.path.join(site, path) for path in listed if is_grafted(path)]
    load_standard_library()
    before = mapped()
    for wheel, code in task.items():
        try:
            exec(compile(code, wheel, "exec"), {})
        except BaseException:
            problems.append(wheel + ": " + " / ".join(traceback.format_exc(limit=-1).split("\n")).strip(" /"))
    after = mapped()
    # Two wheels may graft the same library: then one of the two serves both.
    loaded = {os.path.basename(path) for path in after if path.startswith(folder)}
    grafted = {os.path.basename(path) for path in grafted}
    problems += ["not loaded: " + name for name in sorted(grafted - loaded)]
    names = {plain(path) for path in grafted}
    twins = [path for path in after - before if not path.startswith(folder) and plain(path) in names]
    return {"problems": problems, "twins": sorted(twins), "loaded": len(grafted & loaded)}


def listed(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return sorted(plain(name) for name in archive.namelist() if is_grafted(name))


print(json.dumps({"list": listed, "smoke": smoke}[sys.argv[1]](sys.argv[2])))
