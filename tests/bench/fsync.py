"""fsyncs a second of 4 KiB appends: raid5cryptfs beside btrfs raid5, each on four loop devices over one tmpfs.

    fsync.py [--seconds S] [--rounds N] [--threads 1,16]

Needs root, the programs in PATH, mkfs.btrfs and fio.  The two take turns, so that what else the machine does meets both."""
import argparse
import statistics
import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/mount")
from lib import *

MEMBERS = 4
MEMBER_BYTES = 512 << 20


def measure(folder, threads, seconds):
    done = run("fio", "--name=append", f"--directory={folder}", "--rw=write", "--bs=4k", "--size=64m", "--file_append=1", "--fsync=1",
               "--ioengine=psync", "--fallocate=none", "--create_on_open=1", f"--numjobs={threads}", "--thread",
               "--group_reporting", "--time_based", f"--runtime={seconds}", "--output-format=json")
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    job = json.loads(done.out[done.out.index("{"):])["jobs"][0]
    return job["write"]["iops"], job["sync"]["lat_ns"]["percentile"]["99.000000"] / 1e6


def compare(scene, arguments):
    need_root()
    tmpfs = scene.path("tmpfs")
    os.makedirs(tmpfs)
    run("mount", "-t", "tmpfs", "-o", f"size={2 * MEMBERS * MEMBER_BYTES}", "tmpfs", tmpfs)
    loops = []
    for i in range(2 * MEMBERS):
        path = os.path.join(tmpfs, f"disk{i}")
        with open(path, "wb") as f:
            f.truncate(MEMBER_BYTES)
        loops.append(scene.loop(path))
    ours, theirs = loops[:MEMBERS], loops[MEMBERS:]
    scene.mkfs(ours)
    scene.mount(ours)
    run("mkfs.btrfs", "-q", "-f", "-d", "raid5", "-m", "raid1", *theirs)
    btrfs = scene.mountpoint("btrfs")
    run("mount", "-t", "btrfs", "-o", ",".join(f"device={d}" for d in theirs), theirs[0], btrfs)
    try:
        folders = {"raid5cryptfs": scene.path("mnt"), "btrfs": btrfs}
        for threads in arguments.threads:
            figures = {name: [] for name in folders}
            for _ in range(arguments.rounds):
                for name, folder in folders.items():
                    figures[name].append(measure(folder, threads, arguments.seconds))
            median = {name: statistics.median(f for f, _ in values) for name, values in figures.items()}
            for name, values in figures.items():
                print(f"{threads:2} threads  {name:12}  {median[name]:7.0f} fsyncs/s   99 %: {statistics.median(l for _, l in values):.1f} ms")
            print(f"{threads:2} threads  {median['raid5cryptfs'] / median['btrfs']:.2f} times")
    finally:
        run("umount", btrfs)
    scene.umount()
    for loop in loops:
        run("losetup", "-d", loop)
        scene.loops.remove(loop)
    run("umount", tmpfs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=lambda s: [int(t) for t in s.split(",")], default=[1, 16])
    options = parser.parse_args()

    def fsync(scene):
        compare(scene, options)

    main(fsync)
