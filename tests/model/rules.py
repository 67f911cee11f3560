"""The rules under test: what the product decides (choosing a root, gaps, when a step of a column job or of the voters may be taken).

Each rule can be taken away by its name (`model.py --without NAME`), to see what it is for.  doc/membership.md states them for
those who build; where this file and that one differ, one of them is wrong.
"""
from members import *

RULES = {
    "promise": "a mount's term is durable on all present members before its first root",
    "promise_slots": "a promise overwrites the invalid or lower one of two slots",
    "opening": "the opening root is durable before anything else is written",
    "rows_before_root": "rows are flushed before the root that makes them live",
    "own_tree": "a member is in sync only if its own newest root has the chosen tree or the one before",
    "unverified": "a member in sync that is not level has an unverified gap",
    "unverified_own": "an unverified gap takes in the gap that the member's own root names",
    "unverified_config": "an unverified gap is from 0 if the member's own root names another configuration",
    "unverified_kept": "an unverified gap stands in the roots until it is mended",
    "return_own": "`from` drops to what the member's own newest root vouches for when it returns",
    "return_config": "... and to 0 if that is less and of another configuration",
    "from_kept": "a member that fails again before its gap closes keeps `from`",
    "position_zero": "... and its position goes back to 0",
    "position_mount": "a mount that finds a member out of sync begins its gap at position 0",
    "position_flush": "a gap's position moves on only after a flush of that member",
    "fill_all": "a gap closes only when all rows in it were made anew",
    "job_both_homes": "while jobs run, rows of their columns are written to both homes",
    "job_both_any": "... of every job of the list, and not of the first only",
    "job_copy_any": "the jobs' position moves on only while all targets take writes, and not that of the row only",
    "job_flush": "the jobs' position moves on only after a flush of the target",
    "job_flush_any": "... of every target that was written to, and not of the first only",
    "job_finish_all": "jobs end only when all rows were copied",
    "job_finish_sync": "jobs end only when their targets are settled: in sync without a gap, now and in the last root that counted",
    "job_finish_any": "... every target, and not the first only",
    "job_finish_others": "... and only while all others that have a column of these bands after it are settled",
    "job_finish_band": "... those also that are sources in another band of the list",
    "job_xor": "a unit that is in a gap of its member is never copied, but made from the others",
    "job_xor_clean": "... and not from others one of which has the row in a gap: then the job waits",
    "job_zero_out": "a target that goes out sets the jobs' position to 0",
    "job_zero_level": "a mount that finds a target not level sets the jobs' position to 0",
    "job_zero_any": "... any target, and not the first only",
    "job_holds_old": "the old home is untouched until the root that names the new one counts",
    "config_first": "a configuration is durable on all working members before a root names it",
    "config_hold": "the other slot is written only when a root that names the current version counts",
    "config_return": "a member that returns gets the configuration in force before it takes roots",
    "voter_complete": "a member votes only when it is settled and no job onto it runs",
    "voter_add_sync": "a voter is added only while all that vote or have columns are settled",
    "voter_exchange_out": "a voter is exchanged for another in one step only if a durable root has it out",
    "voter_columns": "a voter is removed only when it has no columns",
    "voter_target": "... and no job leads to it",
    "drop_bands": "a member is dropped only if no band, and not the voters, have another one missing",
    "step_counts": "a step's first root counts only when durable on all but one of the voters before and after it",
    "log_voters": "the two mirrors of a log record are voters in sync",
    "rebuild_level": "a keyless rebuild takes sources only if all have the same newest root",
    "rebuild_gap": "... and none of them has a gap",
    "rebuild_job": "... and no job onto the missing member is open",
    "rebuild_configs": "... and makes both configuration slots and the promise again",
    "rebuild_step": "the first commit after a keyless rebuild takes no step",
    "rebuild_log": "what was rebuilt without a key counts as lost until the next mount has committed",
}
off = set()


def on(rule):
    assert rule in RULES
    return rule not in off


def watched_targets(config):
    """The targets that, if they fail, take the jobs' position back to 0."""
    return targets(config)[:None if on("job_zero_any") else 1]


# ---- Choosing the root (raid/choose.c) ----

def newer(a, b):
    return (a.term, a.generation) > (b.term, b.generation)


def whole_until(own, m):
    gap = own.states[m][1]
    return min(gap[0], own.tree) if gap else own.tree


def from_of_return(frm, own, m, version):
    whole = whole_until(own, m) if own else 0
    if whole >= frm or not on("return_own"):
        return frm
    if own and (own.config.version == version or not on("return_config")):
        return whole
    return 0


def is_in_sync(own, chosen, m):
    if own is None or chosen.states[m][0] != IN:
        return False
    return own.tree in (chosen.tree, chosen.before) or not on("own_tree")


def unverified(own, chosen, m):
    named, gap = chosen.states[m][1], own.states[m][1]
    frm, to = chosen.before, chosen.generation
    if on("unverified_own"):
        frm = min(frm, whole_until(own, m))
    if own.config.version != chosen.config.version and on("unverified_config"):
        frm = 0
    if named:
        frm, to = min(frm, named[0]), max(to, named[1])
    if gap and gap[1] != OPEN:
        to = max(to, gap[1])
    return frm, to, 0


def opening_state(own, present, chosen, m, votes):
    state, named = chosen.states[m]
    if state == NONE and not votes:
        return NONE, None
    if present and is_in_sync(own, chosen, m):
        if own == chosen:
            return IN, named if on("unverified_kept") else None
        return IN, unverified(own, chosen, m) if on("unverified") else None
    frm = 0 if state == NONE else min(chosen.tree, named[0]) if named else chosen.tree
    if present:
        frm = from_of_return(frm, own, m, chosen.config.version)
    position = named[2] if named and not on("position_mount") else 0
    return OUT, (frm, OPEN, position)


def choose(disks, present):
    """The root to mount, what the opening root shall say of each member and of the jobs, and why the mount is refused, or None."""
    roots = [disks[m].root for m in present if disks[m].root]
    chosen = max(roots, key=lambda r: (r.term, r.generation))
    if any(r.term == chosen.term and r.mount != chosen.mount for r in roots):
        raise Violation("two mounts took one term, and the array is refused as a clone")
    votes = voters(chosen.config)
    states = tuple(opening_state(disks[m].root, m in present, chosen, m, m in votes) for m in range(len(disks)))
    job = chosen.job
    for m in watched_targets(chosen.config):
        if states[m][0] != IN:
            job = 0 if on("job_zero_out") else job
        elif disks[m].root != chosen and on("job_zero_level"):
            job = 0
    missing = frozenset(m for m in range(len(disks)) if states[m][0] != IN)
    refused = None
    if not enough(chosen.config, missing):
        refused = f"members {sorted(missing)} are not in sync"
    if not any(chosen.config in disks[m].configs for m in present):
        refused = "no present member has the configuration that the chosen root names"
    return chosen, states, job, refused


# ---- Members that fail and return ----

def can_drop(config, states, m):
    """May the array go on without this member?"""
    missing = frozenset(x for x in range(len(states)) if states[x][0] != IN) | {m}
    return enough(config, missing) if on("drop_bands") else m not in voters(config) or len(voters(config) & missing) <= 1


def put_out(states, m, flushed):
    """The member's state when it is dropped; `flushed`: the last generation whose rows were flushed on it."""
    gap = states[m][1]
    frm = gap[0] if gap and on("from_kept") else flushed
    position = gap[2] if gap and not on("position_zero") else 0
    return put(states, m, (OUT, (frm, OPEN, position)))


def plug(root, states, own, m):
    """A member that was absent comes while the array is mounted."""
    state, (frm, to, position) = states[m]
    return put(states, m, (state, (from_of_return(frm, own, m, root.config.version), to, position)))


def take_back(root, states, m):
    """Between two transactions: from here on the member takes all writes."""
    frm, _, position = states[m][1]
    return put(states, m, (FILLING, (frm, root.generation, position)))


# ---- Steps of the configuration ----

def next_config(root, states, job, step):
    """The configuration after a step, and the jobs' position in it; None if the step may not be taken now.

    A member is settled if it is in sync and has no gap, now and in the last root that counted."""
    config, kind = root.config, step[0]
    roles, version, now = config.roles, config.version + 1, [s for s, _ in states]
    settled = lambda m: root.states[m] == (IN, None) and states[m] == (IN, None)
    if kind == "spare":
        m = step[1]
        return (config._replace(version=version, roles=put(roles, m, SPARE)), job) if roles[m] == UNUSED else None
    if kind == "job":
        if config.jobs:
            return None
        for band, column, m in step[1]:
            granule = free_granule(config, m)
            if granule is None or roles[m] == UNUSED or now[m] != IN or column_of(config, band, m) is not None:
                return None
            if roles[m] == SPARE:
                roles = put(roles, m, REPLACEMENT)
            config = config._replace(jobs=config.jobs + ((band, column, m, granule),))
        return config._replace(version=version, roles=roles), 0
    if kind == "cancel":
        if not config.jobs:
            return None
        for m in targets(config):
            if roles[m] == REPLACEMENT and not holds_columns(config, m):
                roles = put(roles, m, SPARE)
        return Config(version, roles, config.columns, ()), None
    if kind == "finish":
        if not config.jobs or (on("job_finish_all") and job < END) or any(now[m] not in (IN, FILLING) for m in targets(config)):
            return None
        if on("job_finish_sync") and not all(settled(m) for m in targets(config)[:None if on("job_finish_any") else 1]):
            return None
        stay = {m for band, column, _, _ in config.jobs for c, (m, _) in enumerate(config.columns[band]) if c != column}
        if not on("job_finish_band"):
            stay -= {config.columns[band][column][0] for band, column, _, _ in config.jobs}
        if on("job_finish_others") and not all(settled(m) for m in stay):
            return None
        columns = config.columns
        for band, column, m, granule in config.jobs:
            columns = put(columns, band, put(columns[band], column, (m, granule)))
        return Config(version, roles, columns, ()), None
    if kind == "vote":
        m = step[1]
        if roles[m] not in (REPLACEMENT, SPARE) or not holds_columns(config, m):
            if on("voter_complete") or roles[m] != REPLACEMENT:
                return None
        if on("voter_complete") and (not settled(m) or m in targets(config)):
            return None
        if on("voter_add_sync") and not all(settled(x) for x in needed(config)):
            return None
        return config._replace(version=version, roles=put(roles, m, VOTER)), job
    if kind == "unvote":
        m = step[1]
        if roles[m] != VOTER or len(voters(config)) <= COLUMNS or (on("voter_columns") and holds_columns(config, m)):
            return None
        if on("voter_target") and m in targets(config):
            return None
        return config._replace(version=version, roles=put(roles, m, SPARE)), job
    if kind == "exchange":
        old, new = step[1:]
        if on("voter_target") and old in targets(config):
            return None
        if roles[old] != VOTER or roles[new] != REPLACEMENT or (on("voter_columns") and holds_columns(config, old)):
            return None
        if on("voter_complete") and (not settled(new) or new in targets(config) or not holds_columns(config, new)):
            return None
        if on("voter_exchange_out") and (root.states[old][0] != OUT or now[old] != OUT):
            return None
        return config._replace(version=version, roles=put(put(roles, old, SPARE), new, VOTER)), job
    if kind in ("remove", "oust"):           # as these two, but the old one is no member any more
        config, job = next_config(root, states, job, (("unvote" if kind == "remove" else "exchange"),) + step[1:]) or (None, None)
        return config and (config._replace(roles=put(config.roles, step[1], UNUSED)), job)
    raise ValueError(kind)


def removed(config_before, config):
    """Members that a step removes.  They do not get its root."""
    return frozenset(m for m, role in enumerate(config.roles) if role == UNUSED and config_before.roles[m] != UNUSED)


def counts(config_before, config, durable):
    """Is a root that is durable on these members one that counts?"""
    quorum = lambda c: len(voters(c) - durable - removed(config_before, config)) <= 1
    return quorum(config) and quorum(config_before) or not on("step_counts")
