// The PUT of one part to the object store. XMLHttpRequest, because fetch does not report upload progress.
import type { SignedPart } from "./gen/reelmill/upload/v1/upload_pb";

/** Sends a part; resolves with the entity tag that the object store returned for it. */
export type PutPart = (
  part: SignedPart,
  body: Blob,
  signal: AbortSignal,
  onProgress: (sentBytes: number) => void,
) => Promise<string>;

/** A connection on which no byte moves for this long is aborted. */
const IDLE_TIMEOUT_MILLIS = 60_000;
/** Headers that the browser sets itself; scripts may not set them. */
const FORBIDDEN_HEADERS = new Set(["host", "content-length"]);

/** The object store rejected the part or did not respond. */
export class PutError extends Error {
  /** HTTP status; 0 when there was no response. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }

  /** Whether a retry can succeed, if necessary with a newly signed URL. */
  get transient(): boolean {
    return [0, 403, 408, 429].includes(this.status) || this.status >= 500;
  }
}

export const putPart: PutPart = (part, body, signal, onProgress) =>
  new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    let idleTimer: ReturnType<typeof setTimeout> | undefined;
    const restartIdleTimer = () => {
      clearTimeout(idleTimer);
      idleTimer = setTimeout(abort, IDLE_TIMEOUT_MILLIS);
    };
    const fail = (message: string) => reject(new PutError(request.status, message));

    request.open("PUT", part.uri);
    for (const [name, value] of Object.entries(part.headers)) {
      if (!FORBIDDEN_HEADERS.has(name.toLowerCase())) request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => {
      restartIdleTimer();
      onProgress(event.loaded);
    };
    request.onload = () => {
      const etag = request.getResponseHeader("etag");
      if (request.status < 200 || request.status > 299) {
        fail(`The object store rejected part ${part.partNumber} (HTTP ${request.status}).`);
      } else if (!etag) {
        fail("The object store does not expose the ETag header to browsers: add it to its CORS rules.");
      } else resolve(etag);
    };
    request.onerror = () => fail("The object store can't be reached.");
    request.onabort = () => (signal.aborted ? reject(signal.reason) : fail("The object store stopped responding."));
    request.onloadend = () => {
      clearTimeout(idleTimer);
      signal.removeEventListener("abort", abort);
    };
    signal.addEventListener("abort", abort, { once: true });
    restartIdleTimer();
    request.send(body);
  });
