"""The examples of alert programs: what they send and write."""
from alert_lib import *

EXAMPLES = os.path.join(os.environ["R5_SOURCE"], "doc", "examples")
SENT = "#!/bin/sh\n{{ printf '%s\\n' \"$0 $*\"; cat; }} >{}\n"


def example(scene, name, old=None, new=None):
    with open(os.path.join(EXAMPLES, name)) as f:
        text = f.read()
    check(old is None or old in text, f"{name} has {old}")
    return make_program(scene.path(name), text.replace(old, new) if old else text)


def environment(**variables):
    return {"PATH": os.environ["PATH"], **{f"RAID5CRYPTFS_{name}": value for name, value in variables.items()}}


def shellcheck(scene):
    if not shutil.which("shellcheck"):
        print("left out: no shellcheck")
        return
    for name in os.listdir(EXAMPLES):
        run("shellcheck", "-s", "sh", os.path.join(EXAMPLES, name))
        check(os.access(os.path.join(EXAMPLES, name), os.X_OK), f"{name} is executable")


def mail(scene):
    """By sendmail, by mail, and without either."""
    program = example(scene, "alert-mail", "recipient=root", "recipient=admin")
    tools, sent = scene.mountpoint("tools"), scene.path("sent")
    for name in ["sh", "uname", "tr", "cat"]:
        os.symlink(shutil.which(name), os.path.join(tools, name))
    os.symlink(shutil.which("raid5cryptfs-status"), os.path.join(tools, "raid5cryptfs-status"))
    members = scene.images(3)
    scene.mkfs(members, "--name", "höme")
    scene.mount(members[1:])
    told = environment(EVENT="failed", ARRAY="höme", UUID="u-u", MOUNTPOINT=scene.path("mnt"), MEMBER="/dev/sdx",
                       MESSAGE="It failed.", COUNT="1")
    told["PATH"] = tools
    run(program, "failed", "höme", "/dev/sdx", code=1, says="neither sendmail nor mail", env=told)
    make_program(os.path.join(tools, "mail"), SENT.format(sent))
    run(program, "failed", "höme", "/dev/sdx", env=told)
    check(read(sent).decode().splitlines()[0].endswith(f"raid5cryptfs on {os.uname().nodename}: h??me: failed admin"), read(sent))
    make_program(os.path.join(tools, "sendmail"), SENT.format(sent))
    run(program, "failed", "höme", "/dev/sdx", env=told)
    head, body = read(sent).decode().split("\n\n", 1)
    check("To: admin\n" in head and f"\nSubject: raid5cryptfs on {os.uname().nodename}: h??me: failed\n" in head, head)
    for text in ["It failed.", "höme u-u", "/dev/sdx", "[_UU] degraded"]:
        check(text in body, body)
    check("how often" not in body, body)
    run(program, "healed", "höme", "/dev/sdx", env=told | {"RAID5CRYPTFS_COUNT": "7", "RAID5CRYPTFS_MOUNTPOINT": ""})
    check("how often:   7" in read(sent).decode() and "degraded" not in read(sent).decode(), read(sent))
    run(program, code=None, says="RAID5CRYPTFS_EVENT", env={"PATH": tools})
    make_program(os.path.join(tools, "sendmail"), "#!/bin/sh\nexit 75\n")
    run(program, "failed", "höme", "/dev/sdx", code=75, env=told)
    scene.umount()


def prometheus(scene):
    if not shutil.which("jq"):
        print("left out: no jq")
        return
    folder = scene.mountpoint("metrics")
    program = example(scene, "alert-prometheus", "folder=/var/lib/prometheus/node-exporter", f"folder={folder}")
    path = os.path.join(folder, "raid5cryptfs.prom")

    def metrics():
        run(program, env=environment())
        check_equal(os.listdir(folder), ["raid5cryptfs.prom"], "nothing else is left")
        check_equal(stat.S_IMODE(os.stat(path).st_mode), 0o644, "the mode")
        values = {}
        for line in read(path).decode().splitlines():
            if not line.startswith("#"):
                labels, value = line.rsplit(" ", 1)
                check(labels not in values, f"{labels} is there once")
                values[labels] = float(value)
        return values

    members = scene.images(3)
    scene.mkfs(members, "--name", 'a "b" \\ c')
    uuid = scene.status(*members)["uuid"]
    array = f'array="a \\"b\\" \\\\ c",uuid="{uuid}"'
    scene.mount(members)
    values = metrics()
    check_equal(values[f"raid5cryptfs_array_state{{{array}}}"], 0, f"the state: {values}")
    check(values[f"raid5cryptfs_array_free_bytes{{{array}}}"] > 1 << 20, f"space: {values}")
    check_equal(values[f"raid5cryptfs_array_spares{{{array}}}"], 0, "there is no spare")
    check(f"raid5cryptfs_replace_done_bytes{{{array}}}" not in values, "nothing is replaced")
    for i, member in enumerate(members):
        labels = f'{{{array},member="{i}",path="{member}"}}'
        names = ["in_sync", "read_errors_total", "write_errors_total", "healed_total"]
        check_equal([values[f"raid5cryptfs_member_{n}{labels}"] for n in names], [1, 0, 0, 0], f"member {i}")
    scene.umount()
    check(f"raid5cryptfs_array_state{{{array}}}" not in metrics(), "not mounted: no figures")
    scene.mount(members[1:], "-o", f"alert={program}")
    values = metrics()
    check_equal(values[f"raid5cryptfs_array_state{{{array}}}"], 1, "degraded")
    check_equal(values[f'raid5cryptfs_member_in_sync{{{array},member="0",path=""}}'], 0, "the missing one")
    scene.umount()
    shutil.rmtree(folder)
    check(run(program, code=None, env=environment()).code, "no folder is a failure")


if __name__ == "__main__":
    main(shellcheck, mail, prometheus)
