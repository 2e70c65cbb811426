import { z } from 'zod';

/**
 * A schema for a record with at most `most` members. It reports too many members before it checks any of
 * them, because checking hundreds of thousands would take seconds. It refuses `__proto__`, because a record silently
 * drops that member.
 */
export function boundedRecord<Value extends z.ZodType>(value: Value, most: number) {
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

/** A schema for an array of at most `most` items. The items of a longer array are not checked. */
export function boundedArray<Item extends z.ZodType>(item: Item, most: number) {
  return z.preprocess((given, context) => {
    if (Array.isArray(given) && given.length > most) {
      context.addIssue({ code: 'custom', message: `expected at most ${most} items`, input: given });
    }
    return given;
  }, z.array(item).max(most));
}
