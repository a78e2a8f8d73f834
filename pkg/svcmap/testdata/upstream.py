"""Asks diskimage-builder's own code what the svc-map files of elements come to.

Reads a JSON list of {"files", "distro"} from stdin, the files as texts, and
prints a JSON list of maps, or of the words of exceptions. sys.argv[1] is a
checkout of diskimage-builder.
"""
import importlib.machinery
import importlib.util
import json
import os
import sys

import yaml

sys.dont_write_bytecode = True
program = os.path.join(sys.argv[1], "diskimage_builder/elements/svc-map/extra-data.d/10-merge-svc-map-files")
loader = importlib.machinery.SourceFileLoader("merge", program)
merge = importlib.util.module_from_spec(importlib.util.spec_from_loader("merge", loader))
loader.exec_module(merge)

answers = []
for case in json.load(sys.stdin):
    services = {}
    try:
        for text in case["files"]:
            services = merge.merge_data(yaml.safe_load(text), services, case["distro"])
        answers.append({"services": services})
    except Exception as e:
        answers.append({"error": str(e)})
json.dump(answers, sys.stdout)
