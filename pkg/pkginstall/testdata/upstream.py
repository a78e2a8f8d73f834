"""Asks diskimage-builder's own code what the package-installs files of elements come to.

Reads a JSON list of {"elements": [[name, directory], ...], "environ"} from stdin
and prints a JSON list: for each, the lists of packages by phase, or the name and
the words of the exception. sys.argv[1] is a checkout of diskimage-builder.
"""
import collections
import contextlib
import functools
import importlib.machinery
import importlib.util
import io
import json
import os
import sys

import yaml

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
program = os.path.join(sys.argv[1], "diskimage_builder/elements/package-installs/bin/package-installs-squash")
loader = importlib.machinery.SourceFileLoader("squash", program)
squash = importlib.util.module_from_spec(importlib.util.spec_from_loader("squash", loader))
loader.exec_module(squash)


def read(name):
    with open(name) as f:
        text = f.read()
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)


def ask(case):
    lists = collections.defaultdict(functools.partial(collections.defaultdict, list))
    os.environ.clear()
    os.environ.update(case["environ"])
    for name, directory in case["elements"]:
        for kind in ("json", "yaml"):
            file = os.path.join(directory, "package-installs." + kind)
            if os.path.exists(file):
                lists = squash.collect_data(lists, read(file), name)
    return {"lists": lists}


answers = []
for case in json.load(sys.stdin):
    words = io.StringIO()
    try:
        with contextlib.redirect_stdout(words):
            answers.append(ask(case))
    except SystemExit:
        answers.append({"error": ["SystemExit", words.getvalue().strip()]})
    except Exception as e:
        answers.append({"error": [type(e).__name__, str(e)]})
json.dump(answers, sys.stdout)
