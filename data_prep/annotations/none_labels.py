"""Find labels of one film that contradict each other: a finding, and a label that says there is none."""

from collections.abc import Iterator, Mapping

_NONE = frozenset(
    ("no_finding", "no_findings", "no_abnormality", "no_abnormal_finding", "normal", "healthy", "unremarkable")
)
"""Labels of a film without any finding."""
_NO_FINDINGS = frozenset(
    (*("support_devices", "foreign_object", "hardware", "metal", "cast", "text", "marker"), "diagnosis_uncertain")
)
"""Labels that a film without findings may have."""
_DENIALS = ("no_", "non_", "not_")
_OTHERS = frozenset(("old", "healed", "prior", "previous", "suspected", "possible"))
"""Words of a label that is another finding than the one denied: no_fracture does not deny old_fracture."""


def contradictions(values: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    """Find the contradictions among the labels of a film.

    Args:
        values: label → present, absent or uncertain.

    Yields:
        (label that says there is none, finding): normal and fracture, no_fracture and rib_fracture, both present; or
        no_fracture and fracture, both absent.
    """
    present = [label for label, value in values.items() if value == "present"]
    for label, value in values.items():
        denied = next((label.removeprefix(denial) for denial in _DENIALS if label.startswith(denial)), "")
        if value == "present" and label in _NONE:
            yield from ((label, other) for other in present if _is_finding(other))
        elif value == "present" and denied:
            words = set(denied.split("_"))
            yield from ((label, other) for other in present if _is_kind_of(other, words))
        elif value == "absent" and denied and label not in _NONE and values.get(denied) == "absent":
            yield label, denied


def _is_finding(label: str) -> bool:
    return label not in _NONE and label not in _NO_FINDINGS and not label.startswith(_DENIALS)


def _is_kind_of(label: str, words: set[str]) -> bool:
    label_words = set(label.split("_"))
    return not label.startswith(_DENIALS) and words <= label_words and (label_words - words).isdisjoint(_OTHERS)
