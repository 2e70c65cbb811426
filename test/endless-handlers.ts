/** A handlers module whose top-level code never ends and keeps the process alive. */
setInterval(() => {}, 1_000);
await new Promise(() => {});

export const never = (): void => {};
