import type { RecordedError } from '../recorded-error.ts';
import type { Client } from './client.ts';

/**
 * What a client sees of a task, an attempt or a dead letter. Everything that leaves the scheduler goes through it:
 * answers, lists, events, exports. All texts are JSON.
 */
export interface Projection {
  /** Whether payloads, results, progress and the texts of errors are shown. */
  readonly contents: boolean;
  /**
   * `{ redacted: true }` if something is hidden. It does not depend on the row, which could be seen from it otherwise.
   */
  readonly mark: { readonly redacted?: true };
  /** Returns a payload, a result or a progress; null if it is hidden. */
  content(text: string | null): string | null;
  /** Returns a recorded error, without what is hidden of it. */
  error(text: string | null): string | null;
  /** Returns the recorded error in the entry of a list that was parsed already. */
  errorValue(value: unknown): unknown;
}

/** Causes below this level are left out. Errors are recorded with fewer levels. */
const DEPTH_MAX = 8;

const EVERYTHING: Projection = {
  contents: true,
  mark: {},
  content: (text) => text,
  error: (text) => text,
  errorValue: (value) => value,
};

const WITHOUT_PATHS: Projection = projectErrors({ contents: true, mark: {}, content: (text) => text }, withoutPaths);

const WITHOUT_CONTENTS: Projection = projectErrors(
  { contents: false, mark: { redacted: true }, content: () => null },
  withoutTexts,
);

/**
 * Returns what a client sees. Without the scope `payload`, it sees of an error only its class and its code. The paths
 * of the server's files in stack traces are for clients with the scope `admin`.
 */
export function projectionOf({ scopes }: Pick<Client, 'scopes'>): Projection {
  if (!scopes.has('payload')) return WITHOUT_CONTENTS;
  return scopes.has('admin') ? EVERYTHING : WITHOUT_PATHS;
}

function projectErrors(
  rest: Pick<Projection, 'contents' | 'mark' | 'content'>,
  project: (error: RecordedError) => Partial<RecordedError>,
): Projection {
  const errorValue = (value: unknown): unknown => projected(value, project, 0);
  return {
    ...rest,
    errorValue,
    error: (text) => (text === null ? null : JSON.stringify(errorValue(JSON.parse(text)))),
  };
}

/** Makes a new error of what `project` leaves of each level. Whatever is not part of a recorded error is left out. */
function projected(
  value: unknown,
  project: (error: RecordedError) => Partial<RecordedError>,
  depth: number,
): Partial<RecordedError> | null {
  if (typeof value !== 'object' || value === null || depth > DEPTH_MAX) return null;
  const error = value as RecordedError;
  const cause = projected(error.cause, project, depth + 1) as RecordedError | null;
  const parts = Array.isArray(error.errors) ? (error.errors as readonly unknown[]) : [];
  const errors = parts.flatMap((part) => (projected(part, project, depth + 1) as RecordedError | null) ?? []);
  return {
    ...project(error),
    ...(cause === null ? {} : { cause }),
    ...(errors.length === 0 ? {} : { errors }),
  };
}

function withoutTexts({ name, code }: RecordedError): Partial<RecordedError> {
  return {
    ...(typeof name === 'string' ? { name } : {}),
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
  };
}

function withoutPaths(error: RecordedError): Partial<RecordedError> {
  const { message, stack } = error;
  return {
    ...withoutTexts(error),
    ...(typeof message === 'string' ? { message } : {}),
    ...(typeof stack === 'string' ? { stack: stackWithoutPaths(stack) } : {}),
  };
}

/** A line such as `    at run (/app/tasks.js:1:2)` or `    at async file:///app/tasks.js:1:2`, up to its location. */
const FRAME = /^(\s+at (?:[^\n]*? \(|async )?)([^\n]*)$/;
/**
 * Directories before the name of a file, anywhere in a line. The slashes of a URL such as `http://host/a` do not count.
 */
const DIRECTORIES = /(?:file:\/\/|(?<![\w.:/\\-]))(?:[A-Za-z]:)?[\\/](?:[^\s"'`()\\/]+[\\/])+/g;

/** Leaves of every path in a stack trace only the name of its file. Node's own modules keep their names. */
export function stackWithoutPaths(stack: string): string {
  return stack
    .split('\n')
    .map((line) => {
      const [, head, location] = FRAME.exec(line) ?? [];
      if (head === undefined || location === undefined) return line.replaceAll(DIRECTORIES, '');
      if (/^(?:async )?node:/.test(location)) return line;
      return head + location.slice(Math.max(location.lastIndexOf('/'), location.lastIndexOf('\\')) + 1);
    })
    .join('\n');
}
