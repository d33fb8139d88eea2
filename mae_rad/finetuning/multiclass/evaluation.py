"""The final evaluation of classes that exclude each other: calibration from val, metrics of val and test, pictures.

In addition to the files of every task (``results/final_evaluation.py``); ``predictions.parquet`` has the true and the
predicted class, and the probability of each class:
  confusion.parquet  films and patients by split, true and predicted class
  confusion.png  films by true and predicted class
  subgroups.png  balanced accuracy of all films and of each subgroup
  films-<question>.png  films with the most and the least probability for their true class

Means over classes are over those with films: of a split, or of a subgroup. Legend: N films, C classes.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import softmax

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.evaluation.multiclass.class_metrics import class_estimates, classes_without_films
from mae_rad.evaluation.multiclass.confusion import confusion_table, draw_confusion
from mae_rad.evaluation.statistics.calibration import fit_temperature
from mae_rad.evaluation.statistics.intervals import fewest_patients
from mae_rad.evaluation.statistics.metrics import Estimate, Floats, auroc
from mae_rad.finetuning.results.film_sheet import best_and_worst, film_captions, film_sheet, save_sheet
from mae_rad.finetuning.results.final_evaluation import FinalEvaluator, Points
from mae_rad.finetuning.results.metrics_table import ALL, Result, Subgroup, bootstrap_results
from mae_rad.finetuning.results.subgroup_figure import draw_subgroups
from mae_rad.finetuning.results.subgroups import subgroups
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.heads.interface import Calibration
from mae_rad.heads.multiclass import MulticlassSettings


class ClassScores(NamedTuple):
    """Scores of the films of a known class.

    Attributes:
        rows: [N] int64 rows of the index.
        logits: [N, C] float64.
        y: [N] int64 true class.
        patients: [N] int64 number of the patient.
    """

    rows: NDArray[np.int64]
    logits: Floats
    y: NDArray[np.int64]
    patients: NDArray[np.int64]

    def select(self, chosen: NDArray[np.bool_]) -> "ClassScores":
        """Scores of the films that are ``chosen`` ([N] bool)."""
        return ClassScores(self.rows[chosen], self.logits[chosen], self.y[chosen], self.patients[chosen])

    @property
    def films_per_class(self) -> NDArray[np.int64]:
        """[C] number of films."""
        return np.bincount(self.y, minlength=self.logits.shape[1])


class MulticlassEvaluator(FinalEvaluator):
    """Evaluates a classification into classes that exclude each other.

    Args:
        splits: scores of val, and of test if there are test films.
        settings: of the run, with the names of the classes.
        index: of all films.
    """

    metric_names: ClassVar[Mapping[str, str]] = {
        "balanced_accuracy": "balanced accuracy",
        "macro_auroc": "macro AUROC",
        "accuracy": "accuracy",
        "calibration_error": "calibration error",
        "log_loss": "log-loss",
        "recall": "recall",
        "auroc": "AUROC against all others",
    }
    positive = "of this class"

    def __init__(
        self,
        splits: Mapping[str, ClassScores],
        settings: FinetuneSettings,
        index: ShardIndex,
    ) -> None:
        task = settings.task
        assert isinstance(task, MulticlassSettings)
        self._splits, self._classes, self._title, self._index = splits, task.titles, task.target.title, index
        self._settings, self._repetitions = settings, settings.evaluation.repetitions
        self.titles = (self._title,)
        val = splits["val"]
        line = Calibration() if settings.evaluation.calibration == "none" else fit_temperature(val.logits, val.y)
        self.calibration = dict.fromkeys(self._classes, line)
        self._slope = line.slope
        self.points: Points = {}

    def results(self) -> list[Result]:
        """Compute metrics of all films and of each class, for test also of subgroups."""
        results: list[Result] = []
        for split, raw in self._splits.items():
            scores = raw._replace(logits=self._slope * raw.logits)
            subgroup = Subgroup(self._title, split, repetitions=self._repetitions)
            results += _results_of_all(scores, subgroup)
            for number, name in enumerate(self._classes):
                results += self._class_results(scores, number, subgroup._replace(label=f"{self._title}: {name}"))
            films = self._index.table.take(scores.rows)
            for name, mask in subgroups(films, scores.patients) if split == "test" else ():
                part = scores.select(mask)
                if (part.films_per_class > 0).sum() > 1:
                    results += _results_of_all(part, subgroup._replace(subset=name))
        return results

    def _class_results(self, scores: ClassScores, number: int, subgroup: Subgroup) -> list[Result]:
        of_class, probability = scores.y == number, softmax(scores.logits, axis=1)[:, number]
        if not of_class.any():
            return []
        hit = scores.logits.argmax(axis=1) == number
        estimates: dict[str, Estimate] = {"recall": partial(_share, hit, of_class)}
        if not of_class.all():
            estimates["auroc"] = partial(auroc, of_class, probability)
        fewest = {
            "recall": len(np.unique(scores.patients[of_class])),
            "auroc": fewest_patients(scores.patients, of_class),
        }
        return bootstrap_results(scores.patients, estimates, subgroup, present=int(of_class.sum()), fewest=fewest)

    def missing_class_lines(self) -> list[str]:
        """A line per split about the classes without a film, which no mean contains."""
        lines = []
        for split, scores in self._splits.items():
            if missing := classes_without_films(scores.y, self._classes):
                lines.append(
                    f"{split} {self._title}: no film of {', '.join(missing)}; means are over the other classes."
                )
        return [
            *lines,
            f"Means over classes of a subgroup are over those that it has. Classes: {', '.join(self._classes)}.",
        ]

    def tables(self) -> dict[str, pa.Table]:
        """True and predicted class, and the probability of each class, of every film."""
        parts = []
        names = np.array(self._classes, dtype=object)
        for split, scores in self._splits.items():
            probability = softmax(self._slope * scores.logits, axis=1)
            struct = pa.StructArray.from_arrays([pa.array(column) for column in probability.T], names=list(names))
            columns = {
                "key": self._index.table.column("key").take(scores.rows),
                "split": pa.array([split] * len(scores.rows)),
                "label": pa.array([self._title] * len(scores.rows)),
                "class": pa.array(names[scores.y].tolist(), pa.string()),
                "predicted": pa.array(names[probability.argmax(axis=1)].tolist(), pa.string()),
                "probability": struct,
            }
            parts.append(pa.table(columns))
        return {"predictions.parquet": pa.concat_tables(parts), "confusion.parquet": self._confusion()}

    def _confusion(self) -> pa.Table:
        """Films and patients of every pair of true and predicted class that occurs."""
        return pa.concat_tables(
            confusion_table(scores.y, scores.logits.argmax(axis=1), self._classes, scores.patients, split=split)
            for split, scores in self._splits.items()
        )

    def draw(self, results: Sequence[Result], folder: Path) -> None:
        """Draw confusion matrix and subgroups of the last split."""
        split, scores = list(self._splits.items())[-1]
        if not len(scores.rows):
            return
        texts = {r.metric: r.figure for r in results if (r.label, r.split, r.subset) == (self._title, split, ALL)}
        title = (
            f"{self._title}, {split}, {len(scores.rows)} films\nbalanced accuracy {texts['balanced_accuracy']}\n"
            f"macro AUROC {texts['macro_auroc']}"
        )
        draw_confusion(scores.y, scores.logits.argmax(axis=1), self._classes, title, folder / "confusion.png")
        rows = [r for r in results if (r.label, r.split, r.metric) == (self._title, split, "balanced_accuracy")]
        chance = 1 / int((scores.films_per_class > 0).sum())
        draw_subgroups(rows, folder / "subgroups.png", metric="balanced accuracy", chance=chance, highest=1.02)
        self._draw_films(
            scores, f"{self._title}, {split} films: predicted with its probability, and true class", folder
        )

    def _draw_films(self, scores: ClassScores, heading: str, folder: Path) -> None:
        """Draw ``films-<title>.png``: films with the most and the least probability for their true class."""
        probability, known = softmax(self._slope * scores.logits, axis=1), film_captions(self._index)
        predicted, true_probability = probability.argmax(axis=1), probability[np.arange(len(scores.y)), scores.y]
        captions = [
            f"{known[row]}: {self._classes[answer]} {probability[film, answer]:.2f}, is {self._classes[true]}"
            for film, (row, answer, true) in enumerate(
                zip(scores.rows.tolist(), predicted.tolist(), scores.y.tolist(), strict=True)
            )
        ]
        names = ("most probability for the true class", "least probability for the true class")
        chosen = best_and_worst(1 - true_probability, scores.rows, captions, names)
        settings = self._settings
        sheet = film_sheet(chosen, self._index, title=heading, tokens=settings.tokens, patch=settings.backbone.patch)
        save_sheet(sheet, folder, self._title)


def _results_of_all(scores: ClassScores, subgroup: Subgroup) -> list[Result]:
    fewest = dict.fromkeys(("balanced_accuracy", "macro_auroc"), fewest_patients(scores.patients, scores.y))
    return bootstrap_results(scores.patients, class_estimates(scores.y, scores.logits), subgroup, fewest=fewest)


def _share(hit: NDArray[np.bool_], select: NDArray[np.bool_], weights: Floats) -> Floats:
    of = weights @ select.astype(np.float64)
    share = np.full(len(of), np.nan)
    np.divide(weights @ (hit & select).astype(np.float64), of, out=share, where=of > 0)
    return share
