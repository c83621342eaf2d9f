/** What to do about a refusal, by its type. */

const OTHER_FILE = "Export the image again as PNG, JPEG or uncompressed DICOM.";
const ADVICE = {
  "unsupported-media-type": "Choose PNG, JPEG or DICOM files. What a file is its content says, not its name.",
  "unsupported-transfer-syntax": OTHER_FILE,
  "corrupt-image": `The file did not arrive whole, or was saved so. ${OTHER_FILE}`,
  "no-pixel-data": "Choose the image itself: reports and presentation states have no pixels.",
  "multi-frame": "Send one frame as a file of its own.",
  "unsupported-modality": "Choose a radiograph (CR, DX) of the chest.",
  "not-a-chest-xray": "Choose a frontal chest radiograph, the film alone: no photo of a screen, no cutting.",
  "no-usable-view": "Add the frontal film of the same study.",
  "image-too-large": "Reduce the image; 2,000 pixels a side are more than the model looks at.",
  "payload-too-large": "Send fewer or smaller files.",
  "request-timeout": "The connection is slow. Try again, with fewer or smaller files.",
  "invalid-options": "Open the options, or set them back to their defaults.",
  "not-acceptable": "Take another form: text and JSON are always there.",
  "deadline-exceeded": "Try again in a while, with fewer beams if it lasts.",
  "overloaded": "Nothing is lost: your place is kept, and the page comes back by itself.",
  "rate-limited": "Nothing is lost: the page comes back by itself.",
  "model-not-ready": "It is being loaded. Look at the images meanwhile; the report follows by itself.",
  "draining": "The service restarts. The page comes back by itself.",
  "unreachable": "Check that the service runs, then try again.",
  "too-many-images": "Choose the views of one study only.",
};

/** A sentence on what to do. */
export const adviceFor = (type) => ADVICE[type] ?? "Try again. If it stays, say the request's id to who runs the service.";
