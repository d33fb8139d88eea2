"""Sentences of the reports of a synthetic archive by language, finding and value.

``{bone}``, ``{side}`` and ``{other}`` are replaced.
"""

BONES = {
    "de": {
        "HAND": "des Os metacarpale V",
        "WRIST": "des distalen Radius",
        "KNEE": "des Tibiakopfes",
        "CHEST": "der 7. Rippe",
        "SHOULDER": "des Humeruskopfes",
        "ANKLE": "des Außenknöchels",
        "ELBOW": "des Radiusköpfchens",
        "FOOT": "des Os metatarsale V",
        "CSPINE": "des HWK 5",
        "CLAVICLE": "der Clavicula",
        "TSPINE": "des BWK 8",
        "LSPINE": "des LWK 2",
        "SKULL": "des Unterkiefers",
        "RIB": "der 7. Rippe",
        "SCAPULA": "der Scapula",
    },
    "en": {
        "HAND": "of the fifth metacarpal",
        "WRIST": "of the distal radius",
        "KNEE": "of the tibial plateau",
        "CHEST": "of the 7th rib",
    },
}
PARTS = {
    "de": {
        "HAND": "Hand",
        "WRIST": "Handgelenk",
        "KNEE": "Kniegelenk",
        "CHEST": "Thorax",
        "SHOULDER": "Schulter",
        "ANKLE": "Sprunggelenk",
        "ELBOW": "Ellenbogen",
        "FOOT": "Fuß",
        "CSPINE": "HWS",
        "CLAVICLE": "Clavicula",
        "TSPINE": "BWS",
        "LSPINE": "LWS",
        "SKULL": "Schädel",
        "RIB": "Rippen",
        "SCAPULA": "Scapula",
    },
    "en": {"HAND": "hand", "WRIST": "wrist", "KNEE": "knee", "CHEST": "chest"},
}
"""The parts of the hospital layout have German words only."""
WITHOUT_SIDE = frozenset(("CHEST", "CSPINE", "TSPINE", "LSPINE", "SKULL"))
"""Body parts of which there is one."""
SIDES = {"de": {"L": "links", "R": "rechts"}, "en": {"L": "left", "R": "right"}}

FRACTURE: dict[str, dict[str, tuple[str, ...]]] = {
    "de": {
        "present": (
            "Nicht dislozierte Fraktur {bone}.",
            "Frische Fraktur {bone} ohne Gelenkbeteiligung.",
            "Keine Luxation, jedoch Fraktur {bone}.",
            "Alte, knöchern konsolidierte Fraktur {bone}.",
            "Bekannte Fraktur {bone}, Stellung unverändert.",
            "Die Fraktur {bone} ist noch nicht durchbaut.",
        ),
        "absent": (
            "Keine Fraktur.",
            "Kein Anhalt für Fraktur oder Luxation.",
            "Eine Fraktur ist nicht nachweisbar.",
            "Frakturen, Luxationen oder Weichteilverkalkungen sind nicht erkennbar.",
            "Ohne Nachweis einer Fraktur {bone}.",
            "Kein Frakturnachweis.",
            "Das Vorliegen einer Fraktur {bone} kann ausgeschlossen werden.",
        ),
        "uncertain": (
            "V.a. Fissur {bone}.",
            "Eine Fraktur {bone} ist nicht sicher auszuschließen.",
            "Aufhellungslinie, DD Fraktur {bone}.",
        ),
        "not_mentioned": (
            "Regelrechte Artikulation.",
            "Altersentsprechender Befund.",
            "Glatt begrenzte Konturen, Weichteile unauffällig.",
        ),
        "other_side": ("Auf der Gegenseite Z.n. Fraktur.", "{other} alte Fraktur {bone} auf der Vergleichsaufnahme."),
        "question": ("Sturz, Fraktur?", "Frage nach Fraktur {bone}.", "Zum Ausschluss einer Fraktur.", "Schmerzen."),
    },
    "en": {
        "present": (
            "Nondisplaced fracture {bone}.",
            "Acute fracture {bone} without dislocation.",
            "No dislocation, but there is a fracture {bone}.",
            "Old healed fracture {bone}.",
            "Known fracture {bone}, unchanged in alignment.",
            "The fracture {bone} is not significantly displaced.",
        ),
        "absent": (
            "No fracture.",
            "No evidence of fracture or dislocation.",
            "A fracture {bone} is not seen.",
            "No dislocation, effusion, or fracture.",
            "Negative for fracture.",
            "Fracture {bone} has been excluded.",
        ),
        "uncertain": (
            "Possible nondisplaced fracture {bone}.",
            "A fracture {bone} cannot be excluded.",
            "Lucent line suspicious for fracture {bone}.",
        ),
        "not_mentioned": ("Normal alignment.", "Unremarkable for age.", "Soft tissues are within normal limits."),
        "other_side": ("Contralateral old fracture.", "A view of the {other} side shows an old fracture {bone}."),
        "question": ("Fall, fracture?", "Rule out fracture {bone}.", "Evaluate for fracture.", "Pain."),
    },
}  # fmt: skip

OBJECTS: dict[str, dict[str, tuple[str, ...]]] = {
    "de": {
        "screw": ("Einliegende Schraube.", "Schraube in situ, keine Lockerung."),
        "plate": ("Z.n. Plattenosteosynthese.", "Kein Anhalt für Lockerung der Platte."),
        "pin": ("Kirschnerdraht in situ.",),
        "wire": ("Drahtcerclage in unveränderter Lage.",),
        "clip": ("Ein Metallclip projiziert sich auf die Weichteile.",),
        "ring": ("Ring in Projektion auf das Aufnahmefeld.",),
        "coin": ("Münze in Projektion auf das Aufnahmefeld.",),
        "fragment": ("Röntgendichter Fremdkörper in den Weichteilen.", "Metallsplitter in den Weichteilen."),
        "tube": ("Katheter in Projektion auf das Aufnahmefeld.",),
        "electrode": ("EKG-Elektrode in Projektion auf das Aufnahmefeld.",),
        "absent": ("Kein röntgendichter Fremdkörper.", "Fremdkörper nicht nachweisbar."),
        "removed": ("Nach Entfernung des Osteosynthesematerials.", "Z.n. Metallentfernung."),
    },
    "en": {
        "screw": ("Screw in place.", "No evidence of screw loosening."),
        "plate": ("Status post plate and screw fixation.", "No loosening of the fixation plate."),
        "pin": ("K-wire in place.",),
        "wire": ("Cerclage wire in unchanged position.",),
        "clip": ("Surgical clip projects over the soft tissues.",),
        "ring": ("A metallic ring overlies the field of view.",),
        "coin": ("A coin projects over the field of view.",),
        "fragment": ("Radiopaque foreign body in the soft tissues.", "Metallic fragment in the soft tissues."),
        "tube": ("A catheter projects over the field of view.",),
        "electrode": ("ECG electrode overlies the field of view.",),
        "absent": ("No radiopaque foreign body.", "No foreign body is seen."),
        "removed": ("Interval removal of the hardware.", "Hardware has been removed."),
    },
}
GRADED: dict[str, dict[str, dict[str, tuple[str, ...]]]] = {
    "de": {
        "cardiomegaly": {
            "present": ("Herzschatten verbreitert.", "Kardiomegalie."),
            "absent": ("Herz normal groß.", "Keine Kardiomegalie."),
            "uncertain": ("Herzgröße grenzwertig.",),
        },
        "effusion": {
            "present": ("Ergussbildung.", "Es zeigt sich ein Erguss."),
            "absent": ("Kein Erguss.", "Ergussbildung nicht nachweisbar."),
            "uncertain": ("Ein geringer Erguss ist möglich.",),
        },
        "osteopenia": {
            "present": ("Verminderter Kalksalzgehalt.", "Osteopenie."),
            "absent": ("Regelrechter Kalksalzgehalt.", "Keine Osteopenie."),
            "uncertain": ("Kalksalzgehalt grenzwertig.",),
        },
        "growth_plates": {
            "present": ("Wachstumsfugen offen.", "Offene Epiphysenfugen."),
            "absent": ("Wachstumsfugen geschlossen.", "Geschlossene Epiphysenfugen."),
            "uncertain": ("Wachstumsfugen nicht sicher beurteilbar.",),
        },
    },
    "en": {
        "cardiomegaly": {
            "present": ("The cardiac silhouette is enlarged.", "Cardiomegaly."),
            "absent": ("Normal heart size.", "No cardiomegaly."),
            "uncertain": ("Borderline heart size.",),
        },
        "effusion": {
            "present": ("There is an effusion.", "Effusion is present."),
            "absent": ("No effusion.", "No effusion is seen."),
            "uncertain": ("A small effusion is possible.",),
        },
        "osteopenia": {
            "present": ("Decreased bone mineralization.", "Osteopenia."),
            "absent": ("Normal bone mineralization.", "No osteopenia."),
            "uncertain": ("Borderline bone mineralization.",),
        },
        "growth_plates": {
            "present": ("The growth plates are open.", "Open growth plates."),
            "absent": ("The growth plates are closed.", "Closed growth plates."),
            "uncertain": ("The growth plates are difficult to assess.",),
        },
    },
}
KINDS = {
    "screw": "implant",
    "plate": "implant",
    "pin": "implant",
    "wire": "implant",
    "clip": "implant",
    "ring": "jewellery_clothing",
    "coin": "retained_object",
    "fragment": "retained_object",
    "tube": "tube_line",
    "electrode": "electrode_lead",
    "absent": "retained_object",
    "removed": "implant",
}
"""Planted object, ``absent`` or ``removed`` → label of the sentence."""
