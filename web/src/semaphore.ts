/** A counting semaphore. Waiters acquire in FIFO order. */
export class Semaphore {
  #free: number;
  #waiters: (() => void)[] = [];

  constructor(permits: number) {
    this.#free = permits;
  }

  /** Waits for a permit; the returned function releases it. */
  async acquire(): Promise<() => void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiters.push(resolve));
    return () => {
      const next = this.#waiters.shift();
      // Passed directly to the next waiter, so that a later caller cannot overtake it.
      if (next) next();
      else this.#free += 1;
    };
  }
}
