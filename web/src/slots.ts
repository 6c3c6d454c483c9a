/** A fixed number of places, taken in the order they are asked for. */
export class Slots {
  #free: number;
  #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Waits for a place; the returned function gives it back. */
  async take(): Promise<() => void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return () => {
      const next = this.#waiting.shift();
      // The place passes straight on, so that nobody who comes late overtakes.
      if (next) next();
      else this.#free += 1;
    };
  }
}
