import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { messageOf } from '../core/errors.ts';
import { parseDuration } from './duration.ts';
import { HTTP_TARGET_RULE, parseHttpTarget } from './http-targets.ts';
import { networkOf, parseNetwork } from './networks.ts';
import { parsePublicUrl, PUBLIC_URL_RULE } from './public-url.ts';

/** The kind of a setting's text. The schema of the chart's values is generated from it. */
export type SettingKind = 'duration' | 'integer' | 'flag' | 'networks';

export const duration = (fallback: string, minMs: number, maxMs: number) =>
  z
    .string()
    .default(fallback)
    .transform((text, context) => {
      const ms = parseDuration(text);
      if (ms === null || ms < minMs || ms > maxMs) {
        const message = `expected a duration such as 500ms, 10s, 5m, 24h or 7d, from ${minMs} ms to ${maxMs} ms`;
        context.addIssue({ code: 'custom', message });
        return z.NEVER;
      }
      return ms;
    })
    .meta({ kind: 'duration' satisfies SettingKind, minimumMs: minMs, maximumMs: maxMs });

/** Accept exponents: Helm renders large numbers that way. */
const WHOLE_NUMBER = /^\d[\d.]*(e\+?\d+)?$/i;

export const integer = (fallback: number, min: number, max: number) =>
  z
    .string()
    .default(String(fallback))
    .transform((text, context) => {
      const value = WHOLE_NUMBER.test(text.trim()) ? Number(text) : Number.NaN;
      if (Number.isInteger(value) && value >= min && value <= max) return value;
      context.addIssue({ code: 'custom', message: `expected a whole number from ${min} to ${max}` });
      return z.NEVER;
    })
    .meta({ kind: 'integer' satisfies SettingKind, minimum: min, maximum: max });

export const flag = (fallback: boolean) =>
  z
    .string()
    .default(String(fallback))
    .pipe(z.stringbool({ error: 'expected true or false' }))
    .meta({ kind: 'flag' satisfies SettingKind });

export const flagOrAuto = () =>
  z
    .string()
    .default('auto')
    .pipe(z.union([z.literal('auto'), z.stringbool()], { error: 'expected auto, true or false' }))
    .meta({ enum: ['auto', 'true', 'false'] });

export const list = (fallback: string) =>
  z
    .string()
    .default(fallback)
    .transform((text) =>
      text
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== ''),
    );

/** A list whose items are all checked. @param problemOf returns what is wrong with an item, or null */
export const listOf = (fallback: string, problemOf: (item: string) => string | null) =>
  list(fallback).superRefine((items, context) => {
    for (const given of items) {
      const message = problemOf(given);
      if (message !== null) context.addIssue({ code: 'custom', message, params: { given } });
    }
  });

export const networks = () =>
  listOf('', (item) => {
    const network = parseNetwork(item);
    return typeof network === 'string' ? network : null;
  })
    .transform((items) => items.map(networkOf))
    .meta({ kind: 'networks' satisfies SettingKind });

/** Targets of requests; none for `off`. */
export const httpTargets = () =>
  listOf('*', (item) => (item === 'off' || parseHttpTarget(item) !== null ? null : `expected ${HTTP_TARGET_RULE}`))
    .refine((items) => !items.includes('off') || items.length === 1, 'expected either `off` or targets')
    .transform((items) =>
      items.includes('off') ? [] : items.map(parseHttpTarget).filter((target) => target !== null),
    );

/** The address under which browsers reach the API; empty if nothing is said. */
export const publicUrl = () =>
  z
    .string()
    .default('')
    .transform((text, context) => {
      const origin = text === '' ? '' : parsePublicUrl(text);
      if (origin !== null) return origin;
      context.addIssue({ code: 'custom', message: `expected ${PUBLIC_URL_RULE}` });
      return z.NEVER;
    });

/** A label with its value in the form that Kubernetes accepts: `prefix/name=value`. */
const LABEL =
  /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?=(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;

export const labels = () =>
  listOf('', (item) => (LABEL.test(item) ? null : 'expected labels as name=value, comma-separated')).transform(
    (items): Readonly<Record<string, string>> => Object.fromEntries(items.map((item) => item.split('='))),
  );

export const certificates = () =>
  z
    .string()
    .default('')
    .superRefine((path, context) => {
      if (path === '') return;
      try {
        if (readFileSync(path, 'utf8').includes('-----BEGIN CERTIFICATE-----')) return;
        context.addIssue({ code: 'custom', message: 'expected a file with certificates in PEM' });
      } catch (error) {
        context.addIssue({ code: 'custom', message: `cannot read it: ${messageOf(error)}` });
      }
    });
