"""Sealing engines: what one writes the other reads; the status tells which it is."""
from lib import *

ENGINES = ["sodium", "openssl"]


def need_openssl(scene):
    result = run("raid5cryptfs", "-o", "engine=openssl", scene.path("no"), scene.mountpoint(), code=None)
    if "built without it" in result.err:
        check_equal(result.code, USAGE, "an engine that was not built in is an error of usage")
        raise Skip("the engine openssl was not built in")


def engine_of(scene, code=0):
    """As the status tells, in both its forms."""
    engine = scene.status(scene.path("mnt"), code=code)["engine"]
    lines = [line.split() for line in run("raid5cryptfs-status", scene.path("mnt"), code=code).out.splitlines()]
    told = [words[1] for words in lines if words[0] == "engine"]
    check_equal(told, [engine] if engine else [], "the engine for people")
    return engine


def each_reads_the_other(scene):
    need_openssl(scene)
    root = scene.mountpoint()
    for cipher in filter(has_cipher, CIPHERS[:2]):
        members = scene.images(3)
        scene.mkfs(members, cipher=cipher)
        trees = {}
        for writer in ENGINES:
            reader = ENGINES[not ENGINES.index(writer)]
            scene.mount(members, "-o", f"engine={writer}", cipher=cipher)
            check_equal(engine_of(scene), writer, "the engine that was asked for")
            os.mkdir(os.path.join(root, writer))
            make_tree(os.path.join(root, writer), files=60, big=2)
            trees[writer] = describe_tree(os.path.join(root, writer))
            scene.umount()
            check_equal(scene.status(*members)["engine"], None, "no engine while it is not mounted")
            check_equal(scene.status(*members, options=["--key-file", scene.key()])["engine"], None, "nor with the key")
            # Also what has to be rebuilt from parity.
            for given, code in [(members, 0), (members[1:], DEGRADED)]:
                scene.mount(given, "-o", f"ro,engine={reader}", cipher=cipher)
                check_equal(engine_of(scene, code), reader, "the other engine")
                for name, tree in trees.items():
                    compare_trees(tree, describe_tree(os.path.join(root, name)), f"written by {name}, read by {reader}")
                scene.umount()
        run("fsck.raid5cryptfs", "-n", "--data", "--key-file", scene.key(), *members)


def auto_and_none(scene):
    need_openssl(scene)
    members = scene.images(3)
    scene.mkfs(members)
    for options in [[], ["-o", "engine=auto"]]:
        scene.mount(members, *options)
        check(engine_of(scene) in ENGINES, "one of them was chosen")
        scene.umount()
    members = scene.images(3)
    scene.mkfs(members, cipher="none")
    scene.mount(members, "-o", "engine=openssl", cipher="none")
    check_equal(engine_of(scene), None, "nothing seals without encryption")
    scene.umount()


if __name__ == "__main__":
    main(each_reads_the_other, auto_and_none)
