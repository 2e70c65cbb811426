import { readFileSync } from 'node:fs';

/**
 * Returns a function that reads a file and trims its text. The file may be missing or incomplete while it is being
 * replaced. If it cannot be read, or `isWhole` refuses its text, the function returns the last good text.
 * @param initial the text to return until the file has been read once
 */
export function newestText(path: string, initial: string, isWhole: (text: string) => boolean): () => string {
  let known = initial;
  return () => {
    try {
      const text = readFileSync(path, 'utf8').trim();
      if (isWhole(text)) known = text;
    } catch {
      // Use the last known text. If it is out of date, the server will refuse it.
    }
    return known;
  };
}
