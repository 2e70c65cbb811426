import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { commandsOfNotes, documentedCommands } from './documented-commands.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

describe('documentedCommands', () => {
  it('returns the marked blocks unchanged', () => {
    const text =
      '```\nnot this\n```\n<!-- pasted: a -->\n```\nhelm \\\n  test\n```\n\n<!-- pasted: a -->\n```sh\nmore\n```\n';
    expect(documentedCommands(text)).toEqual(new Map([['a', 'helm \\\n  test\nmore\n']]));
  });

  it.each(['README.md', 'docs/kubernetes.md', 'charts/scheduler/README.md'])(
    '%s: a test runs every command that installs, except those that need an AWS account',
    (path) => {
      const text = read(path);
      const lists = [...documentedCommands(text).values()];
      expect(lists).not.toEqual([]);
      const blocks = [...text.matchAll(/^```\w*\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block);
      const installing = blocks.filter((block) => block.includes('helm install') && !block.includes('values-eks'));
      for (const block of installing) expect(lists.join('')).toContain(block);
    },
  );

  it('no command waits for a fixed time or forever', () => {
    for (const path of ['README.md', 'docs/kubernetes.md', 'charts/scheduler/README.md'])
      for (const list of documentedCommands(read(path)).values()) {
        expect(list).not.toMatch(/\bsleep\b|--watch/);
        // A port-forward has to run in the background. Otherwise the next line would never run.
        expect(list).not.toMatch(/port-forward[^\n]*[^&\n]\n/);
      }
  });
});

describe('commandsOfNotes', () => {
  it('returns commands, but not prose or addresses', () => {
    expect(commandsOfNotes('Submit:\n  helm test r\n\nReach it:\n  kubectl x &\n  http://localhost\nhelm no\n')).toBe(
      'helm test r\nkubectl x &\n',
    );
  });
});
