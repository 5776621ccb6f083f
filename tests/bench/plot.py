#!/usr/bin/env python3
"""Draws the ratios of a run: plot.py RESULTS.json OUT.svg. Needs matplotlib."""
import json
import sys

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import matplotlib.ticker


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        bars = [b for b in json.load(f)["bars"] if b["ratio"]]
    groups = list(dict.fromkeys((b["model"], b["threads"]) for b in bars))
    tests = list(dict.fromkeys(b["test"] for b in bars))
    height = 0.8 / max(len(tests), 1)
    plt.rcParams.update({"svg.hashsalt": "realm", "svg.fonttype": "none", "font.size": 9})
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.55 * len(groups)))
    for i, (test, color) in enumerate(zip(tests, ("#3b6ea5", "#d08a2e", "#6a9955"))):
        of_test = {(b["model"], b["threads"]): b["ratio"] for b in bars if b["test"] == test}
        at = [g for g, group in enumerate(groups) if group in of_test]
        ratios = [of_test[groups[g]] for g in at]
        drawn = axes.barh(
            [g + (i + 0.5) * height - 0.4 for g in at], [r - 1 for r in ratios], height, 1, color=color, label=test)
        axes.bar_label(drawn, [f"{r:.2f}" for r in ratios], padding=2, fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(groups)), [f"{model}, threads: {threads}" for model, threads in groups])
    axes.invert_yaxis()
    axes.set_xlabel("Realm's tokens per second over the best other engine's")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axes.margins(x=0.12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if tests:
        figure.legend(loc="upper right", ncols=len(tests), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / figure.get_figheight()))
    figure.savefig(sys.argv[2], metadata={"Date": None})


if __name__ == "__main__":
    main()
