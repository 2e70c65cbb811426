import type { Metric, Registry } from 'prom-client';

/** Counts the durations of one combination of label values. */
export interface DurationSeries {
  observe(seconds: number): void;
}

export interface DurationsOptions<Label extends string> {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly Label[];
  /** Upper bounds in seconds, in ascending order. */
  readonly buckets: readonly number[];
  readonly registers: readonly Registry[];
}

/**
 * A histogram in the format of prom-client. prom-client's own looks up its labels for every value; here a caller looks
 * them up once for a whole batch of values, because a worker observes tens of thousands per second.
 */
export class Durations<Label extends string> {
  readonly name: string;
  readonly help: string;
  private readonly labelNames: readonly Label[];
  private readonly buckets: readonly number[];
  private readonly series = new Map<string, Series<Label>>();

  constructor({ name, help, labelNames, buckets, registers }: DurationsOptions<Label>) {
    this.name = name;
    this.help = help;
    this.labelNames = labelNames;
    this.buckets = buckets;
    // A registry needs only the name and `get`.
    for (const registry of registers) registry.registerMetric(this as unknown as Metric);
  }

  /** Returns the series of these labels, and creates it if necessary. */
  labels(labels: Readonly<Record<Label, string>>): DurationSeries {
    const key = this.labelNames.map((label) => labels[label]).join('\0');
    const found = this.series.get(key) ?? new Series(labels, this.buckets);
    this.series.set(key, found);
    return found;
  }

  /** Returns the values in the form in which a registry asks for them. */
  async get() {
    const values = [...this.series.values()].flatMap((series) => series.values(this.name));
    return { name: this.name, help: this.help, type: 'histogram', aggregator: 'sum', values };
  }
}

class Series<Label extends string> implements DurationSeries {
  private readonly labels: Readonly<Record<Label, string>>;
  private readonly buckets: readonly number[];
  /** For each bucket, and for all larger values, the number of values that no smaller bucket holds. */
  private readonly counts: Float64Array;
  private sum = 0;

  constructor(labels: Readonly<Record<Label, string>>, buckets: readonly number[]) {
    this.labels = labels;
    this.buckets = buckets;
    this.counts = new Float64Array(buckets.length + 1);
  }

  observe(seconds: number): void {
    let bucket = 0;
    while (bucket < this.buckets.length && seconds > (this.buckets[bucket] as number)) bucket++;
    (this.counts[bucket] as number)++;
    this.sum += seconds;
  }

  values(name: string) {
    const { labels } = this;
    let count = 0;
    const cumulative = [...this.buckets, '+Inf'].map((le, i) => {
      count += this.counts[i] as number;
      return { labels: { le, ...labels }, value: count, metricName: `${name}_bucket` };
    });
    return [
      ...cumulative,
      { labels, value: this.sum, metricName: `${name}_sum` },
      { labels, value: count, metricName: `${name}_count` },
    ];
  }
}
