/** A handlers module whose top-level code never ends, and which holds the process open. */
setInterval(() => {}, 1_000);
await new Promise(() => {});

export const never = (): void => {};
