import type { RecordedError } from '../recorded-error.ts';
import type { Client } from './client.ts';
import { createRedactJson, REDACTED, type RedactJson } from './redact-json.ts';
import { createRedactedFields, insideOf, type RedactedFields, type RedactionRule } from './redacted-fields.ts';
import type { PathStep } from './redaction-path.ts';
import { messageWithoutFramePaths, stackWithoutPaths } from './stack-paths.ts';

/** The parts of a task in which something can be hidden. */
export type TaskPart = 'payload' | 'result' | 'progress' | 'metadata';

/** Says in an answer what of it is hidden. */
export interface Mark {
  /** Whoever asked sees no contents at all. It does not depend on the row, which could be seen from it otherwise. */
  readonly redacted?: true;
  /** Where `"[redacted]"` stands in place of a value: `payload.card.number`, `metadata.customer`. */
  readonly redacted_fields?: readonly string[];
}

/** Parts of a task as they are shown, as JSON text, and the mark of the answer that shows them. */
export interface ShownParts<Part extends TaskPart> {
  readonly parts: Readonly<Record<Part, string | null>>;
  readonly mark: Mark;
}

/** What a filter looks at that is hidden from some. */
export interface HidingFilter {
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly error_contains?: string | undefined;
}

/**
 * What a client sees of a task, an attempt or a dead letter. Everything that leaves the scheduler goes through it:
 * answers, lists, events, exports. The one exception is the route that reveals a task, which is for this. All texts are
 * JSON.
 */
export interface Projection {
  /** Whether payloads, results, progress and the texts of errors are shown. */
  readonly contents: boolean;
  /** Whether the stacks of errors are shown with the directories of the server. */
  readonly directories: boolean;
  /** Whether it depends on the action of a task what is shown of its contents. */
  readonly needsAction: boolean;
  /** The mark of an answer in which only contents can be hidden. */
  readonly mark: Mark;
  /** Returns parts of a task, without what is hidden of them. */
  show<Part extends TaskPart>(
    action: string | null,
    stored: Readonly<Record<Part, string | null | undefined>>,
  ): ShownParts<Part>;
  /**
   * Returns the JSON of a task for the client that has submitted it. It repeats the payload, which the client knows, except
   * for the fields that are hidden from everybody.
   * @returns null if nothing is hidden
   */
  submitted(action: string | null, task: () => string): string | null;
  /** Returns a recorded error, without what is hidden of it. */
  error(text: string | null): string | null;
  /** Returns the recorded error in the entry of a list that was parsed already. */
  errorValue(value: unknown): unknown;
  /** Returns the first part of a filter that looks at something hidden, as the request names it; null if none does. */
  hiddenPartOf(filter: HidingFilter): string | null;
  /** Returns the details of a row of the audit log. Filters by something hidden tell what is in it. */
  auditDetails(details: unknown): { readonly details: unknown; readonly mark: Mark };
}

/** What the settings hide. */
export interface PrivacyRules {
  readonly redactedFields: readonly RedactionRule[];
  /** The members of metadata whose values only clients with the scope `payload` see. */
  readonly privateMetadata: PrivateMetadata;
}

export interface PrivateMetadata {
  readonly all: boolean;
  readonly names: readonly string[];
}

export type ProjectionOf = (client: Pick<Client, 'scopes'>) => Projection;

/** Says whether a client sees payloads, results, progress and the texts of errors. */
export function seesContents({ scopes }: Pick<Client, 'scopes'>): boolean {
  return scopes.has('payload');
}

/**
 * Makes the function that says what a client sees. Without the scope `payload`, it sees of an error only its class and its
 * code. The paths of the server's files in stack traces are for clients with the scope `admin`.
 */
export function createProjections({ redactedFields, privateMetadata }: PrivacyRules): ProjectionOf {
  const fields = createRedactedFields(redactedFields);
  const needsAction = redactedFields.length > 0;
  const withoutContents = projection({
    sight: { contents: false, directories: false, needsAction: false },
    fields,
    metadata: metadataRedaction(privateMetadata),
    project: withoutTexts,
  });
  const withoutPaths = projection({
    sight: { contents: true, directories: false, needsAction },
    fields,
    metadata: null,
    project: withoutDirectories,
  });
  const whole = projection({
    sight: { contents: true, directories: true, needsAction },
    fields,
    metadata: null,
    project: null,
  });
  return (client) => {
    if (!seesContents(client)) return withoutContents;
    return client.scopes.has('admin') ? whole : withoutPaths;
  };
}

interface MetadataRedaction {
  readonly isPrivate: (name: string) => boolean;
  /** In the JSON of metadata. */
  readonly own: RedactJson;
  /** In the JSON of a task. */
  readonly task: RedactJson;
}

function metadataRedaction({ all, names }: PrivateMetadata): MetadataRedaction | null {
  if (!all && names.length === 0) return null;
  const steps: PathStep[] = all ? [{ kind: 'every' }] : names.map((key) => ({ kind: 'child', key }));
  const paths = steps.map((step) => ({ text: step.kind === 'child' ? `$.${step.key}` : '$.*', steps: [step] }));
  const known = new Set(names);
  return {
    isPrivate: (name) => all || known.has(name),
    own: createRedactJson(paths),
    task: createRedactJson(
      paths.map((path) => insideOf('metadata', path.text, path.steps)),
      1,
    ),
  };
}

interface ProjectionParts {
  readonly sight: Pick<Projection, 'contents' | 'directories' | 'needsAction'>;
  readonly fields: RedactedFields;
  /** Null if all metadata are shown. */
  readonly metadata: MetadataRedaction | null;
  /** Returns what is left of one level of an error; null if everything is. */
  readonly project: ((error: RecordedError) => Partial<RecordedError>) | null;
}

function projection({ sight, fields, metadata, project }: ProjectionParts): Projection {
  const mark: Mark = sight.contents ? {} : { redacted: true };
  const errorValue = (value: unknown): unknown => (project === null ? value : projected(value, project, 0));
  const redactionOf = (part: TaskPart, action: string | null): RedactJson | null =>
    part === 'metadata' ? (metadata?.own ?? null) : (fields.of(action)?.content ?? null);
  const hiddenPartOf = ({ metadata: members = {}, error_contains }: HidingFilter): string | null => {
    const member = metadata === null ? undefined : Object.keys(members).find(metadata.isPrivate);
    if (member !== undefined) return `metadata.${member}`;
    return error_contains !== undefined && !sight.contents ? 'error_contains' : null;
  };

  return {
    ...sight,
    mark,
    show(action, stored) {
      const hits: string[] = [];
      const shown = Object.entries<string | null | undefined>(stored).map(([part, text]) => {
        if (text == null || (part !== 'metadata' && !sight.contents)) return [part, null];
        const redact = redactionOf(part as TaskPart, action);
        if (redact === null) return [part, text];
        const redacted = redact(text);
        hits.push(...redacted.paths.map((path) => part + path.text.slice(1)));
        return [part, redacted.text];
      });
      return { parts: Object.fromEntries(shown) as never, mark: withFields(mark, hits) };
    },
    submitted(action, task) {
      const steps = [fields.of(action)?.task, metadata?.task].filter((redact) => redact !== undefined);
      if (steps.length === 0) return null;
      const hits: string[] = [];
      const text = steps.reduce((json, redact) => {
        const redacted = redact(json);
        hits.push(...redacted.paths.map((path) => path.text.slice('$.'.length)));
        return redacted.text;
      }, task());
      return hits.length === 0 ? text : `${text.slice(0, -1)},"redacted_fields":${JSON.stringify(hits)}}`;
    },
    errorValue,
    error: (text) => (text === null || project === null ? text : JSON.stringify(errorValue(JSON.parse(text)))),
    hiddenPartOf,
    auditDetails(details) {
      const filter = filterIn(details);
      if (filter === null) return { details, mark: {} };
      const hidden = Object.keys(filter).filter((name) => hiddenPartOf({ [name]: filter[name] }) !== null);
      if (hidden.length === 0) return { details, mark: {} };
      const shown = { ...filter, ...Object.fromEntries(hidden.map((name) => [name, REDACTED])) };
      return {
        details: { ...(details as object), filter: shown },
        mark: withFields(
          {},
          hidden.map((name) => `details.filter.${name}`),
        ),
      };
    },
  };
}

function withFields(mark: Mark, hits: readonly string[]): Mark {
  return hits.length === 0 ? mark : { ...mark, redacted_fields: [...new Set(hits)] };
}

function filterIn(details: unknown): Readonly<Record<string, unknown>> | null {
  const filter = typeof details === 'object' && details !== null ? (details as { filter?: unknown }).filter : null;
  return typeof filter === 'object' ? (filter as Readonly<Record<string, unknown>> | null) : null;
}

/** Causes below this level are left out. Errors are recorded with fewer levels. */
const DEPTH_MAX = 8;

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

function withoutDirectories(error: RecordedError): Partial<RecordedError> {
  const { message, stack } = error;
  return {
    ...withoutTexts(error),
    ...(typeof message === 'string' ? { message: messageWithoutFramePaths(message) } : {}),
    ...(typeof stack === 'string' ? { stack: stackWithoutPaths(stack) } : {}),
  };
}
