"""Spellings of a real archive, and of its rules: what must be read, what is doubtful, what must stay unknown."""

import unicodedata

import pytest

from data_prep.deidentify.vocabulary import Reading, vocabulary

HEADER_WORDS = {
    "KNEE": "KNEE KNIE KNIE*KLEINKIND",
    "PATELLA": "KNIESCHEIBE PATELLA",
    "LEG": "LEG BEIN TIBIA*FIBULA UNTERSCHENKEL",
    "FEMUR": "FEMUR OBERSCHENKEL",
    "ANKLE": "ANKLE SPRUNGGELENK",
    "FOOT": "FOOT FUSS FU_",
    "CALCANEUS": "CALCANEUS FERSENBEIN",
    "TOE": "TOES",
    "SHOULDER": "SHOULDER SCHULTER",
    "SCAPULA": "SCHULTERBLATT SCAPULA",
    "ACJOINT": "AC*GELENK AC*JOINT",
    "CLAVICLE": "CLAVICLE CLAVICULA SCHLUESSELBEIN",
    "HUMERUS": "HUMERUS OBERARM",
    "ELBOW": "ELBOW ELLENBOGEN",
    "ARM": "ARM",
    "FOREARM": "FOREARM UNTERARM",
    "HAND": "HAND",
    "WRIST": "HANDGELENK WRIST",
    "FINGER": "FINGER",
    "THUMB": "THUMB",
    "EXTREMITY": "EXTREMITAT",
    "CSPINE": "CSPINE C*SPINE HWS HWS*DENS DENS CERVICOTHORACIC",
    "TSPINE": "TSPINE T*SPINE BWS",
    "LSPINE": "LSPINE L*SPINE LWS",
    "SPINE": "T*L*SPINE SPINE WIRBELSAULE WIRBELSAEULE",
    "SSPINE": "SACRUM",
    "COCCYX": "COCCYX",
    "SKULL": "SKULL SCHAEDEL SCHADEL",
    "FACE": "GESICHTSKNOCHEN",
    "SINUS": "NNH SINUSES",
    "ORBIT": "ORBITA",
    "NOSE": "NASENBEIN NASAL*BONES",
    "JAW": "UNTERKIEFER JAW",
    "HEAD": "KOPF",
    "CHEST": "CHEST THORAX LUNGE",
    "RIB": "RIPPEN RIBS",
    "ABDOMEN": "ABDOMEN",
    "PELVIS": "PELVIS BECKEN",
    "HIP": "HIP HUEFTE H_FTE",
}
"""Body part → the header words of the archive for it; ``*`` is a space, which is also left out."""
DOUBTFUL_WORDS = {"LSPINE": "PORT*L*SPINE", "CHEST": "THORAX*BETT"}

FOLDERS = {
    **{
        "KNIE_NEU": "KNEE",
        "SCHULTER_NEU": "SHOULDER",
        "SG_NEU": "ANKLE",
        "ELLENBOGEN_NEU": "ELBOW",
        "FUSS_NEU": "FOOT",
    },
    **{"HG_NEU": "WRIST", "HAND_NEU": "HAND", "HWS_NEU": "CSPINE", "CLAVICULA_NEU": "CLAVICLE", "BWS_NEU": "TSPINE"},
    **{"LWS_NEU": "LSPINE", "DX_Schädel_Neu": "SKULL", "DX_RIPPEN": "RIB", "SCAPULA_NEU": "SCAPULA"},
}
LABEL_WORDS = {
    **{"knee": "KNEE", "shoulder": "SHOULDER", "ankle": "ANKLE", "elbow": "ELBOW", "foot": "FOOT", "wrist": "WRIST"},
    **{"hand": "HAND", "cervical spine": "CSPINE", "cspine": "CSPINE", "clavicle": "CLAVICLE", "tspine": "TSPINE"},
    **{"thoracic spine": "TSPINE", "lumbar spine": "LSPINE", "lspine": "LSPINE", "skull": "SKULL", "ribs": "RIB"},
    **{"rips": "RIB", "scapula": "SCAPULA"},
}

BY_RULES = {
    "KNEE": "KNIEKLEINKIND Knie-Neu KNIE.NEU DX-Knie dx_knie_neu KNEENEU NEU_KNIE Kniegelenk_NEU KN_E KNIELINKS",
    "FOOT": "F_SS FUß Fuß_NEU FUSSKLEINKIND FU__NEU FU_NEU Füße FUESSE F_SSE FU? Rückfuß R_CKFUSS RUCKFUSS",
    "HIP": "Hüfte HUFTE HÜFTE_NEU H_FTGELENK HUEFTGELENK H\N{REPLACEMENT CHARACTER}FTE HIPJOINT",
    "WRIST": "HG HANDGELENK_NEU HAND*GELENK HAND_GELENK DX_HG hg-neu WRISTJOINT",
    "ANKLE": "SG OSG USG DX-OSG USG_NEU SG*links ANKLEJOINT SPRUNGGELENKNEU Fußgelenk SGNEU",
    "SKULL": "DX-Schaedel SCH_DEL DX_SCH_DEL_NEU Schädel*Kleinkind DXSCHADEL SCHÄDELKLEINKIND",
    "ELBOW": "Ellenbogen*neu ELLENBOGENNEU ELLENBOGENGELENK ELLENB_GEN ElbowJoint",
    "FEMUR": "OBERSCHENKELKLEINKIND OBER*SCHENKEL DX_FEMUR",
    "LEG": "TIBIA/FIBULA TIB-FIB LOWERLEG UNTERSCHENKEL_NEU",
    "TSPINE": "BWSKLEINKIND DX_BWS B*W*S BRUSTWIRBELSÄULE BRUSTWIRBELS_ULE BRUSTWIRBELSAEULE THORACICSPINE",
    "CSPINE": "HWS-DENS DENS*HWS HALSWIRBELSAULE HALSWIRBELS_ULE",
    "LSPINE": "LENDENWIRBELSAEULE LWS*KLEINKIND LUMBARSPINE",
    "SPINE": "WIRBELS_ULE Wirbelsäule",
    "CLAVICLE": "SCHL_SSELBEIN Schlüsselbein SCHLUSSELBEIN COLLARBONE KLAVIKULA_NEU",
    "SHOULDER": "SCHULTERGELENK_NEU Schulter*Neu SCHULT_R SHOULDERJOINT",
    "SCAPULA": "SCHULTER*BLATT ShoulderBlade",
    "EXTREMITY": "EXTREMIT_T Extremität EXTREMITAET",
    "HAND": "HANDKLEINKIND H_NDE Hände DXHAND",
    "TOE": "GRO_ZEHE Großzehe GROSSZEHE",
    "FACE": "Gesichts*knochen FACIALBONES",
    "HUMERUS": "UPPERARM OBERARMKLEINKIND",
    "RIB": "DX*Rippen RIPPEN_NEU",
    "CHEST": "PORTABLECHEST THORAXKLEINKIND BABYTHORAX T_RAX",
    "PELVIS": "BECKEN_NEU BECKENUEBERSICHT BECKEN_BERSICHT",
}
DOUBTFUL_BY_RULES = {
    "CHEST": "PORTCHEST Thorax*Bett BETT*THORAX CHEST*PORT",
    "KNEE": "KNIEBETT KNIEBETTNEU",
    "HIP": "HÜFTE-BETT H_FTEBETT",
    "ABDOMEN": "PORTABDOMEN",
}
WITH_SIDES = [
    *(("OSG re", "ANKLE"), ("SG L", "ANKLE"), ("HG li", "WRIST"), ("Hüfte re.", "HIP"), ("RE KNIEKLEINKIND", "KNEE")),
    *(
        ("L FU_", "FOOT"),
        ("FU\N{REPLACEMENT CHARACTER} links", "FOOT"),
        ("li. Ellenbogen neu", "ELBOW"),
        ("B WS", "TSPINE"),
    ),
]
UNKNOWN = [
    *("", "_", "__", "?", "H_", "F_", "K_", "H_P", "H_S", "HAN_", "T_E", "B_S", "LE_", "MAN_", "H__D_", "___KNI"),
    *(
        "SGARBOSSA",
        "NEUROLOGY",
        "NEUROLOGIE",
        "HANDBUCH",
        "HANDTUCH",
        "ARMAND",
        "ARMBRUST",
        "LEGEND",
        "CHESTER",
        "HIPPO",
    ),
    *("FUSSBALL", "KNIEBEUGE", "NEU", "PORT", "BETT", "PORTAL", "BETTINA", "DX", "KLEINKIND", "OS", "US", "KG", "HGB"),
    *(
        "NEWSG",
        "NEWS G",
        "OSGOOD",
        "PORTLAND",
        "NEUHAUS",
        "FÜSSLI",
        "OSGRE",
        "LOSG",
        "RSGX",
        "HANDKNIE",
        "SCHULTERARM",
        "Knie Zwiebel",
        "Hand^Anna",
        "M_LLER",
        "BE_N",
        "HWS_LWS",
        "KNIE_FUSS",
    ),
]

UNKNOWN_BY_RULES = {
    "letters that are no side": "C-ARM C*ARM C_ARM O-ARM O*ARM O_ARM X-ARM K-BEIN J*BEIN X-BEIN K_BEIN J_BEIN",
    "several words fit": "BACK? BACK_ BACKEN OBER_ UNTER_ OBER? UNTER?*NEU SCHULT_",
    "short words of other languages": "M_IN M_NO P_LS C_DO V_ET",
    "without": "NO*CHEST NO_CHEST CHEST*NO WITHOUT*CHEST WITHOUT*HAND NON*CHEST W/O*CHEST OHNE*HAND OHNE_HAND",
    "without, in German": "KEIN*THORAX KEINE*HAND KEIN_BEIN OHNE*THORAX THORAX*OHNE",
    "other meanings": "MAIN PIE POLS CRANE MAIN*L Main_neu",
}


def cases(table: dict[str, str]) -> list[tuple[str, str]]:
    """(text, term) with and without the spaces of each word."""
    words = [(word, term) for term, text in table.items() for word in text.split()]
    return [(word.replace("*", gap), term) for word, term in words for gap in ((" ", "") if "*" in word else ("",))]


@pytest.mark.parametrize(("text", "term"), cases(HEADER_WORDS))
def test_every_header_word_of_the_archive_is_read(text: str, term: str) -> None:
    assert vocabulary("body_part").read(text) == Reading(term)
    assert vocabulary("body_part").read(text.lower()) == Reading(term)


@pytest.mark.parametrize(("text", "term"), [*FOLDERS.items(), *LABEL_WORDS.items()])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_every_folder_and_class_of_the_archive_is_read(text: str, term: str, form: str) -> None:
    assert vocabulary("body_part").read(unicodedata.normalize(form, text)) == Reading(term)


@pytest.mark.parametrize(("text", "term"), cases(BY_RULES))
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_spellings_that_follow_the_rules_are_read(text: str, term: str, form: str) -> None:
    assert vocabulary("body_part").read(unicodedata.normalize(form, text)) == Reading(term)


@pytest.mark.parametrize(("text", "term"), WITH_SIDES)
def test_sides_beside_a_spelling_are_dropped(text: str, term: str) -> None:
    assert vocabulary("body_part").read(text) == Reading(term)


@pytest.mark.parametrize(("text", "term"), cases(DOUBTFUL_WORDS) + cases(DOUBTFUL_BY_RULES))
def test_settings_of_mobile_devices_are_read_and_doubtful(text: str, term: str) -> None:
    assert vocabulary("body_part").read(text) == Reading(term, doubtful=True)


@pytest.mark.parametrize("text", ["LSG", "lsg", "L SG", "L_SG", "LSG_NEU", "DXLSG"])
def test_a_word_of_several_meanings_is_not_read_but_told(text: str) -> None:
    assert vocabulary("body_part").read(text) == Reading(None, doubtful=True)


@pytest.mark.parametrize("text", UNKNOWN)
def test_words_that_only_look_like_a_body_part_stay_unknown(text: str) -> None:
    assert vocabulary("body_part").read(text) == Reading()


@pytest.mark.parametrize(
    "text", [word.replace("*", " ") for text in UNKNOWN_BY_RULES.values() for word in text.split()]
)
def test_what_has_another_meaning_or_several_stays_unknown(text: str) -> None:
    assert vocabulary("body_part").read(text) == Reading()
    assert vocabulary("body_part").read(text.lower()) == Reading()


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("KAHNB_IN", "WRIST"),
        ("FU_ X-RAY", "FOOT"),
        ("L_BEIN", "LEG"),
        ("R ARM", "ARM"),
        ("MANO", "HAND"),
        ("HUMER_", "HUMERUS"),
    ],
)
def test_a_lost_letter_is_no_letter_that_is_dropped(text: str, term: str) -> None:
    assert vocabulary("body_part").read(text) == Reading(term)


@pytest.mark.parametrize(
    "text", ["CHEST NO GRID", "Chest, non-grid", "CHEST A.P.", "L CHEST X-RAY", "CHEST P A WITHOUT GRID"]
)
def test_words_that_are_dropped_only_together(text: str) -> None:
    assert vocabulary("body_part").read(text) == Reading("CHEST")


def test_there_are_as_many_header_words_as_in_the_archive() -> None:
    words = [word for table in (HEADER_WORDS, DOUBTFUL_WORDS) for text in table.values() for word in text.split()]
    assert len({*words, "LSG"}) == 85


@pytest.mark.parametrize("name", ["body_part", "view"])
def test_no_two_terms_share_a_spelling_without_spaces(name: str) -> None:
    terms: dict[str, set[str]] = {}
    for spelling, term in vocabulary(name).spellings.items():
        terms.setdefault(spelling.replace(" ", ""), set()).add(term)
    assert [spelling for spelling, found in terms.items() if len(found) > 1] == []


def test_words_of_the_user_come_first() -> None:
    words = vocabulary("body_part").with_words({"LSG": "ANKLE", "Schulter blatt": "SHOULDER", "ÖX": "TOE"})
    assert [words.match(text) for text in ("L SG", "lsg_neu", "SCHULTERBLATT", "Ox", "OX links")] == [
        *("ANKLE", "ANKLE", "SHOULDER", "TOE", "TOE"),
    ]
    assert vocabulary("body_part").match("SCHULTERBLATT") == "SCAPULA"


@pytest.mark.parametrize("text", ["KNIE" * 200, "_" * 5000, "a_" * 3000, "KNIENEU" * 300, "KIND" * 10, "NEUDX" * 8])
def test_long_texts_are_read_in_no_time(text: str) -> None:
    assert vocabulary("body_part").match(text) is None
