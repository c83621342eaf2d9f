"""Phrases by which reports name findings, deny them and doubt them: the words of the labeller, apart from its logic.

Phrases are regular expressions over lower-case words, matched at word boundaries, with two abbreviations: `*` stands
for the rest of a word (or, in front, for its beginning), ` ~ ` for up to five words between. The kinds of rules follow
NegEx (Chapman et al. 2001) and CheXpert's labeller (Irvin et al., AAAI 2019, arXiv 1901.07031).
"""

from __future__ import annotations

import re

_HEART = "(heart|cardiac|cardio ?mediastinal|cardio ?pericardial)"
_AORTA = "(aort*|arch)"
_WIDE = "(*tortuo*|torturous|ectasia|*ectatic|unfold*|uncoil*|aneurysm*|dilat*|enlarg*|prominen*|elongat*)"
_LUNG_NODES = "(lung|pulmonary|hila*|hilum|perihilar|suprahilar|lymph|node*|nodul*|adenopathy|mediastin*|paratracheal)"
_BIGGER = "(prominen*|increase|increased|accentuat*|indistinct*|engorge*|cephaliz*)"
_MARKINGS = "(markings|interstiti*|bronchovascular|reticula*|reticulonodular)"
_COARSE = "(increas*|prominen*|coarse*|accentuat*|chronic|diffuse|thicken*|crowd*|irregular)"
# What is called normal in one breath with the heart.
_WITH_HEART = (
    "(size|shape|silhouette|contour*|borders|mediastin*|hila|hilar|hilum|pulmonary|vascul*|vessels|structures|lungs"
    "|and|the|of|is|are|appear*|remain*|both|all|within)"
)
_BONE = "(rib|ribs|clavic*|vertebra*|humer*|stern*|spine|bony|compression|wedge*)"
_JOINT = "(shoulder*|acromio*|costochondral|knee*|hip|hips|foot|midfoot|medial|glenohumeral)"

PRESENT: dict[str, tuple[str, ...]] = {
    "cardiomegaly": (
        "cardiomegal*",
        f"{_HEART} ~ (enlarg*|prominen*|large|big|borderline)",
        f"(enlarg*|elongat*|prominen*|large|borderline) (of |in )?(the )?(left |right )?({_HEART}|ventric*|atri*)",
        "(ventric*|atri*) enlargement",
        "increase ~ heart size",
    ),
    "pleural effusion": (
        "(?<!pericardial )*effusion*",
        "pleural fluid",
        "fluid ~ pleural",
        "(hydro|hemo)(pneumo)?thorax",
    ),
    "airspace opacity": (
        "(?<!nodular )(?<!round )(?<!rounded )(?<!circular )(?<!interstitial )(?<!masslike )opaci*",
        "(?<!nodular )(?<!round )(?<!rounded )(?<!calcific )(?<!bone )(?<!bony )(density|densities)",
        "(?<!interstitial )infiltrat*",
        "*consolidat*",
        "*pneumonia*",
        "air ?space (disease*|process*)",
    ),
    "atelectasis": ("*atelecta*", "volume loss", "loss of (lung )?volume", "collapse*"),
    "nodule": (
        "(?<!fibro)nodul*",
        "fibronodul*",
        "mass",
        "masses",
        "(round|rounded|circular|masslike) ~ (opaci*|densit*)",
    ),
    "calcified granuloma": (
        "*granuloma*",
        f"calcif* ~ {_LUNG_NODES}",
        f"{_LUNG_NODES} calcif*",
        "histoplasmosis",
    ),
    "pneumothorax": ("*pneumothora*",),
    "elevated diaphragm": (
        "(elevat*|eventrat*) ~ (hemi)?diaphragm*",
        "(hemi)?diaphragm* ~ (elevat*|eventrat*)",
        "eventration*",
    ),
    "hyperinflation": (
        "hyper ?(inflat*|expan*|aerat*|lucen*|disten*)",
        "over ?(inflat*|expan*|distend*)",
        "(increased|large) lung volume*",
        "(?<!subcutaneous )*emphysem*",
        "copd",
        "chronic obstructive",
        "flatten* ~ (hemi)?diaphragm*",
        "(hemi)?diaphragm* ~ flatten*",
        "(bulla|bullae|bullous|bleb|blebs)",
    ),
    "low lung volumes": (
        "(low|lower|small|decreased|diminished|reduced|shallow) lung volume*",
        "lung volumes ~ (low|small|decreased|diminished|reduced)(?! normal)",
        "hypo ?(inflat*|expan*|aerat*|ventilat*)",
        "under ?(inflat*|expan*)",
        "(low|poor|shallow|decreased) (inspirat*|volume*)",
    ),
    "pulmonary edema": (
        "(?<!laryngeal )edema",
        "*congesti*",
        "engorge*",
        "(heart|cardiac) failure",
        "chf",
        "(volume|fluid) overload",
        "kerley",
        f"{_BIGGER} (of |in )?(the )?(central )?(pulmonary )?(vascul*|vessels)",
        f"vascul* ~ {_BIGGER}",
    ),
    "increased markings": (
        f"{_COARSE} ~ {_MARKINGS}",
        f"{_MARKINGS} ~ (increas*|prominen*|coarse*|accentuat*|thicken*|crowd*)",
        f"{_MARKINGS} ~ (opaci*|disease*|change*|fibrosis|infiltrat*|densit*)",
        "(?<!cystic )fibrosis",
        "*fibrotic",
        "crowding",
        "septal lines",
    ),
    "scarring": (
        "(scar|scars)",
        "*scarr*",
        "(pleura*|apical) ~ (thicken*|capping)",
        "thicken* ~ pleura*",
        "fibrotic change*",
    ),
    "costophrenic angle blunting": ("blunt*",),
    "degenerative spine": (
        f"degenerat*(?!(?: \\w+){{0,5}} {_JOINT})",
        "spondyl*",
        "(osteophyt*|syndesmophyt*|spurring|spurs)",
        "(disc|disk) (space )?(narrow*|disease)",
        "arthrit* ~ spine",
        "spine ~ arthrit*",
        "hyperostosis",
    ),
    "atherosclerosis": (
        "athero*",
        f"calcif* ~ ({_AORTA}|coronary|vascul*)",
        f"({_AORTA}|coronary|vascular) ~ calcif*",
    ),
    "aortic tortuosity": (f"{_AORTA} ~ {_WIDE}", f"{_WIDE} ~ {_AORTA}"),
    "fracture": ("fractur*", f"{_BONE} ~ deformit*", f"deformit* ~ {_BONE}", "wedg*"),
    "scoliosis": ("*scolio*", "(dextro|levo) ?curvature", "curvature ~ spine", "spin* curvature"),
    "hiatal hernia": ("(hiatal|hiatus) hernia*", "hernia* ~ hiat*"),
    "device": (
        "(catheter*|picc|port|mediport|tube|tubes|tubing|central line*|line tip|tracheostomy)",
        "tip ~ (svc|atri*|cavoatrial|caval|vena)",
        "(pacemaker*|pacer*|pacing|lead|leads|aicd|icd|defibrillator*|electrode*|monitor*|*stimulator*)",
        "(clip|clips|suture*|staple*|wire|wires|coil*|stent*|screw*|rod|rods|hardware|anchor*|fixation)",
        "(prosthe*|implant|implants|implantable|arthroplasty|occluder|closure device|device*)",
        "valve ~ (replac*|prosthe*)",
        "(spin*|cervical|lumbar) fusion",
        "(foreign|bullet*|shrapnel|fragment*|piercing*|nipple (ring|marker*))",
    ),
}

# Statements that a finding is not there without naming it.
ABSENT: dict[str, tuple[str, ...]] = {
    "cardiomegaly": (
        f"{_HEART} ~ (normal|unremarkable)",
        f"{_HEART} ({_WITH_HEART} ){{6,12}}(normal|unremarkable)",
        f"(normal|unremarkable) ~ {_HEART}",
    ),
    "pleural effusion": ("(pleural spaces|costophrenic \\w+) ~ (clear|sharp)",),
    "airspace opacity": ("lungs ~ clear", "clear lungs"),
    "pulmonary edema": ("vascul* ~ (normal|unremarkable)", "normal (pulmonary )?vascul*"),
    "fracture": ("(bones|bony|osseous|skelet*) ~ (intact|unremarkable|normal)",),
    "degenerative spine": ("(bones|bony|osseous|skelet*) ~ (unremarkable|normal)",),
}

NEGATED_AFTER = (  # the words that deny what follows them
    "no|not|without|negative for|free (of|from)|clear of|clearing of|absence of|lack of|resolution of|removal of"
    "|neither|nor|rather than"
)
NEGATED_BEFORE = (  # and those that deny what precedes them
    "(not|no longer) ~ (seen|identified|present|visuali*|evident|appreciated|demonstrated)"
    "(?! (on|in|at) (the |a )?(prior|previous|earlier|recent|old|lateral|frontal))"
    "|resolved|absent|removed|(has|have) cleared|ruled out|within limits of normal"
)
DOUBTED = (
    "may|might|could|possib*|probabl*|likely|suggest*|question*|suspicious|suspect*|concern*|versus|vs|cannot|excluded"
    "|favor*|borderline|or|andor"
)
# A denial of what follows reaches no further than these, one of what precedes no further back than the first five.
CONTRAST = "but|however|although|though|except"
SCOPE_END = (
    f"{CONTRAST}|aside from|apart from|other than|with the exception|otherwise|which"
    "|is|are|was|were|has|have|appear|appears|remain|remains"
)
# Phrases that look like a denial and are none: they say that all is as before, or doubt.
NO_CHANGE = (
    "(no|not|without) (significant |significantly |definite |substantial )?(interval )?(change|changed|increase)"
)
NOT_EXCLUDED = "not (be )?(entirely |completely |definitely )?(excluded|ruled out)"

BILATERAL = "(bilateral*|both|bi ?(basilar|basal|apical)|bases|apices|sulci|(hemi)?diaphragms)"
LEFT = "(left(?! (ventric|atri|heart|lateral decub))|lingula|levo)*"
RIGHT = "(right(?! (ventric|atri|heart|lateral decub))|dextro)*"


def compile_phrase(phrase: str) -> re.Pattern[str]:
    """The phrase as a pattern over words separated by single spaces."""
    # "heart size normal with large effusion" must not join its ends.
    words = phrase.replace(" ~ ", r"(?: (?!normal|unremarkable|clear)\w+){0,5}? ")
    words = re.sub(r"(?<=[\w)])\*|(?<![\w)])\*(?=[\w(])", lambda _: r"\w*", words)
    return re.compile(rf"\b(?:{words})\b")
