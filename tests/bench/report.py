"""The page: goals beside what was measured, then the tables. Every figure comes from a run."""

from tools import CP, CURL, HF, HF_XET, OURS

QUARTER, COPY, MEMORY, WARM = 1 / 4, 1.1, 64, 0.020  # the goals: ratios, MiB, seconds


def written(args, machine, results, warm, listed, profile):
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{command(args)}`; no figure is typed by hand.",
        "All tools fetch from the same stand-in Hub (`tests/hub`) over loopback, where the network costs little but CPU, and the Hub",
        "shares the cores with them. Large files come from its other origin, out of memory. The tools take turns for",
        f"{args.rounds} rounds, each into an empty folder on a machine with nothing left to write.",
        "",
        *table(["", ""], [[name, value] for name, value in machine.items()], "ll"),
        "",
        "## Goals",
        "",
        *table(["goal", "measured", ""], goals(results, warm, listed), "lll"),
        "",
        "## Runs",
        "",
        "Seconds are wall time; on disk until everything is written out (`sync --file-system`), for every tool. CPU is user and system",
        "time, memory the peak over all runs, of all processes together. “times” is modelcache's median divided by this tool's.",
    ]
    for result in results:
        lines += ["", f"### {result.scenario.name} on {result.place}: {result.scenario.what}", "", *runs(result)]
        if result.scenario.in_xet:
            lines += ["", "The store is made for tests: it takes its time for each part of a file that is asked for, whoever asks."]
    if warm:
        lines += ["", "### A complete snapshot, asked for again by its commit, on tmpfs", "", *again(warm)]
    if listed:
        lines += ["", f"### A long listing: {listed[0][1].what}", "", *listing(listed)]
        lines += ["", "Most of this time is the stand-in Hub's."]
    if profile:
        lines += ["", "## Where the time goes", "", "modelcache with 4 large files on tmpfs, by `perf`:", "", *profile_lines(profile)]
    return "\n".join(lines) + "\n"


def command(args):
    """As it was called, without the folders that were chosen on this machine."""
    words = [f"--scale {args.scale:g}"] * (args.scale != 1) + [f"--only '{name}'" for name in args.only]
    rounds = [f"--rounds {args.rounds}"] * (args.rounds != 5)
    return "make bench" + (f' ARGS="{" ".join(rounds + words)}"' if rounds or words else "")


def goals(results, warm, listed):
    rows = []
    for result in results:
        title = f"{result.scenario.name} on {result.place}"
        if HF_XET in result.stats:
            rows.append(row(f"{title}: not slower than `hf download` with hf_xet", result.ratio(HF_XET), 1, "{:.2f} times"))
        elif result.place == "tmpfs":
            rows.append(row(f"{title}: at most {QUARTER:.2f} times `hf download`", result.ratio(HF), QUARTER, "{:.2f} times"))
        else:
            rows.append(row(f"{title}: at most {COPY} times `cp`, written out", result.ratio(CP), COPY, "{:.2f} times"))
    for entry in warm:
        title = f"{entry.scenario.name}, complete and pinned"
        rows.append(row(f"{title}: under {WARM * 1000:.0f} ms", entry.stats.wall * 1000, WARM * 1000, "{:.1f} ms"))
        rows.append(row(f"{title}: no request", entry.requests, 0, "{}"))
    in_xet = [result.stats[OURS].rss for result in results if result.scenario.in_xet]
    plain = [result.stats[OURS].rss for result in results if not result.scenario.in_xet]
    plain += [entry.stats.rss for entry in warm]
    plain += [stats.rss for name, _, stats in listed if name.startswith("modelcache")]
    for way, peaks in (("over plain HTTP", plain), ("from Xet", in_xet)):
        if peaks:
            rows.append(row(f"at most {MEMORY} MiB of memory {way}, whatever is fetched", max(peaks), MEMORY, "{:.0f} MiB"))
    return rows


def row(goal, found, most, form):
    verdict = "met" if found <= most else f"missed: {found / most:.1f} times the goal" if most else "missed"
    return [goal, form.format(found), verdict]


def misses(results):
    """Whether a goal of speed is missed so far."""
    return any(verdict != "met" for *_, verdict in goals(results, [], []))


def runs(result):
    ours, rows = result.stats[OURS], []
    for name, stats in result.stats.items():
        times = "" if name == OURS else f"{ours.wall / stats.wall:.2f}"
        rows.append([label(name), *seconds(stats), times, f"{stats.cpu:.1f}", f"{stats.rss:.0f} MiB"])
    return table(["", "median", "fastest", "slowest", "times", "CPU s", "memory"], rows, "lrrrrrr")


def again(warm):
    rows = []
    for entry in warm:
        stats = entry.stats
        times = [f"{value * 1000:.1f} ms" for value in (stats.wall, stats.fastest, stats.slowest)]
        rows.append([entry.scenario.name, str(len(stats.samples)), *times, f"{stats.rss:.0f} MiB", str(entry.requests)])
    return table(["", "runs", "median", "fastest", "slowest", "memory", "requests"], rows, "lrrrrrr")


def listing(listed):
    rows = [[f"`{name}`", *seconds(stats), f"{stats.cpu:.1f}", f"{stats.rss:.0f} MiB"] for name, _, stats in listed]
    return table(["", "median", "fastest", "slowest", "CPU s", "memory"], rows, "lrrrrr")


def profile_lines(profile):
    return table(["", "share of CPU time"], [[what, f"{share:.1f} %"] for what, share in profile.shares], "lr")


def label(name):
    notes = {HF: "`hf download`, no hash check", HF_XET: "`hf download` with hf_xet, no hash check", CURL: "`curl`, nothing but the bytes: the floor", CP: "`cp` out of memory"}
    return notes.get(name, f"`{name}`" if name == OURS else name)


def seconds(stats):
    return [f"{value:.2f}" for value in (stats.wall, stats.fastest, stats.slowest)]


def table(head, rows, alignment):
    marks = ["---" if side == "l" else "--:" for side in alignment]
    return [f"| {' | '.join(cells)} |" for cells in [head, marks, *rows]]
