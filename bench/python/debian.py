"""The libraries are Debian's packages, which only Debian's own Python finds."""

import importlib.util
import os
import sys

PYTHON = "/usr/bin/python3"


def run():
    """Starts the program again with Debian's Python where another one runs it."""
    if os.path.exists(PYTHON) and not os.path.samefile(sys.executable, PYTHON):
        os.execv(PYTHON, [PYTHON, *sys.argv])


def missing(modules):
    """What keeps those modules from being imported, by their packages, or nothing."""
    packages = [package for module, package in modules.items() if importlib.util.find_spec(module) is None]
    if packages:
        return " and ".join(packages) + (" is" if len(packages) == 1 else " are") + " not installed"
    return ""
