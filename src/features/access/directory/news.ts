/** Calls `onNew` for each text that was not among the texts of the time before, so that what lasts is told once. */
export function createNews(onNew: (text: string) => void) {
  let known: ReadonlySet<string> = new Set();
  return {
    tell(texts: readonly string[]): void {
      const before = known;
      known = new Set(texts);
      for (const text of known) if (!before.has(text)) onNew(text);
    },
  };
}
