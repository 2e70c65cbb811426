import { dirname, join, relative } from 'node:path';

/** A row of the table in docs/internals.md: what the files of a room may import. */
export interface Boundary {
  /** Directory below `src`, without a slash at its end; `features/*` stands for each directory of `features` by itself. */
  readonly room: string;
  /** Rooms, with everything below them. */
  readonly rooms: readonly string[];
  /** Packages; `@scope/*` stands for all of a scope. */
  readonly packages: readonly string[];
}

/** Something that a file imports though its room may not. */
export interface Trespass {
  /** From 1. */
  readonly line: number;
  readonly message: string;
}

const ROW = /^\| ((?:`[a-z.*/]+`(?:, )?)+) \|[^|]*\| ([^|]+) \| ([^|]+) \|$/gm;

/** Reads the table. The table is the rule itself: nothing else says what may import what. */
export function readBoundaries(markdown: string): readonly Boundary[] {
  return [...markdown.matchAll(ROW)].flatMap(([, names = '', rooms = '', packages = '']) =>
    [...names.matchAll(/`([a-z.*/]+?)\/?`/g)].map(([, room = '']) => ({
      room,
      rooms: listOf(rooms),
      packages: listOf(packages),
    })),
  );
}

/** The head of an import or export, its last line where it has several, or a call of `import`. */
const IMPORT =
  /^(?:(?:import|export)\b[^'"=]*?\bfrom |import |\} from )['"]([^'"]+)['"];$|\bimport\(['"]([^'"]+)['"]\)/g;

function listOf(cell: string): string[] {
  const text = cell.trim();
  return text === 'none' ? [] : text.split(', ').map((word) => word.replaceAll('`', ''));
}

/**
 * What a file imports and may not.
 * @param path below `src`
 */
export function trespassesIn(path: string, lines: readonly string[], boundaries: readonly Boundary[]): Trespass[] {
  const own = boundaryOf(path, boundaries);
  if (own === null) return [{ line: 1, message: `docs/internals.md does not say what ${dirname(path)}/ may import` }];
  return lines.flatMap((line, index) =>
    [...line.matchAll(IMPORT)].flatMap(([, inHead, inCall]) => {
      const target = inHead ?? inCall ?? '';
      return isAllowed(path, target, own)
        ? []
        : [{ line: index + 1, message: `${own.room} may not import ${target}: see the table in docs/internals.md` }];
    }),
  );
}

/** The row that names the file's directory most closely. */
function boundaryOf(path: string, boundaries: readonly Boundary[]): Boundary | null {
  const fitting = boundaries.filter(({ room }) => isIn(path, ownRoom(room, path)));
  return fitting.toSorted((a, b) => b.room.length - a.room.length)[0] ?? null;
}

/** The room that a row speaks of when it is read for a file: `features/*` is `features/dlq` for a file in there. */
function ownRoom(room: string, path: string): string {
  const depth = room.split('/').length;
  const parts = path.split('/');
  return room.endsWith('/*') && parts.length > depth ? [room.slice(0, -2), parts[depth - 1]].join('/') : room;
}

function isIn(path: string, room: string): boolean {
  return path === room || path.startsWith(`${room}/`);
}

function isAllowed(path: string, target: string, { room, rooms, packages }: Boundary): boolean {
  if (target.startsWith('node:')) return room !== 'core' || NODE_OF_CORE.has(target);
  if (!target.startsWith('.')) return packages.some((name) => isOfPackage(target, name));
  const place = relative('src', join('src', dirname(path), target));
  return [ownRoom(room, path), ...rooms].some((allowed) => isIn(place, allowed));
}

/** What does no input and no output. */
const NODE_OF_CORE = new Set(['node:crypto', 'node:perf_hooks', 'node:util']);

function isOfPackage(target: string, name: string): boolean {
  if (name.endsWith('/*')) return target.startsWith(name.slice(0, -1));
  return target === name || target.startsWith(`${name}/`);
}
