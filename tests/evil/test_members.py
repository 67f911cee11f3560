"""Named corruptions of what members have beside their rows: each with exactly what fsck -n says of it, its exit code, and what
-y leaves of it.

Each one is made on copies of one small array.  In what is said {a}, {b} and {c} stand for the members."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))

from fsck_lib import *

SIZE = 16 << 20
LEFT_OUT = ["note: {a} carries no usable label, and is left out.",
            "note: member 1 (UUID {uuid}) is absent. The array works without it; one more loss would be too many.",
            "found: {a}: cannot be used as a member."]
TORN = "holds nothing that verifies (a write that a power cut tore looks so)"
OVERWRITTEN = "is not there (overwritten)."
CONFIG = "its slot of configuration 1 does not hold the one that the newest root names."


def noise(length):
    return random.Random(length).randbytes(length)


def config_slot(at, version):
    return at.config + version % 2 * at.config_bytes


# Name: what it does with (a, b, c, layout, another array's member); lines of fsck -n; its exit code; that of -y, and of -n after it.
EVIL = {
    "label-bit": (lambda a, b, c, at, x: flip(a, at.labels[0] + 9000), ["found: {a}: copy 1 of its label is damaged."], 4, 1, 0),
    "label-bit-of-each-copy-on-another-member": (
        lambda a, b, c, at, x: [flip(m, at.labels[i] + 9000) for i, m in enumerate([a, b, c])],
        ["found: {a}: copy 1 of its label is damaged.", "found: {b}: copy 2 of its label is damaged.",
         "found: {c}: copy 3 of its label is damaged."], 4, 1, 0),
    "label-zeroed": (lambda a, b, c, at, x: write_at(a, at.labels[2], bytes(LABEL_BYTES)),
                     ["found: {a}: copy 3 of its label " + OVERWRITTEN], 4, 1, 0),
    "label-checksum-only": (lambda a, b, c, at, x: flip(a, at.labels[1] + LABEL_BYTES - 1),
                            ["found: {a}: copy 2 of its label is damaged."], 4, 1, 0),
    "label-of-another-member": (lambda a, b, c, at, x: write_at(a, at.labels[1], read_at(b, at.labels[1], LABEL_BYTES)),
                                ["found: {a}: copy 2 of its label is of another member."], 4, 1, 0),
    "label-of-another-array": (lambda a, b, c, at, x: write_at(a, at.labels[2], read_at(x, at.labels[2], LABEL_BYTES)),
                               ["found: {a}: copy 3 of its label is of another array."], 4, 1, 0),
    "two-copies-gone": (lambda a, b, c, at, x: [write_at(a, at.labels[i], noise(LABEL_BYTES)) for i in (0, 2)],
                        ["found: {a}: copy 1 of its label " + OVERWRITTEN, "found: {a}: copy 3 of its label " + OVERWRITTEN], 4, 1, 0),
    "all-copies-gone": (lambda a, b, c, at, x: [write_at(a, o, noise(LABEL_BYTES)) for o in at.labels], LEFT_OUT, 4, 4, 4),
    "all-copies-damaged": (lambda a, b, c, at, x: [flip(a, o + 9000) for o in at.labels], LEFT_OUT, 4, 4, 4),
    "config-bit": (lambda a, b, c, at, x: flip(a, config_slot(at, 1) + 170), ["found: {a}: " + CONFIG], 4, 1, 0),
    "config-zeroed-on-two": (lambda a, b, c, at, x: [write_at(m, config_slot(at, 1), bytes(at.config_bytes)) for m in (a, b)],
                             ["found: {a}: " + CONFIG, "found: {b}: " + CONFIG], 4, 1, 0),
    "config-of-another-array": (
        lambda a, b, c, at, x: write_at(a, config_slot(at, 1), read_at(x, config_slot(at, 1), at.config_bytes)),
        ["found: {a}: " + CONFIG], 4, 1, 0),
    "config-length-huge": (lambda a, b, c, at, x: write_at(a, config_slot(at, 1) + 8, b"\xff" * 4), ["found: {a}: " + CONFIG], 4, 1, 0),
    "other-config-slot-noise": (
        lambda a, b, c, at, x: write_at(a, config_slot(at, 0), noise(at.config_bytes)),
        ["note: {a}: its other configuration slot holds nothing that can be used; the next configuration goes there."], 0, 0, 0),
    "promise-torn": (lambda a, b, c, at, x: write_at(a, at.promise, bytes(512)),
                     ["note: {a}: promise slot 1 " + TORN + "; the next read-write mount overwrites it."], 0, 0, 0),
    "root-torn": (lambda a, b, c, at, x: write_at(a, at.root(1) + 512, noise(1024)),
                  ["note: {a}: 1 of the slots of its root ring " + TORN + "; later roots overwrite them."], 0, 0, 0),
    "roots-torn": (lambda a, b, c, at, x: [flip(a, at.root(g) + 4000) for g in (1, 2)],
                   ["note: {a}: 2 of the slots of its root ring " + TORN.replace("holds", "hold") + "; later roots overwrite them."],
                   0, 0, 0),
    "ring-zeroed": (lambda a, b, c, at, x: write_at(a, at.ring, bytes(at.ring_slots * BLOCK)),
                    ["note: {a}: its root ring is empty: it counts as out of date until a mount has caught it up."], 0, 0, 0),
    "truncated": (lambda a, b, c, at, x: os.truncate(a, SIZE // 2),
                  ["note: {a} is smaller than it was when it became a member, and is left out.",
                   "found: {a}: cannot be used as a member."], 4, 4, 4),
}

# Those that end it: what is said on standard error, and the exit code.
FATAL = {
    "every-ring-zeroed": (lambda a, b, c, at, x: [write_at(m, at.ring, bytes(at.ring_slots * BLOCK)) for m in (a, b, c)],
                          "No member has a root that verifies: the root rings are damaged, or the array was never finished.", 4),
    "every-config-zeroed": (lambda a, b, c, at, x: [write_at(m, at.config, bytes(2 * at.config_bytes)) for m in (a, b, c)],
                            "No member has configuration 1, which the newest root (generation ", 4),
    "every-label-zeroed": (lambda a, b, c, at, x: [write_at(m, o, bytes(LABEL_BYTES)) for m in (a, b, c) for o in at.labels],
                           "{a} and the other members carry no usable label of a raid5cryptfs array", 8),
    "one-member-copied-over-another": (lambda a, b, c, at, x: shutil.copyfile(a, b),
                                       "{a} and {b} are both member ", 16),
    "every-data-area-zeroed": (lambda a, b, c, at, x: [write_at(m, at.data, bytes(at.labels[2] - at.data)) for m in (a, b, c)],
                               None, 4),
}


def base(scene):
    members = scene.images(3, SIZE)
    scene.mkfs(members, "--name", "home")
    scene.mount(members)
    make_tree(scene.path("mnt"), seed=2, files=20, big=0)
    uuid = scene.status(scene.path("mnt"))["members"][0]["uuid"]
    tree = describe_tree(scene.path("mnt"))
    scene.umount()
    other = scene.images(3, SIZE)
    scene.mkfs(other)
    images = [read_at(m, 0, SIZE) for m in members]
    return members, images, Layout(members[0]), other[0], uuid, tree


def renew(members, images):
    for member, image in zip(members, images):
        with open(member, "wb") as f:
            f.write(image)


def evil(scene):
    members, images, at, other, uuid, tree = base(scene)
    names = dict(zip("abc", members), uuid=uuid)
    for name, (damage, said, code, repair_code, code_after) in EVIL.items():
        renew(members, images)
        damage(*members, at, other)
        lines = [line.format(**names) for line in said]
        out = fsck(scene, members, "-n", code=code, out=lines).out.splitlines()
        unexpected = [line for line in out if line.startswith(("found:", "lost:", "repaired:")) and line not in lines]
        check(not unexpected, f"{name}: {unexpected}")
        fsck(scene, members, "-y", code=repair_code, changes=True)
        fsck(scene, members, "-n", code=code_after)
        scene.mount(members)
        compare_trees(tree, describe_tree(scene.path("mnt")), name)
        scene.umount()
        print(name)


def fatal(scene):
    members, images, at, other, _, _ = base(scene)
    for name, (damage, said, code) in FATAL.items():
        renew(members, images)
        damage(*members, at, other)
        for mode in ["-n", "-p", "-y"]:
            result = fsck(scene, members, mode, code=None, says=said and said.format(**dict(zip("abc", members))), changes=said is None)
            check(result.code & code and result.code >= 0, f"{name}: {mode}: {result.code}: {result.err}")
        print(name)


if __name__ == "__main__":
    main(evil, fatal)
