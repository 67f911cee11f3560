"""What lies on the members of a modelled array, and what was promised to its users.

Everything is a tuple, so a world is never changed, only replaced, and can be compared.

An array has `shape.bands` bands of `shape.rows` rows over `COLUMNS` columns.  An address is band * rows + row.  Each member has as many
granules as there are bands, and a granule holds one unit of each row.  A unit's content says which commit wrote it, for which
band and column: so a stale, misplaced or torn one is never taken for the right one, as tags see to in truth.  There is no row
of parity beside rows of data: any column of a row can be made from all the others, and any wrong one spoils what is made.
"""
import os
from collections import namedtuple

# If a scope does not say otherwise: one band with two rows, or (model.py --bands 2) two bands with one; either has two addresses.
BANDS = int(os.environ.get("R5_MODEL_BANDS", "1"))
COLUMNS = int(os.environ.get("R5_MODEL_COLUMNS", "3"))
GARBAGE = 0

# States of a member (raid/ring.h) and roles (raid/config.h).
NONE, IN, FILLING, OUT = 0, 1, 2, 3
UNUSED, VOTER, SPARE, REPLACEMENT = 0, 1, 2, 3
OPEN = 1 << 40                          # the `to` of a gap that is still growing
END = 1 << 20                           # the position beyond the last row

# A gap is (from, to, position).  `states`: by member (state, gap or None).  `job`: the one position of all column jobs, or None.
# `live`: by address the commit (generation, mount) that wrote the row, or None.  `log`: names the first log record not contained.
Root = namedtuple("Root", "term mount generation tree before config states job live log")
# `columns`: by band, by column (member, granule).  `jobs`: (band, column, member, granule), at most one for each band,
# in the order of bands.
Config = namedtuple("Config", "version roles columns jobs")
# `promises` and `configs`: two slots each.  `units`: by granule * rows + row.  `log`: the log of which it holds the record.
# `whole`: False from a keyless rebuild until a commit has completed the label.
Disk = namedtuple("Disk", "root promises configs units log whole", defaults=(True,))
# A running mount: `root` is its last durable one; `states` and `job` are what the next one will say.  `late`: written, but not flushed
# (mutants only).  `replay`: log records wait for their commit.
Mount = namedtuple("Mount", "id term present root states job late replay commits")
# `acked`: the last root that counts.  `good`: the roots that descend from it.  `lost`: members at fault, until a durable root has them
# in sync again.  `rolled`: the one of them that was set back.  `acked_log`: the log whose record was acknowledged and is in no
# acknowledged tree.  `snapshot`: (member, what it was).
World = namedtuple("World", "disks mount acked good lost rolled acked_log snapshot mounts budget")
# What a history may still have.
Budget = namedtuple("Budget", "mounts commits faults steps snapshots logs rebuilds")


class Violation(Exception):
    pass


class shape:
    """Of the array that is looked at; each scope sets it."""
    bands, rows = BANDS, 2 // BANDS


def addresses():
    return range(shape.bands * shape.rows)


def band_of(address):
    return address // shape.rows


def right(root, address, column):
    """What the column's unit of a live row must be."""
    return root.live[address] + (band_of(address), column)


def unit_at(disk, granule, address):
    return disk.units[granule * shape.rows + address % shape.rows]


def put_unit(disk, granule, address, content):
    i = granule * shape.rows + address % shape.rows
    return disk._replace(units=disk.units[:i] + (content,) + disk.units[i + 1:])


def put(t, i, x):
    return t[:i] + (x,) + t[i + 1:]


def column_of(config, band, member):
    for c, (m, _) in enumerate(config.columns[band]):
        if m == member:
            return c
    return None


def holds_columns(config, member):
    return any(m == member for band in config.columns for m, _ in band)


def targets(config):
    """Members that jobs bring a column to."""
    return [m for _, _, m, _ in config.jobs]


def voters(config):
    return frozenset(m for m, role in enumerate(config.roles) if role == VOTER)


def needed(config):
    """Members that vote or have columns."""
    return voters(config) | {m for m in range(len(config.roles)) if holds_columns(config, m)}


def enough(config, lost):
    """Can the array do without these members?"""
    return len(voters(config) & lost) <= 1 and all(sum(m in lost for m, _ in band) <= 1 for band in config.columns)


def covers(gap, written, address):
    return gap is not None and gap[0] < written <= gap[1] and address >= gap[2]


def free_granule(config, member):
    used = {g for band in config.columns for m, g in band if m == member} | {g for _, _, m, g in config.jobs if m == member}
    return next((g for g in range(shape.bands) if g not in used), None)


def first_world(layout, spares, unused, budget):
    """Made by mkfs: voters, spares, and disks that are not in it yet; `layout`: by band the members that have its columns."""
    roles = (VOTER,) * max(COLUMNS, 1 + max(max(band) for band in layout)) + (SPARE,) * spares + (UNUSED,) * unused
    columns = tuple(tuple((m, sum(m in band for band in layout[:b])) for m in layout[b]) for b in range(len(layout)))
    config = Config(1, roles, columns, ())
    live = tuple((1, 0) if a == 0 else None for a in addresses())
    states = tuple((NONE if r == UNUSED else IN, None) for r in roles)
    root = Root(0, 0, 1, 1, 1, config, states, None, live, (0, 1))
    disks = []
    for m, role in enumerate(roles):
        disk = Disk(root if role else None, (0, 0), (None, config if role else None), (GARBAGE,) * len(live), None)
        for a in addresses():
            c = column_of(config, band_of(a), m)
            if c is not None and live[a]:
                disk = put_unit(disk, columns[band_of(a)][c][1], a, right(root, a, c))
        disks.append(disk)
    return World(tuple(disks), None, root, frozenset([root]), frozenset(), None, None, None, 0, budget)


# ---- Worlds that differ only in names are one ----

def ranks(numbers, cap):
    """Names for numbers that keep their order, and distances up to `cap`; longer ones keep their parity."""
    ret, at, last = {}, 0, None
    for x in sorted(numbers):
        if last is not None:
            d = x - last
            at += d if d <= cap else cap - 1 + (d - cap + 1) % 2
        ret[x] = at
        last = x
    ret[OPEN] = OPEN
    return ret


def key(w):
    """A world's name.  If it should take two different ones for one, the search misses a history; it never makes one up."""
    roots = {d.root for d in w.disks} | {w.acked}
    if w.mount:
        roots.add(w.mount.root)
    if w.snapshot:
        roots.add(w.snapshot[1].root)
    roots.discard(None)
    roots = sorted(roots, key=lambda r: (r.term, r.generation, r.mount))
    disks = w.disks + ((w.snapshot[1],) if w.snapshot else ())
    gens, terms, mounts, versions, lives = {0}, {0}, {0}, set(), {}
    states = [s for r in roots for s in r.states] + list(w.mount.states if w.mount else ())
    for r in roots:
        gens.update((r.generation, r.tree, r.before))
        terms.add(r.term)
        mounts.add(r.mount)
        versions.add(r.config.version)
        for x in r.live:
            if x:
                lives[x] = None
                gens.add(x[0])
    for s, gap in states:
        if gap:
            gens.add(gap[0])
            if gap[1] != OPEN:
                gens.add(gap[1])
    for d in disks:
        terms.update(d.promises)
        versions.update(c.version for c in d.configs if c)
    if w.mount:
        terms.add(w.mount.term)
    g, t, v = ranks(gens, 3), ranks(terms, 2), ranks(versions, 3)
    mount = {x: i for i, x in enumerate(sorted(mounts))}
    life = {x: (g[x[0]], i) for i, x in enumerate(sorted(lives))}
    logs = {x: i for i, x in enumerate(sorted({r.log for r in roots}))}
    index = {r: i for i, r in enumerate(roots)}
    named = lambda ss: tuple((s, gap and (g[gap[0]], g[gap[1]], gap[2])) for s, gap in ss)
    config = lambda c: c and (v[c.version],) + c[1:]
    disk = lambda d: (index.get(d.root), tuple(t[p] for p in d.promises), tuple(config(c) for c in d.configs),
                      tuple(u and u[:2] in life and (life[u[:2]], u[2:]) for u in d.units), logs.get(d.log), d.whole)
    return hash((tuple((t[r.term], mount[r.mount], g[r.generation], g[r.tree], g[r.before], config(r.config), named(r.states), r.job,
                  tuple(x and life[x] for x in r.live), logs[r.log], r in w.good) for r in roots),
            tuple(disk(d) for d in disks), index[w.acked], w.lost, w.rolled, logs.get(w.acked_log), w.snapshot and w.snapshot[0],
            w.mount and (t[w.mount.term], w.mount.present, index[w.mount.root], named(w.mount.states), w.mount.job, w.mount.late,
                         w.mount.replay, w.mount.commits), w.budget))
