import { z } from 'zod';

/** The schemas that `parameterFamily` made. */
const FAMILIES = new WeakSet<z.ZodType>();

/**
 * Declares query parameters whose names begin in the same way, such as `metadata.team` and `metadata.customer`, as one
 * optional field. The handler gets an object with the rests of the names as members.
 * @param name the beginning of the names, without the point; also the name of the field
 * @param members schema of the object: a record whose names have a pattern
 */
export function parameterFamily<Members extends z.ZodType>(name: string, members: Members, description: string) {
  const family = members.optional().meta({
    description,
    // In this style the members of an object are parameters of their own, and the name of the object is not sent.
    // Without the example, the documentation page would send members with names of its own, which are refused.
    param: { style: 'form', explode: true, example: {} },
    override: ({ jsonSchema }) => {
      jsonSchema.propertyNames = wholeNames(`${name}.`, jsonSchema.propertyNames as NameSchema);
    },
  });
  FAMILIES.add(family);
  return family;
}

interface NameSchema {
  readonly pattern: string;
  readonly minLength: number;
  readonly maxLength: number;
}

function wholeNames(prefix: string, rest: NameSchema) {
  return {
    type: 'string' as const,
    minLength: prefix.length + rest.minLength,
    maxLength: prefix.length + rest.maxLength,
    pattern: rest.pattern.replace('^', `^${prefix.replaceAll('.', String.raw`\.`)}`),
  };
}

/** Returns the names of a query schema's fields that `parameterFamily` declares. */
export function familiesOf(schema: z.ZodType | undefined): string[] {
  if (!(schema instanceof z.ZodObject)) return [];
  return Object.entries(schema.shape).flatMap(([name, field]) => (FAMILIES.has(field as z.ZodType) ? [name] : []));
}

/**
 * Gathers the parameters of each family into one field. A parameter that has the bare name of a family stays as it is,
 * and the family's schema refuses it.
 */
export function gatherFamilies(query: Readonly<Record<string, unknown>>, families: readonly string[]): object {
  if (families.length === 0) return { ...query };
  const rest: [string, unknown][] = [];
  const gathered = new Map<string, [string, unknown][]>();
  for (const [name, value] of Object.entries(query)) {
    const family = families.find((each) => name.startsWith(`${each}.`));
    if (family === undefined) {
      rest.push([name, value]);
      continue;
    }
    const members = gathered.get(family) ?? [];
    members.push([name.slice(family.length + 1), value]);
    gathered.set(family, members);
  }
  const objects = [...gathered].map(([family, members]) => [family, Object.fromEntries(members)] as const);
  return Object.fromEntries([...objects, ...rest]);
}
