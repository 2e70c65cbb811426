import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseDuration } from './duration.ts';
import { ConfigError, readConfig } from './read-config.ts';

const required = { DATABASE_URL: 'postgresql://u:p@h/d', REDIS_URL: 'redis://h' };

function problemsOf(env: NodeJS.ProcessEnv): string {
  try {
    readConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

describe('readConfig', () => {
  it('fills in defaults, and treats an empty variable as missing', () => {
    const config = readConfig({ ...required, PORT: '', WORKER_QUEUES: 'a, b' });
    expect(config).toMatchObject({
      PORT: 8000,
      HEARTBEAT_TTL: 10_000,
      RATE_LIMIT_PER_MINUTE: 50,
      WORKER_QUEUES: ['a', 'b'],
    });
    expect(Object.isFrozen(config)).toBe(true);
  });

  it('names every mistake at once, with what was expected and given', () => {
    const message = problemsOf({
      REDIS_URL: 'http://h',
      PORT: 'x',
      RETENTION: '7 weeks',
      HEARTBEAT_TTL: '7s',
      TRUSTED_PROXIES: '10.0.0.1,proxy.local,10.0.0.1/8',
      HTTP_ALLOWED_NETWORKS: '::/129',
      HTTP_TARGETS: 'api.example.org,ftp://x',
      HTTP_SIGNING_SECRET: 'whsec_short',
      ALLOWED_HOSTS: 'tasks.example.org,tasks.example.org:80',
      PUBLIC_URL: 'http://tasks.example.org',
      SESSION_TTL: '31d',
      WORKER_QUEUES: 'mail,e mail,{x}',
    });
    expect(message).toContain('DATABASE_URL: missing; expected PostgreSQL 15 or newer');
    expect(message).toContain('REDIS_URL: expected redis://');
    expect(message).toContain('PORT: expected a whole number from 0 to 65535; given "x"');
    expect(message).toMatch(/RETENTION: expected a duration such as .*given "7 weeks"/);
    expect(message).toContain('HEARTBEAT_TTL: must be longer than HEARTBEAT_INTERVAL');
    expect(message).toMatch(/TRUSTED_PROXIES: expected an address or a CIDR range .*given "proxy.local"/);
    expect(message).toMatch(/TRUSTED_PROXIES: the address lies inside the range.*given "10.0.0.1\/8"/);
    expect(message).toMatch(/HTTP_ALLOWED_NETWORKS: .*given "::\/129"/);
    expect(message).toMatch(/HTTP_TARGETS: expected a host name or an address.*given "ftp:\/\/x"/);
    expect(message).toMatch(/HTTP_SIGNING_SECRET: expected one or two secrets .*given \(hidden\)/);
    expect(message).toMatch(/ALLOWED_HOSTS: expected host names without ports.*given "tasks.example.org:80"/);
    expect(message).toMatch(/PUBLIC_URL: expected `https:\/\/` and a host name.*given "http:\/\/tasks.example.org"/);
    expect(message).toMatch(/SESSION_TTL: expected a duration .*from 300000 ms to 2592000000 ms; given "31d"/);
    expect(message).toMatch(/WORKER_QUEUES: expected 1 to 64 characters .*given "e mail"/);
    expect(message).toMatch(/WORKER_QUEUES: expected 1 to 64 characters .*given "{x}"/);
    // RETENTION could not be read, so it contradicts nothing.
    expect(message).not.toContain('IDEMPOTENCY_TTL');
  });

  it.each(['0x50', ' ', '+80', '80 90', '-1', '65536', '80.5', 'Infinity'])('refuses %j as a port', (port) => {
    expect(problemsOf({ ...required, PORT: port })).toContain('PORT: expected a whole number from 0 to 65535');
  });

  it('reads the targets of requests', () => {
    const targets = (given: string) => readConfig({ ...required, HTTP_TARGETS: given }).HTTP_TARGETS;
    expect(targets('')).toEqual([{ scheme: null, host: '*', port: null }]);
    expect(targets('off')).toEqual([]);
    expect(targets('https://API.example.org:8443, *.internal')).toEqual([
      { scheme: 'https', host: 'api.example.org', port: 8443 },
      { scheme: null, host: '*.internal', port: null },
    ]);
    expect(problemsOf({ ...required, HTTP_TARGETS: 'off,x' })).toContain(
      'HTTP_TARGETS: expected either `off` or targets',
    );
  });

  it('reads a number in the notation of Helm', () => {
    expect(readConfig({ ...required, BATCH_MAX_BYTES: '1.6777216e+07', PORT: '80' })).toMatchObject({
      BATCH_MAX_BYTES: 16_777_216,
      PORT: 80,
    });
  });

  it('accepts a short HEARTBEAT_TTL if the gap is short as well', () => {
    const env = { HEARTBEAT_INTERVAL: '300ms', HEARTBEAT_TTL: '1500ms', HEARTBEAT_GAP: '1s', SWEEP_INTERVAL: '500ms' };
    expect(readConfig({ ...required, ...env })).toMatchObject({ HEARTBEAT_TTL: 1_500, HEARTBEAT_GAP: 1_000 });
  });

  it.each(['RETENTION', 'RETENTION_FAILED'])('refuses a %s of less than an hour', (name) => {
    const env = { ...required, IDEMPOTENCY_TTL: '30m' };
    expect(problemsOf({ ...env, [name]: '59m' })).toMatch(
      new RegExp(`${name}: expected a duration such as .*, from 3600000 ms to 315360000000 ms; given "59m"`),
    );
    expect(readConfig({ ...env, [name]: '1h' })).toMatchObject({ [name]: 3_600_000 });
  });

  it('does not show a secret', () => {
    expect(problemsOf({ ...required, DATABASE_URL: 'mysql://u:secret@h/d' })).not.toContain('secret');
  });

  it.each(['REDIS_URL', 'DATABASE_URL'])(
    'names %s if its percent-encoding is invalid, and does not show its value',
    (name) => {
      const url = name === 'REDIS_URL' ? 'redis://u:secret%zz@h' : 'postgresql://u:secret%zz@h/d';
      const message = problemsOf({ ...required, [name]: url });
      expect(message).toContain(`${name}: the password has a % that does not begin a percent-encoding`);
      expect(message).not.toContain('secret');
    },
  );

  it('needs the name and namespace of the pod to annotate', () => {
    expect(problemsOf({ ...required, POD_DELETION_COST: 'true', POD_NAME: 'p' })).toContain('POD_DELETION_COST: needs');
    const whole = { ...required, POD_DELETION_COST: 'true', POD_NAME: 'p', POD_NAMESPACE: 'n' };
    expect(readConfig(whole).POD_DELETION_COST).toBe(true);
  });

  it('runs jobs only if the allowed images are set', () => {
    expect(problemsOf({ ...required, KUBERNETES_JOBS: 'true' })).toContain('KUBERNETES_JOBS: needs');
    for (const labels of ['team', 'a=b=c', '-a=b', 'a=b c', 'a/b/c=d'])
      expect(problemsOf({ ...required, KUBERNETES_JOBS_LABELS: labels })).toContain('KUBERNETES_JOBS_LABELS: expected');
    expect(
      readConfig({ ...required, KUBERNETES_JOBS_LABELS: 'team=x, example.org/a=' }).KUBERNETES_JOBS_LABELS,
    ).toEqual({ team: 'x', 'example.org/a': '' });
  });

  it('reads secrets from files', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'config-')), 'url');
    writeFileSync(path, 'postgresql://from-file@h/d\n');
    expect(readConfig({ REDIS_URL: 'redis://h', DATABASE_URL_FILE: path }).DATABASE_URL).toBe(
      'postgresql://from-file@h/d',
    );
    const unreadable = problemsOf({ REDIS_URL: 'redis://h', DATABASE_URL_FILE: `${path}-missing` });
    expect(unreadable).toContain('DATABASE_URL_FILE: cannot read');
    expect(unreadable).not.toContain('DATABASE_URL: missing');
  });

  it.each([
    [{ IDEMPOTENCY_TTL: '8d' }, 'IDEMPOTENCY_TTL: must not be longer'],
    [{ HEARTBEAT_TTL: '7s' }, 'HEARTBEAT_TTL: must be longer than HEARTBEAT_INTERVAL and HEARTBEAT_GAP'],
    [{ HEARTBEAT_TTL: '6s', HEARTBEAT_INTERVAL: '2s' }, 'HEARTBEAT_TTL: must be longer than'],
    [{ REDIS_SENTINELS: 'a:26379' }, 'REDIS_SENTINEL_MASTER: missing'],
    [{ REDIS_SENTINEL_MASTER: 'main' }, 'REDIS_SENTINELS: missing'],
    [
      { REDIS_SENTINELS: 'a:26379,[::1]:1, b', REDIS_SENTINEL_MASTER: 'm' },
      'REDIS_SENTINELS: expected host:port, comma-separated; given "b"',
    ],
    [
      { REDIS_SENTINELS: 'a:1', REDIS_SENTINEL_MASTER: 'm', REDIS_CLUSTER: 'true' },
      'REDIS_CLUSTER: a Redis Cluster has no',
    ],
    [{ REDIS_SENTINELS: 'a:0', REDIS_SENTINEL_MASTER: 'm' }, 'REDIS_SENTINELS: expected host:port'],
    [{ REDIS_SENTINELS: 'a:65536', REDIS_SENTINEL_MASTER: 'm' }, 'REDIS_SENTINELS: expected host:port'],
    [{ REDIS_CLUSTER: 'true', REDIS_URL: 'redis://h/1' }, 'REDIS_URL: a Redis Cluster has database 0 only'],
    [{ SWEEP_INTERVAL: '4s' }, 'HEARTBEAT_GAP: must be longer than SWEEP_INTERVAL (4000 ms)'],
    [{ HEARTBEAT_GAP: '3s' }, 'HEARTBEAT_GAP: must be longer than HEARTBEAT_INTERVAL (3000 ms)'],
    [{ WORKER_QUEUES: ' , ' }, 'WORKER_QUEUES: must name at least one queue'],
  ])('refuses the contradiction %j', (env, expected) => {
    expect(problemsOf({ ...required, ...env })).toContain(expected);
  });
});

describe('parseDuration', () => {
  it.each([
    ['250ms', 250],
    ['10s', 10_000],
    ['1.5m', 90_000],
    ['24h', 86_400_000],
    ['7d', 604_800_000],
  ])('reads %s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it.each(['', '10', 's', '-1s', '10 s', '1w'])('refuses %j', (text) => {
    expect(parseDuration(text)).toBeNull();
  });
});
