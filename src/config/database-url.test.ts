import { describe, expect, it } from 'vitest';
import { parseDatabaseUrl, problemOfDatabaseUrl } from './database-url.ts';

const URL_START = 'postgresql://user:secret@db.example.org:5432/tasks';

describe('problemOfDatabaseUrl', () => {
  it.each([
    URL_START,
    'postgres://user@db/tasks',
    'postgresql://user:p%40ss@[::1]:5432/tasks',
    'postgresql://user@%2Frun%2Fpostgresql/tasks',
    'postgresql:///tasks?host=/run/postgresql',
    `${URL_START}?sslmode=verify-full&application_name=x`,
    `${URL_START}?options=-c%20search_path%3Dmine`,
  ])('finds nothing wrong with %s', (url) => {
    expect(problemOfDatabaseUrl(url)).toBeNull();
  });

  it.each([
    ['mysql://db/tasks', 'expected postgresql://'],
    ['db.example.org', 'expected postgresql://'],
    ['postgresql://user:secret@one,two/tasks', 'several hosts'],
    ['postgresql://user:secret@one:5432,two:5432/tasks', 'several hosts'],
    ['postgresql:///tasks?host=one,two', 'several hosts'],
    [`${URL_START}?schema=mine`, 'DATABASE_SCHEMA'],
    [`${URL_START}?currentSchema=mine`, 'DATABASE_SCHEMA'],
    [`${URL_START}?search_path=mine`, 'DATABASE_SCHEMA'],
    [`${URL_START}?pgbouncer=true`, 'DATABASE_PREPARED_STATEMENTS=false'],
    [`${URL_START}?connect_timeout=10`, '3 s'],
    [`${URL_START}?target_session_attrs=read-write`, 'primary'],
    [`${URL_START}?sslmod=require`, 'unknown parameter `sslmod`'],
    [`${URL_START}?statement_timeout=0`, '10 s'],
    [`${URL_START}?query_timeout=0`, 'unknown parameter'],
    [`${URL_START}?sslmode=prefer`, 'without TLS'],
    [`${URL_START}?sslmode=allow`, 'without TLS'],
    [`${URL_START}?sslmode=on`, 'expected disable'],
    [`${URL_START}?sslmode=disable&sslmode=require`, 'given twice'],
    [`${URL_START}?sslrootcert=/nowhere`, 'cannot be read'],
    [`${URL_START}?toString=1`, 'unknown parameter'],
  ])('says of %s: %s', (url, problem) => {
    expect(problemOfDatabaseUrl(url)).toContain(problem);
    expect(problemOfDatabaseUrl(url)).not.toContain('secret');
  });
});

describe('parseDatabaseUrl', () => {
  it('separates the settings of the session from the URL', () => {
    const { url, options } = parseDatabaseUrl(`${URL_START}?options=-c%20search_path%3Dmine&sslmode=disable`);
    expect(options).toBe('-c search_path=mine');
    expect(url).toBe(`${URL_START}?sslmode=disable`);
  });

  it.each(['require', 'verify-ca'])('replaces sslmode=%s by verify-full, as `pg` treats it', (mode) => {
    expect(parseDatabaseUrl(`${URL_START}?sslmode=${mode}`).url).toBe(`${URL_START}?sslmode=verify-full`);
    const compatible = `${URL_START}?sslmode=${mode}&uselibpqcompat=true`;
    expect(parseDatabaseUrl(compatible).url).toBe(compatible);
  });
});
