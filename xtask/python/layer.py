"""Lists the entries of a layer as a JSON object of names and what they are; times and order are left out.

    layer.py LAYER            of a tar archive, packed or not
    layer.py SAVED --topmost  of the topmost layer of an archive that `docker save` wrote
"""

import hashlib
import io
import json
import sys
import tarfile


def topmost(saved):
    """The last layer of an archive that holds one image."""
    with tarfile.open(saved) as archive:
        layers = json.load(archive.extractfile("manifest.json"))[0]["Layers"]
        return archive.extractfile(layers[-1]).read()


def entries(data):
    found, groups = {}, {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive:
            name = entry.name.removeprefix("./").strip("/")
            if entry.islnk():
                # Which of its names a file stands under is up to the archive.
                groups.setdefault(entry.linkname.removeprefix("./").strip("/"), []).append(name)
                continue
            found[name] = described(archive, entry)
    for first, others in groups.items():
        names = sorted([first, *others])
        found.update(dict.fromkeys(names, "%s, the same as %s" % (found[first], names)))
    return found


def described(archive, entry):
    if entry.name.rpartition("/")[2].startswith(".wh."):
        return "whiteout"
    kinds = {
        tarfile.DIRTYPE: "directory",
        tarfile.SYMTYPE: "link to " + entry.linkname,
        tarfile.FIFOTYPE: "pipe",
        tarfile.CHRTYPE: "character device %d:%d" % (entry.devmajor, entry.devminor),
        tarfile.BLKTYPE: "block device %d:%d" % (entry.devmajor, entry.devminor),
    }
    kind = kinds.get(entry.type)
    if kind is None:
        contents = archive.extractfile(entry).read()
        kind = "file of %d bytes, %s" % (len(contents), hashlib.sha256(contents).hexdigest()[:16])
    # Docker tells the kind there once more; the mode of a link means nothing.
    mode = "" if entry.issym() else " %o" % (entry.mode & 0o7777)
    attributes = sorted(item for item in entry.pax_headers.items() if item[0].startswith("SCHILY.xattr."))
    return " ".join([kind + mode, "%d:%d" % (entry.uid, entry.gid), *map(str, attributes)])


if __name__ == "__main__":
    if sys.argv[2:] == ["--topmost"]:
        layer = topmost(sys.argv[1])
    else:
        with open(sys.argv[1], "rb") as file:
            layer = file.read()
    json.dump(entries(layer), sys.stdout, sort_keys=True)
