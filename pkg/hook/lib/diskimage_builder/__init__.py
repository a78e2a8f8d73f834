"""The modules that hooks written in Python import of diskimage-builder.

dibber puts this package into the path of the machine's own python3 when a
hook outside the target runs a Python script. It holds no part of dibber.
"""
