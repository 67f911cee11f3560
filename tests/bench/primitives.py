"""What the parts of raid5cryptfs do when each is measured alone, and the sum that a stream's processor time is held against."""
import os
import re
import statistics

import work
from place import Failure, run

CIPHER = "xchacha20-poly1305"            # the default of mkfs
RECORD_KIB = 16                          # what a stream's records are
SOURCES = 3                              # data columns of four members

TITLES = {
    "seal_gb_s": f"sealing, {CIPHER}, {RECORD_KIB} KiB, one processor: GB/s",
    "open_gb_s": f"opening, {CIPHER}, {RECORD_KIB} KiB, one processor: GB/s",
    "xor_gb_s": f"parity of {SOURCES} sources, one processor: GB/s",
    "tree_insert": "tree: insertions a second",
    "tree_lookup": "tree: look-ups a second",
    "tree_delete": "tree: deletions a second",
    "member_write_gb_s": "four members together, writing: GB/s",
    "member_write_cpu_s_gb": "members, writing: processors, s/GB",
    "member_read_gb_s": "four members together, reading: GB/s",
    "member_read_cpu_s_gb": "members, reading: processors, s/GB",
}


def sealing(text):
    """The engine that `auto` takes, from what bench_seal prints."""
    engine = re.search(rf"^auto for {CIPHER}: (\S+)", text, re.M)
    if not engine:
        raise Failure(f"bench_seal does not say which engine is taken: {text}")
    line = re.search(rf"^{CIPHER} +{engine[1]} +{RECORD_KIB} KiB +seal +([\d.]+) +open +([\d.]+)", text, re.M)
    if not line:
        raise Failure(f"bench_seal has no line for {CIPHER} {engine[1]}: {text}")
    return {"seal_gb_s": float(line[1]), "open_gb_s": float(line[2])}


def parity(text):
    line = re.search(rf"^xor of +{SOURCES} sources +([\d.]+)", text, re.M)
    if not line:
        raise Failure(f"bench_xor has no line for {SOURCES} sources: {text}")
    return {"xor_gb_s": float(line[1])}


def members(bench, rounds):
    """Reading and writing the members alone, at the same amount as a stream takes."""
    bytes_each = bench.sizes.stream // SOURCES >> 20 << 20
    rates = {}
    for _ in range(rounds):
        loops = bench.place.loops(SOURCES + 1, bench.sizes.member_bytes())
        for direction in ["write", "read"]:
            out, cpu = work.processors(lambda direction=direction: bench.helper("bench_members", direction, bytes_each, *loops))
            rates.setdefault(f"member_{direction}_gb_s", []).append(out["bytes"] / out["ns"])
            rates.setdefault(f"member_{direction}_cpu_s_gb", []).append(cpu)
        bench.place.drop_loops(loops)
    return {name: statistics.median(values) for name, values in rates.items()}


def measure(bench, rounds):
    figures = {}
    tests = os.path.dirname(bench.helpers)
    figures.update(sealing(run(os.path.join(tests, "bench_seal"))))
    figures.update(parity(run(os.path.join(tests, "bench_xor"))))
    figures.update(bench.helper("bench_tree"))
    figures.update(members(bench, rounds))
    return figures
