"""Lists the distributions that an interpreter finds: one JSON array on descriptor 3.

Run by `python -c`. Of two with one name the first on the path counts, as it does for an import.
"""

import json
import os
import sys


def main():
    # `-c` puts the working directory first, where hooks do not look.
    sys.path[:] = [entry for entry in sys.path if entry not in ("", os.getcwd())]
    found = []
    for distribution in distributions():
        try:
            metadata = distribution.metadata
            name, version = metadata["Name"], distribution.version
            requires = list(distribution.requires or [])
        except Exception:
            # A folder that only looks like a distribution.
            continue
        if name and version:
            found.append({"name": name, "version": version, "requires": requires})
    data = (json.dumps(found) + "\n").encode("utf-8")
    while data:
        data = data[os.write(3, data) :]


def distributions():
    try:
        from importlib import metadata
    except ImportError:
        import importlib_metadata as metadata
    return metadata.distributions()


main()
