"""Messages for problems in label and annotation files.

Importing annotations of experts shows the messages; problem tables of public data sets hold the codes.
"""

PROBLEM_TEXTS = {
    "row_without_file": "no film of the scan has this name (unknown_films=list skips such rows)",
    "no_film": "the film is not in the shards",
    "not_in_shards": "the film is not in the shards",
    "class_empty": "no annotation has this class, so it gives no labels",
    "name_fits_several": "the name matches several films; give more of the path",
    "filename_differs": "the file names another film inside than its own name does; correct one of them",
    "film_repeated": "an entry before this one names the same film; keep one entry per film",
    "image_repeated": "an image before this one has the same id; give each image its own id",
    "image_unknown": "the file lists no image with this id; add it to images",
    "class_without_name": "a class has no name or no id; add what is missing",
    "class_numbers_shifted": "the classes or images are numbered one beside their list, so all may be shifted",
    "finding_against_none": "a finding is present, and so is a label that says there is none; correct one of them",
    "class_repeated": "a class of another name has the same id; give each class its own id",
    "label_unknown": "the class is missing, or is not in the list of classes",
    "label_needs_rename": "the name of the class is not a valid label; give a label with rename={…}",
    "box_missing": "the object has no box and no outline; add one, or check that the file is of a detection task",
    "box_not_a_number": "the numbers are not a valid box; give four numbers, or a polygon",
    "polygon_too_short": "a polygon needs three points of two numbers each",
    "box_empty": "the box is empty; width and height must be above 0",
    "box_outside": "the box lies outside the film; give coordinates in pixels of the original film",
    "box_cut": "the box extends beyond the film; give coordinates in pixels of the original film",
    "box_size_unknown": "the size of the annotated picture is not known; add it to the table of sizes",
    "box_in_fractions": "the box is in fractions of width and height; give coordinates in pixels of the original film",
    "box_of_crowd": "the box is around several objects (iscrowd), so it only says that the finding is present",
    "box_of_another_size": "the annotated picture has another size than the film; annotate the original film",
    "annotation_unreadable": "the file is not a valid annotation file of this format; export it again, or remove it",
    "label_conflict": "the annotation contradicts another annotation of this film; keep one of them",
    "several_films": "the file holds several films; give their boxes as a CSV table with the column frame",
    "one_hot_none": "no column of the fact is present, so the row gives it no label",
    "one_hot_several": "several columns of the fact are present or uncertain, so these are uncertain",
    "no_rows": "the table has a header and no rows; give the complete table, or no table",
    "no_images": "the file lists no image; give the complete file, or no file",
}
"""Code of a problem → message."""
