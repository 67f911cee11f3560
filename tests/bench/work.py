"""The work that peers are measured at.  Each piece takes a peer that has been set up, and returns {measure: figure}; MEASURES says what
the figures are.  A piece that has to leave the usual way (a peer that refuses O_DIRECT) returns a note beside them."""
import json
import os
import random
import tarfile
import time

from place import Failure, run

MIB = 1 << 20
PLOTTED_UNITS = ["MB/s", "/s", "s"]     # what is a speed: with a ratio in the table, and a bar in the plot


class Measure:
    def __init__(self, title, unit, higher_is_better=True):
        self.title, self.unit, self.higher_is_better = title, unit, higher_is_better
        self.in_plot = unit in PLOTTED_UNITS


MEASURES = {}


def measure(name, *args, **kwargs):
    MEASURES[name] = Measure(*args, **kwargs)


class Sizes:
    """How much of everything; `quick` and `smoke` are smaller."""

    def __init__(self, kind, size=None):
        full = kind == "full"
        smoke = kind == "smoke"
        self.stream = size or (512 if full else 16 if smoke else 256) * MIB
        self.random = size or (512 if full else 16 if smoke else 128) * MIB
        self.random_writes = (128 if full else 4 if smoke else 32) * MIB
        self.seconds = 4 if full else 1 if smoke else 2
        self.files = 20_000 if full else 400 if smoke else 4_000
        self.pause = 0.05 if smoke else 0.5
        self.folders = 20 if not smoke else 4
        self.tree_files = 10_000 if full else 200 if smoke else 2_000

    def member_bytes(self):
        """Of each of 4 members: room for the data twice (three of them hold data), and for metadata and chunks of btrfs."""
        largest = max(self.stream, self.random, self.files * 8192, self.tree_files * 65536)
        return (largest * 2 // 3 + 384 * MIB) // MIB * MIB

    def needed_bytes(self):
        return 4 * self.member_bytes() + 64 * MIB

    def session_bytes(self):
        """The tree's archive."""
        return self.tree_files * 16384 + 16 * MIB


class Bench:
    """What the pieces of work need beside the peer."""

    def __init__(self, place, session, sizes, helpers):
        self.place, self.session, self.sizes, self.helpers = place, session, sizes, helpers

    def helper(self, name, *arguments):
        return json.loads(run(os.path.join(self.helpers, name), *arguments))

    def warm_up(self, peer):
        """Daemons have been mounted for milliseconds: first they get the memory that they work with."""
        folder = os.path.join(peer.folder, "warm-up")
        os.mkdir(folder)
        self.helper("stream", "write", folder, self.sizes.stream, MIB, 1)
        os.unlink(os.path.join(folder, "stream0"))
        self.write_back(peer)

    def write_back(self, peer):
        """The peer and what it lies on, from above."""
        for folder in filter(None, [peer.folder, peer.lower, self.place.images]):
            run("sync", "-f", folder)

    def drop_caches(self, peer):
        """Writes everything back and forgets it.  Forgotten inodes are told to FUSE daemons afterwards: they get time for it."""
        self.write_back(peer)
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
        time.sleep(self.sizes.pause)

    def fio(self, *options):
        out = run("fio", "--output-format=json", "--ioengine=psync", "--thread", "--group_reporting", "--fallocate=none", *options,
                             env=dict(os.environ, TMPDIR=self.place.dir), cwd=self.place.dir)
        return json.loads(out[out.index("{"):])["jobs"][0]


def foreign_seconds(children):
    """Processor seconds of programs that have nothing to do with us, with those of their children that ended.  Kernel threads are ours:
    they work for whoever reads and writes."""
    ours = {os.getpid(), *(child.pid for child in children)}
    ticks = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in ours:
            try:
                with open(f"/proc/{entry}/stat") as f:
                    fields = f.read().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[1] != "2" and entry != "2":        # children of kthreadd
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def processors(helper, children=()):
    """Runs a program that measures itself; returns what it says, and processor seconds for a GB: of the whole machine, less what
    foreign programs took meanwhile."""
    foreign, start = foreign_seconds(children), time.monotonic()
    out = helper()
    spent = time.monotonic() - start
    foreign = (foreign_seconds(children) - foreign) * min(1.0, out["ns"] / 1e9 / spent)
    return out, max(0.0, out["cpu_ns"] / 1e9 - foreign) / (out["bytes"] / 1e9)


def daemon_seconds(peer):
    total = 0.0
    for child in peer.children:
        with open(f"/proc/{child.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def resident_mib(peer):
    """The most that the daemons have had resident since they started."""
    total = 0
    for child in peer.children:
        with open(f"/proc/{child.pid}/status") as f:
            total += next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))
    return total / 1024


def member_bytes_written(peer):
    total = 0
    for loop in peer.loops:
        with open(f"/sys/block/{os.path.basename(loop)}/stat") as f:
            total += int(f.read().split()[6]) * 512
    return total


# ---- Streams ----

def stream_name(direction, call_bytes, streams):
    return f"{direction}.{'1m' if call_bytes == MIB else '4k'}.{streams}"


def stream(call_bytes, streams):
    def piece(bench, peer):
        figures = {}
        size = bench.sizes.stream
        bench.warm_up(peer)
        for direction in ["write", "read"]:
            name = stream_name(direction, call_bytes, streams)
            if direction == "read":
                bench.drop_caches(peer)
            daemon, written = daemon_seconds(peer), member_bytes_written(peer)
            arguments = ["stream", direction, peer.folder, size, call_bytes, streams]
            out, cpu = processors(lambda arguments=arguments: bench.helper(*arguments), peer.children)
            figures[f"stream.{name}"] = out["bytes"] / out["ns"] * 1e3
            figures[f"cpu.{name}"] = cpu
            if peer.children:
                figures[f"daemon_cpu.{name}"] = (daemon_seconds(peer) - daemon) / (out["bytes"] / 1e9)
                figures[f"resident.{name}"] = resident_mib(peer)
            if direction == "write" and peer.loops:
                bench.write_back(peer)
                figures[f"amplification.{name}"] = (member_bytes_written(peer) - written) / out["bytes"]
        return figures, []
    return piece


for _call, _word in [(MIB, "1 MiB"), (4096, "4 KiB")]:
    for _streams in [1, 4]:
        _what = f"calls of {_word}, {_streams} stream{'s' if _streams > 1 else ''}"
        for _direction, _title in [("write", "sequential write and fsync"), ("read", "cold sequential read")]:
            _name = stream_name(_direction, _call, _streams)
            measure(f"stream.{_name}", f"{_title}, {_what}", "MB/s")
            measure(f"cpu.{_name}", f"{_title}, {_what}: processors", "s/GB", False)
            measure(f"daemon_cpu.{_name}", f"{_title}, {_what}: daemon", "s/GB", False)
            measure(f"resident.{_name}", f"{_title}, {_what}: daemon's memory", "MiB", False)
            if _direction == "write":
                measure(f"amplification.{_name}", f"{_title}, {_what}: bytes written to members", "per byte", False)


# ---- Random reads and writes, fsyncs ----

def takes_direct(path):
    """Can it be read with O_DIRECT?"""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        return False
    try:
        import mmap
        return os.preadv(fd, [mmap.mmap(-1, 4096)], 0) == 4096
    except OSError:
        return False
    finally:
        os.close(fd)


def random_read(jobs):
    """Each block once, each job in a part of its own: what lies below a peer may cache what was read, and that would not be cold."""
    def piece(bench, peer):
        bench.helper("stream", "write", peer.folder, bench.sizes.random, MIB, 1)
        path = os.path.join(peer.folder, "stream0")
        direct = takes_direct(path)
        bench.drop_caches(peer)
        part = bench.sizes.random // jobs
        job = bench.fio("--name=read", f"--filename={path}", "--rw=randread", "--bs=4k", f"--size={part}", f"--offset_increment={part}",
                        "--randrepeat=0", f"--numjobs={jobs}", f"--runtime={bench.sizes.seconds}", f"--direct={int(direct)}", "--invalidate=0")
        notes = [] if direct else ["random reads without O_DIRECT, which it refuses (cold caches)"]
        return {f"random_read.{jobs}": job["read"]["iops"]}, notes
    return piece


def random_write(bench, peer):
    bench.helper("stream", "write", peer.folder, bench.sizes.random, MIB, 1)
    bench.drop_caches(peer)
    written = member_bytes_written(peer)
    job = bench.fio("--name=write", f"--filename={os.path.join(peer.folder, 'stream0')}", "--rw=randwrite", "--bs=4k",
                    f"--size={bench.sizes.random}", f"--io_size={bench.sizes.random_writes}", "--norandommap", "--randrepeat=0",
                    "--end_fsync=1", "--invalidate=0", "--overwrite=0")
    figures = {"random_write": job["write"]["total_ios"] / (job["job_runtime"] / 1e3)}
    if peer.loops:
        bench.write_back(peer)
        figures["amplification.random_write"] = (member_bytes_written(peer) - written) / (job["write"]["total_ios"] * 4096)
    return figures, []


def fsync(threads):
    def piece(bench, peer):
        folder = os.path.join(peer.folder, "fsync")
        os.mkdir(folder)
        job = bench.fio("--name=append", f"--directory={folder}", "--rw=write", "--bs=4k", "--size=64m", "--file_append=1", "--fsync=1",
                        "--create_on_open=1", f"--numjobs={threads}", "--time_based", f"--runtime={bench.sizes.seconds}")
        return {f"fsync.{threads}": job["write"]["iops"],
                f"fsync_p99.{threads}": job["sync"]["lat_ns"]["percentile"]["99.000000"] / 1e6}, []
    return piece


for _jobs in [1, 4, 16]:
    measure(f"random_read.{_jobs}", f"cold random read of 4 KiB, O_DIRECT, {_jobs} job{'s' if _jobs > 1 else ''}", "/s")
measure("random_write", "random write of 4 KiB, one fsync at the end", "/s")
measure("amplification.random_write", "random write of 4 KiB: bytes written to members", "per byte", False)
for _threads in [1, 16]:
    _what = f"fsync of each 4 KiB append, {_threads} thread{'s' if _threads > 1 else ''}"
    measure(f"fsync.{_threads}", _what, "/s")
    measure(f"fsync_p99.{_threads}", f"{_what}: 99 % within", "ms", False)


# ---- Small files ----

COLD_PHASES = ["stat", "list", "stat_listed", "list_attributes", "read"]


def small_files(bench, peer):
    figures = {}
    files = bench.sizes.files
    for phase in ["create", *COLD_PHASES, "rename", "unlink"]:
        if phase in COLD_PHASES:
            bench.drop_caches(peer)
        out = bench.helper("small_files", phase, peer.folder, files, bench.sizes.folders)
        figures[f"files.{phase}"] = files / (out["ns"] / 1e9)
        if phase == "create":
            figures["files.create_unsynced"] = files / (out["before_sync_ns"] / 1e9)
    if peer.children:
        figures["resident.files"] = resident_mib(peer)
    return figures, []


measure("files.create", "small files: create, with a syncfs at the end", "/s")
measure("files.create_unsynced", "small files: create, without the syncfs", "/s")
measure("files.stat", "small files: cold stat, scattered", "/s")
measure("files.list", "small files: cold listing, names alone", "/s")
measure("files.stat_listed", "small files: stat after a listing", "/s")
measure("files.list_attributes", "small files: cold listing with attributes (ls -l)", "/s")
measure("files.read", "small files: cold read", "/s")
measure("files.rename", "small files: rename", "/s")
measure("files.unlink", "small files: unlink", "/s")
measure("resident.files", "small files: daemon's memory", "MiB", False)


# ---- A tree ----

def make_tar(path, files, seed=1):
    """Like a source tree: folders in folders, sizes around some KiB, the same for the same seed."""
    import io
    rng = random.Random(seed)
    folders = ["tree"]
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        def add(name, content=None):
            info = tarfile.TarInfo(name)
            info.mtime = 1_500_000_000
            info.type, info.mode = (tarfile.DIRTYPE, 0o755) if content is None else (tarfile.REGTYPE, 0o644)
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
        add("tree")
        for i in range(files):
            if i % 20 == 0:
                folders.append(f"{rng.choice(folders[-50:])}/folder{i // 20}")
                add(folders[-1])
            size = min(int(rng.lognormvariate(8.3, 1.2)), 256 << 10)
            add(f"{folders[-1]}/file{i}.c", rng.randbytes(size // 2 + 1).hex().encode()[:size])


def tree(bench, peer):
    archive = os.path.join(bench.session.images, "tree.tar")
    if not os.path.exists(archive):
        make_tar(archive, bench.sizes.tree_files)
    home = bench.place.folder("home")
    environment = dict(os.environ, HOME=home, GIT_CONFIG_NOSYSTEM="1", GIT_AUTHOR_NAME="bench", GIT_AUTHOR_EMAIL="bench@localhost",
                       GIT_COMMITTER_NAME="bench", GIT_COMMITTER_EMAIL="bench@localhost")
    figures = {}

    def timed(name, *commands):
        start = time.monotonic()
        out = [run(*command, env=environment) for command in commands]
        figures[name] = time.monotonic() - start
        return out[-1]

    repository = os.path.join(peer.folder, "tree")
    git = ["git", "-C", repository, "-c", "gc.auto=0"]
    timed("tree.untar", ["tar", "-x", "--no-same-owner", "-f", archive, "-C", peer.folder], ["sync", "-f", peer.folder])
    run("git", "init", "-q", repository, env=environment)
    timed("tree.commit", [*git, "add", "-A"], [*git, "commit", "-q", "-m", "tree"], ["sync", "-f", peer.folder])
    bench.drop_caches(peer)
    said = timed("tree.status", [*git, "status", "--porcelain"])
    if said:
        raise Failure(f"{peer.name}: git status finds changes where there are none: {said[:200]}")
    if peer.children:
        figures["resident.tree"] = resident_mib(peer)
    return figures, []


measure("tree.untar", "untar a tree, with a sync at the end", "s", False)
measure("tree.commit", "git add and commit of the tree, with a sync", "s", False)
measure("tree.status", "cold git status of the tree", "s", False)
measure("resident.tree", "tree: daemon's memory", "MiB", False)


# Pieces by name; groups for --work.
PIECES = {
    "stream-1m-1": stream(MIB, 1), "stream-1m-4": stream(MIB, 4), "stream-4k-1": stream(4096, 1), "stream-4k-4": stream(4096, 4),
    "read-1": random_read(1), "read-4": random_read(4), "read-16": random_read(16),
    "write": random_write,
    "fsync-1": fsync(1), "fsync-16": fsync(16),
    "files": small_files,
    "tree": tree,
}
GROUPS = {
    "stream": ["stream-1m-1", "stream-1m-4", "stream-4k-1", "stream-4k-4"],
    "read": ["read-1", "read-4", "read-16"],
    "fsync": ["fsync-1", "fsync-16"],
}
PROGRAMS = {"read": ["fio"], "write": ["fio"], "fsync": ["fio"], "tree": ["git", "tar"]}     # by the first word of a piece
