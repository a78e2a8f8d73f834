"""Asks diskimage-builder's own code which elements lists of elements come to.

Reads a JSON list of lists of names from stdin and prints a JSON list: for each,
the sorted names and the paths, or the name and the words of the exception.
sys.argv[1] is a checkout of diskimage-builder, sys.argv[2] an ELEMENTS_PATH.
"""
import json
import logging
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
logging.disable(logging.CRITICAL)

from diskimage_builder import element_dependencies as dependencies  # noqa: E402

known = dependencies._find_all_elements(sys.argv[2])
answers = []
for names in json.load(sys.stdin):
    try:
        found = dependencies._expand_element_dependencies(names, known)
        answers.append({"elements": {e.name: e.path for e in found}})
    except Exception as e:
        answers.append({"error": [type(e).__name__, str(e)]})
json.dump(answers, sys.stdout)
