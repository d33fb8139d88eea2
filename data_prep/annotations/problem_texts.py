"""Texts of the problems that stop the files of experts, by their codes; public data sets list the codes alone."""

PROBLEM_TEXTS = {
    "row_without_file": "no film of the scan is called so (unknown_films=list passes over such rows)",
    "no_film": "the film is not in the shards",
    "not_in_shards": "the film is not in the shards",
    "class_empty": "no annotation has this class; nothing is said of it",
    "name_fits_several": "the name fits several films; give more of the path",
    "film_repeated": "the film has been named before; keep one entry per film",
    "image_repeated": "the number of this image stands twice",
    "image_unknown": "the annotation is of an image that the file does not list",
    "class_without_name": "a class has no name or no number",
    "class_repeated": "the number of this class stands twice, with another name",
    "label_unknown": "no class, or one that the list of classes does not have",
    "label_needs_rename": "the name of the class is none that a label can have; rename={…} gives it one",
    "box_missing": "neither a box nor an outline; is the file of another task?",
    "box_not_a_number": "the numbers make no box",
    "polygon_too_short": "a polygon needs three points of two numbers each",
    "box_empty": "the box is empty",
    "box_outside": "the box lies outside of the film",
    "box_cut": "the box reaches out of the film; give pixels of the original film",
    "box_of_another_size": "drawn on a picture of another size than the film; give pixels of the original film",
    "annotation_unreadable": "cannot be read as an annotation file of this form",
    "label_conflict": "another annotation of this film says otherwise; keep one per film",
    "several_films": "the file holds several films; give their boxes as a CSV table with the column frame",
    "no_rows": "has a header and no rows; give the whole table, or leave it out",
    "no_images": "lists no image; give the whole file, or leave it out",
}
"""Code of a problem → text. What is not here gets its text where it is found."""
