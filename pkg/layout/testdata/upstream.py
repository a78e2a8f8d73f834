"""Asks diskimage-builder's own block device code what it makes of configurations.

Reads a JSON list of {"yaml", "size", "params", "environ"} from stdin and prints a JSON list
of what became of each: its graph, the places of its partitions, the commands it
would have run, its state, its fstab and the values that it gives hooks, or the
name and the words of the exception that it ended with. Nothing is run as root:
every command is noted and not run.

sys.argv[1] is a checkout of diskimage-builder.
"""
import contextlib
import io
import json
import logging
import os
import shutil
import struct
import sys
import tempfile

checkout = sys.argv[1]
sys.dont_write_bytecode = True
sys.path.insert(0, checkout)
logging.disable(logging.CRITICAL)

import stevedore.extension  # noqa: E402
from diskimage_builder.block_device import blockdevice, config, utils  # noqa: E402
from diskimage_builder.block_device.level0 import localloop  # noqa: E402
from diskimage_builder.block_device.level1 import lvm, partitioning  # noqa: E402
from diskimage_builder.block_device.level2 import mkfs  # noqa: E402
from diskimage_builder.block_device.level3 import mount  # noqa: E402
from diskimage_builder.block_device.level4 import fstab  # noqa: E402

plugins = {
    "local_loop": localloop.LocalLoop, "partitioning": partitioning.Partitioning, "lvm": lvm.LVMPlugin,
    "mkfs": mkfs.Mkfs, "mount": mount.Mount, "fstab": fstab.Fstab,
}
config._extensions = stevedore.extension.ExtensionManager.make_test_instance(
    [stevedore.extension.Extension(name, None, plugin, None) for name, plugin in plugins.items()])

commands = []
loops = []


def noted(command):
    commands.append([str(word) for word in command])
    if command[0] == "losetup" and "--show" in command:
        loops.append(command[-1])
        return "/dev/loop%d\n" % (len(loops) - 1)
    return ""


for module in (utils, localloop, lvm, partitioning, mkfs, mount, blockdevice):
    module.exec_sudo = noted


def entries(image, sector):
    image.seek(sector * 512)
    block = image.read(512)
    for i in range(4):
        entry = block[446 + 16 * i:462 + 16 * i]
        flags, kind = entry[0], entry[4]
        start, length = struct.unpack("<II", entry[8:])
        if kind:
            yield kind, start, length, flags


def mbr_places(path):
    """The partitions of an MBR as [number, start, length, type, flags], in sectors."""
    found = []
    with open(path, "rb") as image:
        for number, (kind, start, length, flags) in enumerate(entries(image, 0), 1):
            found.append([number, start, length, kind, flags])
            if kind != 0x0F:
                continue
            record, number = start, 5
            while record:
                following = 0
                for inner, offset, size, mark in entries(image, record):
                    if inner == 0x05:
                        following = start + offset
                    else:
                        found.append([number, record + offset, size, inner, mark])
                        number += 1
                record = following
    return found


def value(device, symbol):
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            device.cmd_getval(symbol)
    except Exception as e:
        return "%s" % type(e).__name__
    return out.getvalue().rstrip("\n")


def ask(case, directory):
    answer = {}
    del commands[:], loops[:]
    name = os.path.join(directory, "config.yaml")
    with open(name, "w") as f:
        f.write(case["yaml"])
    params = {"config": name, "build-dir": os.path.join(directory, "build"), "image-dir": os.path.join(directory, "image"),
              "mount-base": os.path.join(directory, "mnt"), "image-size": case["size"]}
    params.update(case["params"])
    os.makedirs(params["image-dir"])
    os.environ.pop("DIB_BLOCK_SIZE", None)
    os.environ.update(case["environ"])
    try:
        device = blockdevice.BlockDevice(params)
        device.cmd_init()
        answer["graph"] = device.config
        answer["values"] = {s: value(device, s) for s in ("root-label", "root-fstype", "boot-label", "mount-points")}
        _, order = config.create_graph(device.config, params, {})
        answer["order"] = [node.name for node in order]
        device.cmd_create()
        with open(device.state_json_file_name) as f:
            answer["state"] = json.loads(f.read().replace(directory, "DIR"))
        for s in ("image-block-device", "image-block-devices"):
            answer["values"][s] = value(device, s)
        device.cmd_writefstab()
        with open(os.path.join(device.state_dir, "fstab")) as f:
            answer["fstab"] = f.read()
        answer["places"] = {os.path.basename(p)[:-4]: mbr_places(p) for p in loops}
        answer["sizes"] = {os.path.basename(p)[:-4]: os.path.getsize(p) for p in loops}
    except Exception as e:
        answer["error"] = [type(e).__name__, str(e)]
    answer["commands"] = [[word.replace(directory, "DIR") for word in command] for command in commands]
    return answer


answers = []
for case in json.load(sys.stdin):
    directory = tempfile.mkdtemp()
    try:
        answers.append(ask(case, directory))
    finally:
        shutil.rmtree(directory)
json.dump(answers, sys.stdout)
