import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { SchedulerError, messageOf } from '../core/errors.ts';
import { contradictionsIn } from './contradictions.ts';
import { envSchema, FILE_VARIABLES, SECRET_VARIABLES, type Config } from './env.ts';

export class ConfigError extends SchedulerError {
  constructor(problems: readonly string[]) {
    super(
      'invalid_configuration',
      `The environment is not usable:\n${problems.map((problem) => `  ${problem}`).join('\n')}`,
    );
  }
}

/**
 * Reads the whole configuration at once.
 * @throws ConfigError that names every missing or wrong variable
 */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const problems: string[] = [];
  const config: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(envSchema.shape)) {
    const given = readVariable(env, name, problems);
    if (given === UNREADABLE) continue;
    const result = schema.safeParse(given);
    if (result.success) config[name] = result.data;
    else problems.push(...result.error.issues.map((issue) => describeIssue(name as keyof Config, issue, given)));
  }
  problems.push(...contradictionsIn(config));
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze(config as Config);
}

const UNREADABLE = Symbol('unreadable');

/** Returns the content of the variable's file, or the variable itself if there is no file, or undefined. */
function readVariable(
  env: NodeJS.ProcessEnv,
  name: string,
  problems: string[],
): string | undefined | typeof UNREADABLE {
  const path = isOneOf(FILE_VARIABLES, name) ? (env[`${name}_FILE`] ?? '') : '';
  if (path === '') return env[name] === '' ? undefined : env[name];
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    problems.push(`${name}_FILE: cannot read ${path}: ${messageOf(error)}`);
    return UNREADABLE;
  }
}

function isOneOf(names: readonly string[], name: string): boolean {
  return names.includes(name);
}

function describeIssue(name: keyof Config, issue: z.core.$ZodIssue, given: string | undefined): string {
  if (given === undefined) return `${name}: missing; expected ${envSchema.shape[name].description}`;
  const part: unknown = issue.code === 'custom' ? issue.params?.['given'] : undefined;
  const shown = isOneOf(SECRET_VARIABLES, name) ? '(hidden)' : JSON.stringify(part ?? given);
  return `${name}: ${issue.message}; given ${shown}`;
}
