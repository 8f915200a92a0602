"""The tables of the README and of some pages, from benchmarks/results: `python benchmarks/readme_tables.py`.

A test holds the pages to them, so a table cannot be older than its figures.
"""

import json
import re
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import Any

import support_page
from samplesmith.evaluation.comparison import paired_difference

RESULTS = Path(__file__).parent / "results"


def read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def figure(value: float) -> str:
    """Three decimals without the zero before the point, as the README writes shares."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.3f}")


def interval(estimate: dict[str, float]) -> str:
    return f"{figure(estimate['mean'])} [{figure(estimate['low'])}, {figure(estimate['high'])}]"


def table(rows: list[list[str]]) -> str:
    """Markdown; the first row is the heading."""
    lines = ["|" + "|".join(f" {cell} " if cell else " " for cell in row) + "|" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def best_of_n() -> str:
    rows = [["", "guide's score", "judge: all right", "oracle (the judge chooses)", "gain over best-of-1"]]
    for row in read("best_of_n")["best_of"]:
        gain = f"+{interval(row['gain'])}" if row["k"] > 1 else ""
        score, oracle = figure(row["score"]["mean"]), figure(row["oracle"]["mean"])
        rows.append([f"best-of-{row['k']}", score, interval(row["success"]), oracle, gain])
    return table(rows)


SHOWN = (
    ("random", 28),
    ("random", 12),
    ("random", 8),
    ("auto", None),
    ("halving", 12),
    ("halving", 8),
    ("auto-halving", None),
    ("halving-preview", 12),
    ("zero-order", 8),
    ("drafts", 28),
    ("ensemble", 28),
    ("aesthetic", 28),
    ("oracle", 28),
)
"""Arms of the scaling table and their numbers of steps; None where the calibration chooses them."""
TIMED = 448
"""The largest budget that every arm spends."""


def search_scaling() -> str:
    """The guide's score and the judge's success by budget; nothing where a pool was spent below 60 % of it."""
    found = read("search_scaling")["rows"]
    budgets = sorted({row["budget"] for row in found})
    rows = [["NFEs per prompt", *(f"{budget:,}" for budget in budgets), f"seconds at {TIMED}"]]
    for arm, steps in SHOWN:
        of_arm = {row["budget"]: row for row in found if row["arm"] == arm and steps in (row["steps"], None)}
        if TIMED not in of_arm:
            continue  # left out of the run
        cells = [
            f"{figure(row['score']['mean'])} · {figure(row['success']['mean'])}"
            if row and row["nfe"] > 0.6 * row["budget"]
            else ""
            for row in map(of_arm.get, budgets)
        ]
        name = arm if steps is None else f"{arm}, {steps} steps"
        rows.append([name, *cells, f"{of_arm[TIMED]['seconds']:.1f}"])
    return table(rows)


def support_matrix() -> str:
    """What every method does on every pipeline class that there is a toy of, in a paragraph."""
    return fill(support_page.summary(read("support_matrix")), 120)


ARMS = {
    "sets: and": "A and B: `and`",
    "sets: and-paper": "`and-paper`",
    "sets: mean": "`mean`",
    "sets: joint prompt": "joint prompt",
    "sets: first alone": "A alone",
    "sets: second alone": "B alone",
    "not: formula": "A, not C: `A & ~C`",
    "not: first alone": "A alone",
    "three: formula": "A and B, not C: `A & B & ~C`",
    "three: joint prompt": "joint prompt of A and B",
}
"""Arms of `superposition.py`, and how the table calls them."""


def superposed() -> dict[str, dict[str, Any]]:
    """By model what superposition.py found; emoji-sd's run was of fewer pairs, and has a file of its own."""
    return read("superposition")["models"] | read("superposition_sd")["models"]


MODEL_ARMS = {"or": "`or`", "mixture": "half by each model alone", "mean": "`mean`"}


def superposition() -> str:
    """Share of the images in the asked set, min-CLIP and kernel distance, by model and arm."""
    models = superposed()
    heads = ["in the asked set", "min-CLIP", "1,000 × kernel distance", "NFEs"]
    rows = [["asked and how", *(f"{model}: {head}" for model in models for head in heads)]]
    for arm, name in ARMS.items():
        cells = []
        for model in models.values():
            of = model["arms"][arm]
            distance = {key: 1000 * value for key, value in of["kid"].items()}
            cells += [interval(of["right"]), interval(of["min_clip"]), interval(distance), f"{of['nfe']['mean']:.0f}"]
        rows.append([name, *cells])
    return table(rows)


def superposed_densities() -> str:
    """OR of captions that exclude each other, and the densities as a classifier, by model."""
    rows = [["", "OR: A or B", "of these, A", "told apart by `rne`", "by `ito`"]]
    for name, model in superposed().items():
        for arm, outcome in model["or"].items():
            if arm == "chosen" and model["temperature"]["or"] == 1:
                continue  # the same images
            first = "none" if outcome["first"] is None else interval(outcome["first"])
            last = [interval(model["classifier"][estimator]) for estimator in ("rne", "ito")]
            told = last if arm == "temperature 1" else ["", ""]
            temperature = "1" if arm == "temperature 1" else f"{model['temperature']['or']:g} (chosen)"
            rows.append([f"{name}, temperature {temperature}", interval(outcome["right"]), first, *told])
    return table(rows)


def superposed_models() -> str:
    """OR of two models beside what it is to equal, and beside the mean of their scores."""
    found = read("superposition_fid")
    rows = [["", "distance", "standard error", "likelier under the first", "OR's distance over it"]]
    for arm, of in found["arms"].items():
        ratio = found["ratios"].get(f"or / {arm}")
        low, high = ratio["interval"] if ratio else (0.0, 0.0)
        over = interval({"mean": ratio["ratio"], "low": low, "high": high}) if ratio else ""
        first = "" if of["first"] is None else figure(of["first"])
        rows.append([MODEL_ARMS[arm], f"{of['fid']:.2f}", f"{of['fid_error']:.2f}", first, over])
    return table(rows)


def superposed_by_integrator() -> str:
    """AND and one prompt by both integrators: success, and the kernel distance to drawn scenes."""
    found = read("superposition_integrators")
    rows = [["right · 1,000 × kernel distance", *(f"{steps} steps" for steps in found["steps"])]]
    for task in ("A and B", "A"):
        for integrator in ("ancestral", "euler-maruyama"):
            arms = [found["arms"][f"{task}: {integrator}, {steps} steps"] for steps in found["steps"]]
            cells = [f"{interval(of['right'])} · {1000 * of['kid']['mean']:.1f}" for of in arms]
            rows.append([f"{task}, `{integrator}`", *cells])
    return table(rows)


def steering_table(found: dict[str, Any]) -> str:
    """The guide's score and the judge's success by budget, rivals first, and the paired difference from halving."""
    budgets = sorted({row["budget"] for row in found["rows"]})
    compared = max(budget for budget in budgets if budget <= TIMED)
    against = {
        row["arm"]: row for row in found["against rivals"] if (row["budget"], row["against"]) == (compared, "halving")
    }
    rows = [["NFEs per prompt", *(f"{budget:,}" for budget in budgets), f"seconds at {compared}", "score over halving"]]
    arms = dict.fromkeys(row["arm"] for row in found["rows"])
    rivals = [arm for arm in arms if arm not in against]
    for arm in (*rivals, *against):
        of_arm = {row["budget"]: row for row in found["rows"] if row["arm"] == arm}
        means = [
            f"{figure(row['score']['mean'])} · {figure(row['success']['mean'])}" if row else ""
            for row in map(of_arm.get, budgets)
        ]
        seconds = f"{of_arm[compared]['seconds']:.1f}" if compared in of_arm else ""
        rows.append([arm, *means, seconds, interval(against[arm]["score"]) if arm in against else ""])
    return table(rows)


def steering_scaling() -> str:
    """What steering gains beside noise search."""
    return steering_table(read("steering_scaling"))


def few_step_search() -> str:
    """A student's candidates beside its teacher's: success by their number, at a tenth of the cost, at equal worth."""
    found = read("few_step_search")
    teacher, sizes = found["teacher"], (1, 4, 16)
    best = f"{teacher}'s best-of-16"
    rows = [["", "NFEs", "seconds", *(f"best-of-{k}" for k in sizes), f"a tenth of the NFEs of {best}", f"as {best}"]]
    settings = dict.fromkeys((row["model"], row["steps"]) for row in found["rows"])
    for model, steps in settings:
        of = {row["candidates"]: row for row in found["rows"] if (row["model"], row["steps"]) == (model, steps)}
        success = [figure(of[k]["success"]["mean"]) for k in sizes]
        ends = ["", ""]
        if model != teacher:
            tenth, equal = (
                found[name][str(steps)] for name in ("at a tenth of its NFEs", "reaches the teacher's best")
            )
            ends = [f"best-of-{tenth['candidates']:.0f}: {interval(tenth['success'])}", "not with 24"]
            if equal["success"]:
                shares = [f"{equal['success'][f'share of {cost}']:.1%} of the {cost}" for cost in ("NFEs", "seconds")]
                ends[1] = f"best-of-{equal['success']['candidates']:.0f}: {', '.join(shares)}"
        rows.append([f"`{model}`, {steps} steps", f"{of[1]['nfe']:.0f}", f"{of[1]['seconds']:.3f}", *success, *ends])
    return table(rows)


def few_steps() -> str:
    """One draw of the student and of its guided teacher on the same grids of steps, paired by prompt."""

    def by_steps(name: str, guidance_scale: float) -> dict[int, dict[str, Any]]:
        setting = {"solver": "dpm-solver", "shift": 2, "guidance_scale": guidance_scale}
        return {row["steps"]: row for row in read(name)["rows"] if row.items() >= setting.items()}

    teacher, student = by_steps("call_defaults", 3.0), by_steps("call_defaults_turbo", 1.0)
    rows = [["steps", "emoji-sd3, guided: NFEs, right", "emoji-turbo: NFEs, right", "paired difference"]]
    for steps in sorted(student):
        own, guided = student[steps], teacher.get(steps)
        cells = [f"{steps}", "", f"{steps}, {interval(own['success'])}", ""]
        if guided:
            cells[1] = f"{2 * steps}, {figure(guided['success']['mean'])}"
            cells[3] = interval(asdict(paired_difference(own["by prompt"], guided["by prompt"])))
        rows.append(cells)
    first = read("call_defaults")["rows"][0]
    rows.append([f"{first['steps']} (Euler)", f"{2 * first['steps']}, {figure(first['success']['mean'])}", "", ""])
    return table(rows)


def guidance_methods() -> str:
    """Ways of guidance on the hard prompts at the scales that validation chose, beside CFG at their effective ones."""
    heads = ["scale", "NFEs", "right", "minus CFG", "1,000 × KID", "diversity", "effective scale", "minus CFG there"]
    rows = [["", *heads]]
    for method, of in read("weak_to_strong")["hard"].items():
        plain = method == "CFG"
        rows.append(
            [
                method,
                f"{of['scale']:g}",
                f"{of['nfe']:.0f}",
                interval(of["success"]),
                "" if plain else interval(of["minus CFG"]),
                f"{1000 * of['kid']:.2f}",
                figure(of["diversity"]["mean"]),
                f"{of['effective scale']:.2f}",
                "" if plain else interval(of["minus CFG at the effective scale"]),
            ]
        )
    return table(rows)


def guided_tokens() -> str:
    """Ways of guiding an autoregressive model's tokens: forwards, classes, Fréchet distances."""
    rows = [["", "scale", "forwards", "right class", "FID", "FID over CFG's", "time over CFG's"]]
    for of in read("weak_logits")["rows"]:
        plain, clock = of["method"] == "CFG", of.get("time over CFG's")
        rows.append(
            [
                of["method"],
                f"{of['scale']:g}",
                f"{of['forwards']:.0f}",
                f"{figure(of['accuracy'])} ± {figure(of['half interval'])}",
                f"{of['fid']:.2f}",
                "" if plain else interval(of["fid over CFG's"]),
                ""
                if plain or clock is None
                else f"{figure(clock['median'])} ({figure(clock['least'])} to {figure(clock['most'])})",
            ]
        )
    return table(rows)


def students() -> str:
    """One-step students in groups, beside their teacher, and what groups' distances are of others'."""
    found = read("multi_student")
    rows = [["", "FID", "teacher's time over its own", "fewest pictures of a class, of an even share"]]
    for of in found["rows"]:
        counts = of["classes"].values()
        fewest = min(counts) * len(counts) / sum(counts)
        rows.append([of["group"], f"{of['fid']:.2f}", f"{of['speed']:.1f}", figure(fewest)])
    ratios = [["FID over FID", ""]] + [[name, interval(of)] for name, of in found["ratios"].items()]
    return f"{table(rows)}\n\n{table(ratios)}"


def steering_fk() -> str:
    """FK steering by GLASS beside Euler-Maruyama at equal NFEs: score and success, and what is paired of them."""
    found = read("steering_fk")
    heads = [*(f"{name}: score, right" for name in ("Euler-Maruyama", "GLASS")), "score, paired", "right, paired"]
    rows = [["NFEs per prompt", *heads]]
    of = {(row["arm"], row["budget"]): row for row in found["rows"]}
    for paired in found["FK by GLASS against Euler-Maruyama"]:
        two = [of[f"FK, {name}", paired["budget"]] for name in ("Euler-Maruyama", "GLASS")]
        means = [", ".join(figure(row[name]["mean"]) for name in ("score", "success")) for row in two]
        rows.append([f"{paired['budget']}", *means, interval(paired["score"]), interval(paired["success"])])
    return table(rows)


def steering_turbo() -> str:
    """Steering on the few-step student beside best-of-N at equal NFEs."""
    found = read("steering_turbo")
    against = {row["arm"]: row for row in found["against rivals"] if row["against"] == "best-of-N"}
    heads = ["guide's score", "right", "seconds", "score, less best-of-N", "right, less best-of-N"]
    rows = [["84 NFEs per prompt", *heads]]
    for row in found["rows"]:
        means = [figure(row[name]["mean"]) for name in ("score", "success")]
        paired = against.get(row["arm"])
        less = [interval(paired[name]) if paired else "" for name in ("score", "success")]
        name = f"`{row['setup']['strategy']}`" if "setup" in row else row["arm"]
        rows.append([name, *means, f"{row['seconds']:.1f}", *less])
    return table(rows)


TABLES = (best_of_n, search_scaling, support_matrix)
"""Of the README."""
for one in (steering_scaling, few_step_search):
    if (RESULTS / f"{one.__name__}.json").exists():
        TABLES += (one,)

PAGES = {
    "docs/superposition.md": (superposition, superposed_densities, superposed_models, superposed_by_integrator),
    "docs/guidance.md": (guidance_methods, guided_tokens),
    "docs/steering.md": (steering_fk, steering_turbo),
    "docs/distillation.md": (few_steps, students),
}
"""Tables of other pages."""


def main() -> None:
    print("\n\n".join(one() for tables in (TABLES, *PAGES.values()) for one in tables))


if __name__ == "__main__":
    main()
