/**
 * Where an absolute path begins: `/`, `C:\`, `\\server\`, `file:///`. The slashes of `http://host/a`, of `./a` and of
 * `3/4` do not count.
 */
const BEGINNING =
  /\bfile:[\\/]*(?:[A-Za-z]:[\\/])?|(?<![\w.:/\\~-])\\\\|(?<!\w)[A-Za-z]:[\\/]|(?<![\w./\\~-])[\\/](?=[^\\/\s*])/gi;
/** Directories that follow, up to white space or a quote. */
const DIRECTORIES = /(?:[^\s"'`\\/]+[\\/]+)+/y;
const QUOTES = '"\'`';

/** A line such as `    at run (/app/tasks.js:1:2)` or `    at async file:///app/tasks.js:1:2`. */
const FRAME = /^(\s+at (?:async )?)(.*)$/;
/** The same without the white space at its beginning. It has to end with the line of a script. */
const BARE_FRAME = /^(at (?:async )?)(.*:\d+(?::\d+)?\)*\s*)$/;
/** A frame that ends with the line of a script, or that was cut off. */
const WHOLE_OR_CUT = /(?::\d+(?::\d+)?\)*\s*|…)$/;
/** What ends a text that was cut off when it was recorded. */
const CUT = '…';

/** Leaves of every path in a stack trace only the name of its file. Node's own modules keep their names. */
export function stackWithoutPaths(stack: string): string {
  return stack
    .split('\n')
    .map((line) => {
      const [, head, place] = FRAME.exec(line) ?? BARE_FRAME.exec(line) ?? [];
      return head === undefined || place === undefined ? proseWithoutPaths(line) : head + frameWithoutPaths(place);
    })
    .join('\n');
}

/**
 * Does the same to the frames in a message, because some errors quote the stack trace of another one. The other lines of a
 * message stay as the author of the handler wrote them.
 */
export function messageWithoutFramePaths(message: string): string {
  if (!message.includes('at ')) return message;
  return message
    .split('\n')
    .map((line) => {
      const [, head, place] = FRAME.exec(line) ?? BARE_FRAME.exec(line) ?? [];
      if (head === undefined || place === undefined || !WHOLE_OR_CUT.test(place)) return line;
      return head + frameWithoutPaths(place);
    })
    .join('\n');
}

/**
 * The path in a frame may contain anything, white space and parentheses too. So everything goes from where the first
 * path begins to the last slash.
 */
function frameWithoutPaths(place: string): string {
  if (place.startsWith('node:')) return place;
  const [absolute] = place.matchAll(BEGINNING);
  const from = absolute?.index ?? beginningOfRelative(place);
  const to = Math.max(place.lastIndexOf('/'), place.lastIndexOf('\\')) + 1;
  if (to <= from) return place;
  // A frame that was cut off may end within the name of a directory.
  return place.slice(0, from) + (place.endsWith(CUT) ? CUT : place.slice(to));
}

/** Returns where the location of a frame begins that has no absolute path, such as `run (webpack://app/run.js:1:2)`. */
function beginningOfRelative(place: string): number {
  const open = place.indexOf(' (') + 2;
  if (open < 2) return 0;
  return place.startsWith('node:', open) ? place.length : open;
}

/** A path in quotes may contain white space; any other ends there. */
function proseWithoutPaths(line: string): string {
  let shown = '';
  let copied = 0;
  for (const { index, 0: beginning } of line.matchAll(BEGINNING)) {
    if (index < copied) continue;
    const end = endOfDirectories(line, index, beginning.length);
    if (end === null) continue;
    shown += line.slice(copied, index);
    if (end === line.length) return shown + CUT;
    copied = end;
  }
  return shown + line.slice(copied);
}

/** Returns the position behind the directories of the path that begins at `from`; null if there are none. */
function endOfDirectories(line: string, from: number, length: number): number | null {
  const quote = line.charAt(from - 1);
  const isQuoted = quote !== '' && QUOTES.includes(quote);
  const close = isQuoted ? line.indexOf(quote, from) : -1;
  if (close !== -1) {
    const last = Math.max(line.lastIndexOf('/', close), line.lastIndexOf('\\', close)) + 1;
    return last > from + length ? last : null;
  }
  DIRECTORIES.lastIndex = from + length;
  const end = DIRECTORIES.test(line) ? DIRECTORIES.lastIndex : null;
  // The rest of a line that was cut off within a path may be part of a directory's name.
  if (line.endsWith(CUT) && (isQuoted || !/\s/.test(line.slice(end ?? from)))) return line.length;
  return end;
}
