import { z } from 'zod';

/**
 * Both patterns are part of the OpenAPI document, which tools in many languages read. So they use no Unicode
 * classes and no surrogates. Lone surrogates are checked separately; well-formed JSON has none.
 */
// oxlint-disable-next-line no-control-regex -- the pattern is meant to exclude NUL
const STORABLE = /^[^\u0000]*$/;
// oxlint-disable-next-line no-control-regex -- the pattern is meant to exclude control characters
const LABEL = /^[^\u0000-\u001f\u007f-\u009f]*$/;

const textLike = (pattern: RegExp, expected: string) =>
  z
    .string()
    .regex(pattern, expected)
    .refine((text) => text.isWellFormed(), expected);

/** A schema for a text that PostgreSQL's type `text` can store, and so can compare with stored texts. */
export const givenText = () => textLike(STORABLE, 'expected a text without NUL and lone surrogates');

/** A schema for a name. It also excludes control characters, which break terminals and headers. */
export const givenLabel = () => textLike(LABEL, 'expected a text without control characters and lone surrogates');
