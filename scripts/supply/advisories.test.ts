import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { judge, readAccepted, readAudit, type AcceptedAdvisory, type Advisory, type Severity } from './advisories.ts';

const TODAY = '2026-12-01';
const ACCEPTED: AcceptedAdvisory = {
  id: 'GHSA-1111-2222-3333',
  package: 'koa',
  reason: 'we do not use this option',
  until: '2027-01-31',
};
const advisory = (severity: Severity, changes: Partial<Advisory> = {}): Advisory => ({
  id: ACCEPTED.id,
  package: ACCEPTED.package,
  severity,
  title: 'reads too much',
  ...changes,
});

describe('the list of accepted advisories', () => {
  it('can be read', () => {
    const text = readFileSync(join(import.meta.dirname, 'accepted-advisories.json'), 'utf8');
    // Whether a day is over is for `scripts/audit` to say: it must not break an old commit.
    const entries = JSON.parse(text) as AcceptedAdvisory[];
    for (const entry of entries) expect(readAccepted(JSON.stringify([entry]), entry.until)).toEqual([entry]);
    expect(readAccepted('[]', TODAY)).toEqual([]);
  });

  it.each([
    ['{}', 'an array'],
    [JSON.stringify([{ ...ACCEPTED, reason: ' ' }]), 'entry 1: expected a text as `reason`'],
    [JSON.stringify([ACCEPTED, { ...ACCEPTED, until: undefined }]), 'entry 2: expected a text as `until`'],
    [JSON.stringify([{ ...ACCEPTED, until: 'soon' }]), 'got soon'],
    [JSON.stringify([{ ...ACCEPTED, until: '2027-13-01' }]), 'got 2027-13-01'],
    [JSON.stringify([{ ...ACCEPTED, until: '2030-01-01' }]), 'at most 180 days'],
    ['nothing', 'JSON'],
  ])('refuses %s', (text, message) => {
    expect(() => readAccepted(text, TODAY)).toThrow(message);
  });
});

describe('readAudit', () => {
  it('finds each advisory once, also if many packages contain the vulnerable one', () => {
    const via = {
      name: 'koa',
      url: 'https://github.com/advisories/GHSA-1111-2222-3333',
      title: 'reads too much',
      severity: 'high',
    };
    const report = { vulnerabilities: { koa: { via: [via] }, router: { via: ['koa', via] } } };
    expect(readAudit(JSON.stringify(report))).toEqual({ kind: 'answered', advisories: [advisory('high')] });
    expect(readAudit('{"vulnerabilities":{}}')).toEqual({ kind: 'answered', advisories: [] });
  });

  it.each([
    ['', 'npm audit printed no report'],
    ['<html>', 'npm audit printed no report'],
    ['{}', 'npm audit printed no report'],
    ['{"message":"405 Method Not Allowed","error":{"summary":""}}', '405 Method Not Allowed'],
    ['{"error":{"code":"ENOLOCK","summary":"no lock file"}}', 'ENOLOCK no lock file'],
  ])('takes %j for no answer', (output, why) => {
    expect(readAudit(output)).toEqual({ kind: 'unanswered', why });
  });
});

describe('judge', () => {
  it.each(['high', 'critical'] as const)('%s is serious unless it is accepted, up to its last day', (severity) => {
    const one = advisory(severity);
    expect(judge([one], [], TODAY)).toEqual({ serious: [one], accepted: [], minor: [] });
    expect(judge([one], [ACCEPTED], ACCEPTED.until)).toEqual({ serious: [], accepted: [one], minor: [] });
    expect(judge([one], [ACCEPTED], '2027-02-01').serious).toEqual([one]);
    expect(judge([advisory(severity, { package: 'other' })], [ACCEPTED], TODAY).serious).toHaveLength(1);
  });

  it.each(['info', 'low', 'moderate'] as const)('%s is minor', (severity) => {
    expect(judge([advisory(severity)], [], TODAY).minor).toHaveLength(1);
  });
});
