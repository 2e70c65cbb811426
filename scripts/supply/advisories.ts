/** An advisory that a person has looked at, and that need not keep a release back until its day. */
export interface AcceptedAdvisory {
  /** For example GHSA-xxxx-xxxx-xxxx. */
  readonly id: string;
  readonly package: string;
  /** Why it does no harm here, in a sentence. */
  readonly reason: string;
  /** The last day on which it is accepted, such as 2027-01-31. Then somebody looks again. */
  readonly until: string;
}

export interface Advisory {
  readonly id: string;
  readonly package: string;
  readonly severity: Severity;
  readonly title: string;
}

const SEVERITIES = ['info', 'low', 'moderate', 'high', 'critical'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** What `npm audit --json` printed: advisories, or why the registry gave none. */
export type AuditAnswer =
  | { readonly kind: 'answered'; readonly advisories: readonly Advisory[] }
  | { readonly kind: 'unanswered'; readonly why: string };

/** Longest time for which an advisory can be accepted at once. */
const ACCEPTED_DAYS_MAX = 180;

/**
 * Reads the reviewed advisories.
 * @throws Error that names what is missing or wrong
 */
export function readAccepted(text: string, today: string): AcceptedAdvisory[] {
  const entries = JSON.parse(text) as unknown;
  if (!Array.isArray(entries)) throw new Error('expected an array of accepted advisories');
  return entries.map((entry: Partial<AcceptedAdvisory>, i) => {
    for (const field of ['id', 'package', 'reason', 'until'] as const) {
      const value = entry[field];
      if (typeof value !== 'string' || value.trim() === '')
        throw new Error(`entry ${i + 1}: expected a text as \`${field}\``);
    }
    const { until } = entry as AcceptedAdvisory;
    const days = (Date.parse(until) - Date.parse(today)) / 86_400_000;
    if (!/^\d{4}-\d{2}-\d{2}$/.test(until) || Number.isNaN(days)) {
      throw new Error(`entry ${i + 1}: expected a day such as 2027-01-31 as \`until\`, got ${until}`);
    }
    if (days > ACCEPTED_DAYS_MAX) {
      throw new Error(
        `entry ${i + 1}: \`until\` is ${until}; accept an advisory for at most ${ACCEPTED_DAYS_MAX} days`,
      );
    }
    return entry as AcceptedAdvisory;
  });
}

interface Report {
  readonly vulnerabilities?: Readonly<Record<string, { readonly via: readonly (string | Via)[] }>>;
  readonly message?: string;
  readonly error?: { readonly code?: string; readonly summary?: string };
}

interface Via {
  readonly name: string;
  readonly url: string;
  readonly title: string;
  readonly severity: Severity;
}

/** Reads the output of `npm audit --json`. Anything but a whole report means that the registry did not answer. */
export function readAudit(output: string): AuditAnswer {
  let report: Report;
  try {
    report = JSON.parse(output) as Report;
  } catch {
    return { kind: 'unanswered', why: 'npm audit printed no report' };
  }
  if (report.vulnerabilities === undefined) {
    const { code = '', summary = '' } = report.error ?? {};
    return {
      kind: 'unanswered',
      why: report.message ?? (`${code} ${summary}`.trim() || 'npm audit printed no report'),
    };
  }
  const found = new Map<string, Advisory>();
  // A package that only contains a vulnerable one has its name instead of an advisory.
  for (const via of Object.values(report.vulnerabilities).flatMap((one) => one.via)) {
    if (typeof via === 'string') continue;
    const id = via.url.slice(via.url.lastIndexOf('/') + 1);
    found.set(`${id} ${via.name}`, { id, package: via.name, severity: via.severity, title: via.title });
  }
  return { kind: 'answered', advisories: [...found.values()] };
}

export interface Verdict {
  /** High and critical ones that nobody has accepted, or not for so long. */
  readonly serious: readonly Advisory[];
  readonly accepted: readonly Advisory[];
  /** The rest. */
  readonly minor: readonly Advisory[];
}

/** @param today for example 2026-12-01 */
export function judge(advisories: readonly Advisory[], accepted: readonly AcceptedAdvisory[], today: string): Verdict {
  const isAccepted = (one: Advisory): boolean =>
    accepted.some(({ id, package: name, until }) => id === one.id && name === one.package && today <= until);
  const isSerious = ({ severity }: Advisory): boolean => SEVERITIES.indexOf(severity) >= SEVERITIES.indexOf('high');
  return {
    serious: advisories.filter((one) => isSerious(one) && !isAccepted(one)),
    accepted: advisories.filter(isAccepted),
    minor: advisories.filter((one) => !isSerious(one) && !isAccepted(one)),
  };
}
