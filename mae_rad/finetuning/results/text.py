"""The table of metrics as text: ``results.txt``."""

from collections.abc import Sequence

from mae_rad.finetuning.results.metrics_table import ALL, Result


def results_text(results: Sequence[Result], left_out: Sequence[str]) -> str:
    """Figures as lines, those of all films first, and what was left out."""
    lines = []
    for one in sorted(results, key=lambda one: one.subset != ALL):
        what = f"{one.metric.replace('_', ' ')}{f' ({one.operating_point})' if one.operating_point else ''}"
        of = f"{one.n_present} of {one.n_films} films present, {one.n_patients} patients"
        lines.append(f"{one.split:<5} {one.subset:<20} {one.label:<24} {what:<42} {one.figure:<24} {of}")
    return "\n".join([*lines, "", "95 % intervals over patients.", *left_out, ""])
