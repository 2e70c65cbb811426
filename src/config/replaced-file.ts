import { readFileSync } from 'node:fs';

/**
 * What a file holds now, without white space at its ends. It may be read in the moment in which it is
 * replaced: where it is away, or `isWhole` refuses its text, the answer is what it held last.
 * @param initial the answer until the file has been read once
 */
export function newestText(path: string, initial: string, isWhole: (text: string) => boolean): () => string {
  let known = initial;
  return () => {
    try {
      const text = readFileSync(path, 'utf8').trim();
      if (isWhole(text)) known = text;
    } catch {
      // What was known goes on serving; the server will say if it is out of date.
    }
    return known;
  };
}
