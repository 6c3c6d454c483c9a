// One file on its way into the store: straight, in parts, each retried by itself.
import type { Client } from "@connectrpc/connect";
import type {
  SignedPart,
  UploadService,
  UploadSession,
} from "./gen/reelmill/upload/v1/upload_pb";
import type { Video } from "./gen/reelmill/upload/v1/video_pb";
import { isTransient } from "./errors";
import { type PutPart, PutRefused } from "./put";
import type { Slots } from "./slots";
import { backoff, sleep } from "./wait";

/** Parts of one file on their way at once; the slots bound those of all files. */
const PARALLEL = 4;
/** Together some 70 seconds: long enough for a store that restarts. */
const ATTEMPTS = 8;
/** Addresses asked for at a time. */
const BATCH = 64;

export interface UploadEvents {
  /** The session is open: the video has a name. */
  opened(video: string): void;
  /** Bytes that have left, those in flight included. */
  progress(sentBytes: number): void;
}

/** What an upload needs from around it. */
export interface UploadContext {
  service: Client<typeof UploadService>;
  put: PutPart;
  slots: Slots;
  events: UploadEvents;
}

export class FileUpload {
  readonly file: File;
  /** The video's name, once the session is open. */
  video = "";

  #context: UploadContext;
  #abort = new AbortController();
  // Kept over retries, so that creating the session twice gives the same one.
  #requestId = randomId();
  #session: UploadSession | undefined;
  #ready: SignedPart[] = [];
  #unsigned: number[] = [];
  #signing: Promise<void> | undefined;
  #etags = new Map<number, string>();
  #inFlight = new Map<number, number>();
  #doneBytes = 0;

  constructor(file: File, context: UploadContext) {
    this.file = file;
    this.#context = context;
  }

  /** Uploads what is not there yet and completes. May be called again after it has failed. */
  async run(): Promise<Video> {
    const session = await this.#open();
    const attempt = { failed: false };
    const loops = Array.from({ length: PARALLEL }, () => this.#sendParts(session, attempt));
    // Every loop stops before a failure is told: a retry must not race with them.
    const ends = await Promise.allSettled(loops);
    for (const end of ends) if (end.status === "rejected") throw end.reason;
    const parts = [...this.#etags].map(([partNumber, etag]) => ({ partNumber, etag }));
    parts.sort((a, b) => a.partNumber - b.partNumber);
    const name = session.name;
    const { video } = await this.#persist((options) =>
      this.#context.service.completeUploadSession({ name, parts }, options),
    );
    if (!video) throw new Error("The server completed the upload without saying which video it is.");
    return video;
  }

  /** Stops sending. The session is left for the caller to delete. */
  cancel(): void {
    this.#abort.abort(new DOMException("The upload was cancelled.", "AbortError"));
  }

  get cancelled(): boolean {
    return this.#abort.signal.aborted;
  }

  async #open(): Promise<UploadSession> {
    if (this.#session) {
      this.#ready = [];
      this.#unsigned = missing(this.#session.partCount, this.#etags);
      return this.#session;
    }
    const request = {
      fileName: this.file.name,
      sizeBytes: BigInt(this.file.size),
      requestId: this.#requestId,
    };
    const response = await this.#persist((options) =>
      this.#context.service.createUploadSession(request, options),
    );
    const session = response.uploadSession;
    if (!session) throw new Error("The server opened no upload session.");
    this.#session = session;
    this.video = session.video;
    this.#ready = [...response.signedParts];
    const signed = new Map(this.#ready.map((part) => [part.partNumber, ""]));
    this.#unsigned = missing(session.partCount, signed);
    this.#context.events.opened(session.video);
    return session;
  }

  async #sendParts(session: UploadSession, attempt: { failed: boolean }): Promise<void> {
    for (;;) {
      const release = await this.#context.slots.take();
      try {
        this.#abort.signal.throwIfAborted();
        const part = attempt.failed ? undefined : await this.#nextPart(session);
        if (!part) return;
        await this.#sendPart(session, part);
      } catch (error) {
        attempt.failed = true;
        throw error;
      } finally {
        release();
      }
    }
  }

  async #nextPart(session: UploadSession): Promise<SignedPart | undefined> {
    while (this.#ready.length === 0 && (this.#unsigned.length > 0 || this.#signing)) {
      this.#signing ??= this.#signMore(session).finally(() => {
        this.#signing = undefined;
      });
      await this.#signing;
    }
    return this.#ready.shift();
  }

  async #signMore(session: UploadSession): Promise<void> {
    const numbers = this.#unsigned.splice(0, BATCH);
    this.#ready.push(...(await this.#sign(session, numbers)));
  }

  async #sign(session: UploadSession, numbers: number[]): Promise<SignedPart[]> {
    const parts = numbers.map((partNumber) => ({ partNumber }));
    const { signedParts } = await this.#persist((options) =>
      this.#context.service.signUploadParts({ name: session.name, parts }, options),
    );
    return signedParts;
  }

  async #sendPart(session: UploadSession, first: SignedPart): Promise<void> {
    const number = first.partNumber;
    const partSize = Number(session.partSizeBytes);
    const body = this.file.slice((number - 1) * partSize, number * partSize);
    let part = first;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const etag = await this.#context.put(part, body, this.#abort.signal, (sent) => {
          this.#inFlight.set(number, sent);
          this.#report();
        });
        this.#etags.set(number, etag);
        this.#inFlight.delete(number);
        this.#doneBytes += body.size;
        this.#report();
        return;
      } catch (error) {
        this.#inFlight.delete(number);
        this.#report();
        if (!(error instanceof PutRefused) || !error.transient || attempt === ATTEMPTS) throw error;
        await sleep(backoff(attempt), this.#abort.signal);
        // 403 is also what an address gets that has expired.
        if (error.status === 403) part = (await this.#sign(session, [number]))[0] ?? part;
      }
    }
  }

  /** Repeats a call that may be repeated while the server can't be reached. */
  async #persist<T>(call: (options: { signal: AbortSignal }) => Promise<T>): Promise<T> {
    const signal = this.#abort.signal;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await call({ signal });
      } catch (error) {
        signal.throwIfAborted();
        if (!isTransient(error) || attempt === ATTEMPTS) throw error;
        await sleep(backoff(attempt), signal);
      }
    }
  }

  #report(): void {
    let sent = this.#doneBytes;
    for (const bytes of this.#inFlight.values()) sent += bytes;
    this.#context.events.progress(Math.min(sent, this.file.size));
  }
}

function missing(count: number, have: ReadonlyMap<number, unknown>): number[] {
  return Array.from({ length: count }, (_, index) => index + 1).filter((number) => !have.has(number));
}

/** 128 random bits. `crypto.randomUUID` does not exist on plain HTTP from another machine. */
function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
