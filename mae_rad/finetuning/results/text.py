"""Formats metrics as text, for ``results.txt``."""

from collections.abc import Sequence

from mae_rad.finetuning.results.metrics_table import ALL, Result


def results_text(results: Sequence[Result], left_out: Sequence[str]) -> str:
    """Format metrics as lines.

    Args:
        results: metrics; those of all films come first.
        left_out: lines about films and labels that were left out.

    Returns:
        The text.
    """
    lines = []
    for result in sorted(results, key=lambda result: result.subset != ALL):
        metric = f"{result.metric.replace('_', ' ')}{f' ({result.operating_point})' if result.operating_point else ''}"
        films = f"{result.n_films} films"
        films = films if result.n_present is None else f"{result.n_present} of {films} present"
        counts = f"{films}, {result.n_patients} patients"
        lines.append(
            f"{result.split:<5} {result.subset:<20} {result.label:<24} {metric:<42} {result.figure:<24} {counts}"
        )
    return "\n".join([*lines, "", "95 % intervals over patients.", *left_out, ""])
