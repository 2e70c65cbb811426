import { expect, test } from 'vitest';
import { createWatchdog } from './watchdog.ts';

function watched(deadlineMs: number) {
  const pulse = { tickMs: 0, deadlineMs };
  const kills: { overrunMs: number; stalledMs: number }[] = [];
  let nowMs = 0;
  const watchdog = createWatchdog({
    pulse,
    overrunMs: 30_000,
    stalledMs: 5_000,
    kill: (kill) => kills.push(kill),
    nowMs: () => nowMs,
  });
  /** Lets time pass with a look every half second, while the main loop ticks or stands still. */
  const passTo = (untilMs: number, mainLoopTurns: boolean): void => {
    while (nowMs < untilMs) {
      nowMs += 500;
      if (mainLoopTurns) pulse.tickMs = nowMs;
      watchdog.look();
    }
  };
  const freezeTo = (untilMs: number): void => void (nowMs = untilMs);
  return { kills, passTo, freezeTo, pulse };
}

test('kills when a deadline is long over and the main loop stands still', () => {
  const { kills, passTo } = watched(10_000);
  passTo(38_000, true);
  passTo(39_500, false);
  expect(kills).toEqual([]);
  passTo(43_000, false);
  expect(kills).toEqual([{ overrunMs: 33_000, stalledMs: 5_000 }]);
});

test('spares a worker whose main loop ticks, because it settles the attempt itself', () => {
  const { kills, passTo } = watched(10_000);
  passTo(100_000, true);
  expect(kills).toEqual([]);
});

test('spares a blocked main loop while no deadline has been over for long', () => {
  const { kills, passTo, pulse } = watched(50_000);
  passTo(79_000, false);
  pulse.deadlineMs = 0;
  passTo(200_000, false);
  expect(kills).toEqual([]);
});

test('gives the main loop time after a freeze of the whole process', () => {
  const { kills, passTo, freezeTo } = watched(10_000);
  passTo(5_000, true);
  freezeTo(500_000);
  passTo(504_000, false);
  passTo(600_000, true);
  expect(kills).toEqual([]);
});
