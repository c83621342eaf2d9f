/** The studies of this visit. They are kept in sessionStorage, which no other tab sees and which ends with this one:
 * IndexedDB and localStorage would leave a patient's film behind on a shared machine. */
import { kept, restored } from "./pictures.js";

const KEY = "history";
const SIDE = 512; // what a picture is reduced to; the files themselves are kept while the page is
const studies = new Map();
let entries = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");

/** Newest first: {answer, names, pictures}. */
export const all = () => entries;

/** Remembers an answer with its study: {files, pictures}. When there is no more room the oldest goes. */
export function remember(answer, study) {
  studies.set(answer.id, study);
  const pictures = study.pictures.map((picture) => kept(picture, SIDE));
  entries = [{ answer, names: study.files.map(({ name }) => name), pictures }, ...entries];
  for (; entries.length; entries = entries.slice(0, -1)) {
    try {
      return void sessionStorage.setItem(KEY, JSON.stringify(entries));
    } catch { /* it is full */ }
  }
}

/** The study of an entry. After the page was loaded anew it has no files: what was sent is gone. */
export async function studyOf({ answer, pictures }) {
  return studies.get(answer.id) ?? { files: [], pictures: await Promise.all(pictures.map(restored)) };
}
