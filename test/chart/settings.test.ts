import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { MANAGED_SETTINGS } from '../../scripts/chart/settings.ts';
import { envSchema } from '../../src/config/env.ts';
import { readConfig } from '../../src/config/read-config.ts';
import { QUEUE_NAME } from '../../src/core/task.ts';
import { helmTemplate, readText } from './render.ts';

const schema = JSON.parse(readText('charts/scheduler/values.schema.json'));
const STORES = { DATABASE_URL: 'postgresql://u:p@db/d', REDIS_URL: 'redis://redis:6379/0' };

const chartRefuses = (name: string, value: unknown): string =>
  helmTemplate({ set: [`config.${name}=${JSON.stringify(value)}`] }).error;

function processRefuses(name: string, value: unknown): boolean {
  try {
    readConfig({ ...STORES, [name]: String(value) });
    return false;
  } catch {
    return true;
  }
}

describe('settings in the values', () => {
  it('are the settings that the processes know', () => {
    const known = [...Object.keys(schema.$defs.config.properties), ...MANAGED_SETTINGS];
    expect(known.toSorted()).toEqual(Object.keys(envSchema.shape).toSorted());
  });

  it('have a type or a list of values', () => {
    for (const [name, setting] of Object.entries<Record<string, unknown>>(schema.$defs.config.properties))
      expect('type' in setting || 'enum' in setting, name).toBe(true);
  });

  it('accept their defaults as strings, numbers and booleans', () => {
    const { properties } = z.toJSONSchema(envSchema, { io: 'input', unrepresentable: 'any' });
    const texts = Object.entries(properties as Record<string, { default?: string }>)
      .filter(([name]) => !MANAGED_SETTINGS.has(name))
      .map(([name, { default: text }]) => [name, text!] as const);
    const typed = texts.map(([name, text]) => [name, /^(\d+|true|false)$/.test(text) ? JSON.parse(text) : text]);
    for (const config of [texts, typed])
      expect(helmTemplate({ set: [`config=${JSON.stringify(Object.fromEntries(config))}`] }).error).toBe('');
  });

  it.each([
    ['LOG_LEVEL', 'loud', "value must be one of 'trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'"],
    ['LOG_LEVEL', '', 'value must be one of'],
    ['RETENTION', 'soon', 'does not match pattern'],
    ['RETENTION', 7, 'got number, want string'],
    ['RETENTION', '7 days', 'does not match pattern'],
    ['RETENTION', '1ms', 'config.RETENTION=1ms: expected a duration from 3600000ms to 315360000000ms'],
    ['RETENTION', '4000d', 'config.RETENTION=4000d: expected a duration from'],
    ['HEARTBEAT_TTL', '11m', 'config.HEARTBEAT_TTL=11m: expected a duration from 300ms to 600000ms'],
    ['LOST_CAP', 0, 'minimum: got 0, want 1'],
    ['LOST_CAP', 1.5, 'want integer'],
    ['LOST_CAP', '0', 'config.LOST_CAP=0: expected a whole number from 1 to 100'],
    ['LOST_CAP', '1000', 'config.LOST_CAP=1000: expected a whole number from 1 to 100'],
    ['LOST_CAP', 'three', 'does not match pattern'],
    ['LOST_CAP', true, 'got boolean'],
    ['BATCH_MAX_BYTES', 1_000_000_000_000, 'maximum: got'],
    ['DATABASE_PREPARED_STATEMENTS', 'maybe', "value must be one of true, false, 'true', 'false'"],
    ['TRUSTED_PROXIES', 'lb.example.com', 'does not match pattern'],
    ['REDIS_PREFIX', 'My Prefix', 'does not match pattern'],
    ['REDIS_HEARTBEAT_PREFIX', 'x'.repeat(65), 'maxLength'],
  ])('%s=%j is refused by the chart and by the processes', (name, value, message) => {
    expect(chartRefuses(name, value)).toContain(message);
    if (value !== '') expect(processRefuses(name, value)).toBe(true);
  });

  it.each([
    ['RETENTION', '7.5d'],
    ['RETENTION', '3650d'],
    ['HEARTBEAT_INTERVAL', '100ms'],
    ['LOST_CAP', 100],
    ['LOST_CAP', '100'],
    ['BATCH_MAX_BYTES', 268_435_456],
    ['TRUSTED_PROXIES', '10.0.0.0/8, fd00::/8,192.0.2.1'],
    ['DATABASE_PREPARED_STATEMENTS', 'false'],
  ])('%s=%j is accepted by the chart and by the processes', (name, value) => {
    expect(chartRefuses(name, value)).toBe('');
    expect(processRefuses(name, value)).toBe(false);
  });

  it('of a group are checked in the same way', () => {
    const refusal = (set: string): string => helmTemplate({ set: [set] }).error;
    expect(refusal('workers.default.config.LOG_LEVEL="loud"')).toContain('value must be one of');
    expect(refusal('workers.default.config.HEARTBEAT_TTL="1h"')).toContain('workers.default.config.HEARTBEAT_TTL=1h: ');
    expect(refusal('workerDefaults.config.LOST_CAP="0"')).toContain('workers.default.config.LOST_CAP=0: ');
  });

  it('of a group accept only valid names of queues', () => {
    expect(schema.$defs.workerGroup.properties.queues.items).toEqual({ type: 'string', pattern: QUEUE_NAME.source });
  });
});
