import { z } from 'zod';
import { envSchema } from '../../src/config/env.ts';
import type { SettingKind } from '../../src/config/setting-kinds.ts';

/** Settings that the chart sets, partly from separate values. `config` refuses them. */
export const MANAGED_SETTINGS: ReadonlySet<string> = new Set([
  'DATABASE_URL',
  'DATABASE_URL_FILE',
  'DATABASE_CA_FILE',
  'DATABASE_POOL_MAX',
  'REDIS_URL',
  'REDIS_URL_FILE',
  'REDIS_CA_FILE',
  'REDIS_CLUSTER',
  'REDIS_SENTINELS',
  'REDIS_SENTINEL_MASTER',
  'REDIS_SENTINEL_USERNAME',
  'REDIS_SENTINEL_TLS',
  'REDIS_SENTINEL_PASSWORD',
  'REDIS_SENTINEL_PASSWORD_FILE',
  'AUTH',
  'CLIENTS_DIR',
  'ALLOWED_HOSTS',
  'API_METRICS_PORT',
  'REDACTED_FIELDS',
  'REDACTED_FIELDS_FILE',
  'PRIVATE_METADATA',
  'PUBLIC_URL',
  'OIDC_ISSUER',
  'OIDC_CLIENT_ID',
  'OIDC_CLIENT_SECRET',
  'OIDC_CLIENT_SECRET_FILE',
  'OIDC_SCOPES',
  'OIDC_GRANTS_CLAIM',
  'OIDC_NAME_CLAIM',
  'OIDC_GRANTS',
  'OIDC_GRANTS_FILE',
  'OIDC_AUDIENCE',
  'OIDC_ALGORITHMS',
  'OIDC_CA_FILE',
  'HTTP_TARGETS',
  'HTTP_SECRETS_DIR',
  'HTTP_SIGNING_SECRET',
  'HTTP_SIGNING_SECRET_FILE',
  'PORT',
  'METRICS_PORT',
  'POD_UID',
  'POD_NAME',
  'POD_NAMESPACE',
  'POD_DELETION_COST',
  'KUBERNETES_POD_CHECK',
  'KUBERNETES_JOBS',
  'KUBERNETES_JOBS_NAMESPACE',
  'KUBERNETES_JOBS_IMAGES',
  'KUBERNETES_JOBS_LABELS',
  'KUBERNETES_JOBS_PULL_SECRETS',
  'KUBERNETES_SERVICE_HOST',
  'KUBERNETES_SERVICE_PORT',
  'KUBERNETES_SERVICE_ACCOUNT',
  'HANDLERS',
  'SHUTDOWN_DELAY',
  'SHUTDOWN_GRACE',
  'WORKER_QUEUES',
  'WORKER_QUEUE_ORDER',
  'WORKER_SLOTS',
  'RECLAIMER_WINDOW',
]);

/** The JSON schema of a setting, as z.toJSONSchema returns it. */
interface Setting {
  readonly kind?: SettingKind;
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minimumMs?: number;
  readonly maximumMs?: number;
}

function settings(): [string, Setting][] {
  const { properties } = z.toJSONSchema(envSchema, { io: 'input', unrepresentable: 'any' });
  return Object.entries(properties as Record<string, Setting>).filter(([name]) => !MANAGED_SETTINGS.has(name));
}

/**
 * Returns the JSON schema of `config`: all settings of the processes with their allowed values. Helm thus refuses unknown
 * names and wrong values before a pod starts. Numbers and booleans may also be strings.
 */
export function configSchema(): object {
  const properties = Object.fromEntries(settings().map(([name, setting]) => [name, valueSchema(setting)]));
  return { type: 'object', additionalProperties: false, properties };
}

function valueSchema({ kind, enum: words, pattern, minLength, maxLength, minimum, maximum }: Setting): object {
  switch (kind) {
    case 'integer':
      // The bounds apply to numbers, the pattern applies to strings.
      return { type: ['integer', 'string'], minimum, maximum, pattern: '^[0-9]+$' };
    case 'duration':
      return { type: 'string', pattern: '^[0-9]+(\\.[0-9]+)?(ms|s|m|h|d)$' };
    case 'flag':
      return { enum: [true, false, 'true', 'false'] };
    case 'networks':
      return { type: 'string', pattern: '^[0-9A-Fa-f:./, ]*$' };
    default:
      if (words !== undefined) return { enum: words.flatMap(spellings) };
      return {
        type: 'string',
        ...(pattern !== undefined && { pattern }),
        ...(minLength !== undefined && { minLength }),
        ...(maxLength !== undefined && { maxLength }),
      };
  }
}

/** YAML reads the words true and false as booleans, so allow both forms. */
function spellings(word: string): (string | boolean)[] {
  return word === 'true' || word === 'false' ? [word === 'true', word] : [word];
}

/** Smallest and largest value of a setting, in `unit`. */
export interface SettingBounds {
  readonly unit: 'ms' | '';
  readonly minimum: number;
  readonly maximum: number;
}

/** Returns bounds that a schema cannot express: of durations, and of numbers in strings. The templates check them. */
export function settingBounds(): Record<string, SettingBounds> {
  const bounds: Record<string, SettingBounds> = {};
  for (const [name, { kind, minimum, maximum, minimumMs, maximumMs }] of settings()) {
    if (kind === 'integer') bounds[name] = { unit: '', minimum: minimum!, maximum: maximum! };
    if (kind === 'duration') bounds[name] = { unit: 'ms', minimum: minimumMs!, maximum: maximumMs! };
  }
  return bounds;
}
