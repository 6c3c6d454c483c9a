// Uploads one file to the object store, directly and in parts. Each part is retried separately.
import type { Client } from "@connectrpc/connect";
import type {
  SignedPart,
  UploadService,
  UploadSession,
} from "./gen/reelmill/upload/v1/upload_pb";
import type { Video } from "./gen/reelmill/upload/v1/video_pb";
import { backoffMillis, sleep } from "./backoff";
import { isTransient } from "./errors";
import { type PutPart, PutError } from "./put-part";
import type { Semaphore } from "./semaphore";

/** Parts of one file sent concurrently. The semaphore limits those of all files together. */
const MAX_PARALLEL_PARTS = 4;
/** Backoff totals about 70 s: long enough for the object store to restart. */
const MAX_ATTEMPTS = 8;
/** Parts signed by one call. */
const SIGN_BATCH_SIZE = 64;

export interface UploadEvents {
  /** The upload session exists; `video` is the resource name of its video. */
  opened(video: string): void;
  /** Bytes sent, including those of parts in flight. */
  progress(sentBytes: number): void;
}

/** Dependencies of an upload. */
export interface UploadContext {
  service: Client<typeof UploadService>;
  putPart: PutPart;
  partSlots: Semaphore;
  events: UploadEvents;
}

export class FileUpload {
  readonly file: File;
  /** Resource name of the video; empty until the session exists. */
  video = "";

  #context: UploadContext;
  #abort = new AbortController();
  // The same for all retries: makes CreateUploadSession idempotent.
  #requestId = randomId();
  #session: UploadSession | undefined;
  #signed: SignedPart[] = [];
  #unsigned: number[] = [];
  #signing: Promise<void> | undefined;
  #etags = new Map<number, string>();
  #inFlight = new Map<number, number>();
  #doneBytes = 0;

  constructor(file: File, context: UploadContext) {
    this.file = file;
    this.#context = context;
  }

  /** Uploads the missing parts and completes the session. Can be called again after a failure. */
  async run(): Promise<Video> {
    const session = await this.#open();
    const attempt = { failed: false };
    const senders = Array.from({ length: MAX_PARALLEL_PARTS }, () => this.#sendParts(session, attempt));
    // Waits for all senders before it reports a failure: a retry must not race with them.
    const results = await Promise.allSettled(senders);
    for (const result of results) if (result.status === "rejected") throw result.reason;
    const parts = [...this.#etags].map(([partNumber, etag]) => ({ partNumber, etag }));
    parts.sort((a, b) => a.partNumber - b.partNumber);
    const name = session.name;
    const { video } = await this.#withRetry((options) =>
      this.#context.service.completeUploadSession({ name, parts }, options),
    );
    if (!video) throw new Error("The server completed the upload but returned no video.");
    return video;
  }

  /** Stops sending. The caller deletes the session. */
  cancel(): void {
    this.#abort.abort(new DOMException("The upload was cancelled.", "AbortError"));
  }

  get cancelled(): boolean {
    return this.#abort.signal.aborted;
  }

  async #open(): Promise<UploadSession> {
    if (this.#session) {
      this.#signed = [];
      this.#unsigned = missing(this.#session.partCount, this.#etags);
      return this.#session;
    }
    const request = {
      fileName: this.file.name,
      sizeBytes: BigInt(this.file.size),
      requestId: this.#requestId,
    };
    const response = await this.#withRetry((options) =>
      this.#context.service.createUploadSession(request, options),
    );
    const session = response.uploadSession;
    if (!session) throw new Error("The server returned no upload session.");
    this.#session = session;
    this.video = session.video;
    this.#signed = [...response.signedParts];
    const signed = new Map(this.#signed.map((part) => [part.partNumber, ""]));
    this.#unsigned = missing(session.partCount, signed);
    this.#context.events.opened(session.video);
    return session;
  }

  async #sendParts(session: UploadSession, attempt: { failed: boolean }): Promise<void> {
    for (;;) {
      const release = await this.#context.partSlots.acquire();
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
    while (this.#signed.length === 0 && (this.#unsigned.length > 0 || this.#signing)) {
      this.#signing ??= this.#signNextBatch(session).finally(() => {
        this.#signing = undefined;
      });
      await this.#signing;
    }
    return this.#signed.shift();
  }

  async #signNextBatch(session: UploadSession): Promise<void> {
    const numbers = this.#unsigned.splice(0, SIGN_BATCH_SIZE);
    this.#signed.push(...(await this.#sign(session, numbers)));
  }

  async #sign(session: UploadSession, numbers: number[]): Promise<SignedPart[]> {
    const parts = numbers.map((partNumber) => ({ partNumber }));
    const { signedParts } = await this.#withRetry((options) =>
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
        const etag = await this.#context.putPart(part, body, this.#abort.signal, (sent) => {
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
        if (!(error instanceof PutError) || !error.transient || attempt === MAX_ATTEMPTS) throw error;
        await sleep(backoffMillis(attempt), this.#abort.signal);
        // 403 can mean that the signed URL has expired.
        if (error.status === 403) part = (await this.#sign(session, [number]))[0] ?? part;
      }
    }
  }

  /** Retries an idempotent call while it fails with a transient error. */
  async #withRetry<T>(call: (options: { signal: AbortSignal }) => Promise<T>): Promise<T> {
    const signal = this.#abort.signal;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await call({ signal });
      } catch (error) {
        signal.throwIfAborted();
        if (!isTransient(error) || attempt === MAX_ATTEMPTS) throw error;
        await sleep(backoffMillis(attempt), signal);
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
