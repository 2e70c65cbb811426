import { z } from 'zod';

/**
 * Both patterns stand in the OpenAPI document, for tools in many languages: they use no Unicode
 * classes and no surrogates. Lone surrogates, which well-formed JSON does not hold, are checked apart.
 */
// oxlint-disable-next-line no-control-regex -- NUL is what it is about
const STORABLE = /^[^\u0000]*$/;
// oxlint-disable-next-line no-control-regex -- control characters are what it is about
const LABEL = /^[^\u0000-\u001f\u007f-\u009f]*$/;

const textLike = (pattern: RegExp, expected: string) =>
  z
    .string()
    .regex(pattern, expected)
    .refine((text) => text.isWellFormed(), expected);

/** A text that PostgreSQL's type `text` keeps as it is: one that is stored, or compared with stored ones. */
export const givenText = () => textLike(STORABLE, 'expected a text without NUL and lone surrogates');

/** A name. It has no control characters either, which would upset terminals and headers. */
export const givenLabel = () => textLike(LABEL, 'expected a text without control characters and lone surrogates');
