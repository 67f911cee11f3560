"""What tests of raid5cryptfs-rebuild on a mounted array share."""
from faulty import *


def rebuild(*arguments, code=0, **kwargs):
    return run("raid5cryptfs-rebuild", *arguments, code=code, **kwargs)


def whole_without_each(scene, members, before):
    """After the unmount: fsck finds nothing, and each member may be missing."""
    fsck_clean(scene, members)
    for gone in range(len(members)):
        scene.mount(without(members, gone), "-o", "ro")
        compare_trees(before, describe_tree(scene.path("mnt")), f"without member {gone}")
        scene.umount()


def healthy(root, code=0):
    return run("raid5cryptfs-status", root, code=None).code == code
