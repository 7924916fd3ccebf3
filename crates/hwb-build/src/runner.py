"""Calls PEP 517 hooks on request: one JSON object a line on standard input, one answer a line on descriptor 3.

Run by `python -c`. Where it is safe, each hook runs in a forked child, so that the backend is imported once and one
hook cannot disturb the next; else the hook runs here and this process ends after its answer.
"""

import json
import os
import sys

ANSWERS = 3


def main():
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    setup = json.loads(requests.readline())
    redirect_standard_streams()
    os.umask(0o022)
    # `-c` puts the working directory first; PEP 517 says that it is not on the path.
    sys.path[:] = [entry for entry in sys.path if entry not in ("", os.getcwd())]
    sys.path[:0] = setup["backend_path"]
    sys.argv[:] = [setup["backend"]]
    name_temporary_files_alike()
    try:
        backend = load(setup["backend"])
        if setup["may_fork"]:
            import_beforehand(setup["beforehand"])
    except BaseException as error:
        backend = None
        failure = describe(error, "import")
    for line in requests:
        request = json.loads(line)
        if backend is None:
            answer(failure)
            break
        if setup["may_fork"] and is_single_threaded():
            call_in_child(backend, request)
        else:
            answer(call(backend, request))
            break
    leave()


def redirect_standard_streams():
    """A hook sees an empty input, and its two outputs are one stream, in the order they were written."""
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    # Programs that a hook starts must not keep the answers open.
    os.set_inheritable(ANSWERS, False)


def name_temporary_files_alike():
    """Random names of temporary folders end up in debug information: count instead.

    The temporary folder is this build's own, and a name that is taken is skipped as ever.
    """
    import tempfile

    class Counter:
        def __init__(self):
            self.count = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.count += 1
            return "%08x" % self.count

    tempfile._name_sequence = Counter()


def load(backend):
    import importlib

    module, _, attributes = backend.partition(":")
    found = importlib.import_module(module)
    for attribute in filter(None, attributes.split(".")):
        found = getattr(found, attribute)
    return found


def import_beforehand(modules):
    import importlib

    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError:
            # Another version of the backend: its hooks import what they need.
            pass


def is_single_threaded():
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        import threading

        return threading.active_count() == 1


def call(backend, request):
    hook = getattr(backend, request["hook"], None)
    if hook is None:
        return {"missing": request["hook"]}
    try:
        result = hook(*request["arguments"])
    except BaseException as error:
        unsupported = getattr(backend, "UnsupportedOperation", ())
        kind = "unsupported" if unsupported and isinstance(error, unsupported) else "raised"
        return describe(error, kind)
    try:
        json.dumps(result)
    except TypeError:
        return {"failed": "raised", "message": "%s returned %r" % (request["hook"], result), "module": None}
    return {"returned": result}


def call_in_child(backend, request):
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        answer(call(backend, request))
        leave()
    _, status = os.waitpid(child, 0)
    # A hook that ended its process (`sys.exit` is an exception, `os._exit` and signals are not) never answered.
    answer({"ended": status})


def describe(error, kind):
    import traceback

    traceback.print_exc()
    sys.stderr.flush()
    # The log has the whole of it: the message is one line.
    lines = str(error).strip().splitlines()
    message = ": ".join([type(error).__name__] + lines[:1])
    module = error.name if isinstance(error, ImportError) else None
    return {"failed": kind, "message": message[:500], "module": module}


def answer(value):
    sys.stdout.flush()
    sys.stderr.flush()
    data = (json.dumps(value) + "\n").encode("utf-8")
    while data:
        data = data[os.write(ANSWERS, data) :]


def leave():
    """Ends without tearing the interpreter down: what exit handlers do is done, what is in memory is not missed."""
    import atexit

    if "threading" in sys.modules:
        shutdown = getattr(sys.modules["threading"], "_shutdown", None)
        if shutdown is not None:
            shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


main()
