import { describe, expect, it } from 'vitest';
import { parseGrants } from './grants.ts';
import { identityIn, lacksClaims, type Claims, type IdentityRules } from './identity.ts';

const rules: IdentityRules = {
  nameClaim: 'email',
  grantsClaim: 'groups',
  grants: parseGrants('[{ "value": "admins", "role": "admin" }, { "value": "shop", "role": "viewer" }]'),
};
const claims: Claims = { email: 'anna@example.org', groups: ['staff', 'shop'] };
const of = (given: Claims, other: Partial<IdentityRules> = {}) => identityIn(given, { ...rules, ...other });

describe('who a person is', () => {
  it('is what the claims say', () => {
    expect(of(claims)).toMatchObject({ kind: 'person', name: 'anna@example.org', grant: { value: 'shop' } });
    expect(of({ ...claims, groups: 'admins' })).toMatchObject({ kind: 'person', grant: { value: 'admins' } });
    expect(of({ ...claims, email_verified: true })).toMatchObject({ kind: 'person' });
  });

  it.each([[[]], [['staff']], [['Shop']], ['shop admins'], [['shop,admins']]])(
    '%j as groups give nothing',
    (groups) => {
      expect(of({ ...claims, groups })).toEqual({ kind: 'no-grant', name: 'anna@example.org' });
    },
  );

  it.each<[string, Claims, string]>([
    ['no name', { groups: ['shop'] }, 'gives no claim `email`'],
    ['an empty name', { ...claims, email: '' }, 'gives no claim `email`'],
    ['null as name', { ...claims, email: null }, 'gives no claim `email`'],
    ['a number as name', { ...claims, email: 7 }, 'the claim `email` is not a name'],
    ['a list as name', { ...claims, email: ['anna@example.org'] }, 'is not a name'],
    ['a long name', { ...claims, email: 'a'.repeat(251) }, 'at most 250 characters'],
    ['a name with NUL, the separator of keys', { ...claims, email: 'anna\0default' }, 'is not a name'],
    ['a name with a line break', { ...claims, email: 'anna\nroot' }, 'is not a name'],
    ['a name that is written from right to left', { ...claims, email: 'anna\u202Egro' }, 'is not a name'],
    ['a name with half a character', { ...claims, email: 'anna\uD800' }, 'is not a name'],
    ['a name with a space at its end', { ...claims, email: 'anna ' }, 'is not a name'],
    ['no groups', { email: 'anna@example.org' }, 'gives no claim `groups`'],
    ['an object as groups', { ...claims, groups: { shop: true } }, 'neither a text nor a list of texts'],
    ['a list with a number', { ...claims, groups: ['shop', 7] }, 'neither a text nor a list of texts'],
    ['an address that is not verified', { ...claims, email_verified: false }, 'has not verified'],
    ['an address that is not verified, as a text', { ...claims, email_verified: 'False' }, 'has not verified'],
  ])('%s: is refused with the reason', (_, given, what) => {
    expect(of(given)).toEqual({ kind: 'incomplete', what: expect.stringContaining(what) });
  });

  it('an address that decides about the grant has to be verified too', () => {
    const grants = parseGrants('[{ "value": "anna@example.org", "role": "admin" }]');
    const byAddress = { nameClaim: 'sub', grantsClaim: 'email', grants };
    const given = { sub: '17', email: 'anna@example.org' };
    expect(of(given, byAddress)).toMatchObject({ kind: 'person', name: '17' });
    expect(of({ ...given, email_verified: false }, byAddress).kind).toBe('incomplete');
    expect(of({ ...claims, sub: '17', email_verified: false }, { nameClaim: 'sub' }).kind).toBe('person');
  });

  it('a claim of an object that everything inherits is none', () => {
    expect(of(claims, { grantsClaim: 'constructor' }).kind).toBe('incomplete');
    expect(of(claims, { nameClaim: 'toString' }).kind).toBe('incomplete');
  });
});

it('another answer of the provider is needed only if one of the two claims is missing', () => {
  expect(lacksClaims(claims, rules)).toBe(false);
  expect(lacksClaims({ ...claims, groups: [] }, rules)).toBe(false);
  expect(lacksClaims({ email: 'a@b' }, rules)).toBe(true);
  expect(lacksClaims({ groups: ['shop'] }, rules)).toBe(true);
});
