import {
  behindSpace,
  behindString,
  behindValue,
  isCommaAt,
  isEndAt,
  kindAt,
  stringBetween,
  type ValueKind,
} from './json-positions.ts';
import type { PathStep, RedactionPath } from './redaction-path.ts';

/** What stands in place of a value that is not shown. */
export const REDACTED = '[redacted]';

const REDACTED_TEXT = JSON.stringify(REDACTED);

export interface RedactedJson {
  readonly text: string;
  /** The paths that led to a value, each once. */
  readonly paths: readonly RedactionPath[];
}

/** Replaces values in JSON text. */
export type RedactJson = (text: string) => RedactedJson;

/**
 * Makes a function that replaces every value to which a path leads by the text `"[redacted]"`. Everything else keeps its
 * text, so numbers are not changed. It works on the text, because a parser would change numbers, and would keep only the
 * last of several members with one name.
 *
 * A value that is not of the kind that a path goes on into is replaced as a whole: a text, a number or an array where the
 * path expects an object. It may hold in another form what the path protects. A number, boolean or null that is the whole
 * value stays: it has no room for anything else, and often is a progress in percent.
 * @param rootDepth number of steps, from the beginning of the text, to what counts as the whole value
 */
export function createRedactJson(paths: readonly RedactionPath[], rootDepth = 0): RedactJson {
  const root = new Places(paths).root;
  return (text) => new Redaction(text, root, rootDepth).run();
}

/** More than any paths lead to that people write by hand. */
const PLACES_MAX = 5_000;
const WORK_MAX = 2_000_000;

/**
 * Says whether paths lead to so many different places that a text could be made that takes long to read. Only many `..`
 * and `*` together with names can do this.
 */
export function branchTooMuch(paths: readonly RedactionPath[]): boolean {
  const found = new Set([new Places(paths).root]);
  let work = 0;
  // A set visits what is added while it is visited.
  for (const place of found) {
    work += place.work;
    if (work > WORK_MAX || found.size > PLACES_MAX) return true;
    for (const next of place.everyNext()) found.add(next);
  }
  return false;
}

/** How far one path has come. Its next step leads inside of the value that is being read. */
interface Progress {
  /** Tells it apart from all others of the same places. */
  readonly id: number;
  readonly path: RedactionPath;
  /** Undefined at the end of the path. */
  readonly step: PathStep | undefined;
  /** Where the path is after its step. */
  readonly next: Progress | null;
}

/** All places to which a set of paths can lead, as far as they have been needed. */
class Places {
  readonly root: Place;
  private readonly known = new Map<string, Place>();

  constructor(paths: readonly RedactionPath[]) {
    let id = 0;
    const starts = paths.map((path) => {
      const end: Progress = { id: id++, path, step: undefined, next: null };
      return path.steps.reduceRight<Progress>((next, step) => ({ id: id++, path, step, next }), end);
    });
    this.root = this.of(starts);
  }

  of(progress: Iterable<Progress>): Place {
    // Two steps of one path may lead to the same progress: `$..a..a` does.
    const distinct = [...new Set(progress)].toSorted((one, other) => one.id - other.id);
    const name = distinct.map(({ id }) => id).join(' ');
    const known = this.known.get(name) ?? new Place(distinct, this);
    this.known.set(name, known);
    return known;
  }
}

/** How far all paths have come at one value. One look-up then tells how far they come at a member or an item of it. */
class Place {
  /** No path leads here or inside, so nothing has to be looked at. */
  readonly isOutside: boolean;
  /** The paths that end here. */
  readonly ended: readonly RedactionPath[];
  /** The paths that go on into one kind of value. Paths that look at all levels accept every kind. */
  private readonly goingOn: readonly RedactionPath[];
  private readonly wantsObject: boolean;
  private readonly wantsArray: boolean;
  private readonly progress: readonly Progress[];
  private readonly places: Places;
  /** The names and indexes that make a difference. */
  private readonly keys: ReadonlySet<string | number>;
  private readonly inside = new Map<string | number, Place>();
  /** The place of everything else. */
  private elsewhere: Place | null = null;

  constructor(progress: readonly Progress[], places: Places) {
    const keys = progress.flatMap(({ step }) => (step?.kind === 'child' ? [step.key] : []));
    const everything = progress.some(({ step }) => step?.kind === 'every');
    this.progress = progress;
    this.places = places;
    this.isOutside = progress.length === 0;
    this.ended = progress.flatMap(({ path, step }) => (step === undefined ? [path] : []));
    this.goingOn = progress.flatMap(({ path, step }) => (step === undefined || step.kind === 'below' ? [] : [path]));
    this.wantsObject = everything || keys.some((key) => typeof key === 'string');
    this.wantsArray = everything || keys.some((key) => typeof key === 'number');
    this.keys = new Set([...keys, ...progress.flatMap(({ step }) => (step?.kind === 'below' ? [step.key] : []))]);
  }

  /** What it takes to find all next places. */
  get work(): number {
    return this.ended.length > 0 ? 1 : this.progress.length * (this.keys.size + 1);
  }

  /** Returns the places of everything that can be inside of a value that is shown. */
  everyNext(): Place[] {
    return this.ended.length > 0 ? [] : [...this.keys, null].map((key) => this.next(key));
  }

  /** Returns the paths because of which a value at this place is replaced as a whole. */
  hitsOf(kind: ValueKind): readonly RedactionPath[] {
    if (this.ended.length > 0) return this.ended;
    if (kind === 'null' || (kind === 'object' && this.wantsObject) || (kind === 'array' && this.wantsArray))
      return NONE;
    return this.goingOn;
  }

  /** @param key name of a member or index of an item */
  at(key: string | number): Place {
    const known = this.inside.get(key);
    if (known !== undefined) return known;
    if (this.keys.has(key)) return this.next(key);
    this.elsewhere ??= this.next(null);
    return this.elsewhere;
  }

  /** @param key null stands for all names and indexes that make no difference */
  private next(key: string | number | null): Place {
    const place = this.places.of(this.steppedTo(key));
    if (key !== null) this.inside.set(key, place);
    return place;
  }

  private *steppedTo(key: string | number | null): Generator<Progress> {
    for (const progress of this.progress) {
      const { step, next } = progress;
      if (step === undefined || next === null) continue;
      if (step.kind === 'below') yield progress;
      if (step.kind === 'every' || step.key === key) yield next;
    }
  }
}

const NONE: readonly RedactionPath[] = [];

/** An object or array that is being read. */
interface Level {
  readonly place: Place;
  readonly isObject: boolean;
  index: number;
}

/** One run through a text. It keeps its own stack, because stored JSON may be nested as deeply as anybody likes. */
class Redaction {
  private readonly text: string;
  private readonly root: Place;
  private readonly rootDepth: number;
  private readonly levels: Level[] = [];
  private readonly hits = new Set<RedactionPath>();
  private readonly pieces: string[] = [];
  private at = 0;
  /** The text before this position is in `pieces`. */
  private copied = 0;

  constructor(text: string, root: Place, rootDepth: number) {
    this.text = text;
    this.root = root;
    this.rootDepth = rootDepth;
  }

  run(): RedactedJson {
    this.at = behindSpace(this.text, 0);
    let place: Place | null = this.root;
    while (place !== null) place = this.value(place);
    if (this.hits.size === 0) return { text: this.text, paths: [] };
    this.pieces.push(this.text.slice(this.copied));
    return { text: this.pieces.join(''), paths: [...this.hits] };
  }

  /** Reads a value, or only the beginning of an object or array. @returns the place of the next value; null at the end */
  private value(place: Place): Place | null {
    const { text, at } = this;
    if (place.isOutside) this.at = behindValue(text, at);
    else {
      const kind = kindAt(text, at);
      const stays = kind === 'other' && this.levels.length === this.rootDepth && place.ended.length === 0;
      const hits = stays ? NONE : place.hitsOf(kind);
      if (hits.length > 0) this.replace(hits);
      else if (kind === 'object' || kind === 'array') return this.open(place, kind === 'object');
      else this.at = behindValue(text, at);
    }
    return this.next();
  }

  private replace(hits: readonly RedactionPath[]): void {
    for (const path of hits) this.hits.add(path);
    this.pieces.push(this.text.slice(this.copied, this.at), REDACTED_TEXT);
    this.at = behindValue(this.text, this.at);
    this.copied = this.at;
  }

  private open(place: Place, isObject: boolean): Place | null {
    this.at = behindSpace(this.text, this.at + 1);
    if (isEndAt(this.text, this.at)) {
      this.at++;
      return this.next();
    }
    return this.enter(this.levels[this.levels.push({ place, isObject, index: 0 }) - 1] as Level);
  }

  /** Goes on behind a value. @returns the place of the next value; null at the end */
  private next(): Place | null {
    for (let level = this.levels.at(-1); level !== undefined; level = this.levels.at(-1)) {
      const at = behindSpace(this.text, this.at);
      this.at = at + 1;
      if (isCommaAt(this.text, at)) {
        level.index++;
        this.at = behindSpace(this.text, this.at);
        return this.enter(level);
      }
      this.levels.pop();
    }
    return null;
  }

  /** Reads the name of a member. @returns the place of the member or item that begins here */
  private enter({ place, isObject, index }: Level): Place {
    if (!isObject) return place.at(index);
    const { text, at } = this;
    const end = behindString(text, at);
    // The colon lies between the name and the value.
    this.at = behindSpace(text, behindSpace(text, end) + 1);
    return place.at(stringBetween(text, at, end));
  }
}
