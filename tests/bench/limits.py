#!/usr/bin/env python3
"""Figures that have a limit: memory, mount time, and bytes written to members on a nearly full filesystem.

  meson compile -C build && PATH=$PWD/build/tools:$PATH tests/bench/limits.py [files] [stream] [full]

Not a test: prints what it measured, on which machine.  R5_TEST_DIR says where the images go (about 16 GiB for `stream`).
"""
import mmap
import os
import platform
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from lib import main

MIB = 1 << 20


def memory_mib(scene, field):
    """Resident memory of the daemon: VmRSS now, VmHWM at most."""
    with open(f"/proc/{scene.daemons()[0]}/status") as f:
        for line in f:
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    raise KeyError(field)


def remount_seconds(scene, members):
    scene.umount()
    start = time.monotonic()
    scene.mount(members)
    return time.monotonic() - start


def files(scene, count=500_000):
    members = scene.images(4, 4 << 30)
    scene.mkfs(members)
    scene.mount(members)
    start = time.monotonic()
    for folder in range(count // 1000):
        path = scene.path(f"mnt/folder{folder}")
        os.mkdir(path)
        for i in range(1000):
            with open(f"{path}/file{i}", "wb") as f:
                f.write(b"x" * (i % 100 * 40))
    print(f"{count:,} files: {count / (time.monotonic() - start):.0f} a second, at most {memory_mib(scene, 'VmHWM'):.0f} MiB resident")
    print(f"{count:,} files: mounted in {remount_seconds(scene, members):.3f} s")
    scene.umount()


def stream(scene, total=10 << 30):
    members = scene.images(4, 4 << 30)
    scene.mkfs(members)
    scene.mount(members)
    data = random.randbytes(MIB)
    start = time.monotonic()
    with open(scene.path("mnt/stream"), "wb", buffering=0) as f:
        for _ in range(total // MIB):
            f.write(data)
        os.fsync(f.fileno())
    seconds = time.monotonic() - start
    print(f"stream of {total >> 30} GiB: {total / MIB / seconds:.0f} MiB/s, at most {memory_mib(scene, 'VmHWM'):.0f} MiB resident")
    scene.umount()


def sectors_written(loops):
    total = 0
    for loop in loops:
        with open(f"/sys/block/{os.path.basename(loop)}/stat") as f:
            total += int(f.read().split()[6])
    return total


def full(scene, size=256 * MIB):
    """Random 4 KiB overwrites of twice the data at 90 % full."""
    members = [scene.loop(image) for image in scene.images(4, size)]
    scene.mkfs(members)
    scene.mount(members)
    path = scene.path("mnt/data")
    space = os.statvfs(scene.path("mnt"))
    blocks = space.f_bavail * space.f_frsize * 9 // 10 // 4096
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    for block in range(0, blocks, 256):
        os.pwrite(fd, random.randbytes(4096 * min(256, blocks - block)), block * 4096)
    os.fsync(fd)
    os.close(fd)
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)    # else the kernel's cache would take in most of them
    page = mmap.mmap(-1, 4096)
    before, start = sectors_written(members), time.monotonic()
    for i in range(2 * blocks):
        page[:8] = i.to_bytes(8, "little")
        os.pwrite(fd, page, random.randrange(blocks) * 4096)
    os.fsync(fd)
    written = (sectors_written(members) - before) * 512
    print(f"random 4 KiB overwrites at 90 % full: {2 * blocks / (time.monotonic() - start):.0f} a second, "
          f"{written / (2 * blocks * 4096):.1f} bytes written to members for each byte")
    os.close(fd)
    scene.umount()


if __name__ == "__main__":
    with open("/proc/cpuinfo") as cpuinfo:
        model = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "?")
    print(f"{model}, {os.cpu_count()} processors, Linux {platform.release()}")
    known = {"files": files, "stream": stream, "full": full}
    main(*[known[name] for name in sys.argv[1:] or known])
