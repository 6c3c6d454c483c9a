// Delays between attempts.

/** Resolves after `millis`, or rejects immediately when the signal aborts. */
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

/**
 * Exponential backoff with jitter: milliseconds to wait after failed attempt `attempt` (from 1). Doubles up to
 * `maxMillis`; the upper half is random, so that clients do not retry in lockstep.
 */
export function backoffMillis(attempt: number, baseMillis = 500, maxMillis = 15_000): number {
  const full = Math.min(maxMillis, baseMillis * 2 ** (attempt - 1));
  return full / 2 + (Math.random() * full) / 2;
}
