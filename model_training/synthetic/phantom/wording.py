"""The sentences of phantom reports, by what they say, in the manner of the Indiana University reports but our own."""

ADVERB = {"mild": "mildly", "moderate": "moderately", "severe": "severely"}
LOOKS = {"small": ("patchy", "focal"), "moderate": ("patchy", "focal"), "large": ("large", "dense")}  # of opacities

# By finding, or by kind of device. Any field may be blank; what opens a sentence is capitalised when it is filled in.
PRESENT: dict[str, tuple[str, ...]] = {
    "cardiomegaly": (
        "The heart is {adverb} enlarged.",
        "The cardiac silhouette is {adverb} enlarged.",
        "Heart size is {adverb} enlarged.",
        "There is {size} cardiomegaly.",
        "{size} cardiomegaly.",
        "{size} enlargement of the cardiac silhouette.",
    ),
    "pleural effusion": (
        "There is a {size} {side} pleural effusion.",
        "{size} {side} pleural effusion.",
        "{size} {side}-sided pleural effusion.",
        "A {size} pleural effusion is present on the {side}.",
        "A {size} {side} pleural effusion forms a meniscus along the chest wall.",
    ),
    "airspace opacity": (
        "There is a {look} airspace opacity in the {location}.",
        "There is {look} airspace disease in the {location}.",
        "There is {look} consolidation in the {location}.",
        "{look} airspace opacity in the {location}.",
        "{look} consolidation in the {location}.",
        "{look} opacity is seen in the {location}.",
        "{look} {location} airspace disease.",
    ),
    "nodule": (
        "There is a {size} nodule in the {location}.",
        "There is a {size} round nodule in the {location}.",
        "A {size} pulmonary nodule is seen in the {location}.",
        "{size} nodule in the {location}.",
        "{size} {location} nodule.",
        "There is a {measure} cm nodule in the {location}.",
    ),
    "pneumothorax": (
        "There is a {size} {side} pneumothorax.",
        "There is a {size} {side} apical pneumothorax.",
        "{size} {side} pneumothorax.",
        "{size} {side}-sided pneumothorax.",
        "A {size} pneumothorax is present on the {side}.",
    ),
    "elevated diaphragm": (
        "The {side} hemidiaphragm is {adverb} elevated.",
        "There is {size} elevation of the {side} hemidiaphragm.",
        "Elevation of the {side} hemidiaphragm.",
        "{size} elevation of the {side} hemidiaphragm.",
        "{adverb} elevated {side} hemidiaphragm.",
    ),
    "pacemaker": (
        "{side}-sided pacemaker with lead in the right ventricle.",
        "There is a {side}-sided pacemaker with lead tip in the right ventricle.",
        "{side} chest wall pacemaker with lead in the right ventricle.",
        "A {side} chest pacemaker is in place.",
    ),
    "port": (
        "{side} chest port with catheter tip in the superior vena cava.",
        "There is a {side}-sided chest port with tip in the SVC.",
        "{side} chest wall port with catheter tip in the SVC.",
        "A {side} chest port is in place.",
    ),
    "central line": (
        "{side} central venous catheter with tip in the superior vena cava.",
        "There is a {side}-sided central venous catheter with tip in the SVC.",
        "{side} central line with tip in the SVC.",
        "A {side}-sided central venous catheter is in place.",
    ),
}
# What calls for action comes first.
IMPRESSION: dict[str, tuple[str, ...]] = {
    "pneumothorax": ("{size} {side} pneumothorax.", "{size} {side} apical pneumothorax."),
    "airspace opacity": (
        "{look} {location} airspace disease.",
        "{location} consolidation.",
        "{location} airspace opacity, concerning for pneumonia.",
        "{location} pneumonia.",
    ),
    "pleural effusion": ("{size} {side} pleural effusion.", "{size} {side}-sided pleural effusion."),
    "nodule": (
        "{size} {location} nodule.",
        "{location} nodule.",
        "{location} nodule. Recommend CT for further evaluation.",
    ),
    "cardiomegaly": ("{size} cardiomegaly.", "{adverb} enlarged heart."),
    "elevated diaphragm": ("Elevated {side} hemidiaphragm.", "{size} elevation of the {side} hemidiaphragm."),
    "pacemaker": ("{side}-sided pacemaker in place.", "{side} chest pacemaker."),
    "port": ("{side} chest port in place.", "{side}-sided chest port."),
    "central line": ("{side} central venous catheter in place.", "{side}-sided central line in the SVC."),
}
CODES = {
    "cardiomegaly": "Cardiomegaly/{size}",
    "pleural effusion": "Pleural Effusion/{side}/{size}",
    "airspace opacity": "Airspace Disease/lung/{lobe}/{side}",
    "nodule": "Nodule/lung/{lobe}/{side}",
    "pneumothorax": "Pneumothorax/{side}/{size}",
    "elevated diaphragm": "Diaphragm/{side}/elevated/{size}",
    "pacemaker": "Implanted Medical Device/{side}",
    "port": "Catheters, Indwelling/{side}",
    "central line": "Catheters, Indwelling/{side}",
}
HEART_NORMAL = (
    "The heart is normal in size.",
    "Heart size is normal.",
    "Normal heart size.",
    "Heart size is within normal limits.",
    "The cardiac silhouette is normal in size.",
    "The cardiomediastinal silhouette is within normal limits.",
    "The heart size and mediastinal contours are within normal limits.",
)
MEDIASTINUM = (
    "The mediastinum is unremarkable.",
    "Mediastinal contours are normal.",
    "Mediastinal contours are within normal limits.",
    "Pulmonary vascularity is within normal limits.",
    "The pulmonary vasculature is normal.",
)
LUNGS_CLEAR = (
    "The lungs are clear.",
    "Lungs are clear bilaterally.",
    "Both lungs are clear and well expanded.",
    "The lungs are clear and well expanded.",
)
BONES = (
    "The bony structures are intact.",
    "No acute bony abnormality.",
    "The osseous structures are intact.",
    "The visualized bony thorax is intact.",
    "No acute osseous abnormality is seen.",
)
DENIED = {
    "airspace opacity": ("focal consolidation", "focal airspace disease", "focal airspace opacity"),
    "pleural effusion": ("pleural effusion", "effusion"),
    "pneumothorax": ("pneumothorax",),
}
DENIALS = (
    "No {list}.",
    "There is no {list}.",
    "There is no evidence of {list}.",
    "No {list} is seen.",
    "No evidence of {list}.",
)
OTHER_DENIALS = {
    "nodule": "No suspicious pulmonary nodule.",
    "elevated diaphragm": "The diaphragm is normal in position.",
}
NORMAL_IMPRESSION = (
    "No acute cardiopulmonary abnormality.",
    "No acute cardiopulmonary abnormality identified.",
    "No acute cardiopulmonary disease.",
    "No acute cardiopulmonary findings.",
    "No evidence of active disease.",
    "No acute pulmonary disease.",
    "Normal chest x-ray.",
    "Negative chest.",
)
NOT_ACUTE = ("No acute pulmonary disease.", "No acute cardiopulmonary abnormality.", "No acute disease.")
INDICATIONS = (
    "Chest pain.", "Shortness of breath.", "Dyspnea.", "Cough.", "Cough and fever.", "Preoperative evaluation.",
    "Syncope.", "Weakness.", "Positive TB test.", "Hypertension.", "Trauma.", "Fever."
)  # fmt: skip
