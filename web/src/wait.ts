// Waiting that can be given up, and how long to wait before trying again.

/** Resolves after `millis`, or rejects at once when the signal aborts. */
export function sleep(millis: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, millis);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Pause before attempt `attempt` (from 1): doubling, capped, and spread so that clients don't march in step. */
export function backoff(attempt: number, firstMillis = 500, capMillis = 15_000): number {
  const full = Math.min(capMillis, firstMillis * 2 ** (attempt - 1));
  return full / 2 + (Math.random() * full) / 2;
}
