"""What the tests of fsck share: where things lie on a member, damage, and running fsck."""
import struct

from lib import *

CORRECTED, LEFT, ERROR, FSCK_USAGE, CANCELLED = 1, 4, 8, 16, 32
LABEL_BYTES = 16384
BLOCK = 4096


class Layout:
    """doc/format.md: the geometry in a label."""
    def __init__(self, member):
        with open(member, "rb") as f:
            f.seek(LABEL_BYTES)
            label = f.read(LABEL_BYTES)
        check_equal(label[:8], b"R5CRLABL", "the first copy of the label")
        self.promise, self.config, self.config_bytes, self.ring_slots, self.ring, self.log, self.log_bytes, self.data, \
            self.granule = struct.unpack_from("<QQIIQQQQQ", label, 136)
        size = os.path.getsize(member)
        self.labels = [LABEL_BYTES, 1 << 20, size // LABEL_BYTES * LABEL_BYTES - LABEL_BYTES]
        self.size = size

    def root(self, generation):
        return self.ring + generation % self.ring_slots * BLOCK


def read_at(path, offset, length):
    with open(path, "rb") as f:
        f.seek(offset)
        return f.read(length)


def write_at(path, offset, data):
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(data)


def flip(path, offset):
    write_at(path, offset, bytes([read_at(path, offset, 1)[0] ^ 1]))


def hashes(members):
    return [hashlib.file_digest(open(m, "rb"), "sha256").hexdigest() for m in members]


def fsck(scene, members, *options, code=0, out=(), not_out=(), says=None, cipher=CIPHERS[0], changes=False, **kwargs):
    """Runs it; `out`: lines (or parts) that standard output must have.  Unless `changes`, the members must stay as they are."""
    key = [] if cipher == "none" else ["--key-file", scene.key()]
    before = None if changes else hashes(members)
    result = run("fsck.raid5cryptfs", *key, *options, *members, code=code, says=says, **kwargs)
    if not changes:
        check_equal(hashes(members), before, f"fsck {options} changed nothing")
    for text in [out] if isinstance(out, str) else out:
        check(text in result.out, f"expected on standard output: {text!r}: {result.out}{result.err}")
    for text in [not_out] if isinstance(not_out, str) else not_out:
        check(text not in result.out, f"not expected on standard output: {text!r}: {result.out}")
    return result


def made(scene, cipher=CIPHERS[0], size=32 << 20, files=60, count=3, big=0):
    """An array with a tree on it, unmounted, and what the tree looks like."""
    members = scene.images(count, size)
    scene.mkfs(members, "--name", "home", cipher=cipher)
    scene.mount(members, cipher=cipher)
    make_tree(scene.path("mnt"), seed=7, files=files, big=big)
    tree = describe_tree(scene.path("mnt"))
    scene.umount()
    return members, tree


def data_array(scene):
    """An array in the clear with one file of blocks that say what they are: so their places can be found in the images."""
    members = scene.images(3, 32 << 20)
    scene.mkfs(members, "--name", "home", cipher="none")
    scene.mount(members, cipher="none")
    content = b"".join(f"file block {i:08} ".encode().ljust(BLOCK, b".") for i in range(1024))
    os.mkdir(scene.path("mnt/folder"))
    with open(scene.path("mnt/folder/victim"), "wb") as f:
        f.write(content)
    with open(scene.path("mnt/bystander"), "wb") as f:
        f.write(b"untouched" * 1000)
    scene.umount()
    return members, content


def places_of(member, number):
    image = read_at(member, 0, os.path.getsize(member))
    return image.find(f"file block {number:08} ".encode())


def roots_of(scene, members, cipher=CIPHERS[0]):
    out = fsck(scene, members, "--list-roots", cipher=cipher).out.splitlines()
    check(out[0].split() == ["generation", "term", "made", "by", "on", "members", "its", "trees"], out[0])
    return {int(line.split()[0]): line for line in out[1:-1]}
