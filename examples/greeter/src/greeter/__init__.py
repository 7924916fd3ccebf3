"""Says hello."""

import argparse

__all__ = ["greeting", "main"]


def greeting(name: str = "world") -> str:
    """Return one line that greets `name`."""
    return f"Hello, {name}!"


def main() -> None:
    """Greet whom the command line names."""
    parser = argparse.ArgumentParser(prog="greet", description=__doc__)
    parser.add_argument("name", nargs="?", default="world")
    print(greeting(parser.parse_args().name))
