import { z } from 'zod';

/**
 * A record of texts with at most so many members. Their number is looked at first: to find fault with each of
 * hundreds of thousands would take seconds. `__proto__` is refused, since a record drops it without a word.
 */
export function boundedRecord<Value extends z.ZodType<string>>(value: Value, most: number) {
  return z.preprocess(
    (given, context) => {
      if (typeof given !== 'object' || given === null) return given;
      if (Object.hasOwn(given, '__proto__')) {
        context.addIssue({ code: 'custom', message: 'must not be named __proto__', path: ['__proto__'], input: given });
      }
      if (Object.keys(given).length > most) {
        context.addIssue({ code: 'custom', message: `expected at most ${most} members`, input: given });
      }
      return given;
    },
    z.record(z.string(), value),
  );
}

/** An array of at most so many items, which are looked at only if they are no more. */
export function boundedArray<Item extends z.ZodType>(item: Item, most: number) {
  return z.preprocess((given, context) => {
    if (Array.isArray(given) && given.length > most) {
      context.addIssue({ code: 'custom', message: `expected at most ${most} items`, input: given });
    }
    return given;
  }, z.array(item).max(most));
}
