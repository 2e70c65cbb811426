import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { HANDLERS_LOAD_MS } from '../config/timings.ts';
import { SchedulerError, messageOf } from '../core/errors.ts';
import { ACTION_LENGTH_MAX } from '../core/task.ts';
import type { Handler } from '../engine/attempts/handler.ts';

/** The module in HANDLERS cannot be used. The process must not start without the team's handlers. */
export class HandlersModuleError extends SchedulerError {
  constructor(path: string, problem: string, cause?: unknown) {
    super('invalid_handlers_module', `HANDLERS: ${path}: ${problem}`, { cause });
  }
}

/**
 * Loads the team's handlers. Every named export that is a function serves the
 * action of its name. The entries of the export `actions` serve actions whose
 * names are not identifiers, such as `email.send`. Other exports are ignored.
 * @param path of an ES module, JavaScript or erasable TypeScript; a relative path starts at the working directory
 * @param loadMs milliseconds that loading the module, with its top-level code, may take
 * @throws HandlersModuleError
 */
export async function loadTeamHandlers(
  path: string,
  builtIn: ReadonlySet<string>,
  loadMs = HANDLERS_LOAD_MS,
): Promise<ReadonlyMap<string, Handler>> {
  const file = resolve(path);
  const exports = await importModule(file, loadMs);
  const handlers = new Map<string, Handler>();
  const add = (action: string, handler: Handler, where: string): void => {
    const problem = builtIn.has(action)
      ? `${where}: the action ${JSON.stringify(action)} is built in and cannot be replaced`
      : handlers.has(action)
        ? `${where}: the action ${JSON.stringify(action)} has a handler already`
        : action === '' || action.length > ACTION_LENGTH_MAX
          ? `${where}: expected an action name of 1 to ${ACTION_LENGTH_MAX} characters; given ${action.length}`
          : null;
    if (problem !== null) throw new HandlersModuleError(file, problem);
    handlers.set(action, handler);
  };

  for (const [name, value] of Object.entries(exports)) {
    if (name !== 'default' && name !== 'actions' && isHandler(value)) add(name, value, `export ${name}`);
  }
  for (const [action, value] of Object.entries(actionsOf(exports, file))) {
    if (!isHandler(value)) {
      throw new HandlersModuleError(
        file,
        `export actions: expected a function for ${JSON.stringify(action)}; given ${kindOf(value)}`,
      );
    }
    add(action, value, 'export actions');
  }
  if (handlers.size === 0)
    throw new HandlersModuleError(file, `expected named exports that are functions; ${describeExports(exports)}`);
  return handlers;
}

async function importModule(file: string, loadMs: number): Promise<Record<string, unknown>> {
  const stats = statSync(file, { throwIfNoEntry: false });
  if (stats === undefined) throw new HandlersModuleError(file, 'expected an ES module; there is no such file');
  if (!stats.isFile()) throw new HandlersModuleError(file, 'expected an ES module; this is not a file');
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const problem = `expected an ES module that loads; its top-level code has not ended after ${loadMs / 1_000} s (an \`await\` outside of any function that never resolves?)`;
    late.reject(new HandlersModuleError(file, problem));
  }, loadMs);
  try {
    return { ...(await Promise.race([import(pathToFileURL(file).href), late.promise])) };
  } catch (error) {
    if (error instanceof HandlersModuleError) throw error;
    throw new HandlersModuleError(
      file,
      `expected an ES module that loads; importing it failed: ${messageOf(error)}`,
      error,
    );
  } finally {
    clearTimeout(timer);
  }
}

function actionsOf(exports: Record<string, unknown>, file: string): object {
  const { actions } = exports;
  if (actions === undefined) return {};
  if (kindOf(actions) !== 'an object') {
    throw new HandlersModuleError(
      file,
      `export actions: expected an object of functions by action name; given ${kindOf(actions)}`,
    );
  }
  return actions as object;
}

/** Excludes classes: a class is a function that cannot be called, and modules export classes for other purposes. */
function isHandler(value: unknown): value is Handler {
  return typeof value === 'function' && !/^class\b/.test(Function.prototype.toString.call(value));
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'function') return isHandler(value) ? 'a function' : 'a class';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function describeExports(exports: Record<string, unknown>): string {
  const given = Object.entries(exports).map(([name, value]) => `${name} (${kindOf(value)})`);
  return given.length === 0 ? 'given none' : `given ${given.join(', ')}`;
}
