#!/usr/bin/env python3
"""How fast a rebuild, a replace and a scrub are: beside members that are just read, XORed and written, and beside a user.

  meson compile -C build && R5_TEST_DIR=/dev/shm PATH=$PWD/build/tools:$PATH tests/bench/rebuild.py [ROUNDS]

Four members on loop devices, nearly full, in rounds of alternation:
  plain     raid5cryptfs-rebuild keyless: the other members read side by side, XOR, one written, and nothing verified
  add       raid5cryptfs-rebuild add --wait: what is in use, made and verified, on a mounted array
  replace   raid5cryptfs-rebuild replace --wait: the same, while the old one serves
  scrub     raid5cryptfs-scrub start --wait: all members read and verified; and with one missing
  user      a stream read past the kernel's cache, alone, while `add` runs, and while a scrub does
Rates are of one member's bytes in use (plain: of all of its rows).  Not a test, needs root; only ratios within one run count."""
import mmap
import os
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from lib import Scene, need_root, run

MIB = 1 << 20
MEMBERS, MEMBER_BYTES, FILL_BYTES = 4, 1024 * MIB, 2200 * MIB


def fill(root):
    block = os.urandom(MIB)
    with open(root + "/data", "wb") as f:
        for _ in range(FILL_BYTES // MIB):
            f.write(block)
    run("sync", "-f", root)


def seconds_of(*command):
    begin = time.monotonic()
    run(*command)
    return time.monotonic() - begin


def used_bytes(root):
    """Of one member."""
    space = os.statvfs(root)
    return (space.f_blocks - space.f_bfree) * space.f_frsize / (MEMBERS - 1)


def healthy(root):
    return run("raid5cryptfs-status", root, code=None).code == 0


def read_rate(path, stop):
    """Bytes a second, of direct reads round and round until stop."""
    fd, buf = os.open(path, os.O_RDONLY | os.O_DIRECT), mmap.mmap(-1, MIB)
    begin, total, at = time.monotonic(), 0, 0
    while not stop():
        n = os.preadv(fd, [buf], at)
        at = at + n if n else 0
        total += n
    os.close(fd)
    return total / (time.monotonic() - begin)


def memory_of(scene, name):
    with open(f"/proc/{scene.daemons()[0]}/status") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith(name))


def more_memory(scene, action):
    """What the action returns, and the bytes that the daemon was larger meanwhile, at most, than before."""
    with open(f"/proc/{scene.daemons()[0]}/clear_refs", "w") as f:
        f.write("5")                 # the peak begins anew (proc_pid_clear_refs(5))
    before = memory_of(scene, "VmRSS")
    result = action()
    return result, max(0, memory_of(scene, "VmHWM") - before)


def scrubbing(scene, root):
    return scene.status(root, code=None)["scrub"]["state"] == "running"


def read_meanwhile(root, busy):
    """While something goes on."""
    ended = threading.Event()

    def watch():
        while busy():
            time.sleep(0.2)
        ended.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    rate = read_rate(root + "/data", ended.is_set)
    watcher.join()
    return rate


def one_round(scene, members, spare, figures, memory):
    """Ends with the same members, of which the last is on the disk that was spare."""
    root = scene.mountpoint()
    scene.mount(members[:-1])
    used = used_bytes(root)
    figures["scrub degraded"].append(used / seconds_of("raid5cryptfs-scrub", "start", "--wait", root))
    for name, command in [("add", ["raid5cryptfs-rebuild", "add", "--wait", "--force", root, spare]),
                          ("scrub", ["raid5cryptfs-scrub", "start", "--wait", root])]:
        seconds, more = more_memory(scene, lambda command=command: seconds_of(*command))
        figures[name].append(used / seconds)
        memory[name].append(more)
    until = time.monotonic() + 3
    figures["user alone"].append(read_rate(root + "/data", lambda: time.monotonic() > until))
    run("raid5cryptfs-scrub", "start", root)
    figures["user beside scrub"].append(read_meanwhile(root, lambda: scrubbing(scene, root)))
    figures["replace"].append(used / seconds_of("raid5cryptfs-rebuild", "replace", "--wait", "--force", root, spare, members[-1]))
    run("raid5cryptfs-rebuild", "fail", root, members[-1])
    run("raid5cryptfs-rebuild", "add", "--force", root, spare)
    figures["user beside add"].append(read_meanwhile(root, lambda: not healthy(root)))
    scene.umount()
    run("raid5cryptfs-rebuild", "erase", "--force", members[-1])     # it was failed, and so kept its label
    rows = MEMBER_BYTES - 9 * MIB - (MEMBER_BYTES >> 6)      # but for label, ring and log
    figures["plain"].append(rows / seconds_of("raid5cryptfs-rebuild", "keyless", "--force", members[-1], *members[:-1]))


def measure(rounds):
    figures = {name: [] for name in ["plain", "add", "replace", "scrub", "scrub degraded", "user alone", "user beside add",
                                     "user beside scrub"]}
    memory = {"add": [], "scrub": []}
    with Scene() as scene:
        members = [scene.loop(scene.image(MEMBER_BYTES)) for _ in range(MEMBERS)]
        spare = scene.loop(scene.image(MEMBER_BYTES))
        scene.mkfs(members)
        scene.mount(members)
        fill(scene.path("mnt"))
        scene.umount()
        for _ in range(rounds):
            one_round(scene, members, spare, figures, memory)
    return figures, memory


def main():
    need_root()
    figures, memory = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    median = {name: statistics.median(rates) for name, rates in figures.items()}
    for name, rates in figures.items():
        print(f"{name:16} {median[name] / MIB:8.0f} MiB/s  ({min(rates) / MIB:.0f} to {max(rates) / MIB:.0f})")
    for name in ["add", "replace", "scrub", "scrub degraded"]:
        print(f"{name} / plain: {median[name] / median['plain']:.2f}")
    for name, sizes in memory.items():
        print(f"memory more than before, at most: {name} {max(sizes) / MIB:.0f} MiB")
    for name in ["user beside add", "user beside scrub"]:
        print(f"{name} / alone: {median[name] / median['user alone']:.2f}")


if __name__ == "__main__":
    main()
