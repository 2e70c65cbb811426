/** Calls `onNew` for each text that was not told the time before, so that a problem that lasts is logged once. */
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
