"""How names of report files and folders of films name the study of a report."""

from dataclasses import dataclass

from data_prep.runtime.user_patterns import search

STUDY = "study"
"""Group of the pattern that holds the name of the study."""


@dataclass(frozen=True)
class ReportNames:
    """Names of report files and of the folders of films.

    Attributes:
        pattern: regular expression of a whole file name, with the group ``study``; None: the name without its ending.
        study_folder: folder above a film that is named after its study: 1 is the folder of the file, 2 the one above;
            None where no folder is.
    """

    pattern: str | None = None
    study_folder: int | None = None

    def study_name(self, file_name: str, stem: str) -> str | None:
        """The name of the study in a file name.

        Args:
            file_name: of the report.
            stem: the same without its ending.

        Returns:
            The name; None if the file name does not fit the pattern.

        Raises:
            SettingsError: the pattern takes too long.
        """
        if self.pattern is None:
            return stem
        match = search(self.pattern, file_name, setting="reports.pattern", whole=True)
        return (match[STUDY] or None) if match else None

    def folder_of(self, path: str) -> str | None:
        """The folder of a film that is named after its study; None where there is none."""
        parts = path.split("/")
        if self.study_folder is None or len(parts) <= self.study_folder:
            return None
        return parts[-1 - self.study_folder] or None


BY_FILE_NAME = ReportNames()
"""Files are named after the study, folders are not."""
