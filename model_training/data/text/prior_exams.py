"""Sentences that speak of an earlier examination, which a model that sees one examination can only make up.

`mentions_prior_exam` finds them; `rewrite` keeps what such a sentence says of the image ("Stable cardiomegaly." becomes
"Cardiomegaly.") and gives up the sentence where nothing would be left or the meaning might change.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from model_training.data.text.deidentification import holds_mark

_EXAMINATION = r"(?:exam\w*|stud(?:y|ies)|radiographs?|films?|x-rays?|imag(?:es?|ing)|ct|mri|scans?|reports?|xxxx)\b"
# History a present image shows ("prior sternotomy", "previous granulomatous disease") is no earlier examination.
_PRIOR = re.compile(
    rf"""\b(?:
      compar(?:ed?|ing|isons?)\b(?!\ (?:to|with)\ (?:the\ )?(?:left|right|opposite|contralateral))
    | (?:prior|previous)\s(?:[\w-]+\s){{0,2}}?{_EXAMINATION}
    | (?:recent|outside|earlier|old)\s(?:[\w-]+\s)?{_EXAMINATION}
    | (?:from|to|with|than|since|on)\s(?:the\s|a\s)?(?:priors?|previous)(?=\s*(?:[.,;)]|$|and\b))
    | previously | since | unchanged | stab(?:le|ility) | again | redemonstrat\w+ | persist\w* | continued | remains?
    | (?<!appropriate\ )(?<!short\ )(?<!treatment\ )interval(?!\s(?:follow|film|radiograph|imag))
    | (?:no|without|any|significant|interval)\s(?:(?:significant|interval|definite|appreciable)\s)*change
    | improv(?:ed|ing|ement) | worsen(?:ed|ing) | resolv(?:ed|ing) | progress(?:ed|ion|ive|ing) | ^resolution
    | (?:in|de)creas(?:ed?|ing)\s(?:in\s(?:size|number)|since|from|when|as)
    | (?:has|have)\s(?:been\s)?(?:removed|cleared|developed|exchanged|(?:in|de)creased)
    | similar(?:ly)?(?=[\s-]appear|\s(?:to|in\sappearance)\b|[.,;]|$) | today's | new(?:ly)? | now | no\slonger
    | dating\sback
    )(?!\w)""",
    re.IGNORECASE | re.VERBOSE,
)

# What makes the rest of a sentence worth keeping: a finding, a device, or a judgement, not anatomy alone.
_OBSERVATION = re.compile(
    r"megaly|enlarg|opaci|densit|infiltrat|consolidat|airspace|air space|atelecta|effusion|pneumo|edema|congest|scar"
    r"|fibro|granulom|calcif|atheroscl|tortuo|ectas|ectatic|aneurysm|uncoil|nodul|mass\b|masses|emphysem|copd|hyper"
    r"|hypo|kypho|scolio|degenerat|spondyl|osteo|arthr|fractur|deformit|wedg|compress|elevat|eventrat|flatten|blunt"
    r"|thicken|promin|hernia|lucen|bulla|bleb|bronchi|interstiti|marking|cathet|\bline\b|tube|pacemak|pacer|generator"
    r"|\bleads?\b|clip|wire|sternot|cabg|surg|operat|resect|mastect|stent|valve|prosthe|fusion|screw|\brods?\b|\bport"
    r"|device|stimulator|bullet|foreign|normal|unremarkable|clear|within|intact|\bno\b|without|free of|disease|process"
    r"|adenopath|cyst|widen|listhesis|loss|unfold|capping|narrow|demineral|obscur|fluid|shift|deviat"
    r"|curvature|ectomy|mild|moderate|severe|large|small|\blow\b",
    re.IGNORECASE,
)

_SAME = r"(?:stable|unchanged|similar(?: in appearance)?|without (?:significant |interval )*change)"
_LINK = (
    r"(?:(?:is|are|was|were|appears?|remains?|has|have|and|but|both|also|overall|grossly|essentially|relatively|largely"
    r"|again|which|not significantly)\s+){0,5}"
)
_NEGATED = re.compile(
    r"\b(?:no|not|without|nor|never)\b[^,;]*\b(?:stable|new|persist\w*|again|continued)\b", re.IGNORECASE
)


def mentions_prior_exam(text: str) -> bool:
    """Whether any of the text is about an earlier examination or a change since."""
    return _PRIOR.search(text) is not None


def rewrite(sentence: str) -> str:
    """The sentence without its comparison; empty when it is about nothing else."""
    if not mentions_prior_exam(sentence):
        return sentence
    if _NEGATED.search(sentence):  # "no new opacity" is no "no opacity"
        return ""
    for pattern, replacement in _REWRITES:
        sentence = pattern.sub(replacement, sentence).strip()
    if mentions_prior_exam(sentence) or not _OBSERVATION.search(sentence):
        return ""
    return sentence[0].upper() + sentence[1:]


def _unless_observed(match: re.Match[str]) -> str:
    """Drops a clause on anatomy alone: in "normal heart size, stable contours" the contours say nothing any more."""
    return match[0] if _OBSERVATION.search(match[0]) or holds_mark(match[0]) else ""


def _article(match: re.Match[str]) -> str:
    """The article that suits the word after the adjective dropped."""
    article = "an" if match["next"].lower() in "aeiou" else "a"
    return (article.capitalize() if match["article"][0].isupper() else article) + " " + match["next"]


_CHANGE = r"(?:stable|unchanged|persistent(?:ly)?|continued|similar|redemonstrated|new(?:ly)?|(?:once )?again)"
_ADJECTIVE = rf"(?:(?:grossly|overall|essentially|relatively)\s)?{_CHANGE}(?:[\s-]appearing)?,?"
_SEEN = r"(?:noted|seen|demonstrated|identified|visualized)"
_RULES: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    # whole clauses on anatomy alone
    (rf"(?:,| with| and| but)\s+(?:an?\s|the\s)?(?:grossly\s)?{_SAME}\s(?!and|but)[^,;.]*", _unless_observed),
    (rf"^(?:grossly\s)?{_SAME}\s[^,;.]*?(?:,\s*|\swith\s)(?=\w)", _unless_observed),
    (rf"^[^,;.]*?\s(?:is|are|appears?)\s{_LINK}{_SAME}(?:,|\swith)\s(?=\w)", _unless_observed),
    # ", unchanged from prior." and "are stable."
    (r"[\s,]+in (?:stable|unchanged) position\b", ""),
    (rf"[\s,;]+{_LINK}{_SAME}\s(?:(?:from|since|as|compared|to)\s(?:(?!\bwith\b)[^,;])*?)?(?=with\b)", " "),
    (rf"[\s,;]+{_LINK}{_SAME}(?:\s+(?:in|from|since|as|when|compared|to|over)\b[^,;]*?)?\s*(?=,|[.;]?$)", ""),
    # "Again seen are …", "No change in …", "Stable appearance of the …", "Interval development of …"
    (rf"^(?:once )?again,? {_SEEN}(?: and)? (?:is |are |there is |there are )?", ""),
    (r"^(?:there is )?(?:redemonstration of|redemonstrated (?:is|are)) (?:the |an? )?", ""),
    (r"\b(is|are) redemonstrated\b", r"\1 seen"),
    (r"^(?:there (?:is|has been) )?no (?:significant |interval )*change in (?:the |an? )?(?!position|appear|size)", ""),
    (r"^(?:there (?:is|has been) )?(?:the )?interval (?:development|placement) of (?:the |an? )?", ""),
    (rf"\b(?:grossly )?{_SAME}\s(?:appearance|position|configuration)(?:\sof)?\s(?:the\s|an?\s)?", ""),
    # adjectives and adverbs
    (rf"\b{_ADJECTIVE} (?:and|but) ", ""),
    (rf"(?<=normal) and {_SAME}(?= \w)", ""),
    (rf"\b(?P<article>an?)\s(?:{_ADJECTIVE}\s)+(?P<next>\w)", _article),
    (rf"\b{_ADJECTIVE}\s+(?=\w)", ""),
    (r"\s+again(?=[.,;]|$)", ""),
    # verbs
    (r"\s+(?:remains?|persists?)(?=[.,;]|$)", ""),
    (r"\bremains(?= \w)", "is"),
    (r"\bremain(?= \w)", "are"),
    (r"\bpersists(?= \w)", "is present"),
    (r"\bpersist(?= \w)", "are present"),
]
_REWRITES = [(re.compile(pattern, re.IGNORECASE), replacement) for pattern, replacement in _RULES]
