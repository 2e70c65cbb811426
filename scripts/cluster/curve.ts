/** Demand and workers at one time while the system scales. */
export interface Sample {
  readonly seconds: number;
  readonly demand: number;
  readonly workers: number;
}

const WIDTH = 900;
const HEIGHT = 360;
const MARGIN = { left: 70, right: 60, top: 30, bottom: 45 };

/** Draws demand and workers over time as an SVG. */
export function curve(samples: readonly Sample[], title: string): string {
  const lastSecond = Math.max(1, ...samples.map(({ seconds }) => seconds));
  const mostDemand = Math.max(1, ...samples.map(({ demand }) => demand));
  const mostWorkers = Math.max(1, ...samples.map(({ workers }) => workers));
  const x = (seconds: number): number => MARGIN.left + (seconds / lastSecond) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (share: number): number => HEIGHT - MARGIN.bottom - share * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const line = (points: readonly (readonly [number, number])[]): string =>
    points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join(' ');

  const demand = line(samples.map((each) => [x(each.seconds), y(each.demand / mostDemand)] as const));
  // The number of workers changes in steps.
  const workers = line(
    samples.flatMap((each, i) => {
      const before = samples[i - 1] ?? each;
      const at = x(each.seconds);
      return [[at, y(before.workers / mostWorkers)] as const, [at, y(each.workers / mostWorkers)] as const];
    }),
  );
  const text = (px: number, py: number, anchor: string, colour: string, content: string): string =>
    `<text x="${px}" y="${py}" text-anchor="${anchor}" fill="${colour}">${content}</text>`;
  const marks = [0, 0.25, 0.5, 0.75, 1];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>
${text(WIDTH / 2, 18, 'middle', '#222', title)}
${marks.map((mark) => `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(mark)}" y2="${y(mark)}" stroke="#ddd"/>`).join('\n')}
${marks.map((mark) => text(MARGIN.left - 8, y(mark) + 4, 'end', '#1f6f8b', String(Math.round(mark * mostDemand)))).join('\n')}
${marks.map((mark) => text(WIDTH - MARGIN.right + 8, y(mark) + 4, 'start', '#c8553d', (mark * mostWorkers).toFixed(1))).join('\n')}
${marks.map((mark) => text(x(mark * lastSecond), HEIGHT - 24, 'middle', '#444', `${Math.round(mark * lastSecond)} s`)).join('\n')}
<polyline points="${demand}" fill="none" stroke="#1f6f8b" stroke-width="2"/>
<polyline points="${workers}" fill="none" stroke="#c8553d" stroke-width="2"/>
${text(MARGIN.left, HEIGHT - 6, 'start', '#1f6f8b', 'demand (tasks)')}
${text(WIDTH - MARGIN.right, HEIGHT - 6, 'end', '#c8553d', 'worker pods')}
</svg>
`;
}
