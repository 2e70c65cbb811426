/**
 * The lists of commands that a document asks its readers to paste: fenced blocks below a line `<!-- pasted: NAME -->`.
 * Blocks of one name are one list, in their order.
 */
export function documentedCommands(markdown: string): Map<string, string> {
  const lists = new Map<string, string>();
  for (const [, name = '', block = ''] of markdown.matchAll(/^<!-- pasted: ([\w-]+) -->\n```\w*\n([\s\S]*?)^```$/gm))
    lists.set(name, (lists.get(name) ?? '') + block);
  return lists;
}

/** The commands among the notes that Helm prints after an installation: what is indented and begins with a program. */
export function commandsOfNotes(notes: string): string {
  const lines = notes.split('\n').filter((line) => /^ {2}(?:helm|kubectl|curl|kill) /.test(line));
  return lines.map((line) => `${line.trim()}\n`).join('');
}
