import { dirname, join, relative } from 'node:path';

/** One row of the table in docs/internals.md: what the files of a room may import. */
export interface Boundary {
  /** A directory or file below `src`, without a slash at its end. `features/*` stands for each directory of `features`. */
  readonly room: string;
  /** Directories with everything below them, and files. A `*` stands for one name. */
  readonly rooms: readonly string[];
  /** Packages. `@scope/*` stands for all packages of a scope. */
  readonly packages: readonly string[];
}

/** An import that the room of the file does not allow. */
export interface Trespass {
  /** Line number, from 1. */
  readonly line: number;
  readonly message: string;
}

/** May load a module whose path is only known at run time: a team's handlers. */
const LOADS_ANY_MODULE = 'handlers/team-handlers.ts';

const SECTION = /^## Where things are$([\s\S]*?)(?=^## |$(?![\s\S]))/m;
const ROW = /^\| ((?:`[a-z0-9.*/-]+`(?:, )?)+) \|[^|]*\| ([^|]+) \| ([^|]+) \|$/;

/**
 * Reads the table, which is the only place that says what may import what.
 * @throws Error naming a row that does not have the form of the others
 */
export function readBoundaries(markdown: string): readonly Boundary[] {
  const section = SECTION.exec(markdown)?.[1] ?? '';
  const lines = section.split('\n').filter((line) => line.startsWith('|'));
  // The first two lines are the head of the table.
  return lines.slice(2).flatMap((line) => {
    const [, names, rooms = '', packages = ''] = ROW.exec(line) ?? [];
    if (names === undefined) throw new Error(`docs/internals.md: a row of the table cannot be read: ${line}`);
    return [...names.matchAll(/`([^`]+?)\/?`/g)].map(([, room = '']) => ({
      room,
      rooms: listOf(rooms),
      packages: listOf(packages),
    }));
  });
}

function listOf(cell: string): string[] {
  const text = cell.trim();
  return text === 'none' ? [] : text.split(', ').map((word) => word.replaceAll('`', ''));
}

/**
 * Returns what a file imports and may not.
 * @param path below `src`
 */
export function trespassesIn(path: string, text: string, boundaries: readonly Boundary[]): Trespass[] {
  const own = boundaryOf(path, boundaries);
  if (own === null) return [{ line: 1, message: `docs/internals.md does not say what ${dirname(path)}/ may import` }];
  return importsIn(text).flatMap(({ at, target }) => {
    const line = text.slice(0, at).split('\n').length;
    if (target === null) {
      if (path === LOADS_ANY_MODULE) return [];
      return [{ line, message: 'import() takes a plain text, so that the table of imports can be enforced' }];
    }
    if (isAllowed(path, target, own)) return [];
    return [{ line, message: `${own.room} may not import ${target}: see the table in docs/internals.md` }];
  });
}

/** Imports and exports with their whole heads, however many lines they have. */
const STATIC = /^(?:import|export)\s(?:[^'"`;]*?\sfrom\s)?\s*(['"])([^'"]+)\1/gm;
const DYNAMIC = /\bimport\s*\(\s*(?:(['"`])([^'"`$]*)\1|[^)\s])/g;
/** Files beside a module, such as the code of a thread. */
const BESIDE = /\bnew URL\(\s*['"`](\.[^'"`$]*)/g;

function importsIn(text: string): { readonly at: number; readonly target: string | null }[] {
  return [
    ...[...text.matchAll(STATIC)].map(({ index, 2: target }) => ({ at: index, target: target ?? null })),
    ...[...text.matchAll(DYNAMIC)].map(({ index, 2: target }) => ({ at: index, target: target ?? null })),
    ...[...text.matchAll(BESIDE)].map(({ index, 1: target }) => ({ at: index, target: target ?? null })),
  ];
}

/** Finds the row that names the file, or its directory, most closely. */
function boundaryOf(path: string, boundaries: readonly Boundary[]): Boundary | null {
  const fitting = boundaries.filter(({ room }) => isIn(path, ownRoom(room, path)));
  return fitting.toSorted((a, b) => b.room.length - a.room.length)[0] ?? null;
}

/** Returns the room that a row means for a file: `features/*` means `features/dlq` for a file in there. */
function ownRoom(room: string, path: string): string {
  const depth = room.split('/').length;
  const parts = path.split('/');
  return room.endsWith('/*') && parts.length > depth ? [room.slice(0, -2), parts[depth - 1]].join('/') : room;
}

function isIn(path: string, room: string): boolean {
  const names = room.split('/');
  return path
    .split('/')
    .slice(0, names.length)
    .every((name, i, { length }) => length === names.length && (names[i] === '*' || names[i] === name));
}

function isAllowed(path: string, target: string, { room, rooms, packages }: Boundary): boolean {
  if (target.startsWith('node:')) return room !== 'core' || NODE_OF_CORE.has(target);
  if (!target.startsWith('.')) return packages.some((name) => isOfPackage(target, name));
  const place = relative('src', join('src', dirname(path), target));
  // package.json is read where the version is told.
  if (place === '../package.json') return true;
  return [ownRoom(room, path), ...rooms].some((allowed) => isIn(place, allowed));
}

/** Modules of Node that do no input and no output. */
const NODE_OF_CORE = new Set(['node:crypto', 'node:perf_hooks', 'node:util', 'node:zlib']);

function isOfPackage(target: string, name: string): boolean {
  if (name.endsWith('/*')) return target.startsWith(name.slice(0, -1));
  return target === name || target.startsWith(`${name}/`);
}
