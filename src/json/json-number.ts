/** Every decimal of 15 digits survives the conversion to double precision and back (IEEE 754, `DBL_DIG`). */
const EXACT_DIGITS = 15;

/** Characters. Any double with all its digits and a few hundred zeros is shorter. Longer texts are not compared. */
const NUMBER_LENGTH_MAX = 2_000;

/** Returns whether a double can hold a JSON number exactly. */
export function isExact(source: string): boolean {
  if (source.length <= EXACT_DIGITS && !/[eE]/.test(source)) return true;
  if (source.length > NUMBER_LENGTH_MAX) return false;
  const value = Number(source);
  return Number.isFinite(value) && canonicalDecimal(String(value)) === canonicalDecimal(source);
}

/**
 * Returns the same text for equal numbers: the digits without zeros at either end, and the power of ten of the last
 * digit. Zero has no sign.
 */
function canonicalDecimal(source: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(source) ?? [];
  const digits = whole + fraction;
  let first = 0;
  let end = digits.length;
  while (first < end && digits[first] === '0') first++;
  while (end > first && digits[end - 1] === '0') end--;
  if (first === end) return '0';
  return `${sign}${digits.slice(first, end)}e${Number(exponent) - fraction.length + digits.length - end}`;
}
