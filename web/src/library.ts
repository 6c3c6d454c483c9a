// The signed-in user's videos, kept current by one server stream.
import type { Client } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import type { VideoService, Video, WatchVideosResponse } from "./gen/reelmill/upload/v1/video_pb";
import { backoffMillis, sleep } from "./backoff";

/** State of the stream. */
export type ConnectionState = "connecting" | "live" | "lost";

/** After a stream that lasted longer than this, the backoff starts again at its minimum. */
const BACKOFF_RESET_MILLIS = 10_000;

export interface LibraryEvents {
  changed(video: Video): void;
  deleted(name: string): void;
  connection(state: ConnectionState): void;
}

export class Library {
  readonly videos = new Map<string, Video>();

  #service: Client<typeof VideoService>;
  #events: LibraryEvents;
  #revision = 0n;

  constructor(service: Client<typeof VideoService>, events: LibraryEvents) {
    this.#service = service;
    this.#events = events;
  }

  /**
   * Watches until `signal` aborts. After a broken stream it reconnects from the highest revision seen.
   * `renewToken` is called when the server rejects the access token; if it resolves to false, watching ends.
   */
  async watch(signal: AbortSignal, renewToken: () => Promise<boolean>): Promise<void> {
    let attempt = 0;
    this.#events.connection("connecting");
    while (!signal.aborted) {
      const attemptSignal = abortOnWake(signal);
      const startedAt = performance.now();
      try {
        const changes = this.#service.watchVideos({ revision: this.#revision }, { signal: attemptSignal.signal });
        for await (const change of changes) this.#apply(change);
      } catch (error) {
        if (signal.aborted) return;
        const unauthenticated = ConnectError.from(error).code === Code.Unauthenticated;
        if (unauthenticated && !(await renewToken())) return;
      } finally {
        attemptSignal.release();
      }
      if (signal.aborted) return;
      this.#events.connection("lost");
      // A stream that breaks soon after its first message does not reset the backoff.
      attempt = performance.now() - startedAt > BACKOFF_RESET_MILLIS ? 1 : attempt + 1;
      await sleep(backoffMillis(attempt, 400, 8000), signal).catch(() => {});
    }
  }

  /** Adds a video that another call returned, unless a newer revision is known. */
  put(video: Video): void {
    const known = this.videos.get(video.name);
    if (known && known.revision > video.revision) return;
    this.videos.set(video.name, video);
    this.#events.changed(video);
  }

  remove(name: string): void {
    if (this.videos.delete(name)) this.#events.deleted(name);
  }

  #apply({ change }: WatchVideosResponse): void {
    switch (change.case) {
      case "video":
        if (change.value.revision > this.#revision) this.#revision = change.value.revision;
        this.put(change.value);
        break;
      case "deleted":
        this.remove(change.value);
        break;
      case "caughtUp":
        this.#events.connection("live");
        break;
    }
  }
}

/**
 * A signal that aborts with `outer`, and also when the network returns or the page was hidden for over a minute:
 * a stream from before that is often dead without an error.
 */
function abortOnWake(outer: AbortSignal): { signal: AbortSignal; release: () => void } {
  const inner = new AbortController();
  const abort = () => inner.abort();
  let hiddenAt = document.hidden ? Date.now() : 0;
  const onVisibilityChange = () => {
    if (document.hidden) hiddenAt = Date.now();
    else if (hiddenAt > 0 && Date.now() - hiddenAt > 60_000) abort();
  };
  outer.addEventListener("abort", abort);
  window.addEventListener("online", abort);
  document.addEventListener("visibilitychange", onVisibilityChange);
  return {
    signal: inner.signal,
    release: () => {
      outer.removeEventListener("abort", abort);
      window.removeEventListener("online", abort);
      document.removeEventListener("visibilitychange", onVisibilityChange);
    },
  };
}
