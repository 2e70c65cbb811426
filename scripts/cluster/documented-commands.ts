/**
 * Returns the lists of commands that a document asks its readers to paste. These are the fenced blocks below a line
 * `<!-- pasted: NAME -->`. Blocks with the same name form one list, in their order.
 */
export function documentedCommands(markdown: string): Map<string, string> {
  const lists = new Map<string, string>();
  for (const [, name = '', block = ''] of markdown.matchAll(/^<!-- pasted: ([\w-]+) -->\n```\w*\n([\s\S]*?)^```$/gm))
    lists.set(name, (lists.get(name) ?? '') + block);
  return lists;
}

/** Returns the commands in the notes of a Helm installation: indented lines that begin with a program. */
export function commandsOfNotes(notes: string): string {
  const lines = notes.split('\n').filter((line) => /^ {2}(?:helm|kubectl|curl|kill) /.test(line));
  return lines.map((line) => `${line.trim()}\n`).join('');
}
