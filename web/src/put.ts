// The PUT of one part. XMLHttpRequest, since fetch does not tell how much has been sent.
import type { SignedPart } from "./gen/reelmill/upload/v1/upload_pb";

/** Sends a part and returns the store's entity tag of it. */
export type PutPart = (
  part: SignedPart,
  body: Blob,
  signal: AbortSignal,
  sent: (bytes: number) => void,
) => Promise<string>;

/** Without a byte moving for this long a connection counts as dead. */
const SILENCE_MILLIS = 60_000;
/** Headers that the browser sets itself, and refuses to take from scripts. */
const BROWSERS_OWN = new Set(["host", "content-length"]);

/** The store did not take the part. */
export class PutRefused extends Error {
  /** HTTP status; 0 when no answer came. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }

  /** Whether the same part may be taken later, or with another address. */
  get transient(): boolean {
    return [0, 403, 408, 429].includes(this.status) || this.status >= 500;
  }
}

export const putPart: PutPart = (part, body, signal, sent) =>
  new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    let silence: ReturnType<typeof setTimeout> | undefined;
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(stop, SILENCE_MILLIS);
    };
    const refuse = (message: string) => reject(new PutRefused(request.status, message));

    request.open("PUT", part.uri);
    for (const [name, value] of Object.entries(part.headers)) {
      if (!BROWSERS_OWN.has(name.toLowerCase())) request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => {
      listen();
      sent(event.loaded);
    };
    request.onload = () => {
      const etag = request.getResponseHeader("etag");
      if (request.status < 200 || request.status > 299) {
        refuse(`The store refused part ${part.partNumber} (HTTP ${request.status}).`);
      } else if (!etag) {
        refuse("The store does not show its ETag header to browsers: its CORS rules must expose it.");
      } else resolve(etag);
    };
    request.onerror = () => refuse("The store can't be reached.");
    request.onabort = () => (signal.aborted ? reject(signal.reason) : refuse("The store fell silent."));
    request.onloadend = () => {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
    };
    signal.addEventListener("abort", stop, { once: true });
    listen();
    request.send(body);
  });
