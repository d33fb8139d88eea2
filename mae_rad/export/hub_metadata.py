"""The head of a model card, from which Hugging Face reads library, task, tags and licence."""

from collections.abc import Sequence

import yaml

TAGS = ("radiography", "x-ray", "medical-imaging")
"""Tags of every model."""


def front_matter(
    library: str, tags: Sequence[str] = (), *, pipeline: str | None = None, licence: str | None = None
) -> str:
    """Write the YAML block at the head of a ``README.md``.

    Args:
        library: library that loads the folder, by its name on the hub.
        tags: tags of the model, beside TAGS.
        pipeline: task by its name on the hub; None where the hub has none.
        licence: licence of the weights, as an SPDX name; None if it is not stated.
    """
    values: dict[str, object] = {"library_name": library}
    values |= {"pipeline_tag": pipeline} if pipeline else {}
    values |= {"license": licence.lower()} if licence else {}
    values["tags"] = [*TAGS, *dict.fromkeys(tags)]
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---\n\n"
