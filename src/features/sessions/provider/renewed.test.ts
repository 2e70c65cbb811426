import { describe, expect, it } from 'vitest';
import { createRenewed } from './renewed.ts';

function setUp() {
  let nowMs = 0;
  const answers: (() => Promise<string>)[] = [];
  let loads = 0;
  const get = createRenewed({
    load: () => {
      loads++;
      return (answers.shift() ?? (async () => `value ${loads}`))();
    },
    keptMs: 1_000,
    pauseMs: 100,
    clock: { nowMs: () => nowMs, monotonicMs: () => nowMs },
  });
  return { get, answers, pass: (ms: number) => (nowMs += ms), loads: () => loads };
}

const refused = async (): Promise<string> => {
  throw new Error('refused');
};

describe('something that another server says', () => {
  it('is loaded on first use, once for all who ask, and kept', async () => {
    const { get, loads, pass } = setUp();
    expect(await Promise.all([get(), get(), get()])).toEqual(['value 1', 'value 1', 'value 1']);
    pass(1_000);
    expect(await get()).toBe('value 1');
    expect(loads()).toBe(1);
  });

  it('is loaded again when it is due, while the known value is used', async () => {
    const { get, pass } = setUp();
    await get();
    pass(1_001);
    expect(await get()).toBe('value 1');
    await expect.poll(get).toBe('value 2');
  });

  it('is asked for again only after a pause if that has failed', async () => {
    const { get, answers, pass, loads } = setUp();
    answers.push(refused, refused);
    await expect(Promise.all([get(), get()])).rejects.toThrow('refused');
    await expect(get()).rejects.toThrow('refused');
    expect(loads()).toBe(1);
    pass(100);
    await expect(get()).rejects.toThrow('refused');
    pass(100);
    expect(await get()).toBe('value 3');
  });

  it('stays known if it cannot be loaded again', async () => {
    const { get, answers, pass, loads } = setUp();
    await get();
    answers.push(refused);
    pass(1_001);
    expect(await get()).toBe('value 1');
    await expect.poll(loads).toBe(2);
    expect(await get()).toBe('value 1');
    expect(loads()).toBe(2);
    pass(100);
    await get();
    await expect.poll(get).toBe('value 3');
  });
});
