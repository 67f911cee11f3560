"""The units for systemd: it finds nothing wrong with them."""
from lib import *


def units(scene):
    if not shutil.which("systemd-analyze"):
        raise Skip("no systemd-analyze")
    source = os.path.join(os.environ["R5_SOURCE"], "systemd")
    folder = scene.path("units")
    os.mkdir(folder)
    names = os.listdir(source)
    check_equal(sorted(names), ["raid5cryptfs-scrub@.service", "raid5cryptfs-scrub@.timer"], "the units")
    for name in names:
        with open(os.path.join(source, name)) as f:
            text = f.read()
        # systemd looks in the system's folders for the program, where it is not installed now.
        text = text.replace("ExecStart=raid5cryptfs-scrub", "ExecStart=" + shutil.which("raid5cryptfs-scrub"))
        write(os.path.join(folder, name.replace("@.", "@srv-home.")), text.encode())
    for name in names:
        result = run("systemd-analyze", "verify", "--man=no", os.path.join(folder, name.replace("@.", "@srv-home.")))
        check_equal(result.err, "", f"{name} is without fault")


if __name__ == "__main__":
    main(units)
